//! The audit log: what was changed, by whom, and what was refused, is in the log and in the file of
//! `--audit-log`; what is only read is not, and no secret is.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::Command;

use crate::support::dispatcher::{Builder, Dispatcher, replace};
use crate::support::sender::{plain, send};
use crate::support::subscriber::Subscriber;
use crate::support::{ANY_PORTS, binary, channel, eventually};

const TOKEN: &str = "a-token-of-operators";
const SECRET: &str = "what-nobody-should-see";

/// YAML of the DiskChannel `default/c`, which retains events, and of its Subscription `s`.
fn disk_channel(to: &Subscriber) -> String {
    format!(
        "apiVersion: messaging.knative.dev/v1alpha1\nkind: DiskChannel\n\
         metadata: {{name: c, annotations: {{sealpost.dev/retain: P1D}}}}\n\
         ---\napiVersion: messaging.knative.dev/v1\nkind: Subscription\nmetadata: {{name: s}}\nspec:\n  \
         channel: {{apiVersion: messaging.knative.dev/v1alpha1, kind: DiskChannel, name: c}}\n  \
         subscriber: {{uri: '{}'}}\n",
        to.url()
    )
}

/// A dispatcher of these manifests with a token, and a file for its audit log.
fn audited(yaml: &str) -> Builder {
    let builder = Dispatcher::of(yaml).file("token", TOKEN);
    let [token, file] = ["token", "audit.log"].map(|name| builder.path(name));
    let text = |path: &Path| path.to_str().expect("text").to_owned();
    builder
        .arg("--admin-token-file")
        .arg(text(&token))
        .arg("--audit-log")
        .arg(text(&file))
}

/// The lines of a file of JSON.
fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().map(serde_json::from_str);
    lines.map(|line| line.expect("JSON")).collect()
}

/// The lines of its file about requests of operators, and those about the configuration.
fn told(dispatcher: &Dispatcher, about: &str) -> Vec<Value> {
    let mut lines = lines(&dispatcher.path("audit.log"));
    lines.retain(|line| line["audit"] == about);
    lines
}

/// Asks at the admin port; the status.
async fn at_port(dispatcher: &Dispatcher, path: &str, token: Option<&str>) -> u16 {
    let request = plain().post(format!("http://{}{path}", dispatcher.admin));
    let request = match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    };
    request.send().await.expect("an answer").status().as_u16()
}

