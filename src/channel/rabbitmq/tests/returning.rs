//! Tests of dead-lettered messages: each comes back to its queue, or is parked, and none holds up
//! anything else.

use lapin::BasicProperties;
use lapin::options::{BasicPublishOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};

use super::*;
use crate::channel::rabbitmq::message::amqp_message::AmqpMessage;
use crate::channel::rabbitmq::message::amqp_value::{short_string, text_value};
use crate::channel::rabbitmq::message::retry_headers::RetryHeaders;
use crate::channel::rabbitmq::message::{event_encoder, header_names};
use crate::channel::rabbitmq::publishing_connection::channel_index;
use crate::channel::rabbitmq::tests::fake::{Refusal, Settings};
use crate::channel::{DeferredDelivery, DeliveryOutcome, DeliveryStage};

/// Somebody else's channel.
async fn stranger(server: &FakeServer) -> lapin::Channel {
    let connection =
        lapin::Connection::connect(&server.uri(), lapin::ConnectionProperties::default()).await;
    connection
        .expect("a connection")
        .create_channel()
        .await
        .expect("a channel")
}

async fn send(channel: &lapin::Channel, queue: &str, message: AmqpMessage) {
    let AmqpMessage { properties, body } = message;
    let options = BasicPublishOptions::default();
    channel
        .basic_publish(
            short_string(""),
            short_string(queue),
            options,
            &body,
            properties,
        )
        .await
        .expect("sent");
}

fn header(message: &BasicProperties, name: &str) -> Option<AMQPValue> {
    message.headers().as_ref()?.inner().get(name).cloned()
}

fn encoded(id: &str) -> AmqpMessage {
    event_encoder::encode(&event(id), RetryHeaders::default())
}

/// Stops and crashes count as deliveries for RabbitMQ, and are none.
#[tokio::test]
async fn what_is_given_up_for_its_deliveries_comes_back() {
    let server = FakeServer::start().await;
    server.set(|settings| settings.delivery_limit = Some(2));
    let mut bench = Bench::begin(server, &["a"], DeliveryOrder::Unordered);
    bench.ready(&["a"]).await;
    assert_eq!(bench.publish("1").await, Ok(()));
    for _ in 0..3 {
        let held = bench.next(0).await;
        bench.server.close_channel(
            bench.server.consumers(&queue("a"))[0],
            &Refusal::new(406, "PRECONDITION_FAILED"),
        );
        tokio::time::timeout(PATIENCE, held.until_revoked())
            .await
            .expect("it is gone");
        bench
            .server
            .until("it is consumed", |server| {
                !server.consumers(&queue("a")).is_empty()
            })
            .await;
    }
    let again = bench.next(0).await;
    assert_eq!((&*again.event.id(), again.progress.attempts), ("1", 0));
    let published = bench.server.published(&queue("a"));
    let back = &published[published.len() - 1].properties;
    assert_eq!(
        header(back, "x-sealpost-given-up"),
        Some(AMQPValue::LongUInt(1))
    );
    assert_eq!(
        (header(back, "x-death"), header(back, "x-delivery-count")),
        (None, None)
    );
    assert_eq!(
        (
            bench.backend.metrics().given_up.get(),
            bench.counters.parked_messages.get()
        ),
        (1, 0)
    );
    again.settle(DeliveryOutcome::Delivered).await;
    bench
        .server
        .until("it is done", |server| server.unacked(&queue("a")) == 0)
        .await;
    assert_eq!(
        bench.server.ready(queue_names::DEAD_LETTERED)
            + bench.server.unacked(queue_names::DEAD_LETTERED),
        0
    );
}

/// A queue whose messages live for half a second, as a policy can have it.
async fn short_lived(server: &FakeServer, name: &str) {
    let entries = [
        ("x-queue-type", text_value("quorum")),
        ("x-message-ttl", AMQPValue::LongLongInt(500)),
        ("x-overflow", text_value("reject-publish")),
        ("x-dead-letter-exchange", text_value("")),
        (
            "x-dead-letter-routing-key",
            text_value(queue_names::DEAD_LETTERED),
        ),
        ("x-dead-letter-strategy", text_value("at-least-once")),
    ];
    let mut arguments = FieldTable::default();
    for (key, value) in entries {
        arguments.insert(short_string(key), value);
    }
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    stranger(server)
        .await
        .queue_declare(short_string(name), options, arguments)
        .await
        .expect("a queue");
}

