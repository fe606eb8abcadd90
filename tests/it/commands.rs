//! The commands beside `run` (contract IF-1).

use std::process::{Output, Stdio};

use serde_json::Value;
use tokio::process::Command;

use crate::support::dispatcher::Dispatcher;
use crate::support::pki::Ca;
use crate::support::sender::{event, plain, send};
use crate::support::subscriber::{Reply, Subscriber};
use crate::support::{binary, block, channel, eventually_some};

async fn sealpost(arguments: &[&str]) -> Output {
    Command::new(binary())
        .args(arguments)
        .output()
        .await
        .expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Near misses of CACerts: what is wrong with the text is said.
#[tokio::test(flavor = "multi_thread")]
async fn check_explains_certificates() {
    let (ca, expired) = (
        Ca::new("good"),
        Ca::valid(
            "old",
            time::OffsetDateTime::now_utc() - time::Duration::days(1),
        ),
    );
    let leaf = ca.issue(&["localhost"]);
    let crooked: String = ca
        .pem
        .lines()
        .enumerate()
        .map(|(at, line)| format!("{}{line}\n", if at > 1 { "  " } else { "" }))
        .collect();
    let folded = ca.pem.replace('\n', " ");
    let directory = tempfile::TempDir::new().expect("a directory");
    let file = directory.path().join("m.yaml");
    for (pem, code, words) in [
        (ca.pem.as_str(), 0, None),
        ("nothing", 1, Some("holds no PEM certificate")),
        (
            leaf.key_pem.as_str(),
            1,
            Some("holds a private key instead of a certificate"),
        ),
        (expired.pem.as_str(), 1, Some("CN=old expired on")),
        (
            leaf.chain_pem.as_str(),
            0,
            Some("note: CN=rcgen self signed cert is not the certificate of a CA"),
        ),
        (folded.as_str(), 1, Some("folded into one")),
        (&ca.pem[..ca.pem.len() / 2], 1, Some("certificate")),
    ] {
        let spec = format!(
            "subscriber:\n  uri: https://s\n  CACerts: {}",
            block(pem, 4)
        );
        std::fs::write(&file, channel(&[("s", spec)])).expect("written");
        let output = sealpost(&["check", "-f", file.to_str().expect("a path")]).await;
        let said = text(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{said}");
        match words {
            None => assert_eq!(said, ""),
            Some(words) => {
                let place = format!(
                    "{}:12: Subscription default/s: spec.subscriber.CACerts: ",
                    file.display()
                );
                assert!(
                    said.starts_with(&place) && said.contains(words) && said.lines().count() == 1,
                    "{said}"
                );
            }
        }
    }
    let spec = format!(
        "subscriber:\n  uri: https://s\n  CACerts: {}",
        block(&crooked, 4)
    );
    std::fs::write(&file, channel(&[("s", spec)])).expect("written");
    let output = sealpost(&["check", "-f", file.to_str().expect("a path")]).await;
    let said = text(&output.stdout);
    assert!(
        said.is_empty() || said.contains("indented unevenly"),
        "{said}"
    );
}

/// Every problem of several files is reported, in order; wrong encodings and paths, too.
#[tokio::test(flavor = "multi_thread")]
async fn check_reports_everything() {
    let directory = tempfile::TempDir::new().expect("a directory");
    let write = |name: &str, content: &[u8]| {
        std::fs::write(directory.path().join(name), content).expect("written")
    };
    write(
        "a.yaml",
        channel(&[(
            "s",
            "subscriber: {uri: http://s}\ndelivery: {retry: -1, timeout: 5}".to_owned(),
        )])
        .as_bytes(),
    );
    write("b.yaml", b"\xff\xfe not UTF-8");
    write("c.yml", b"kind: [");
    write("d.txt", b"ignored");
    let path = directory.path().to_str().expect("a path");
    let output = sealpost(&["check", "-f", path, "-f", "/nowhere"]).await;
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stdout);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 5, "{said}");
    assert!(
        lines[0].starts_with("/nowhere: cannot be read: No such file"),
        "{said}"
    );
    assert!(
        lines[1].contains("a.yaml:11: Subscription default/s: spec.delivery.timeout: is a number, but must be text"),
        "{said}"
    );
    assert!(
        lines[2].contains("a.yaml:11: Subscription default/s: spec.delivery.retry: -1 is negative"),
        "{said}"
    );
    assert!(lines[3].contains("b.yaml:1: is not UTF-8"), "{said}");
    assert!(lines[4].contains("c.yml:1: is not valid YAML"), "{said}");
    let mut child = Command::new(binary())
        .args(["check", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("standard input");
    tokio::io::AsyncWriteExt::write_all(&mut stdin, channel(&[]).as_bytes())
        .await
        .expect("written");
    drop(stdin);
    let output = child.wait_with_output().await.expect("it runs");
    assert_eq!(
        (output.status.code(), text(&output.stdout)),
        (Some(0), String::new())
    );
    assert_eq!(sealpost(&["check"]).await.status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn get_shows_what_is_served() {
    let dispatcher =
        Dispatcher::standalone(&channel(&[("s", "subscriber: {uri: http://s}".to_owned())])).await;
    let admin = format!("http://{}", dispatcher.admin);
    let get = async |arguments: &[&str]| {
        sealpost(&[&["get", "--admin", &admin], arguments].concat()).await
    };
    let table = text(&get(&["channels"]).await.stdout);
    let expected = format!(
        "default     c      http://{}/default/c   True",
        dispatcher.http
    );
    assert!(
        table.starts_with("NAMESPACE   NAME   URL") && table.contains(&expected),
        "{table}"
    );
    let json: Value = serde_json::from_slice(
        &get(&["subscription", "s", "-n", "default", "-o", "json"])
            .await
            .stdout,
    )
    .expect("JSON");
    assert_eq!(
        (
            &json["kind"],
            &json["status"]["physicalSubscription"]["subscriberUri"]
        ),
        (&"Subscription".into(), &"http://s".into())
    );
    let yaml = text(&get(&["channels", "-o", "yaml"]).await.stdout);
    assert!(
        yaml.contains("kind: List") && yaml.contains("kind: InMemoryChannel"),
        "{yaml}"
    );
    let missing = get(&["channels", "none"]).await;
    assert_eq!(
        (missing.status.code(), text(&missing.stderr).trim_end()),
        (Some(1), "sealpost: no channels named \"none\"")
    );
    let unreachable = sealpost(&["get", "channels", "--admin", "http://127.0.0.1:1"]).await;
    assert_eq!(unreachable.status.code(), Some(1));
    assert!(text(&unreachable.stderr).contains("is it running"));
    assert_eq!(sealpost(&["get", "pods"]).await.status.code(), Some(2));
}

/// A channel with one subscriber, and how to send events to it.
struct SendScene {
    dispatcher: Dispatcher,
    subscriber: Subscriber,
    http: String,
    https: String,
    ca: String,
}

impl SendScene {
    async fn start() -> Self {
        let subscriber = Subscriber::ok().await;
        let yaml = channel(&[("s", format!("subscriber: {{uri: '{}'}}", subscriber.url()))]);
        let dispatcher = Dispatcher::of(&yaml)
            .arg("--transport-encryption")
            .arg("permissive")
            .start()
            .await;
        let ca = dispatcher.path("state/ca.crt");
        Self {
            http: dispatcher.http_url("/default/c"),
            https: dispatcher.https_url("/default/c"),
            ca: ca.to_str().expect("a path").to_owned(),
            dispatcher,
            subscriber,
        }
    }
}

/// Sends by the command, and checks what its output begins with.
async fn sends(url: &str, flags: &[&str], start: &str) -> Output {
    let output = sealpost(&[&["send", url], flags].concat()).await;
    let printed = text(&output.stdout);
    assert!(printed.starts_with(start), "{printed}");
    output
}

#[tokio::test(flavor = "multi_thread")]
async fn send_sends_events() {
    let scene = SendScene::start().await;
    let flags = ["--type", "t", "--id", "i", "--ext", "tenant=a b"];
    let data = ["--data", r#"{"a":1}"#];
    let start = "202 Accepted  http HTTP/1.1  i  ";
    let one = sends(&scene.http, &[&flags[..], &data].concat(), start).await;
    assert!(one.status.success());
    let flags = ["--ca", &scene.ca, "--mode", "structured", "--data", "text"];
    let flags = [&flags[..], &["--source", "/x"]].concat();
    sends(&scene.https, &flags, "202 Accepted  https HTTP/2.0  ").await;
    let flags = ["--count", "50", "--concurrency", "8", "--id", "n"];
    let flags = [&flags[..], &["--rate", "1000/s"]].concat();
    sends(&scene.http, &flags, "50 of 50 accepted; ").await;
    let received = scene.subscriber.received();
    assert_eq!(received.len(), 52);
    assert_eq!(
        (
            received[0].header("ce-tenant"),
            received[0].header("content-type")
        ),
        (Some("a%20b"), Some("application/json"))
    );
    assert_eq!(
        (
            received[1].header("ce-source"),
            received[1].header("content-type")
        ),
        (Some("/x"), Some("text/plain"))
    );
    assert!(received.iter().any(|received| received.id() == "n-50"));
}

#[tokio::test(flavor = "multi_thread")]
async fn send_says_why_an_event_was_not_accepted() {
    let SendScene {
        dispatcher,
        http,
        https,
        ca,
        ..
    } = SendScene::start().await;
    let refused = sealpost(&["send", &dispatcher.http_url("/default/none")]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused.stdout).contains("404 Not Found")
            && text(&refused.stdout).contains("no channel or broker")
    );
    let untrusted = sealpost(&["send", &https]).await;
    assert!(
        untrusted.status.code() == Some(1)
            && text(&untrusted.stdout).contains("UnknownIssuer")
            && text(&untrusted.stdout).contains("--ca FILE"),
        "{}",
        text(&untrusted.stdout)
    );
    for (crossed, words) in [
        (
            http.replace("http:", "https:"),
            "is this its port for plain HTTP?",
        ),
        (
            https.replace("https:", "http:"),
            "is this its port for https?",
        ),
    ] {
        let output = sealpost(&["send", &crossed, "--ca", &ca]).await;
        assert!(
            text(&output.stdout).contains(words),
            "{crossed}: {}",
            text(&output.stdout)
        );
    }
    for (wrong, words) in [
        (&["send"][..], "required"),
        (&["send", "x"], "write it with its scheme: http://x"),
        (&["send", "127.0.0.1:8080/x"], "http://127.0.0.1:8080/x"),
        (&["send", &http, "--ext", "A=1"], "a-z and 0-9"),
        (&["send", &http, "--ext", "id=5"], "use --id"),
        (&["send", &http, "--id", ""], "it is empty"),
        (&["send", &http, "--count", "0"], "0"),
    ] {
        let output = sealpost(wrong).await;
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(
            text(&output.stderr).contains(words),
            "{wrong:?}: {}",
            text(&output.stderr)
        );
    }
}

/// The display command as a subscriber, over HTTP and HTTPS, with a reply.
#[tokio::test(flavor = "multi_thread")]
async fn display_prints_events() {
    let ca = Ca::new("display");
    let identity = ca.issue(&["localhost"]);
    let directory = tempfile::TempDir::new().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    std::fs::write(at("tls.crt"), &identity.chain_pem).expect("written");
    std::fs::write(at("tls.key"), &identity.key_pem).expect("written");
    let mut child = Command::new(binary())
        .args(["display", "--addr", "127.0.0.1:0", "--reply", "answer"])
        .arg("--tls-cert")
        .arg(at("tls.crt"))
        .arg("--tls-key")
        .arg(at("tls.key"))
        .stdout(std::fs::File::create(at("stdout")).expect("a file"))
        .stderr(std::fs::File::create(at("stderr")).expect("a file"))
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let url = eventually_some("it listens", || {
        let said = std::fs::read_to_string(at("stderr")).ok()?;
        let (_, url) = said.split_once("https://127.0.0.1:")?;
        Some(format!("https://localhost:{}", url.trim_end()))
    })
    .await;
    let reply = Subscriber::answering(|_| Reply::status(200)).await;
    let spec = format!(
        "subscriber:\n  uri: {url}\n  CACerts: {}reply: {{uri: '{}'}}",
        block(&ca.pem, 4),
        reply.url()
    );
    let dispatcher = Dispatcher::standalone(&channel(&[("s", spec)])).await;
    let sent = event(&plain(), dispatcher.http_url("/default/c"), "i")
        .header("ce-evil", "%1B[31m")
        .send()
        .await;
    assert_eq!(sent.expect("an answer").status(), 202);
    let printed = std::fs::read_to_string(at("stdout")).expect("printed");
    assert!(
        printed.contains("  type: test.event\n  source: /test\n  id: i\n"),
        "{printed}"
    );
    assert!(printed.contains("  evil: \\u{1b}[31m\n"), "{printed}");
    let replied = &reply.received()[0];
    assert_eq!(
        (replied.header("ce-type"), replied.body.clone()),
        (Some("answer"), r#"{"a":"b"}"#.into())
    );
    let pid =
        rustix::process::Pid::from_raw(child.id().expect("it runs").try_into().expect("a pid"))
            .expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signalled");
    assert!(
        child.wait().await.expect("it ends").success(),
        "SIGTERM is an orderly end"
    );
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/none"), "i").await,
        404
    );
}

/// A result that could not be written is a failure; a reader that has enough is none.
#[tokio::test(flavor = "multi_thread")]
async fn results_that_cannot_be_written_are_errors() {
    let dispatcher = Dispatcher::standalone(&channel(&[])).await;
    let admin = format!("http://{}", dispatcher.admin);
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .expect("a device");
    let get = |stdout: Stdio| {
        let mut command = Command::new(binary());
        command
            .args(["get", "channels", "--admin", &admin])
            .stdout(stdout)
            .stderr(Stdio::piped());
        command.spawn().expect("it starts").wait_with_output()
    };
    let output = get(full.into()).await.expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("standard output: No space left"),
        "{}",
        text(&output.stderr)
    );
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    assert_eq!(
        get(writer.into()).await.expect("it runs").status.code(),
        Some(0)
    );
}

/// A value that would silence the log, or be no limit, is refused before anything runs.
#[tokio::test(flavor = "multi_thread")]
async fn what_would_be_unsafe_is_refused() {
    for (flag, value, words) in [
        ("--log-level", "warning", "did you mean warn?"),
        ("--log-level", "off", "the least is error"),
        ("--max-connections", "0", "from 1"),
        ("--max-body-bytes", "0", "nothing fits"),
        ("--delivery-timeout", "PT0S", "it is nothing"),
        (
            "--http-addr",
            ":8080",
            "127.0.0.1:8080 for this machine only",
        ),
    ] {
        let output = sealpost(&["run", "-f", "/nowhere", flag, value]).await;
        assert_eq!(output.status.code(), Some(2), "{flag} {value}");
        assert!(
            text(&output.stderr).contains(words),
            "{flag} {value}: {}",
            text(&output.stderr)
        );
    }
}

/// `filter test` says for each Trigger whether the event passes, and why not.
#[tokio::test(flavor = "multi_thread")]
async fn filter_test_explains() {
    let directory = tempfile::TempDir::new().expect("a directory");
    let at = |name: &str| {
        directory
            .path()
            .join(name)
            .to_str()
            .expect("a path")
            .to_owned()
    };
    let trigger = |name: &str, filters: &str| {
        format!(
            "---\napiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {{name: {name}}}\nspec:\n  broker: b\n  filters: {filters}\n  subscriber: {{uri: http://s}}\n"
        )
    };
    let good = trigger("a", "[{exact: {type: t}}]")
        + &trigger("b", "[{prefix: {type: x}}]")
        + &trigger("c", "[{cesql: \"tenant = 'a'\"}]");
    std::fs::write(at("good.yaml"), &good).expect("written");
    std::fs::write(at("bad.yaml"), good + &trigger("d", "[{cesql: 'type ='}]")).expect("written");
    std::fs::write(
        at("event.json"),
        r#"{"specversion":"1.0","id":"1","source":"/s","type":"t"}"#,
    )
    .expect("written");
    let output = sealpost(&[
        "filter",
        "test",
        "-f",
        &at("good.yaml"),
        "--event",
        &at("event.json"),
    ])
    .await;
    let expected = "\
Trigger default/a: passes
Trigger default/b: does not pass: prefix.type: is \"t\", wanted \"x\"
Trigger default/c: does not pass: cesql: ends in a missing attribute, where tenant is not set
";
    assert_eq!(
        (output.status.code(), text(&output.stdout)),
        (Some(0), expected.to_owned())
    );
    let mut given = Command::new(binary());
    given.args(["filter", "test", "-f", &at("good.yaml"), "--event", "-"]);
    given.stdin(std::fs::File::open(at("event.json")).expect("a file"));
    let output = given.output().await.expect("it runs");
    assert_eq!(
        (output.status.code(), text(&output.stdout)),
        (Some(0), expected.to_owned())
    );
    let output = sealpost(&[
        "filter",
        "test",
        "-f",
        &at("bad.yaml"),
        "--event",
        &at("event.json"),
    ])
    .await;
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.contains("spec.filters[0].cesql: line 1, column 7: the expression ends too early"),
        "{said}"
    );
    assert!(
        said.ends_with("Trigger default/d: gets nothing: its filter is not understood\n"),
        "{said}"
    );
    let output = sealpost(&[
        "filter",
        "test",
        "-f",
        &at("good.yaml"),
        "--event",
        &at("good.yaml"),
    ])
    .await;
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("not a CloudEvent in JSON format"),
        "{}",
        text(&output.stderr)
    );
}

/// Short names, wider tables, all namespaces, the order of names, and objects that change.
#[tokio::test(flavor = "multi_thread")]
async fn get_lists_and_watches() {
    let named = |namespace: &str, name: &str| {
        format!(
            "---\napiVersion: messaging.knative.dev/v1\nkind: InMemoryChannel\nmetadata: {{name: {name}, namespace: {namespace}}}\n"
        )
    };
    let yaml =
        named("zoo", "a") + &named("default", "z") + &channel(&[]).replace("apiV", "---\napiV");
    let dispatcher = Dispatcher::standalone(&yaml).await;
    let admin = format!("http://{}", dispatcher.admin);
    let get = async |arguments: &[&str]| {
        let mut command = Command::new(binary());
        let command = command.args(["get", "--admin", &admin]).args(arguments);
        let output = command.env("SEALPOST_NAMESPACE", "zoo").output();
        text(&output.await.expect("it runs").stdout)
    };
    let places = |table: &str| -> Vec<String> {
        let rows = table.lines().skip(1).map(|row| {
            let cells: Vec<&str> = row.split_whitespace().take(2).collect();
            cells.join("/")
        });
        rows.collect()
    };
    assert_eq!(
        places(&get(&["imc", "-A"]).await),
        ["default/c", "default/z", "zoo/a"]
    );
    assert_eq!(places(&get(&["ch"]).await), ["zoo/a"]);
    let wide = get(&["channels", "-A", "-o", "wide"]).await;
    assert!(
        wide.contains("KIND") && wide.contains("InMemoryChannel"),
        "{wide}"
    );
    for short in ["br", "tr", "sub", "seq", "par", "rr"] {
        assert!(get(&[short]).await.starts_with("NAMESPACE"), "{short}");
    }
    let directory = tempfile::TempDir::new().expect("a directory");
    let printed = directory.path().join("watched");
    let mut watching = Command::new(binary())
        .args(["get", "sub", "-w", "--admin", &admin])
        .stdout(std::fs::File::create(&printed).expect("a file"))
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let watched = async |parts: &[&str]| {
        eventually_some(&format!("{parts:?}"), || {
            let printed = std::fs::read_to_string(&printed).ok()?;
            let mut lines = printed.lines().map(str::to_owned);
            lines.find(|line| parts.iter().all(|part| line.contains(part)))
        })
        .await
    };
    watched(&["NAMESPACE", "SUBSCRIBER_URI"]).await;
    let with = |host: &str| channel(&[("s", format!("subscriber: {{uri: 'http://{host}'}}"))]);
    for host in ["first", "second"] {
        dispatcher.apply(&with(host)).await;
        watched(&["default", "s", host, "True"]).await;
    }
    dispatcher.apply(&channel(&[])).await;
    watched(&["default", "s", "Deleted"]).await;
    watching.kill().await.expect("ended");
}

/// Header fields and a token of every request, and events from lines.
#[tokio::test(flavor = "multi_thread")]
async fn send_takes_lines_and_header_fields() {
    let sink = Subscriber::ok().await;
    let directory = tempfile::TempDir::new().expect("a directory");
    let at = |name: &str| directory.path().join(name).display().to_string();
    std::fs::write(at("token"), "a-token\n").expect("written");
    let lines = "{\"id\":\"1\",\"source\":\"/a\",\"type\":\"x\",\"data\":{\"n\":1}}\n\n{\"subject\":\"s\",\"n\":5}\n";
    std::fs::write(at("lines"), lines).expect("written");
    let token = format!("@{}", at("token"));
    let url = sink.url();
    let flags = ["--bearer", &token, "--header", "X-Tenant: a", "--type", "y"];
    let sent = sealpost(&[&["send", &url, "--events", &at("lines")], &flags[..]].concat()).await;
    let printed = text(&sent.stdout);
    assert!(printed.starts_with("2 of 2 accepted"), "{printed}");
    assert_eq!(sent.status.code(), Some(0));
    let received = sink.until(2).await;
    let header = |at: usize, name: &str| received[at].header(name).map(str::to_owned);
    assert_eq!(
        header(0, "authorization").as_deref(),
        Some("Bearer a-token")
    );
    assert_eq!(header(1, "x-tenant").as_deref(), Some("a"));
    assert_eq!(
        (received[0].id(), &received[0].body[..]),
        ("1", &b"{\"n\":1}"[..])
    );
    let attributes = ["ce-type", "ce-source", "ce-subject", "ce-n"].map(|name| header(1, name));
    let expected = ["y", "/sealpost/send", "s", "5"].map(|text| Some(text.to_owned()));
    assert_eq!(attributes, expected);
    assert!(!received[1].id().is_empty());
    std::fs::write(at("bad"), "{\"id\":\"3\"}\n{\"id\":}\n").expect("written");
    let bad = sealpost(&["send", &url, "--events", &at("bad")]).await;
    assert_eq!(bad.status.code(), Some(1));
    let told = text(&bad.stderr);
    let expected =
        "1 event sent (1 accepted), and nothing from here on: line 2: it is no JSON object";
    assert!(told.contains(expected), "{told}");
    let printed = text(&bad.stdout);
    assert!(printed.starts_with("1 of 1 accepted"), "{printed}");
    assert_eq!(sink.until(3).await[2].id(), "3", "what came before is sent");
    for (flag, value, told) in [
        ("--header", "Content-Type: a/b", "use --content-type"),
        ("--header", "ce-id: 1", "use --ext"),
        ("--header", "nothing", "write NAME: VALUE"),
    ] {
        let refused = sealpost(&["send", &url, flag, value]).await;
        assert_eq!(refused.status.code(), Some(2), "{value}");
        assert!(text(&refused.stderr).contains(told), "{value}");
    }
}

/// Events that arrive, one line of JSON each.
#[tokio::test(flavor = "multi_thread")]
async fn display_prints_json() {
    let directory = tempfile::TempDir::new().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    let mut child = Command::new(binary())
        .args(["display", "--addr", "127.0.0.1:0", "-o", "json"])
        .stdout(std::fs::File::create(at("stdout")).expect("a file"))
        .stderr(std::fs::File::create(at("stderr")).expect("a file"))
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let url = eventually_some("it listens", || {
        let said = std::fs::read_to_string(at("stderr")).ok()?;
        let (_, url) = said.split_once("http://127.0.0.1:")?;
        Some(format!("http://127.0.0.1:{}", url.trim_end()))
    })
    .await;
    for id in ["1", "2"] {
        let sent = event(&plain(), &url, id).body("{\r\n\t\"a\": \"b c\"\r\n}");
        assert_eq!(sent.send().await.expect("an answer").status(), 200);
    }
    let printed = std::fs::read_to_string(at("stdout")).expect("printed");
    let events: Vec<Value> = printed
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(events.len(), 2, "{printed}");
    assert_eq!(
        (&events[1]["id"], &events[1]["data"]["a"]),
        (&"2".into(), &"b c".into())
    );
    child.kill().await.expect("ended");
}
