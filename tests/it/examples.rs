//! The examples of `deploy/standalone/` do what they say.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;

use crate::support::dispatcher::Dispatcher;
use crate::support::pki::Ca;
use crate::support::sender::{plain, send, trusting};
use crate::support::subscriber::{Reply, Subscriber};
use crate::support::{SOON, binary, block, eventually};

/// A channel with a private-CA subscriber, a reply, and a dead letter sink.
#[tokio::test(flavor = "multi_thread")]
async fn the_channel() {
    let ca = Ca::new("corporate");
    let ledger = Subscriber::secure(
        &ca.issue(&["ledger.default.svc.cluster.local"]),
        |received| match received.id() {
            "bad" => Reply::text(422, "no such account"),
            _ => Reply::event("com.example.invoice.booked", "booked"),
        },
    )
    .await;
    let example = include_str!("../../deploy/standalone/channel-private-ca.yaml");
    let (start, rest) = example.split_once("    CACerts: |").expect("CACerts");
    let (_, rest) = rest
        .split_once("-----END CERTIFICATE-----\n")
        .expect("a certificate");
    let yaml = format!("{start}    CACerts: {}{rest}", block(&ca.pem, 6));
    let resolve = format!("ledger.default.svc.cluster.local={}", ledger.address());
    let dispatcher = Dispatcher::of(&yaml)
        .arg("--resolve")
        .arg(resolve)
        .start()
        .await;
    let url = dispatcher.http_url("/default/invoices");
    assert_eq!(send(&plain(), &url, "good").await, 202);
    assert_eq!(send(&plain(), &url, "bad").await, 202);
    eventually("both are displayed", || {
        dispatcher.printed().matches("cloudevents.Event").count() == 2
    })
    .await;
    let printed = dispatcher.printed();
    assert!(
        printed.contains("type: com.example.invoice.booked"),
        "{printed}"
    );
    assert!(
        printed.contains("id: bad") && printed.contains("knativeerrorcode: 422"),
        "{printed}"
    );
}

/// Strict mode: events by HTTPS only, from the ConfigMap.
#[tokio::test(flavor = "multi_thread")]
async fn strict_mode() {
    let dispatcher =
        Dispatcher::standalone(include_str!("../../deploy/standalone/strict.yaml")).await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/payments"), "i").await,
        404
    );
    assert_eq!(
        send(
            &trusting(&dispatcher.ca()),
            dispatcher.https_url("/default/payments"),
            "i"
        )
        .await,
        202
    );
    assert!(dispatcher.printed().contains("id: i"));
}

/// With a binary, and until Ctrl-C: the event is printed, and the page is where it says.
#[tokio::test(flavor = "multi_thread")]
async fn try_stays_until_it_is_interrupted() {
    let directory = tempfile::TempDir::new().expect("a directory");
    let output = directory.path().join("output");
    let file = std::fs::File::create(&output).expect("a file");
    let mut trying = Command::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/deploy/standalone/try"
    ))
    .args(["--stay", "--binary"])
    .arg(binary())
    .stdin(Stdio::null())
    .stdout(file.try_clone().expect("a file"))
    .stderr(file)
    .kill_on_drop(true)
    .spawn()
    .expect("it starts");
    let said = || std::fs::read_to_string(&output).unwrap_or_default();
    eventually("it stays", || said().contains("Ctrl-C ends it.")).await;
    let said = said();
    assert!(said.contains("Answered 202 over HTTP/"), "{said}");
    assert!(said.contains("  type: my.demo.event\n"), "{said}");
    let page = said
        .lines()
        .find_map(|line| line.strip_prefix("The status page: "));
    let page = plain().get(page.expect("where the page is")).send().await;
    let page = page.expect("an answer").text().await.expect("text");
    assert!(page.contains("<title>sealpost"), "{page}");
    let id = trying.id().expect("it runs").cast_signed();
    kill_process(Pid::from_raw(id).expect("a process"), Signal::INT).expect("signalled");
    let ended = tokio::time::timeout(SOON, trying.wait()).await;
    let ended = ended.expect("it ends soon").expect("a status");
    assert!(ended.success(), "{ended}");
}

/// The manifests in the documentation pass `check`.
#[tokio::test(flavor = "multi_thread")]
async fn the_documentation_is_sound() {
    let broker = "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: default}\n";
    let directory = tempfile::TempDir::new().expect("a directory");
    let configuration = include_str!("../../docs/CONFIGURATION.md");
    let pages = [
        include_str!("../../docs/FILTERS.md"),
        include_str!("../../docs/BROKERS.md"),
        configuration,
    ]
    .concat();
    let blocks: Vec<&str> = pages
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert_eq!(blocks.len(), 9);
    for block in blocks {
        let path = directory.path().join("m.yaml");
        let before = if block.contains("kind: Broker") {
            ""
        } else {
            broker
        };
        std::fs::write(&path, format!("{before}---\n{block}")).expect("written");
        let mut check = Command::new(binary());
        let output = check
            .arg("check")
            .arg("-f")
            .arg(path)
            .output()
            .await
            .expect("it runs");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{block}");
    }
}

/// What `check --strict` says, as the examples are run: with RabbitMQ, and with a ledger of one's
/// own.
async fn checked(path: &std::path::Path) -> (String, bool) {
    let mut check = Command::new(binary());
    check
        .args(["check", "--strict"])
        .arg(path)
        .args(["--rabbitmq-uri", "amqp://guest:guest@127.0.0.1"]);
    check.args([
        "--resolve",
        "ledger.default.svc.cluster.local=127.0.0.1:9443",
    ]);
    let output = check.stdin(Stdio::null()).output().await.expect("it runs");
    (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        output.status.success(),
    )
}

/// Every manifest of `deploy/` passes `check` without a word.
#[tokio::test(flavor = "multi_thread")]
async fn all_are_sound() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/standalone");
    for entry in std::fs::read_dir(directory).expect("examples") {
        let path = entry.expect("a file").path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let (said, succeeded) = checked(&path).await;
        assert_eq!(said, "", "{}", path.display());
        assert!(succeeded);
    }
    // All at once, too: no two of them have the same name.
    assert_eq!(checked(directory.as_ref()).await, (String::new(), true));
}
