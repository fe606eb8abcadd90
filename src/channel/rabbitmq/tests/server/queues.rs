//! Tests of the server's queues: their arguments, the messages that come back, and those that a
//! queue gives up.

use lapin::ExchangeKind;
use lapin::options::{
    BasicNackOptions, BasicRejectOptions, ExchangeDeclareOptions, QueueBindOptions,
    QueueDeleteOptions,
};

use super::*;
use crate::channel::rabbitmq::tests::fake::{Settings, Version};

fn quorum() -> AMQPValue {
    text_value("quorum")
}

fn requeue() -> BasicNackOptions {
    BasicNackOptions {
        requeue: true,
        ..BasicNackOptions::default()
    }
}

/// Takes a message so many times, and gives it back.
async fn give_back(channel: &Channel, queue: &str, times: usize) {
    let mut consumer = consume(channel, queue, 1).await;
    for _ in 0..times {
        assert!(
            next(&mut consumer)
                .await
                .nack(requeue())
                .await
                .expect("a channel")
        );
    }
}

#[tokio::test]
async fn a_queue_is_what_it_was_declared_as() {
    let server = FakeServer::start().await;
    let connection = connect(&server).await;
    let cases = [
        (
            table([("x-queue-type", text_value("classic"))]),
            "'x-queue-type' for queue 'q' in vhost '/': received 'classic' but current is 'quorum'",
        ),
        (
            FieldTable::default(),
            "'x-queue-type' for queue 'q' in vhost '/': received none but current is the value 'quorum' of type 'longstr'",
        ),
        (
            table([
                ("x-queue-type", quorum()),
                ("x-delivery-limit", AMQPValue::LongInt(5)),
            ]),
            "'x-delivery-limit' for queue 'q' in vhost '/': received the value '5' of type 'signedint' but current is none",
        ),
    ];
    let channel = open(&connection).await;
    declare(&channel, "q", table([("x-queue-type", quorum())]))
        .await
        .expect("a queue");
    declare(&channel, "q", table([("x-queue-type", quorum())]))
        .await
        .expect("the same queue");
    for (arguments, text) in cases {
        let channel = open(&connection).await;
        let error = declare(&channel, "q", arguments)
            .await
            .expect_err("another queue");
        assert_eq!(
            refusal(&error),
            (
                406,
                format!("PRECONDITION_FAILED - inequivalent arg {text}")
            )
        );
    }
    let passive = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let error = channel
        .queue_declare(short_string("p"), passive, FieldTable::default())
        .await
        .expect_err("no queue");
    assert_eq!(
        refusal(&error),
        (404, "NOT_FOUND - no queue 'p' in vhost '/'".to_owned())
    );
    assert_eq!(
        (server.queues(), server.arguments("q")),
        (vec!["q".to_owned()], table([("x-queue-type", quorum())]))
    );
}

#[tokio::test]
async fn exchanges_hand_on_what_is_bound() {
    let server = FakeServer::start().await;
    let connection = connect(&server).await;
    let channel = open(&connection).await;
    let declare_exchange = |channel: Channel, name: &'static str, kind| async move {
        channel
            .exchange_declare(
                short_string(name),
                kind,
                ExchangeDeclareOptions::default(),
                FieldTable::default(),
            )
            .await
    };
    declare_exchange(channel.clone(), "d", ExchangeKind::Direct)
        .await
        .expect("an exchange");
    declare_exchange(channel.clone(), "f", ExchangeKind::Fanout)
        .await
        .expect("an exchange");
    for (queue, key) in [("a", "1"), ("b", "2")] {
        declare(&channel, queue, FieldTable::default())
            .await
            .expect("a queue");
        for exchange in ["d", "f"] {
            let options = QueueBindOptions::default();
            channel
                .queue_bind(
                    short_string(queue),
                    short_string(exchange),
                    short_string(key),
                    options,
                    FieldTable::default(),
                )
                .await
                .expect("bound");
        }
    }
    assert_eq!(
        server.bindings("d"),
        [
            ("1".to_owned(), "a".to_owned()),
            ("2".to_owned(), "b".to_owned())
        ]
    );
    for (exchange, key) in [("d", "1"), ("f", "other")] {
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        let confirm = channel
            .basic_publish(
                short_string(exchange),
                short_string(key),
                options,
                b"x",
                properties,
            )
            .await
            .expect("published");
        assert_eq!(confirmed(confirm).await, Confirmation::Ack(None));
    }
    assert_eq!(
        (
            server.ready("a"),
            server.ready("b"),
            server.published("b").len()
        ),
        (2, 1, 1)
    );
    channel
        .queue_unbind(
            short_string("a"),
            short_string("f"),
            short_string("1"),
            FieldTable::default(),
        )
        .await
        .expect("unbound");
    assert_eq!(server.bindings("f").len(), 1);
    channel
        .queue_delete(short_string("b"), QueueDeleteOptions::default())
        .await
        .expect("deleted");
    assert!(server.bindings("f").is_empty() && !server.has_queue("b"));
    let error = declare_exchange(channel, "d", ExchangeKind::Fanout)
        .await
        .expect_err("another exchange");
    let text = "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'd' in vhost '/': received 'fanout' but current is 'direct'";
    assert_eq!(refusal(&error), (406, text.to_owned()));
}

