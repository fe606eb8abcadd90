//! Tests of consumers when something breaks: they begin again, and deliveries under way come again.

use lapin::options::{BasicPublishOptions, QueueDeclareOptions};

use super::*;
use crate::channel::DeliveryOutcome;
use crate::channel::rabbitmq::message::amqp_value;
use crate::channel::rabbitmq::tests::fake::Refusal;
use crate::channel::rabbitmq::trouble::RabbitmqTrouble;

/// Publishes an event, breaks something while it is held, and gets it again.
async fn comes_again_after(what: impl FnOnce(&FakeServer)) {
    let mut bench = Bench::start(&["a"]).await;
    assert_eq!(bench.publish("1").await, Ok(()));
    let held = bench.next(0).await;
    what(&bench.server);
    let again = bench.next(0).await;
    assert_eq!((&*held.event.id(), &*again.event.id()), ("1", "1"));
    held.settle(DeliveryOutcome::Delivered).await;
    assert_eq!(
        bench.server.unacked(&queue("a")),
        1,
        "the old delivery acknowledges nothing"
    );
    again.settle(DeliveryOutcome::Delivered).await;
    bench
        .server
        .until("it is done", |server| {
            server.unacked(&queue("a")) + server.ready(&queue("a")) == 0
        })
        .await;
    bench.publish_at_last("2").await;
    assert_eq!(bench.next(0).await.event.id(), "2");
}

#[tokio::test]
async fn connections_that_break_are_made_again() {
    comes_again_after(FakeServer::drop_connections).await;
}

#[tokio::test]
async fn connections_that_a_node_closes_are_made_again() {
    comes_again_after(FakeServer::close_connections).await;
}

#[tokio::test]
async fn a_channel_that_is_closed_is_opened_again() {
    let text = "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out";
    comes_again_after(|server| {
        server.close_channel(server.consumers(&queue("a"))[0], &Refusal::new(406, text))
    })
    .await;
}

#[tokio::test]
async fn a_consumer_that_is_cancelled_begins_again() {
    let mut bench = Bench::start(&["a"]).await;
    bench.server.cancel_consumers(&queue("a"));
    bench
        .server
        .until("it is consumed", |server| {
            !server.consumers(&queue("a")).is_empty()
        })
        .await;
    assert_eq!(bench.publish("1").await, Ok(()));
    assert_eq!(bench.next(0).await.event.id(), "1");
    assert_eq!(bench.backend.metrics().consumers_restarted.get(), 1);
}

/// RabbitMQ is not there at the start, comes, goes, and comes again.
#[tokio::test]
async fn a_server_that_is_away_is_waited_for() {
    let server = FakeServer::start().await;
    server.refuse_connections();
    let bench = Bench::begin(server, &["a"], DeliveryOrder::Unordered);
    assert!(bench.publish("1").await.is_err() && !bench.backend.is_connected());
    bench.server.accept_connections();
    bench.ready(&["a"]).await;
    bench.server.refuse_connections();
    bench.server.drop_connections();
    eventually("the loss is seen", || !bench.backend.is_connected()).await;
    assert!(bench.publish("2").await.is_err());
    bench.server.accept_connections();
    bench.publish_at_last("3").await;
    assert_eq!(bench.backend.metrics().disconnections.get(), 3);
}

/// The subscription whose queue does not answer is not served; the others are.
#[tokio::test]
async fn a_queue_that_cannot_be_declared_stops_no_other() {
    let server = FakeServer::start().await;
    server.queue(&queue("bad")).hang();
    let mut bench = Bench::begin(server, &["bad"], DeliveryOrder::Unordered);
    let opened = bench.backend.open(&Channel {
        key: ChannelKey {
            kind: ChannelKind::Channel,
            namespace: "ns".to_owned(),
            name: "other".to_owned(),
        },
        ..channel(&["b"], DeliveryOrder::Unordered)
    });
    let b = "sealpost:channel:ns:other:subscription:ns:b";
    bench
        .server
        .until("b is consumed", |server| !server.consumers(b).is_empty())
        .await;
    eventually("b is served", || bench.backend.trouble(&key("b")).is_none()).await;
    assert_eq!(opened.publisher.publish(&[event("1")]).await, Ok(()));
    assert!(bench.publish("2").await.is_err());
    bench.server.queue(&queue("bad")).heal();
    bench.ready(&["bad"]).await;
    bench.publish_at_last("3").await;
    assert_eq!(bench.next(0).await.event.id(), "3");
}

