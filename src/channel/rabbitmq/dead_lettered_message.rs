//! A message that RabbitMQ has dead-lettered from one queue to another, and the headers in which
//! RabbitMQ describes that.

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};

use super::message::amqp_message::{AmqpMessage, PERSISTENT};
use super::message::amqp_value::{decode_value, short_string};
use super::message::header_names::{GIVEN_UP, QUEUE, RABBITMQ_HEADERS};
use super::queue_names;

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
        let headers = properties.headers().as_ref().unwrap_or(&none);
        let given_up_count = match headers.inner().get(GIVEN_UP) {
            Some(AMQPValue::LongUInt(count)) => *count,
            _ => 0,
        };
        let properties = properties
            .clone()
            .with_headers(without_rabbitmq_headers(headers))
            .with_delivery_mode(PERSISTENT);
        Self {
            message: AmqpMessage { properties, body },
            target_queue: headers.inner().get(QUEUE).and_then(decode_text),
            dead_lettered_from: find_death(headers),
            given_up_count,
        }
    }

    /// True if neither the publisher nor RabbitMQ says which queue the message is for.
    pub(super) fn belongs_nowhere(&self) -> bool {
        self.target_queue.is_none() && self.dead_lettered_from.is_none()
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

fn decode_text(value: &AMQPValue) -> Option<String> {
    decode_value(value).map(|(text, _)| text)
}

/// Finds the last queue that RabbitMQ has moved the message out of, and the reason for that. The
/// queue of dead-lettered messages itself does not count.
fn find_death(headers: &FieldTable) -> Option<(String, String)> {
    let Some(AMQPValue::FieldArray(deaths)) = headers.inner().get("x-death") else {
        return None;
    };
    deaths.as_slice().iter().find_map(|death| {
        let AMQPValue::FieldTable(death) = death else {
            return None;
        };
        let field = |name: &str| death.inner().get(name).and_then(decode_text);
        Some((field("queue")?, field("reason")?))
            .filter(|(queue, _)| queue != queue_names::DEAD_LETTERED)
    })
}

/// Headers of the message as it was before RabbitMQ and sealpost have moved it.
fn without_rabbitmq_headers(headers: &FieldTable) -> FieldTable {
    let mut kept = FieldTable::default();
    for (name, value) in headers.inner() {
        if !RABBITMQ_HEADERS.contains(&name.as_str()) && name.as_str() != QUEUE {
            kept.insert(name.clone(), value.clone());
        }
    }
    kept
}