/// What has expired is told, and is not delivered: somebody has set that time.
#[tokio::test]
async fn what_has_expired_is_parked() {
    let server = FakeServer::start().await;
    short_lived(&server, &queue("a")).await;
    let mut bench = Bench::begin(server, &["a"], DeliveryOrder::Unordered);
    bench.ready(&["a"]).await;
    bench
        .server
        .until("what is moved is taken", |server| {
            !server.consumers(queue_names::DEAD_LETTERED).is_empty()
        })
        .await;
    for id in 0..12 {
        assert_eq!(bench.publish(&id.to_string()).await, Ok(()));
    }
    bench
        .server
        .until("two are parked", |server| server.ready(&parked("a")) == 2)
        .await;
    let messages = bench.server.messages(&parked("a"));
    let reason = header(&messages[0].properties, "x-sealpost-reason");
    assert_eq!(reason, Some(text_value("RabbitMQ gave it up: expired")));
    let ids: Vec<_> = messages
        .iter()
        .filter_map(|message| header(&message.properties, "cloudEvents_id"))
        .collect();
    assert!(
        ids.contains(&text_value("10")) && ids.contains(&text_value("11")),
        "{ids:?}"
    );
    eventually("they are counted", || {
        bench.counters.parked_messages.get() == 2
    })
    .await;
    assert_eq!(bench.backend.metrics().given_up.get(), 2);
    for id in 0..10 {
        assert_eq!(bench.next(0).await.event.id(), id.to_string());
    }
}

/// Its subscription is gone, here and everywhere: the event is kept where its operator looks for
/// it.
#[tokio::test]
async fn an_event_whose_queue_is_gone_is_parked() {
    let bench = Bench::start(&["a"]).await;
    let gone = queue("gone");
    bench
        .server
        .until("what is moved is taken", |server| {
            !server.consumers(queue_names::DEAD_LETTERED).is_empty()
        })
        .await;
    send(
        &stranger(&bench.server).await,
        queue_names::DEAD_LETTERED,
        encoded("1").with_target_queue(&gone),
    )
    .await;
    bench
        .server
        .until("it is parked", |server| {
            server.ready(&queue_names::parking_queue(&gone)) == 1
        })
        .await;
    let messages = bench.server.messages(&queue_names::parking_queue(&gone));
    let reason = "its queue was deleted while it waited for the next attempt";
    assert_eq!(
        header(&messages[0].properties, "x-sealpost-reason"),
        Some(text_value(reason))
    );
    assert_eq!(header(&messages[0].properties, header_names::QUEUE), None);
    eventually("it is counted", || {
        bench.counters.parked_messages.get() == 1
    })
    .await;
    assert!(!bench.server.has_queue(&gone));
}

/// One whose queue is deleted, and is consumed here, waits until it is there again.
#[tokio::test]
async fn an_event_whose_queue_does_not_take_it_waits_again() {
    let bench = Bench::start(&["a"]).await;
    bench
        .server
        .until("what is moved is taken", |server| {
            !server.consumers(queue_names::DEAD_LETTERED).is_empty()
        })
        .await;
    bench.server.queue(&queue("a")).nack_all();
    send(
        &stranger(&bench.server).await,
        queue_names::DEAD_LETTERED,
        encoded("1").with_target_queue(&queue("a")),
    )
    .await;
    let wait = queue_names::delay_queue(8);
    bench
        .server
        .until("it waits", |server| server.ready(&wait) == 1)
        .await;
    let messages = bench.server.messages(&wait);
    assert_eq!(
        header(&messages[0].properties, header_names::QUEUE),
        Some(text_value(&queue("a")))
    );
    assert_eq!(
        (
            bench.server.ready(&parked("a")),
            bench.counters.parked_messages.get()
        ),
        (0, 0)
    );
    bench
        .server
        .until("it has left", |server| {
            server.unacked(queue_names::DEAD_LETTERED) == 0
        })
        .await;
}

