//! Retirement of the queue of a subscription that is no longer configured: it gets no more events,
//! and is deleted after a grace in which nobody consumed it, if the operator wants that.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::connection::OpenAmqpConnection;
use super::context::RabbitmqContext;
use super::queue::RabbitmqQueue;
use super::queue_deletion::delete_queues;
use super::queue_inspection::inspect_queue;
use super::queue_names::RabbitmqQueueNames;

/// Shortest and longest period in which it is checked that no other process consumes the queue.
const PERIODS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Longest time for an inspection, and for the deletion.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Deletes the queue when nobody has consumed it for the configured time, if there is one. If the
/// future is dropped before, the queue stays as it is.
pub(super) async fn retire_queue(queue: Arc<RabbitmqQueue>, context: Arc<RabbitmqContext>) {
    let (names, delete_after) = (&queue.names, context.options.delete_after);
    tracing::warn!(
        queue = names.queue,
        ?delete_after,
        "Subscription is gone: its queue gets no more events, and keeps those it has"
    );
    let Some(grace) = delete_after else { return };
    let period = (grace / 4).clamp(PERIODS.0, PERIODS.1).min(grace);
    // The grace begins now, and anew whenever another process consumes the queue.
    let mut last_used = Instant::now();
    loop {
        tokio::time::sleep(period).await;
        let Some(connection) = context.pool.any_open() else {
            continue;
        };
        if may_be_used(names, &connection).await {
            last_used = Instant::now();
        } else if last_used.elapsed() >= grace {
            let delete = delete_queues(names, &connection.connection);
            match connection.run_within(TIMEOUT, delete).await {
                Ok(()) => return,
                Err(error) => tracing::debug!(error, "Queue not deleted yet, trying again"),
            }
        }
    }
}

/// True if somebody consumes the queue, or may do so: a queue that does not answer may have
/// consumers.
async fn may_be_used(names: &RabbitmqQueueNames, connection: &OpenAmqpConnection) -> bool {
    let look = inspect_queue(&connection.connection, &names.queue);
    match connection.run_within(TIMEOUT, look).await {
        Ok(counts) => counts.is_some_and(|counts| counts.consumers > 0),
        Err(error) => {
            tracing::debug!(
                queue = names.queue,
                error,
                "A queue of a subscription that is gone does not answer"
            );
            true
        }
    }
}
