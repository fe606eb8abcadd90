//! RabbitMQ, or the way there, in trouble: service comes back without a restart.

use std::time::Duration;

use super::{channel, on, queue, subscription, take_events};
use crate::support::amqp_proxy::Proxy;
use crate::support::dispatcher::Dispatcher;
use crate::support::eventually;
use crate::support::rabbitmq::{Client, Node, namespace, shared};
use crate::support::sender::{event, plain, send};
use crate::support::subscriber::Subscriber;

/// Without RabbitMQ nothing is accepted, nothing hangs, and the process goes on; when it comes
/// back, so does service, and nothing that was accepted is lost. A queue that was deleted by hand
/// is made again.
#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq_may_go_and_come_back() {
    let pause =
        std::env::var("SEALPOST_TEST_PAUSE").map_or(0, |text| text.parse().expect("seconds"));
    let pause = Duration::from_secs(pause);
    let (namespace, subscriber, node) = (namespace(), Subscriber::ok().await, Node::start());
    let yaml = channel(&namespace) + &subscription(&namespace, "a", &subscriber, "");
    let path = format!("/{namespace}/c");
    let dispatcher = on(&node.uri, &yaml).start().await;
    take_events(&dispatcher, &path).await;
    assert_eq!(
        (
            dispatcher.counter("rabbitmq_up").await,
            dispatcher.counter("rabbitmq_blocked").await
        ),
        (1, 0)
    );
    node.stop();
    let answer = event(&plain(), dispatcher.http_url(&path), "away")
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"));
    assert_eq!(
        (
            dispatcher.admin_text("/readyz").await.0,
            dispatcher.admin_text("/healthz").await.0
        ),
        (503, 200)
    );
    assert_eq!(dispatcher.counter("rabbitmq_up").await, 0);
    tokio::time::sleep(pause).await;
    node.restart();
    let started = std::time::Instant::now();
    take_events(&dispatcher, &path).await;
    eprintln!("service again {:?} after the node", started.elapsed());
    let before = subscriber.count();
    dispatcher.until_counter("rabbitmq_up", 1).await;
    assert!(
        dispatcher.counter("rabbitmq_connections_total").await >= 6,
        "three before, three after"
    );
    assert_eq!(dispatcher.counter("rabbitmq_connections_open").await, 3);
    node.ctl(&["close_all_connections", "test"]);
    let started = std::time::Instant::now();
    take_events(&dispatcher, &path).await;
    subscriber.until(before + 1).await;
    eprintln!(
        "delivered again {:?} after the connections were closed",
        started.elapsed()
    );
    node.ctl(&["delete_queue", &queue(&namespace, "a")]);
    let started = std::time::Instant::now();
    eventually("the consumer notices", || {
        !dispatcher
            .logged(&["beginning again", "deleted"])
            .is_empty()
    })
    .await;
    assert!(
        dispatcher
            .counter("rabbitmq_consumers_restarted_total")
            .await
            >= 1
    );
    let before = subscriber.count();
    take_events(&dispatcher, &path).await;
    subscriber.until(before + 1).await;
    eprintln!(
        "delivered again {:?} after the queue was deleted",
        started.elapsed()
    );
}

