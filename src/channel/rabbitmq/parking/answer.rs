//! Answers of RabbitMQ to operations on parked events.

use std::time::Duration;

use crate::channel::parked::ParkedError;
use crate::channel::rabbitmq::amqp_error::LONGEST_ERROR;
use crate::wire_text::escaped_excerpt;

/// Longest time for each answer of RabbitMQ.
pub(super) const LIMIT: Duration = Duration::from_secs(10);

/// Waits for one answer of RabbitMQ, for [`LIMIT`] at most.
pub(super) async fn await_answer<T>(
    asked: impl Future<Output = lapin::Result<T>>,
) -> Result<T, ParkedError> {
    match tokio::time::timeout(LIMIT, asked).await {
        Ok(answer) => answer.map_err(unavailable_error),
        Err(_elapsed) => Err(ParkedError::Unavailable(format!(
            "RabbitMQ: no answer within {LIMIT:?}"
        ))),
    }
}

/// Error for what RabbitMQ says, in which control characters are escaped.
pub(super) fn unavailable_error(error: impl std::fmt::Display) -> ParkedError {
    ParkedError::Unavailable(format!(
        "RabbitMQ: {}",
        escaped_excerpt(error, LONGEST_ERROR)
    ))
}