/// By the client, with its channel, and with its connection: each time it counts.
#[tokio::test]
async fn what_was_not_done_comes_back() {
    let server = FakeServer::start().await;
    let connection = connect(&server).await;
    let channel = open(&connection).await;
    declare(&channel, "q", table([("x-queue-type", quorum())]))
        .await
        .expect("a queue");
    confirmed(publish(&channel, "q", "1").await).await;
    let mut consumer = consume(&channel, "q", 1).await;
    next(&mut consumer)
        .await
        .nack(requeue())
        .await
        .expect("sent");
    let again = next(&mut consumer).await;
    assert_eq!((body(&again), again.redelivered), ("1", true));
    assert_eq!(
        header(&again.properties, "x-delivery-count"),
        Some(&AMQPValue::LongLongInt(1))
    );
    channel
        .close(200, short_string("done"))
        .await
        .expect("closed");
    let other = connect(&server).await;
    let mut consumer = consume(&open(&other).await, "q", 1).await;
    let again = next(&mut consumer).await;
    assert_eq!(
        (body(&again), header(&again.properties, "x-delivery-count")),
        ("1", Some(&AMQPValue::LongLongInt(2)))
    );
    server.drop_connections();
    server
        .until("it is back", |server| {
            server.ready("q") == 1 && server.connections().is_empty()
        })
        .await;
    assert_eq!(server.messages("q")[0].returns, 3);
}

/// A message that came back too often, one that was rejected, one that has expired, and one too
/// many.
#[tokio::test]
async fn what_is_given_up_is_a_dead_letter() {
    let server = FakeServer::start().await;
    let connection = connect(&server).await;
    let channel = open(&connection).await;
    let to_dead = [
        ("x-dead-letter-exchange", text_value("")),
        ("x-dead-letter-routing-key", text_value("dead")),
    ];
    let [a, b] = to_dead;
    let kinds = [
        (
            "limit",
            table([
                ("x-queue-type", quorum()),
                ("x-delivery-limit", AMQPValue::LongInt(1)),
                a.clone(),
                b.clone(),
            ]),
        ),
        ("reject", table([a.clone(), b.clone()])),
        (
            "ttl",
            table([
                ("x-message-ttl", AMQPValue::LongInt(50)),
                a.clone(),
                b.clone(),
            ]),
        ),
        (
            "length",
            table([("x-max-length", AMQPValue::LongInt(0)), a, b]),
        ),
    ];
    declare(&channel, "dead", FieldTable::default())
        .await
        .expect("a queue");
    let mut dead = consume(&channel, "dead", 10).await;
    for ((queue, arguments), reason) in
        kinds
            .into_iter()
            .zip(["delivery_limit", "rejected", "expired", "maxlen"])
    {
        declare(&channel, queue, arguments).await.expect("a queue");
        confirmed(publish(&channel, queue, queue).await).await;
        match queue {
            "limit" => give_back(&channel, queue, 2).await,
            "reject" => {
                let mut consumer = consume(&channel, queue, 1).await;
                next(&mut consumer)
                    .await
                    .reject(BasicRejectOptions::default())
                    .await
                    .expect("sent");
            }
            _ => {}
        }
        let letter = next(&mut dead).await;
        assert_eq!(
            (body(&letter), letter.routing_key.as_str()),
            (queue, "dead")
        );
        assert_eq!(
            header(&letter.properties, "x-first-death-queue"),
            Some(&text_value(queue))
        );
        assert_eq!(
            header(&letter.properties, "x-first-death-reason"),
            Some(&text_value(reason))
        );
        let Some(AMQPValue::FieldArray(deaths)) = header(&letter.properties, "x-death") else {
            panic!("no x-death")
        };
        let [AMQPValue::FieldTable(death)] = deaths.as_slice() else {
            panic!("not one death")
        };
        let death = |name: &str| death.inner().get(name).cloned().expect("a field");
        let keys = AMQPValue::FieldArray(vec![text_value(queue)].into());
        let one = AMQPValue::LongLongInt(1);
        let expected = (
            text_value(queue),
            text_value(reason),
            one,
            keys,
            text_value(""),
        );
        assert_eq!(
            (
                death("queue"),
                death("reason"),
                death("count"),
                death("routing-keys"),
                death("exchange")
            ),
            expected
        );
    }
}

