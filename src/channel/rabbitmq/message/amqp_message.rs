//! An AMQP message: its properties and its body.

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::{FieldTable, ShortString};

use super::amqp_value::{short_string, text_value};
use super::header_names::QUEUE;

/// Delivery mode of messages that RabbitMQ keeps on disk.
pub(crate) const PERSISTENT: u8 = 2;

/// Properties and body of an AMQP message.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AmqpMessage {
    pub(crate) properties: BasicProperties,
    pub(crate) body: Bytes,
}

impl AmqpMessage {
    /// Names the queue that the message is to reach by way of others.
    pub(crate) fn with_target_queue(self, queue: &str) -> Self {
        let mut headers = self.properties.headers().clone().unwrap_or_default();
        headers.insert(short_string(QUEUE), text_value(queue));
        Self {
            properties: self.properties.with_headers(headers),
            body: self.body,
        }
    }
}

/// Properties of a persistent message, which outlives RabbitMQ's process.
pub(crate) fn persistent_properties(
    headers: FieldTable,
    content_type: Option<ShortString>,
) -> BasicProperties {
    let properties = BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_headers(headers);
    match content_type {
        Some(content_type) => properties.with_content_type(content_type),
        None => properties,
    }
}
