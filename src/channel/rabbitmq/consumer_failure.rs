//! Reasons for which a queue is not consumed.

use super::amqp_error::{error_text, has_no_channel_left};

/// Reason for which a queue is not consumed.
pub(super) enum ConsumerFailure {
    /// The connection has no channel left, or only those that are reserved for other things.
    NoChannel,
    /// The queue was deleted, or RabbitMQ has cancelled the consumer; the channel is open.
    Cancelled,
    /// Another failure, in words.
    Other(String),
}

impl From<String> for ConsumerFailure {
    fn from(reason: String) -> Self {
        Self::Other(reason)
    }
}

impl From<lapin::Error> for ConsumerFailure {
    fn from(error: lapin::Error) -> Self {
        if has_no_channel_left(&error) {
            Self::NoChannel
        } else {
            Self::Other(error_text(&error))
        }
    }
}