/// Gauges follow within the time that a connection is looked at.
async fn until_it_is(dispatcher: &Dispatcher, gauge: &str, wanted: u64) {
    let deadline = std::time::Instant::now() + crate::support::SOON;
    while dispatcher.counter(gauge).await != wanted {
        assert!(
            std::time::Instant::now() < deadline,
            "{gauge} does not become {wanted}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// An alarm blocks publishers: they are told at once, and nothing is accepted that is not stored.
#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_is_told_to_senders() {
    let (namespace, subscriber, node) = (namespace(), Subscriber::ok().await, Node::start());
    let yaml = channel(&namespace) + &subscription(&namespace, "a", &subscriber, "");
    let path = format!("/{namespace}/c");
    let dispatcher = on(&node.uri, &yaml).start().await;
    take_events(&dispatcher, &path).await;
    node.ctl(&["set_vm_memory_high_watermark", "absolute", "1"]);
    let deadline = std::time::Instant::now() + crate::support::SOON;
    loop {
        let answer = event(&plain(), dispatcher.http_url(&path), "blocked")
            .send()
            .await
            .expect("an answer");
        if answer.status() == 503 {
            break;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "the alarm is not seen"
        );
    }
    let started = std::time::Instant::now();
    assert_eq!(
        send(&plain(), dispatcher.http_url(&path), "blocked").await,
        503
    );
    assert!(started.elapsed() < Duration::from_secs(11), "bounded");
    until_it_is(&dispatcher, "rabbitmq_blocked", 1).await;
    let blocked = (
        503,
        "RabbitMQ is blocked by an alarm of memory or disk\n".to_owned(),
    );
    assert_eq!(
        dispatcher.admin_text("/readyz").await,
        blocked,
        "nothing is taken"
    );
    node.ctl(&["set_vm_memory_high_watermark", "absolute", "1GB"]);
    take_events(&dispatcher, &path).await;
    until_it_is(&dispatcher, "rabbitmq_blocked", 0).await;
}

/// A node that is paused answers nothing: senders are told in bounded time, and when it goes on, so
/// does service.
#[tokio::test(flavor = "multi_thread")]
async fn a_paused_node_does_not_hang_senders() {
    let pause =
        std::env::var("SEALPOST_TEST_PAUSE").map_or(12, |text| text.parse().expect("seconds"));
    let (namespace, subscriber, node) = (namespace(), Subscriber::ok().await, Node::start());
    let yaml = channel(&namespace) + &subscription(&namespace, "a", &subscriber, "");
    let path = format!("/{namespace}/c");
    let dispatcher = on(&node.uri, &yaml).start().await;
    take_events(&dispatcher, &path).await;
    node.pause();
    let paused = std::time::Instant::now();
    while paused.elapsed() < Duration::from_secs(pause) {
        let asked = std::time::Instant::now();
        assert_eq!(
            send(&plain(), dispatcher.http_url(&path), "paused").await,
            503
        );
        assert!(
            asked.elapsed() < Duration::from_secs(11),
            "{:?}",
            asked.elapsed()
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    node.resume();
    let started = std::time::Instant::now();
    take_events(&dispatcher, &path).await;
    eprintln!(
        "service again {:?} after a pause of {pause} s",
        started.elapsed()
    );
    let before = subscriber.count();
    take_events(&dispatcher, &path).await;
    subscriber.until(before + 1).await;
}

/// A queue that somebody deletes is declared again, and senders notice nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_was_deleted_is_made_again() {
    let (namespace, subscriber) = (namespace(), Subscriber::ok().await);
    let yaml = channel(&namespace) + &subscription(&namespace, "a", &subscriber, "");
    let path = format!("/{namespace}/c");
    let dispatcher = on(&shared(), &yaml).start().await;
    take_events(&dispatcher, &path).await;
    subscriber.until(1).await;
    for round in 0..5 {
        Client::new(&shared())
            .await
            .delete_queue(&queue(&namespace, "a"))
            .await;
        assert_eq!(
            send(
                &plain(),
                dispatcher.http_url(&path),
                &format!("after-{round}")
            )
            .await,
            202
        );
    }
    eventually("the last one is delivered", || {
        subscriber
            .received()
            .iter()
            .any(|event| event.id() == "after-4")
    })
    .await;
}

/// Contract G-70: a consumer that is connected and gets nothing although its queue grows is begun
/// again, with a warning.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_consumer_is_begun_again() {
    let (namespace, subscriber, proxy) = (
        namespace(),
        Subscriber::ok().await,
        Proxy::start(&shared()).await,
    );
    let yaml = channel(&namespace) + &subscription(&namespace, "a", &subscriber, "");
    let path = format!("/{namespace}/c");
    let dispatcher = on(&proxy.uri, &yaml)
        .arg("--rabbitmq-prefetch")
        .arg("10")
        .start()
        .await;
    take_events(&dispatcher, &path).await;
    subscriber.until(1).await;
    // As many as are held before it is known that more come.
    proxy.swallow(2);
    for id in 0..30 {
        assert_eq!(
            send(&plain(), dispatcher.http_url(&path), &format!("event {id}")).await,
            202
        );
    }
    eventually("it is noticed", || {
        !dispatcher
            .logged(&["messages wait, but none comes"])
            .is_empty()
    })
    .await;
    assert_eq!(proxy.left_to_swallow(), 0);
    let ids = || {
        subscriber
            .received()
            .iter()
            .map(|event| event.id().to_owned())
            .collect::<std::collections::HashSet<_>>()
    };
    eventually("all are delivered", || ids().len() == 31).await;
    assert_eq!(
        dispatcher.counter("rabbitmq_consumers_silent_total").await,
        1
    );
}