/// Asks at the admin socket; the status.
async fn at_socket(dispatcher: &Dispatcher, request: &str) -> String {
    let socket = dispatcher.path("state/admin.sock");
    let mut stream = UnixStream::connect(socket).await.expect("connected");
    let head = format!(
        "{request} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer.split(' ').nth(1).unwrap_or_default().to_owned()
}

/// Who did what, and with which outcome, is told of each change, whether it was allowed or not.
#[tokio::test(flavor = "multi_thread")]
async fn changes_of_operators_are_told() {
    let subscriber = Subscriber::ok().await;
    let dispatcher = audited(&disk_channel(&subscriber)).start().await;
    // From here on, the queue is on the disk.
    let event = send(&plain(), dispatcher.http_url("/default/c"), "i").await;
    assert_eq!((event, subscriber.until(1).await.len()), (202, 1));
    let drop = "/api/v1/parked/default/s/drop";
    let hidden = format!("{drop}?token={SECRET}");
    assert_eq!(at_port(&dispatcher, &hidden, None).await, 403);
    assert_eq!(at_port(&dispatcher, drop, Some(SECRET)).await, 403);
    assert_eq!(at_port(&dispatcher, drop, Some(TOKEN)).await, 200);
    let start = "/api/v1/replay/default/s/start?from=PT1H";
    let started = at_port(&dispatcher, start, Some(TOKEN)).await;
    let gone = "/api/v1/parked/default/nobody/replay?kind=trigger";
    assert_eq!(at_port(&dispatcher, gone, Some(TOKEN)).await, 404);
    let replay = "POST /api/v1/parked/default/s/replay";
    assert_eq!(at_socket(&dispatcher, replay).await, "200");
    // Whoever only reads is not told.
    assert_eq!(at_socket(&dispatcher, "GET /api/v1/parked").await, "200");
    assert_eq!(dispatcher.admin_text("/api/v1/status").await.0, 200);

    let lines = told(&dispatcher, "operator");
    let field = |name: &str| -> Vec<String> {
        let text = |line: &Value| match &line[name] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        lines.iter().map(text).collect()
    };
    let start = start.split('?').next().expect("a path");
    let gone = gone.split('?').next().expect("a path");
    let replay = replay.split(' ').next_back().expect("a path");
    assert_eq!(field("action"), [drop, drop, drop, start, gone, replay]);
    let start_outcome = if started < 300 { "done" } else { "failed" };
    let outcomes = [
        "refused",
        "refused",
        "done",
        start_outcome,
        "failed",
        "done",
    ];
    assert_eq!(field("outcome"), outcomes);
    assert_eq!(
        field("status"),
        ["403", "403", "200", &started.to_string(), "404", "200"]
    );
    let (token, socket) = ("token of --admin-token-file", "admin socket");
    assert_eq!(field("by"), ["null", "null", token, token, token, socket]);
    let user = format!("uid {}", rustix::process::getuid().as_raw());
    let home = "127.0.0.1";
    assert_eq!(field("peer"), [home, home, home, home, home, &user]);
    assert_eq!(field("parameters")[3..5], ["from=PT1H", "kind=trigger"]);
    assert!(
        field("reason")[0].contains("--admin-token-file"),
        "{lines:?}"
    );
    assert!(field("answer")[2].contains("\"dropped\":0"), "{lines:?}");

    let log = dispatcher.log();
    assert_eq!(log.matches("\"audit\":\"operator\"").count(), 6, "{log}");
    let file = std::fs::read_to_string(dispatcher.path("audit.log")).expect("a file");
    assert!(
        ![log, file]
            .iter()
            .any(|it| it.contains(SECRET) || it.contains(TOKEN))
    );
}

/// Whoever reads the data of events is told; whoever reads the rest of them is not.
#[tokio::test(flavor = "multi_thread")]
async fn readers_of_data_are_told() {
    let dispatcher = audited(&channel(&[])).start().await;
    let path = |query: &str| format!("http://{}/api/v1/tap{query}", dispatcher.admin);
    for query in ["", "?data=true"] {
        let answer = plain().get(path(query)).send().await.expect("an answer");
        assert_eq!(answer.status().is_success(), query.is_empty(), "{query}");
    }
    let lines = told(&dispatcher, "operator");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(
        (&lines[0]["action"], &lines[0]["outcome"]),
        (&"/api/v1/tap".into(), &"refused".into())
    );
}

/// Each configuration that is served is told with the objects that it adds, changes and removes,
/// and where they stand; so is a level of the log, and no value of a Secret.
#[tokio::test(flavor = "multi_thread")]
async fn changes_of_the_configuration_are_told() {
    let subscriber = Subscriber::ok().await;
    let to = |more: &str| {
        (
            "s",
            format!("subscriber: {{uri: '{}{more}'}}\n", subscriber.url()),
        )
    };
    let dispatcher = audited(&channel(&[to("")])).start().await;
    let newest = |name: &str| {
        let lines = told(&dispatcher, "configuration");
        lines.last().map_or(Value::Null, |line| line[name].clone())
    };
    let added = newest("added").to_string();
    for words in ["InMemoryChannel c (", "m.yaml:1), Subscription s ("] {
        assert!(added.contains(words), "{added}");
    }
    dispatcher.apply(&channel(&[to("/other")])).await;
    let changed = newest("changed").to_string();
    assert!(
        changed.contains("Subscription s (") && !changed.contains("Channel"),
        "{changed}"
    );
    assert_eq!((newest("added"), newest("removed")), ("".into(), "".into()));
    let more = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: imc-dispatcher-server-tls, namespace: knative-eventing}}\n\
         stringData: {{tls.key: {SECRET}}}\n---\n\
         apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: config-logging, namespace: knative-eventing}}\n\
         data: {{loglevel.inmemorychannel-dispatcher: error}}\n"
    );
    // At the new level, the log does not say any more that a configuration is applied.
    replace(&dispatcher.path("manifests/more.yaml"), &more);
    eventually("it is told", || {
        newest("added").to_string().contains("config-logging")
    })
    .await;
    let lines = told(&dispatcher, "configuration");
    let is_level = |line: &Value| line["what"] == "log level" && line["level"] == "error";
    assert!(lines.iter().any(is_level), "{lines:?}");
    let added = newest("added").to_string();
    for words in [
        "Secret knative-eventing/imc-dispatcher-server-tls (",
        "more.yaml:1)",
        "config-logging",
    ] {
        assert!(added.contains(words), "{added}");
    }
    // The audit log goes on at a level at which nothing else is told.
    std::fs::remove_file(dispatcher.path("manifests/more.yaml")).expect("removed");
    eventually("the removal is told", || {
        newest("removed").to_string().contains("Secret")
    })
    .await;
    let log = dispatcher.log();
    assert!(
        log.contains("\"removed\":\"ConfigMap knative-eventing/config-logging"),
        "{log}"
    );
    let file = std::fs::read_to_string(dispatcher.path("audit.log")).expect("a file");
    assert!(!log.contains(SECRET) && !file.contains(SECRET));
}