/// What does not say where it belongs is kept, is counted once, and keeps nobody busy.
#[tokio::test]
async fn a_message_from_nowhere_is_kept() {
    let bench = Bench::start(&["a"]).await;
    let home = queue_names::DEAD_LETTERED_PARKED;
    bench
        .server
        .until("what is moved is taken", |server| {
            !server.consumers(queue_names::DEAD_LETTERED).is_empty()
        })
        .await;
    let channel = stranger(&bench.server).await;
    send(
        &channel,
        queue_names::DEAD_LETTERED,
        AmqpMessage {
            properties: BasicProperties::default(),
            body: "x".into(),
        },
    )
    .await;
    bench
        .server
        .until("it is kept", |server| server.ready(home) == 1)
        .await;
    eventually("it is counted", || {
        bench.counters.parked_messages.get() == 1
    })
    .await;
    assert_eq!(
        bench.server.declares(home),
        2,
        "by the consumer and for the message, alike"
    );
    let reason = header(
        &bench.server.messages(home)[0].properties,
        "x-sealpost-reason",
    );
    assert_eq!(
        reason,
        Some(text_value("its headers do not say where it belongs"))
    );
    for _ in 0..2 {
        bench.server.close_connections();
        bench
            .server
            .until("the consumer is gone", |server| {
                server.consumers(queue_names::DEAD_LETTERED).is_empty()
            })
            .await;
        bench
            .server
            .until("it is back", |server| {
                !server.consumers(queue_names::DEAD_LETTERED).is_empty()
            })
            .await;
        send(
            &stranger(&bench.server).await,
            queue_names::DEAD_LETTERED,
            encoded("1").with_target_queue(&queue("a")),
        )
        .await;
        bench
            .server
            .until("others are moved", |server| {
                server.unacked(queue_names::DEAD_LETTERED) == 0
            })
            .await;
    }
    bench
        .server
        .until("it is there", |server| server.ready(home) == 1)
        .await;
    assert_eq!(bench.counters.parked_messages.get(), 1);
    assert!(
        bench.server.published(home).len() <= 3,
        "{}",
        bench.server.published(home).len()
    );
}

/// What RabbitMQ gave up of the queue of what it has moved is moved on, too.
#[tokio::test]
async fn what_is_given_up_on_its_way_is_moved_on() {
    let server = FakeServer::start().await;
    let bench = Bench::begin(server, &["a"], DeliveryOrder::Unordered);
    bench.ready(&["a"]).await;
    bench
        .server
        .until("it is there", |server| {
            server.has_queue(queue_names::DEAD_LETTERED_PARKED)
        })
        .await;
    bench.server.close_connections();
    bench
        .server
        .until("nobody takes it", |server| {
            server.consumers(queue_names::DEAD_LETTERED).is_empty()
        })
        .await;
    let lost = encoded("1").with_target_queue(&queue("a"));
    send(
        &stranger(&bench.server).await,
        queue_names::DEAD_LETTERED_PARKED,
        lost,
    )
    .await;
    bench
        .server
        .until("it is in its queue", |server| {
            server.published(&queue("a")).len() == 1
        })
        .await;
    bench
        .server
        .until("it has left", |server| {
            server.ready(queue_names::DEAD_LETTERED_PARKED) == 0
        })
        .await;
    assert_eq!(bench.counters.parked_messages.get(), 0);
}

/// As many as RabbitMQ moves at once, and more, have nowhere to go: those of others come all the
/// same.
#[tokio::test]
async fn events_of_a_subscription_that_is_gone_delay_no_other() {
    const GONE: usize = 40;
    let mut bench = Bench::start(&["a", "b"]).await;
    let deferral = || {
        let wait = Duration::from_secs(4);
        DeliveryOutcome::Deferred(DeferredDelivery {
            stage: DeliveryStage::Subscriber,
            attempts: 2,
            wait,
        })
    };
    for id in 0..GONE {
        assert_eq!(bench.publish(&id.to_string()).await, Ok(()));
        let (mine, other) = (bench.next(0).await, bench.next(1).await);
        mine.settle(deferral()).await;
        other
            .settle(if id + 1 == GONE {
                deferral()
            } else {
                DeliveryOutcome::Delivered
            })
            .await;
    }
    let before = Instant::now();
    let held = |server: &FakeServer| server.unacked(&queue("a")) + server.unacked(&queue("b"));
    bench
        .server
        .until("all is acknowledged", |server| held(server) == 0)
        .await;
    bench.backend.retire_subscription(&key("a"));
    bench.server.delete_queue(&queue("a"));
    let again = bench.next(1).await;
    assert_eq!(
        (again.event.id().into_owned(), again.progress.attempts),
        ((GONE - 1).to_string(), 2)
    );
    assert!(
        before.elapsed() < Duration::from_secs(7),
        "{:?}",
        before.elapsed()
    );
    bench
        .server
        .until("the others are parked", |server| {
            server.ready(&parked("a")) == GONE
        })
        .await;
    assert_eq!(bench.server.dead(&queue_names::delay_queue(4)), 0);
}

