//! Waits, attempts, replies, dead letters and order outlive the process.

use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use super::{away, delivery, disk_channel, disk_subscription, in_directory};
use crate::support::dispatcher::{Dispatcher, ready};
use crate::support::sender::{event, plain, send};
use crate::support::subscriber::{Received, Reply, Subscriber};
use crate::support::{SOON, eventually};

async fn kill(mut dispatcher: Dispatcher) {
    dispatcher.signal(Signal::KILL);
    dispatcher.ended().await;
}

/// Waits until so many deliveries have been put off, and so are on the disk.
async fn until_put_off(dispatcher: &Dispatcher, count: u64) {
    let deadline = std::time::Instant::now() + SOON;
    while dispatcher.counter("deliveries_deferred_total").await < count {
        assert!(std::time::Instant::now() < deadline, "{count} are put off");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// One event for several subscribers, one of which is not there yet; the first process is killed.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_outlives_a_kill() {
    let data = TempDir::new().expect("a directory");
    let (first, second) = (Subscriber::ok().await, away().await);
    let patient = delivery("retry: 100, backoffPolicy: linear, backoffDelay: PT0.1S");
    let yaml = |second: &Subscriber| {
        disk_channel("c")
            + &disk_subscription("c", "a", &first, "")
            + &disk_subscription("c", "b", second, &patient)
    };
    let dispatcher = in_directory(&yaml(&second), data.path()).start().await;
    let url = dispatcher.http_url("/default/c");
    let sent = event(&plain(), &url, "1").header("ce-extra", "a%20b");
    let answer = sent.body("not json").send().await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 202);
    first.until(1).await;
    until_put_off(&dispatcher, 1).await;
    // It counts when it is on the disk, a moment after the subscriber had it.
    let delivered = "deliveries_delivered_total";
    dispatcher.until_counter(delivered, 1).await;
    kill(dispatcher).await;
    let third = Subscriber::ok().await;
    let _next = in_directory(&yaml(&third), data.path()).start().await;
    let came = &third.until(1).await[0];
    assert_eq!(
        (came.id(), came.header("ce-extra"), &came.body[..]),
        ("1", Some("a%20b"), &b"not json"[..])
    );
    assert_eq!(first.count(), 1, "what ended does not come again");
}

/// Attempts are counted on, however short the waits are, and so are waits.
#[tokio::test(flavor = "multi_thread")]
async fn retries_go_on_where_they_were() {
    let data = TempDir::new().expect("a directory");
    let (fails, sink) = (Subscriber::replying(&[503]).await, Subscriber::ok().await);
    let more = delivery(&format!(
        "retry: 4, backoffPolicy: linear, backoffDelay: PT1S, deadLetterSink: {{uri: '{}'}}",
        sink.url()
    ));
    let yaml = disk_channel("c") + &disk_subscription("c", "a", &fails, &more);
    let dispatcher = in_directory(&yaml, data.path()).start().await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "1").await,
        202
    );
    // The first retry comes at once, and the next one after a second.
    until_put_off(&dispatcher, 2).await;
    assert_eq!(fails.count(), 2);
    kill(dispatcher).await;
    let next = in_directory(&yaml, data.path()).start().await;
    let dead = &sink.until(1).await[0];
    assert_eq!(
        (dead.id(), dead.header("ce-knativeerrorcode")),
        ("1", Some("503"))
    );
    next.until_counter("deliveries_dead_lettered_total", 1)
        .await;
    let attempts = fails.received();
    assert_eq!(attempts.len(), 5, "one attempt and four retries");
    let waited = attempts[2].at - attempts[1].at;
    assert!(waited >= Duration::from_millis(950), "{waited:?}");
}

/// On the way to a reply address and to a dead letter sink, neither the subscriber nor the schedule
/// begins anew.
#[tokio::test(flavor = "multi_thread")]
async fn replies_and_dead_letters_go_on_where_they_were() {
    let data = TempDir::new().expect("a directory");
    let late = |event: &Received| Reply::status(if event.number < 2 { 503 } else { 200 });
    let (replies, sink) = (
        Subscriber::answering(late).await,
        Subscriber::answering(late).await,
    );
    let answers = Subscriber::answering(|_| Reply::event("answer", "r")).await;
    let refuses = Subscriber::answering(|_| Reply::text(422, "no")).await;
    let waits = "retry: 9, backoffPolicy: linear, backoffDelay: PT1S";
    let answered = delivery(waits) + &format!("  reply: {{uri: '{}'}}\n", replies.url());
    let sunk = delivery(&format!(
        "{waits}, deadLetterSink: {{uri: '{}'}}",
        sink.url()
    ));
    let yaml = disk_channel("c")
        + &disk_subscription("c", "a", &answers, &answered)
        + &disk_subscription("c", "b", &refuses, &sunk);
    let dispatcher = in_directory(&yaml, data.path()).start().await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "1").await,
        202
    );
    // Two for the reply; one before the dead letter sink is asked, and two after that.
    until_put_off(&dispatcher, 5).await;
    kill(dispatcher).await;
    let next = in_directory(&yaml, data.path()).start().await;
    eventually("they go on", || replies.count() == 3 && sink.count() == 3).await;
    next.until_counter("deliveries_unfinished", 0).await;
    assert_eq!((answers.count(), refuses.count()), (1, 1));
    assert_eq!(replies.received()[2].id(), "r");
    assert_eq!(
        sink.received()[2].header("ce-knativeerrorcode"),
        Some("422")
    );
}