/// The file is its owner's, is made anew when it was moved away, and has to be there at the start;
/// the log for people has the same lines.
#[tokio::test(flavor = "multi_thread")]
async fn the_file_of_the_audit_log() {
    let builder = audited(&channel(&[])).arg("--log-format").arg("text");
    let dispatcher = builder.start().await;
    let file = dispatcher.path("audit.log");
    let mode = std::fs::metadata(&file)
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    std::fs::rename(&file, dispatcher.path("audit.log.1")).expect("renamed");
    let drop = "/api/v1/parked/default/s/drop";
    assert_eq!(at_port(&dispatcher, drop, None).await, 403);
    assert_eq!(lines(&file).len(), 1);
    assert!(!lines(&dispatcher.path("audit.log.1")).is_empty());
    let log = dispatcher.logged(&[
        "Operator's request refused",
        "audit=\"operator\"",
        "status=403",
    ]);
    assert_eq!(log.len(), 1, "{}", dispatcher.log());
    let arguments = ["run", "-f", "-", "--audit-log", "/nowhere/audit.log"];
    let mut command = Command::new(binary());
    let output = command
        .args(arguments)
        .args(ANY_PORTS)
        .output()
        .await
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.code() == Some(1) && text.contains("--audit-log /nowhere"),
        "{text}"
    );
}

/// A line that does not fit is missing in the file as a whole, and the log and a metric say so, once
/// for all lines.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_audit_log_is_told() {
    let builder = audited(&channel(&[])).largest_file(2);
    let dispatcher = builder.start().await;
    let file = dispatcher.path("audit.log");
    let drop = "/api/v1/parked/default/s/drop";
    for _ in 0..20 {
        assert_eq!(at_port(&dispatcher, drop, None).await, 403);
    }
    // Every line that is there is whole, and there is room for less than one.
    let written = lines(&file).len();
    assert!((2..15).contains(&written), "{written}");
    let begun = "The audit log cannot be written: its lines are in this log alone";
    let refused = "Operator's request refused";
    let told = || dispatcher.logged(&[refused]).len();
    eventually("all lines in the log", || told() == 20).await;
    assert_eq!(dispatcher.logged(&[begun]).len(), 1, "{}", dispatcher.log());
    let missing = "sealpost_audit_lines_missing_total";
    let lines_missing = dispatcher.series_value(missing, &[]).await;
    assert!(lines_missing >= 5.0, "{lines_missing}");
    std::fs::rename(&file, dispatcher.path("audit.log.1")).expect("renamed");
    assert_eq!(at_port(&dispatcher, drop, None).await, 403);
    assert_eq!(lines(&file).len(), 1);
    let ended = "The audit log can be written again";
    eventually("its end", || dispatcher.logged(&[ended]).len() == 1).await;
    assert!(dispatcher.series_value(missing, &[]).await <= lines_missing);
}

/// A FIFO that nobody reads holds up nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_audit_log_that_nobody_reads_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let pipe = directory.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().await;
    assert!(made.expect("it runs").success());
    let mut command = Command::new(binary());
    command.args(["run", "-f", "-", "--audit-log"]).arg(&pipe);
    let ending = command.args(ANY_PORTS).kill_on_drop(true).output();
    let ended = tokio::time::timeout(std::time::Duration::from_secs(20), ending).await;
    let output = ended.expect("it ends").expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let is_refused = output.status.code() == Some(1) && text.contains("--audit-log");
    assert!(is_refused, "{text}");
}