/// The limit -1 is none on RabbitMQ 4, which has one of twenty otherwise; on RabbitMQ 3 it is the
/// lowest that there is.
#[tokio::test]
async fn returns_are_limited_as_the_version_does() {
    let unlimited = || {
        table([
            ("x-queue-type", quorum()),
            ("x-delivery-limit", AMQPValue::LongInt(-1)),
        ])
    };
    for (version, left) in [(Version::Three, "q"), (Version::Four, "unlimited")] {
        let server = FakeServer::start_with(Settings {
            version,
            ..Settings::default()
        })
        .await;
        let connection = connect(&server).await;
        let channel = open(&connection).await;
        declare(&channel, "q", table([("x-queue-type", quorum())]))
            .await
            .expect("a queue");
        declare(&channel, "unlimited", unlimited())
            .await
            .expect("a queue");
        for queue in server.queues() {
            confirmed(publish(&channel, &queue, &queue).await).await;
            let times = if (version, queue.as_str()) == (Version::Three, "unlimited") {
                1
            } else {
                21
            };
            give_back(&channel, &queue, times).await;
        }
        channel
            .close(200, short_string("done"))
            .await
            .expect("closed");
        let mut queues = server.queues();
        queues.retain(|queue| server.ready(queue) == 1);
        assert_eq!(queues, [left], "{version:?}");
    }
}

/// A policy's limit counts for all queues.
#[tokio::test]
async fn a_policy_limits_returns() {
    let server = FakeServer::start_with(Settings {
        delivery_limit: Some(1),
        ..Settings::default()
    })
    .await;
    let connection = connect(&server).await;
    let channel = open(&connection).await;
    declare(&channel, "q", table([("x-queue-type", quorum())]))
        .await
        .expect("a queue");
    confirmed(publish(&channel, "q", "x").await).await;
    give_back(&channel, "q", 2).await;
    server
        .until("it is gone", |server| {
            server.ready("q") + server.unacked("q") == 0
        })
        .await;
}

/// Where dead letters are moved at least once, 32 that find no queue stop all others, until they
/// are tried again.
#[tokio::test]
async fn dead_letters_without_a_queue_stop_the_others() {
    let retry = Duration::from_secs(1);
    let server = FakeServer::start_with(Settings {
        dead_letter_retry: retry,
        ..Settings::default()
    })
    .await;
    let connection = connect(&server).await;
    let channel = open(&connection).await;
    let arguments = [
        ("x-queue-type", quorum()),
        ("x-message-ttl", AMQPValue::LongInt(10)),
        ("x-dead-letter-exchange", text_value("")),
        ("x-dead-letter-strategy", text_value("at-least-once")),
        ("x-overflow", text_value("reject-publish")),
    ];
    declare(&channel, "delay", table(arguments))
        .await
        .expect("a queue");
    let exchange = lapin::ExchangeKind::Fanout;
    channel
        .exchange_declare(
            short_string("delay"),
            exchange,
            Default::default(),
            Default::default(),
        )
        .await
        .expect("an exchange");
    channel
        .queue_bind(
            short_string("delay"),
            short_string("delay"),
            short_string(""),
            Default::default(),
            Default::default(),
        )
        .await
        .expect("bound");
    declare(&channel, "there", FieldTable::default())
        .await
        .expect("a queue");
    let put_off = async |queue: &'static str| {
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        let confirm = channel
            .basic_publish(
                short_string("delay"),
                short_string(queue),
                options,
                b"x",
                properties,
            )
            .await;
        confirmed(confirm.expect("published")).await;
    };
    put_off("there").await;
    server
        .until("it has come", |server| server.ready("there") == 1)
        .await;
    for _ in 0..33 {
        put_off("gone").await;
    }
    put_off("there").await;
    server
        .until("all have expired", |server| server.dead("delay") == 34)
        .await;
    assert_eq!(server.ready("there"), 1);
    declare(&channel, "gone", FieldTable::default())
        .await
        .expect("a queue");
    server
        .until("all are there", |server| {
            server.ready("there") == 2 && server.ready("gone") == 33
        })
        .await;
}

/// One consumer at a time, and the next one when it goes.
#[tokio::test]
async fn a_single_active_consumer_is_the_first() {
    let server = FakeServer::start().await;
    let connection = connect(&server).await;
    let (channel, other) = (open(&connection).await, open(&connection).await);
    declare(
        &channel,
        "q",
        table([("x-single-active-consumer", AMQPValue::Boolean(true))]),
    )
    .await
    .expect("a queue");
    let mut first = consume(&channel, "q", 1).await;
    let mut second = consume(&other, "q", 1).await;
    for id in ["1", "2"] {
        confirmed(publish(&other, "q", id).await).await;
    }
    assert_eq!(
        (
            body(&next(&mut first).await),
            server.ready("q"),
            server.consumers("q").len()
        ),
        ("1", 1, 2)
    );
    channel
        .close(200, short_string("done"))
        .await
        .expect("closed");
    let again = next(&mut second).await;
    assert_eq!(
        (body(&again), again.redelivered, server.ready("q")),
        ("1", true, 1)
    );
}
