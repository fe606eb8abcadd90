//! Tests of the server itself, against lapin: it does what RabbitMQ does, and has the faults that a
//! test asks for.

mod faults;
mod queues;

use std::time::Duration;

use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ErrorKind,
    PublisherConfirm,
};

use super::fake::FakeServer;
use crate::channel::rabbitmq::message::amqp_value::{short_string, text_value};

/// How long a test waits for what is to come.
const PATIENCE: Duration = Duration::from_secs(10);

async fn connect(server: &FakeServer) -> Connection {
    let name = ConnectionProperties::default().with_connection_name("a test".into());
    let connected = tokio::time::timeout(PATIENCE, Connection::connect(&server.uri(), name)).await;
    connected.expect("in time").expect("a connection")
}

/// A channel with confirms.
async fn open(connection: &Connection) -> Channel {
    let channel = connection.create_channel().await.expect("a channel");
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await
        .expect("confirms");
    channel
}

fn table<const N: usize>(entries: [(&str, AMQPValue); N]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in entries {
        table.insert(short_string(name), value);
    }
    table
}

async fn declare(
    channel: &Channel,
    queue: &str,
    arguments: FieldTable,
) -> lapin::Result<lapin::Queue> {
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare(short_string(queue), options, arguments)
        .await
}

/// Publishes over the default exchange; the confirm is still to come.
async fn publish(channel: &Channel, queue: &str, body: &str) -> PublisherConfirm {
    let options = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let properties = BasicProperties::default();
    channel
        .basic_publish(
            short_string(""),
            short_string(queue),
            options,
            body.as_bytes(),
            properties,
        )
        .await
        .expect("published")
}

async fn confirmed(confirm: PublisherConfirm) -> Confirmation {
    tokio::time::timeout(PATIENCE, confirm)
        .await
        .expect("in time")
        .expect("a confirm")
}

async fn consume(channel: &Channel, queue: &str, prefetch: u16) -> lapin::Consumer {
    channel
        .basic_qos(prefetch, BasicQosOptions::default())
        .await
        .expect("a prefetch");
    let (queue, options) = (short_string(queue), BasicConsumeOptions::default());
    channel
        .basic_consume(queue, short_string(""), options, FieldTable::default())
        .await
        .expect("a consumer")
}

async fn next(consumer: &mut lapin::Consumer) -> Delivery {
    let next = tokio::time::timeout(PATIENCE, consumer.next())
        .await
        .expect("in time");
    next.expect("a delivery").expect("no error")
}

fn body(delivery: &Delivery) -> &str {
    std::str::from_utf8(&delivery.data).expect("text")
}

fn header<'p>(properties: &'p BasicProperties, name: &str) -> Option<&'p AMQPValue> {
    properties
        .headers()
        .as_ref()
        .and_then(|headers| headers.inner().get(name))
}

/// The code and the text of an error of the protocol.
fn refusal(error: &lapin::Error) -> (u16, String) {
    match error.kind() {
        ErrorKind::ProtocolError(error) => (error.get_id(), error.get_message().to_string()),
        other => panic!("{other:?} is none"),
    }
}

#[tokio::test]
async fn a_message_goes_through_a_queue() {
    let server = FakeServer::start().await;
    let connection = connect(&server).await;
    let channel = open(&connection).await;
    declare(&channel, "q", FieldTable::default())
        .await
        .expect("a queue");
    let long = "x".repeat(300_000);
    assert_eq!(
        confirmed(publish(&channel, "q", &long).await).await,
        Confirmation::Ack(None)
    );
    assert_eq!(
        (server.ready("q"), server.unacked("q"), server.declares("q")),
        (1, 0, 1)
    );
    let mut consumer = consume(&channel, "q", 10).await;
    let delivery = next(&mut consumer).await;
    assert_eq!(
        (body(&delivery), delivery.redelivered),
        (long.as_str(), false)
    );
    assert_eq!((server.ready("q"), server.unacked("q")), (0, 1));
    assert!(delivery.ack(Default::default()).await.expect("a channel"));
    server
        .until("it is acknowledged", |server| server.unacked("q") == 0)
        .await;
    assert_eq!(server.connections(), ["a test"]);
    let history = server.history();
    assert_eq!(
        (history[0].connection.as_str(), history[0].body.len()),
        ("a test", 300_000)
    );
    assert_eq!(
        (
            history[0].exchange.as_str(),
            history[0].routing_key.as_str()
        ),
        ("", "q")
    );
    channel
        .close(200, short_string("done"))
        .await
        .expect("closed");
    connection
        .close(200, short_string("done"))
        .await
        .expect("closed");
    server
        .until("nothing is open", |server| {
            server.connections().is_empty() && server.channels_open() == 0
        })
        .await;
}