/// A queue of before is used as it is.
#[tokio::test]
async fn a_queue_with_other_arguments_is_used() {
    let server = FakeServer::start().await;
    let connection =
        lapin::Connection::connect(&server.uri(), lapin::ConnectionProperties::default()).await;
    let connection = connection.expect("a connection");
    let stranger = connection.create_channel().await.expect("a channel");
    let (name, options) = (
        amqp_value::short_string(&queue("a")),
        QueueDeclareOptions {
            durable: true,
            ..Default::default()
        },
    );
    stranger
        .queue_declare(name, options, Default::default())
        .await
        .expect("a queue");
    let mut bench = Bench::begin(server, &["a"], DeliveryOrder::Unordered);
    bench.ready(&["a"]).await;
    assert_eq!(bench.publish("1").await, Ok(()));
    assert_eq!(bench.next(0).await.event.id(), "1");
    assert!(bench.server.arguments(&queue("a")).inner().is_empty());
}

/// A consumer for which nobody waits any more when RabbitMQ begins it holds nothing back, as long
/// as its connection may last: what it is delivered is there for the next one.
#[tokio::test]
async fn a_consumer_that_comes_too_late_holds_nothing() {
    let server = FakeServer::start().await;
    let connection =
        lapin::Connection::connect(&server.uri(), lapin::ConnectionProperties::default()).await;
    let connection = connection.expect("a connection");
    let (late, other) = (
        connection.create_channel().await,
        connection.create_channel().await,
    );
    let (late, other) = (late.expect("a channel"), other.expect("a channel"));
    let name = amqp_value::short_string("q");
    late.queue_declare(
        name.clone(),
        QueueDeclareOptions::default(),
        Default::default(),
    )
    .await
    .expect("a queue");
    for body in [b"1", b"2"] {
        let (options, properties) = (
            BasicPublishOptions::default(),
            lapin::BasicProperties::default(),
        );
        other
            .basic_publish(
                amqp_value::short_string(""),
                name.clone(),
                options,
                body,
                properties,
            )
            .await
            .expect("sent");
    }
    server
        .until("both are there", |server| server.ready("q") == 2)
        .await;
    server.queue("q").hang();
    let wait = Duration::from_millis(100);
    assert!(
        tokio::time::timeout(wait, prefetch_buffer::consume(&late, "q", 10))
            .await
            .is_err(),
        "it was not answered"
    );
    drop(late);
    server.queue("q").heal();
    server
        .until("the channel is closed", |server| {
            server.channels_open() == 1
        })
        .await;
    server
        .until("both are given back", |server| {
            server.ready("q") == 2 && server.consumers("q").is_empty()
        })
        .await;
    assert!(connection.status().connected());
}

/// A node that is cut off from most of the others answers everything but what is published: a queue
/// there is away, and stays so, whatever it answers. One message in a second finds out when it
/// confirms again.
#[tokio::test]
async fn a_queue_that_confirms_nothing_is_away_until_it_does() {
    let bench = Bench::begin(FakeServer::start().await, &["a"], DeliveryOrder::Ordered);
    bench.ready(&["a"]).await;
    assert_eq!(bench.publish("1").await, Ok(()));
    bench.server.everywhere().confirm_never();
    assert!(bench.publish("2").await.is_err());
    let looks = bench.server.looks(&queue("a"));
    bench
        .server
        .until("it is looked at", |server| {
            server.looks(&queue("a")) > looks + 1
        })
        .await;
    assert_eq!(
        bench.backend.trouble(&key("a")),
        Some(RabbitmqTrouble::NoAnswer.into())
    );
    bench.server.everywhere().heal();
    bench.publish_at_last("3").await;
    eventually("it is served", || {
        bench.backend.trouble(&key("a")).is_none()
    })
    .await;
}

/// Where not even the queues take a message in which events wait, senders are refused, and the
/// process says so, until a message is confirmed; what was found out is forgotten when nothing is
/// sent any more.
#[tokio::test]
async fn what_can_wait_nowhere_is_told() {
    let bench = Bench::begin(FakeServer::start().await, &["a"], DeliveryOrder::Unordered);
    bench.ready(&["a"]).await;
    bench.server.everywhere().confirm_never();
    assert!(bench.publish("1").await.is_err());
    assert_eq!(
        bench.backend.trouble(&key("a")),
        Some(RabbitmqTrouble::NoAnswerAnywhere.into())
    );
    bench.server.everywhere().heal();
    bench.publish_at_last("2").await;
    eventually("it is served", || {
        bench.backend.trouble(&key("a")).is_none()
    })
    .await;
    bench.server.everywhere().confirm_never();
    assert!(bench.publish("3").await.is_err());
    bench.server.everywhere().heal();
    eventually("it is forgotten", || {
        bench.backend.trouble(&key("a")).is_none()
    })
    .await;
}
