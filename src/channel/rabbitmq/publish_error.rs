//! Reasons for which it is not known that a message is stored.

use std::time::Duration;

/// Longest time from the request to the confirm. A channel that has published to a queue finds its
/// new leader about 8 s after the node of the old one has hung (RabbitMQ 3.10.8); giving up before
/// that would need a new channel, which takes longer.
pub(super) const CONFIRM_TIMEOUT: Duration = Duration::from_secs(9);

/// Reason for which it is not known that a message is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RabbitmqPublishError {
    /// There is no channel to publish on; no message was sent.
    #[error("there is no connection to RabbitMQ on which it lets us publish")]
    NoConnection,
    /// An alarm blocks publishers; no message was sent.
    #[error("RabbitMQ is blocked by an alarm of memory or disk")]
    Blocked,
    /// RabbitMQ refused the message: the queue has no leader at the moment, or it is full.
    #[error("RabbitMQ could not store it")]
    Nacked,
    /// No queue has this name.
    #[error("the queue is gone")]
    Unroutable,
    /// The channel broke before RabbitMQ confirmed the message; perhaps it is stored.
    #[error("the connection to RabbitMQ broke before it was confirmed")]
    Interrupted,
    /// RabbitMQ did not confirm the message in time; perhaps it is stored.
    #[error("RabbitMQ has not confirmed it within {CONFIRM_TIMEOUT:?}")]
    Unconfirmed,
}

/// True if RabbitMQ has said whether a message is stored.
pub(super) fn is_answered(stored: Result<(), RabbitmqPublishError>) -> bool {
    matches!(
        stored,
        Ok(()) | Err(RabbitmqPublishError::Nacked | RabbitmqPublishError::Unroutable)
    )
}
