//! A message that RabbitMQ returned, and that `lapin` gave to another publisher than its own.

use bytes::Bytes;
use lapin::message::Delivery;

use super::message::amqp_message::AmqpMessage;

/// A message that no queue has taken, although its publisher may have been told that it is stored:
/// `lapin` gives a message that RabbitMQ returns to the publisher that is confirmed next on that
/// channel, not to the one that has published it.
#[derive(Clone, Debug)]
pub(super) struct MisdirectedReturn {
    /// Queue that the message was published to.
    pub(super) queue: String,
    /// The message itself, as it was published.
    pub(super) message: AmqpMessage,
}

impl MisdirectedReturn {
    /// Takes the message that came with RabbitMQ's `basic.return`.
    pub(super) fn from_basic_return(returned: Delivery) -> Self {
        let Delivery {
            routing_key,
            properties,
            data,
            ..
        } = returned;
        Self {
            queue: routing_key.as_str().to_owned(),
            message: AmqpMessage {
                properties,
                body: Bytes::from(data),
            },
        }
    }

    /// True if this return is that of the given message, and so is not misdirected.
    pub(super) fn is_message(&self, queue: &str, message: &AmqpMessage) -> bool {
        self.queue == queue && self.message == *message
    }
}
