//! Retries whose waits RabbitMQ keeps.

use std::time::Duration;

use super::{channel, on, subscription, take_events};
use crate::support::dispatcher::Dispatcher;
use crate::support::eventually;
use crate::support::rabbitmq::{Client, Node, namespace};
use crate::support::sender::{plain, send};
use crate::support::subscriber::{Reply, Subscriber};

/// Waits until so many messages are put off, and RabbitMQ has none that is not acknowledged: a
/// crash repeats those.
async fn put_off(dispatcher: &Dispatcher, node: &Node, count: u64) {
    let deadline = std::time::Instant::now() + crate::support::SOON;
    while dispatcher.counter("deliveries_deferred_total").await < count {
        assert!(std::time::Instant::now() < deadline, "{count} are put off");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let unacknowledged = || {
        node.ctl(&[
            "list_queues",
            "--no-table-headers",
            "messages_unacknowledged",
        ])
    };
    eventually("all is acknowledged", || {
        unacknowledged().lines().all(|line| line.trim() == "0")
    })
    .await;
}

const DELIVERY: &str = "retry: 9, backoffPolicy: linear, backoffDelay: PT5S";

/// Waits that are longer than the patience go through delay queues, and a restart in between
/// forgets nothing; another event is not delayed.
#[tokio::test(flavor = "multi_thread")]
async fn long_waits_outlive_the_process() {
    let (namespace, node) = (namespace(), Node::start());
    let subscriber = Subscriber::answering(|event| {
        Reply::status(if event.id() == "poison" && event.number < 4 {
            503
        } else {
            200
        })
    })
    .await;
    let yaml = channel(&namespace) + &subscription(&namespace, "a", &subscriber, DELIVERY);
    let path = format!("/{namespace}/c");
    let patient = |yaml: &str| on(&node.uri, yaml).arg("--rabbitmq-patience").arg("PT1S");
    let mut dispatcher = patient(&yaml).start().await;
    take_events(&dispatcher, &path).await;
    assert_eq!(
        send(&plain(), dispatcher.http_url(&path), "poison").await,
        202
    );
    let poison = || {
        subscriber
            .received()
            .into_iter()
            .filter(|event| event.id() == "poison")
            .collect::<Vec<_>>()
    };
    eventually("two attempts", || poison().len() == 2).await;
    assert_eq!(
        send(&plain(), dispatcher.http_url(&path), "other").await,
        202
    );
    eventually("the other one is not delayed", || {
        subscriber
            .received()
            .iter()
            .any(|event| event.id() == "other")
    })
    .await;
    assert_eq!(poison().len(), 2);
    put_off(&dispatcher, &node, 1).await;
    dispatcher.signal(rustix::process::Signal::KILL);
    dispatcher.ended().await;
    let _second = patient(&yaml).start().await;
    eventually("it goes on", || poison().len() >= 3).await;
    let waited = poison()[2].at - poison()[1].at;
    assert!(
        waited >= Duration::from_millis(4900),
        "the wait is 5 s, and was not begun anew: {waited:?}"
    );
}

/// The same holds on the way to a reply address and to a dead letter sink: neither the subscriber
/// nor the schedule begins anew, whatever process goes on.
#[tokio::test(flavor = "multi_thread")]
async fn replies_and_dead_letters_outlive_the_process() {
    let (namespace, node) = (namespace(), Node::start());
    let late = |event: &crate::support::subscriber::Received| {
        Reply::status(if event.number < 2 { 503 } else { 200 })
    };
    let (replies, sink) = (
        Subscriber::answering(late).await,
        Subscriber::answering(late).await,
    );
    let answers = Subscriber::answering(|_| Reply::event("answer", "r")).await;
    let refuses = Subscriber::answering(|_| Reply::text(422, "no")).await;
    let answered = subscription(&namespace, "a", &answers, DELIVERY)
        + &format!("  reply: {{uri: '{}'}}\n", replies.url());
    let dead_lettered = format!("{DELIVERY}, deadLetterSink: {{uri: '{}'}}", sink.url());
    let yaml =
        channel(&namespace) + &answered + &subscription(&namespace, "b", &refuses, &dead_lettered);
    let path = format!("/{namespace}/c");
    let patient = |yaml: &str| on(&node.uri, yaml).arg("--rabbitmq-patience").arg("PT1S");
    let mut dispatcher = patient(&yaml).start().await;
    take_events(&dispatcher, &path).await;
    eventually("two attempts each", || {
        replies.count() == 2 && sink.count() == 2
    })
    .await;
    put_off(&dispatcher, &node, 2).await;
    dispatcher.signal(rustix::process::Signal::KILL);
    dispatcher.ended().await;
    let second = patient(&yaml).start().await;
    eventually("they go on", || replies.count() == 3 && sink.count() == 3).await;
    for got in [&replies, &sink].map(Subscriber::received) {
        assert!(
            got[2].at - got[1].at >= Duration::from_millis(4900),
            "the wait is 5 s: {:?}",
            got[2].at - got[1].at
        );
        assert_eq!(
            (&got[2].body, got[2].header("ce-id")),
            (&got[1].body, got[1].header("ce-id"))
        );
    }
    assert_eq!(replies.received()[2].header("ce-type"), Some("answer"));
    let dead = sink.received().remove(2);
    assert_eq!(
        (dead.id(), dead.header("ce-knativeerrorcode")),
        ("first", Some("422"))
    );
    assert_eq!(
        (answers.count(), refuses.count()),
        (1, 1),
        "the subscribers are not asked again"
    );
    let deadline = std::time::Instant::now() + crate::support::SOON;
    while second.counter("deliveries_delivered_total").await
        + second.counter("deliveries_dead_lettered_total").await
        < 2
    {
        assert!(
            std::time::Instant::now() < deadline,
            "each is counted by how it ended"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Delay queues that somebody deletes are made again when the next event needs them.
#[tokio::test(flavor = "multi_thread")]
async fn delays_that_were_deleted_are_made_again() {
    let node = Node::start();
    let (namespace, subscriber) = (namespace(), Subscriber::replying(&[503]).await);
    let yaml = channel(&namespace) + &subscription(&namespace, "a", &subscriber, DELIVERY);
    let path = format!("/{namespace}/c");
    let dispatcher = on(&node.uri, &yaml)
        .arg("--rabbitmq-patience")
        .arg("PT1S")
        .start()
        .await;
    take_events(&dispatcher, &path).await;
    let deferred = async |count: u64| {
        let deadline = std::time::Instant::now() + crate::support::SOON;
        while dispatcher.counter("deliveries_deferred_total").await < count {
            assert!(std::time::Instant::now() < deadline, "{count} are put off");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    deferred(1).await;
    let client = Client::new(&node.uri).await;
    client.delete_queue("sealpost:wait:4s").await;
    assert_eq!(
        send(&plain(), dispatcher.http_url(&path), "second").await,
        202
    );
    deferred(2).await;
    client.delete_queue("sealpost:wait:4s").await;
    assert_eq!(
        send(&plain(), dispatcher.http_url(&path), "third").await,
        202
    );
    deferred(3).await;
    assert_eq!(dispatcher.counter("deliveries_returned_total").await, 0);
}