/// Clocks differ, and are set: what is left to wait is bounded by what was to wait.
#[tokio::test]
async fn a_wait_does_not_hang_on_a_clock() {
    let mut bench = Bench::start(&["a"]).await;
    let hour = Duration::from_secs(3600);
    let note = RetryHeaders {
        remaining_millis: Some(500),
        ..RetryHeaders::after_attempts(3, hour, Duration::ZERO)
    };
    send(
        &stranger(&bench.server).await,
        &queue("a"),
        event_encoder::encode(&event("1"), note),
    )
    .await;
    let message = bench.next(0).await;
    assert_eq!(message.progress.attempts, 3);
    assert!(
        message.progress.wait <= Duration::from_millis(500),
        "{:?}",
        message.progress.wait
    );
    let note = RetryHeaders {
        remaining_millis: None,
        ..note
    };
    send(
        &stranger(&bench.server).await,
        &queue("a"),
        event_encoder::encode(&event("2"), note),
    )
    .await;
    let wait = bench.next(0).await.progress.wait;
    assert!(wait > hour / 2, "{wait:?} is what an older version says");
}

/// A message as RabbitMQ moves it out of a queue.
fn moved_from(queue: &str, reason: &str, given_up: u32) -> AmqpMessage {
    let mut death = FieldTable::default();
    death.insert(short_string("queue"), text_value(queue));
    death.insert(short_string("reason"), text_value(reason));
    let AmqpMessage { properties, body } = encoded("1");
    let mut headers = properties.headers().clone().unwrap_or_default();
    let deaths = lapin::types::FieldArray::from(vec![AMQPValue::FieldTable(death)]);
    headers.insert(short_string("x-death"), AMQPValue::FieldArray(deaths));
    headers.insert(
        short_string("x-sealpost-given-up"),
        AMQPValue::LongUInt(given_up),
    );
    AmqpMessage {
        properties: properties.with_headers(headers),
        body,
    }
}

/// Where each reason leads: back to its queue, or to where it is kept, with that reason; always
/// counted.
#[tokio::test]
async fn what_is_given_up_is_nowhere_lost() {
    let mut bench = Bench::start(&["a"]).await;
    bench
        .server
        .until("what is moved is taken", |server| {
            !server.consumers(queue_names::DEAD_LETTERED).is_empty()
        })
        .await;
    let channel = stranger(&bench.server).await;
    send(
        &channel,
        queue_names::DEAD_LETTERED,
        moved_from(&queue("a"), "delivery_limit", 99),
    )
    .await;
    let back = bench.next(0).await;
    assert_eq!(
        (&*back.event.id(), bench.server.ready(&parked("a"))),
        ("1", 0)
    );
    for (number, (from, reason, given_up)) in [
        (queue("a"), "delivery_limit", 100),
        (queue("a"), "maxlen", 0),
        (queue("a"), "rejected", 0),
        (parked("a"), "delivery_limit", 0),
        (parked("a"), "expired", 0),
    ]
    .into_iter()
    .enumerate()
    {
        send(
            &channel,
            queue_names::DEAD_LETTERED,
            moved_from(&from, reason, given_up),
        )
        .await;
        bench
            .server
            .until(reason, |server| server.ready(&parked("a")) == number + 1)
            .await;
        let messages = bench.server.messages(&parked("a"));
        let told = header(&messages[number].properties, "x-sealpost-reason");
        let is_told =
            (from == queue("a")).then(|| text_value(&format!("RabbitMQ gave it up: {reason}")));
        assert_eq!(
            (told, header(&messages[number].properties, "x-death")),
            (is_told, None),
            "{reason} from {from}"
        );
    }
    eventually("all are counted", || {
        bench.backend.metrics().given_up.get() == 6
    })
    .await;
    bench
        .server
        .until("all have left", |server| {
            server.unacked(queue_names::DEAD_LETTERED) == 0
        })
        .await;
}

