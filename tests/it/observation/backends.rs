//! `explain` and `tap` of events that rest on RabbitMQ or on disk: what is told is true, also of a
//! process that has not accepted them itself.

use rustix::process::Signal;
use tempfile::TempDir;

use super::{Tap, on, text};
use crate::support::dispatcher::{Builder, Dispatcher};
use crate::support::rabbitmq::{namespace, shared};
use crate::support::sender::{plain, send};
use crate::support::subscriber::{Reply, Subscriber};
use crate::support::{SOON, eventually};

/// A durable channel `c` of this kind, with a subscription `s` whose events come at the second
/// attempt, and `none`, which is parked.
async fn manifests(kind: &str, namespace: &str, [taking, broken]: [&Subscriber; 2]) -> String {
    let subscription = |name: &str, url: String, retry: u32| {
        format!(
            "---\napiVersion: messaging.knative.dev/v1\nkind: Subscription\n\
             metadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  \
             channel: {{apiVersion: messaging.knative.dev/v1alpha1, kind: {kind}, name: c}}\n  \
             subscriber: {{uri: '{url}'}}\n  \
             delivery: {{retry: {retry}, backoffPolicy: linear, backoffDelay: PT0.05S}}\n"
        )
    };
    format!(
        "apiVersion: messaging.knative.dev/v1alpha1\nkind: {kind}\n\
         metadata: {{name: c, namespace: {namespace}}}\n"
    ) + &subscription("s", taking.url(), 1)
        + &subscription("none", broken.url(), 0)
}

/// Waits until `explain` has a line with all of these parts; gives all lines.
pub(super) async fn explained(dispatcher: &Dispatcher, id: &str, parts: &[&str]) -> String {
    let mut lines = String::new();
    let explained = async {
        loop {
            lines = text(&on(dispatcher, &["explain", id]).await.stdout);
            if lines
                .lines()
                .any(|line| parts.iter().all(|part| line.contains(part)))
            {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let explained = tokio::time::timeout(SOON, explained).await;
    explained.unwrap_or_else(|_elapsed| panic!("not soon: {id} {parts:?}: {lines}"));
    lines
}

fn has(lines: &str, parts: &[&str]) -> bool {
    lines
        .lines()
        .any(|line| parts.iter().all(|part| line.contains(part)))
}

/// The way of an event through a durable channel, by `explain` and by `tap`.
async fn is_told_whole(kind: &str, namespace: &str, start: impl Fn(&str) -> Builder) {
    let (taking, broken) = (
        Subscriber::replying(&[503, 200]).await,
        Subscriber::replying(&[500]).await,
    );
    let yaml = manifests(kind, namespace, [&taking, &broken]).await;
    let dispatcher = start(&yaml).start().await;
    dispatcher.until_serving().await;
    let tap = Tap::open(&dispatcher, &["channel", "c", "-n", namespace]).await;
    let url = dispatcher.http_url(&format!("/{namespace}/c"));
    assert_eq!(send(&plain(), &url, "e1").await, 202);
    let (s, none) = (
        format!("subscription {namespace}/s"),
        format!("subscription {namespace}/none"),
    );
    let lines = explained(&dispatcher, "e1", &["delivered", &s]).await;
    explained(&dispatcher, "e1", &["parked", &none, "500"]).await;
    for parts in [
        &["accepted", "via http"][..],
        &["wanted", &s],
        &["received", &s],
        &["attempt", &s, "subscriber #1  503"],
        &["attempt", &s, "subscriber #2  200"],
    ] {
        assert!(has(&lines, parts), "{parts:?}: {lines}");
        if parts[0] != "wanted" {
            tap.until(parts).await;
        }
    }
    tap.until(&["delivered", "e1", &s]).await;
    tap.until(&["parked", "e1", &none]).await;
    let delivered = |line: &&str| line.contains("delivered") && line.contains(&s);
    assert_eq!(lines.lines().filter(delivered).count(), 1, "{lines}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_of_an_event_is_told_on_disk() {
    let data = TempDir::new().expect("a directory");
    let path = data.path().to_str().expect("a path");
    is_told_whole("DiskChannel", "default", |yaml| {
        Dispatcher::of(yaml).arg("--data-dir").arg(path)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_of_an_event_is_told_on_rabbitmq() {
    is_told_whole("RabbitmqChannel", &namespace(), |yaml| {
        Dispatcher::of(yaml).env("SEALPOST_RABBITMQ_URI", &shared())
    })
    .await;
}

/// What another process accepted begins with `received`; what is given up at a stop is told as
/// requeued by nobody, since the process is gone, and comes to the next one.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_process_tells_what_it_knows() {
    let data = TempDir::new().expect("a directory");
    let path = data.path().to_str().expect("a path");
    let slow = Subscriber::answering(|_| Reply::status(200).after(SOON)).await;
    let broken = Subscriber::replying(&[500]).await;
    let start = |yaml: &str| {
        let builder = Dispatcher::of(yaml).arg("--data-dir").arg(path);
        builder.arg("--drain-timeout").arg("PT0.2S")
    };
    let yaml = manifests("DiskChannel", "default", [&slow, &broken]).await;
    let mut first = start(&yaml).start().await;
    let url = first.http_url("/default/c");
    assert_eq!(send(&plain(), &url, "e1").await, 202);
    eventually("under way", || slow.count() == 1).await;
    let lines = text(&on(&first, &["explain", "e1"]).await.stdout);
    assert!(!has(&lines, &["delivered"]), "{lines}");
    first.signal(Signal::TERM);
    first.ended().await;
    let taking = Subscriber::ok().await;
    let yaml = manifests("DiskChannel", "default", [&taking, &broken]).await;
    let second = start(&yaml).start().await;
    let lines = explained(&second, "e1", &["delivered", "subscription default/s"]).await;
    assert!(
        has(&lines, &["received", "default/s", "test.event from /test"]),
        "{lines}"
    );
    assert!(!has(&lines, &["accepted"]), "{lines}");
}