#[tokio::test]
async fn what_no_queue_wants_is_returned() {
    let server = FakeServer::start().await;
    let connection = connect(&server).await;
    let channel = open(&connection).await;
    let Confirmation::Ack(Some(returned)) = confirmed(publish(&channel, "q", "x").await).await
    else {
        panic!("it was not returned");
    };
    assert_eq!(
        (
            returned.reply_code,
            returned.reply_text.as_str(),
            returned.delivery.data.as_slice()
        ),
        (312, "NO_ROUTE", &b"x"[..])
    );
    assert!(server.history()[0].is_returned);
    let options = BasicPublishOptions::default();
    let lost = channel
        .basic_publish(
            short_string("e"),
            short_string("k"),
            options,
            b"x",
            BasicProperties::default(),
        )
        .await;
    let error = lost
        .expect("published")
        .await
        .expect_err("no such exchange");
    assert_eq!(
        refusal(&error),
        (404, "NOT_FOUND - no exchange 'e' in vhost '/'".to_owned())
    );
}

/// As many as the prefetch, and each time one is acknowledged one more.
#[tokio::test]
async fn the_prefetch_is_honoured() {
    let server = FakeServer::start().await;
    let connection = connect(&server).await;
    let channel = open(&connection).await;
    declare(&channel, "q", FieldTable::default())
        .await
        .expect("a queue");
    for id in ["1", "2", "3", "4"] {
        confirmed(publish(&channel, "q", id).await).await;
    }
    let mut consumer = consume(&channel, "q", 2).await;
    assert_eq!(server.prefetches("q"), [2]);
    let first = next(&mut consumer).await;
    let second = next(&mut consumer).await;
    assert_eq!((server.ready("q"), server.unacked("q")), (2, 2));
    first.ack(Default::default()).await.expect("a channel");
    let third = next(&mut consumer).await;
    assert_eq!((body(&second), body(&third)), ("2", "3"));
    third
        .ack(lapin::options::BasicAckOptions { multiple: true })
        .await
        .expect("a channel");
    let fourth = next(&mut consumer).await;
    assert_eq!(
        (body(&fourth), server.ready("q"), server.unacked("q")),
        ("4", 0, 1)
    );
    channel
        .basic_ack(17, Default::default())
        .await
        .expect("sent");
    let error = tokio::time::timeout(PATIENCE, consumer.next())
        .await
        .expect("in time")
        .expect("an end")
        .expect_err("an error");
    assert_eq!(
        refusal(&error),
        (
            406,
            "PRECONDITION_FAILED - unknown delivery tag 17".to_owned()
        )
    );
    server
        .until("it is given back", |server| server.ready("q") == 1)
        .await;
}

#[tokio::test]
async fn one_message_is_fetched() {
    let server = FakeServer::start().await;
    let connection = connect(&server).await;
    let channel = open(&connection).await;
    declare(&channel, "q", FieldTable::default())
        .await
        .expect("a queue");
    let get = || channel.basic_get(short_string("q"), BasicGetOptions::default());
    assert!(get().await.expect("an answer").is_none());
    for id in ["1", "2"] {
        confirmed(publish(&channel, "q", id).await).await;
    }
    let found = get().await.expect("an answer").expect("a message");
    assert_eq!((body(&found.delivery), found.message_count), ("1", 1));
    channel
        .close(200, short_string("looked"))
        .await
        .expect("closed");
    assert_eq!(
        (server.ready("q"), server.messages("q")[0].body.as_slice()),
        (2, &b"1"[..])
    );
}