/// The queue of this name is published to on the channel that the queue of `a` is.
fn neighbour() -> String {
    let is_beside = |name: &String| channel_index(&queue(name)) == channel_index(&queue("a"));
    (0..)
        .map(|number| format!("b{number}"))
        .find(is_beside)
        .expect("one in four is")
}

fn is_returned(server: &FakeServer, name: &str) -> bool {
    server
        .history()
        .iter()
        .any(|published| published.is_returned && published.routing_key == queue(name))
}

/// RabbitMQ has lost the queue of a neighbour of `a`: it confirms what it has for `a` after a
/// message for the neighbour was returned, and before that is confirmed.
async fn without_neighbour() -> (Bench, String) {
    let settings = Settings {
        returned_confirmed_after: Some(Duration::from_millis(800)),
        ..Settings::default()
    };
    let neighbour = neighbour();
    let names = ["a", &neighbour];
    let bench = Bench::begin(
        FakeServer::start_with(settings).await,
        &names,
        DeliveryOrder::Unordered,
    );
    bench.ready(&names).await;
    // Both connections are open, so that both messages go out on the same one.
    eventually("it is published on", || {
        bench.backend.metrics().link.publishing.get() == 2
    })
    .await;
    bench
        .server
        .queue(&queue("a"))
        .confirm_after(Duration::from_millis(400));
    bench.server.delete_queue(&queue(&neighbour));
    (bench, neighbour)
}

/// RabbitMQ returns a message and confirms another one before it; `lapin` gives the returned one to
/// that other.
#[tokio::test]
async fn a_message_that_is_returned_while_others_are_confirmed_is_not_lost() {
    let (mut bench, neighbour) = without_neighbour().await;
    assert_eq!(bench.publish("1").await, Ok(()));
    assert!(is_returned(&bench.server, &neighbour));
    for place in [0, 1] {
        assert_eq!(bench.next(place).await.event.id(), "1");
    }
}

/// The same, when the one who gets it does not wait any more.
#[tokio::test]
async fn a_message_that_is_returned_to_somebody_who_left_is_not_lost() {
    let (mut bench, neighbour) = without_neighbour().await;
    let outbox = &bench.backend.context.publisher;
    let (first, second) = [event("1"), event("2")]
        .map(|event| Arc::new(event_encoder::encode(&event, RetryHeaders::default())))
        .into();
    let (queues, ways) = (
        [queue("a"), queue(&neighbour)],
        [Arc::default(), Arc::default()],
    );
    let mut leaving = Box::pin(outbox.publish(&queues[0], &ways[0], &first));
    assert!(futures_util::poll!(&mut leaving).is_pending());
    bench
        .server
        .until("it is there", |server| {
            server.published(&queues[0]).len() == 1
        })
        .await;
    let mut returned = Box::pin(outbox.publish(&queues[1], &ways[1], &second));
    assert!(futures_util::poll!(&mut returned).is_pending());
    bench
        .server
        .until("it is returned", |server| is_returned(server, &neighbour))
        .await;
    drop(leaving);
    assert_eq!(
        returned.await,
        Ok(()),
        "its publisher believes that it is stored"
    );
    assert_eq!(bench.next(1).await.event.id(), "2");
}

/// What was returned to somebody else than its publisher is published again: to a queue, a parking
/// queue, and on its wait.
#[tokio::test]
async fn what_was_returned_to_somebody_else_is_published_again() {
    let mut bench = Bench::start(&["a"]).await;
    let (found, receiver) = mpsc::channel(4);
    let shared = Arc::clone(&bench.backend.context);
    let encoded = |id: &str| event_encoder::encode(&event(id), RetryHeaders::default());
    let told = async {
        let waits = encoded("waits").with_target_queue(&queue("a"));
        for (queue, message) in [
            (queue("a"), encoded("1")),
            (parked("a"), encoded("2")),
            (queue_names::delay_queue(4), waits),
        ] {
            found
                .send(misdirected_return::MisdirectedReturn { queue, message })
                .await
                .expect("it is taken");
        }
        assert_eq!(bench.next(0).await.event.id(), "1");
        bench
            .server
            .until("it is parked", |server| server.ready(&parked("a")) == 1)
            .await;
        assert_eq!(bench.next(0).await.event.id(), "waits");
    };
    tokio::select! {
        () = basic_return_republishing::republish_all(shared, receiver) => panic!("it ends"),
        () = told => {}
    }
}
