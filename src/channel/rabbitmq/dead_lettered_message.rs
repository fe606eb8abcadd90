//! A message that RabbitMQ has dead-lettered from one queue to another, and the headers in which
//! RabbitMQ describes that.

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};

use super::confirming_publisher::short_string;
use super::message::{AmqpMessage, PERSISTENT, QUEUE, decode_value};
use super::queue_names;

/// Header with the number of times that RabbitMQ gave the message up.
pub(super) const GIVEN_UP: &str = "x-sealpost-given-up";
/// Headers that RabbitMQ adds to messages that it moves or delivers again; without them a message
/// is new again. RabbitMQ drops a message that comes to a queue a second time by itself, and counts
/// deliveries across queues.
pub(super) const RABBITMQ_HEADERS: [&str; 9] = [
    "x-death",
    "x-first-death-exchange",
    "x-first-death-queue",
    "x-first-death-reason",
    "x-last-death-exchange",
    "x-last-death-queue",
    "x-last-death-reason",
    "x-delivery-count",
    "x-acquired-count",
];

/// A message that RabbitMQ has moved out of a queue, with the reason that RabbitMQ gives for it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct DeadLetteredMessage {
    /// The message as it was before, without the headers that RabbitMQ has added.
    pub(super) message: AmqpMessage,
    /// Queue that the message is on the way to, if its publisher has named one.
    pub(super) target_queue: Option<String>,
    /// Queue that the message was in, and RabbitMQ's reason for moving it: `expired`,
    /// `delivery_limit`, `maxlen`, `rejected`.
    pub(super) dead_lettered_from: Option<(String, String)>,
    /// Number of times that RabbitMQ gave the message up before.
    pub(super) given_up_count: u32,
}

impl DeadLetteredMessage {
    /// Decodes a message that RabbitMQ has moved.
    pub(super) fn decode(properties: &BasicProperties, body: Bytes) -> Self {
        let none = FieldTable::default();
        let headers = properties.headers().as_ref().unwrap_or(&none).inner();
        let textual = |value: &AMQPValue| decode_value(value).map(|(text, _)| text);
        let dead_lettered_from = match headers.get("x-death") {
            Some(AMQPValue::FieldArray(deaths)) => deaths.as_slice().iter().find_map(|death| {
                let AMQPValue::FieldTable(death) = death else {
                    return None;
                };
                let field = |name: &str| death.inner().get(name).and_then(textual);
                Some((field("queue")?, field("reason")?))
                    .filter(|(queue, _)| queue != queue_names::DEAD_LETTERED)
            }),
            _ => None,
        };
        let given_up_count = match headers.get(GIVEN_UP) {
            Some(AMQPValue::LongUInt(count)) => *count,
            _ => 0,
        };
        let kept = headers.iter().filter(|(name, _)| {
            !RABBITMQ_HEADERS.contains(&name.as_str()) && name.as_str() != QUEUE
        });
        let mut clean = FieldTable::default();
        for (name, value) in kept {
            clean.insert(name.clone(), value.clone());
        }
        let target_queue = headers.get(QUEUE).and_then(textual);
        let properties = properties
            .clone()
            .with_headers(clean)
            .with_delivery_mode(PERSISTENT);
        Self {
            message: AmqpMessage { properties, body },
            target_queue,
            dead_lettered_from,
            given_up_count,
        }
    }

    /// Gives the message as it was before, with this time counted in [`GIVEN_UP`].
    pub(super) fn with_given_up_counted(self) -> AmqpMessage {
        let mut headers = self
            .message
            .properties
            .headers()
            .clone()
            .unwrap_or_default();
        headers.insert(
            short_string(GIVEN_UP),
            AMQPValue::LongUInt(self.given_up_count.saturating_add(1)),
        );
        AmqpMessage {
            properties: self.message.properties.with_headers(headers),
            body: self.message.body,
        }
    }
}