/// An event that waits is not overtaken, even by those that come after a restart.
#[tokio::test(flavor = "multi_thread")]
async fn order_outlives_the_process() {
    let data = TempDir::new().expect("a directory");
    let subscriber = Subscriber::answering(|event| {
        Reply::status(if event.id() == "1" && event.number < 3 {
            503
        } else {
            200
        })
    })
    .await;
    let yaml = disk_channel("c")
        + &disk_subscription(
            "c",
            "a",
            &subscriber,
            &delivery("retry: 9, backoffPolicy: linear, backoffDelay: PT0.5S"),
        )
        .replace(
            "metadata: {name: a}",
            "metadata: {name: a, annotations: {sealpost.dev/delivery-order: ordered}}",
        );
    let dispatcher = in_directory(&yaml, data.path()).start().await;
    for id in ["0", "1", "2", "3"] {
        let url = dispatcher.http_url("/default/c");
        assert_eq!(send(&plain(), url, id).await, 202);
    }
    until_put_off(&dispatcher, 2).await;
    kill(dispatcher).await;
    let next = in_directory(&yaml, data.path()).start().await;
    assert_eq!(send(&plain(), next.http_url("/default/c"), "4").await, 202);
    let came = subscriber.until(7).await;
    let ids: Vec<&str> = came.iter().map(Received::id).collect();
    assert_eq!(ids, ["0", "1", "1", "1", "2", "3", "4"]);
}

/// A Broker on disk by the default, with a reply that comes back into it.
#[tokio::test(flavor = "multi_thread")]
async fn brokers_are_on_disk_by_default() {
    let answers = Subscriber::answering(|_| Reply::event("answer", "r")).await;
    let (gone, after) = (away().await, Subscriber::ok().await);
    let trigger = |name: &str, ty: &str, to: &Subscriber| {
        format!(
            "---\napiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {{name: {name}}}\nspec:\n  \
             broker: b\n  filter: {{attributes: {{type: {ty}}}}}\n  subscriber: {{uri: '{}'}}\n  \
             delivery: {{retry: 100, backoffPolicy: linear, backoffDelay: PT0.1S}}\n",
            to.url()
        )
    };
    let yaml = |second: &Subscriber| {
        "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: b}\n".to_owned()
            + &trigger("first", "test.event", &answers)
            + &trigger("second", "answer", second)
    };
    let data = TempDir::new().expect("a directory");
    let on_disk = |yaml: &str| {
        in_directory(yaml, data.path())
            .arg("--default-channel")
            .arg("disk")
    };
    let dispatcher = on_disk(&yaml(&gone)).start().await;
    dispatcher
        .until_object("brokers", "b", |broker| ready(broker)["status"] == "True")
        .await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/b"), "1").await,
        202
    );
    until_put_off(&dispatcher, 1).await;
    kill(dispatcher).await;
    let _next = on_disk(&yaml(&after)).start().await;
    assert_eq!(after.until(1).await[0].id(), "r");
    assert_eq!(answers.count(), 1);
}

/// Events whose subscription is not there at the start are told.
#[tokio::test(flavor = "multi_thread")]
async fn events_that_nobody_takes_are_told() {
    let data = TempDir::new().expect("a directory");
    let (first, other) = (away().await, Subscriber::ok().await);
    let patient = delivery("retry: 100, backoffPolicy: linear, backoffDelay: PT1H");
    let with = |name: &str, to: &Subscriber| {
        disk_channel("c") + &disk_subscription("c", name, to, &patient)
    };
    let dispatcher = in_directory(&with("a", &first), data.path()).start().await;
    for id in ["1", "2"] {
        assert_eq!(
            send(&plain(), dispatcher.http_url("/default/c"), id).await,
            202
        );
    }
    kill(dispatcher).await;
    let next = in_directory(&with("b", &other), data.path()).start().await;
    let told = [
        "WARN",
        "wait for a subscription that it does not have",
        "subscription:default:a",
        "\"waiting\":2",
    ];
    eventually("it is told", || next.logged(&told).len() == 1).await;
    assert_eq!(other.count(), 0);
}
