//! What becomes of the queue of a subscription that is gone: it gets no more events, and is deleted after a grace, if
//! that is wanted.

use std::sync::Arc;
use std::time::Duration;

use super::{Queue, Shared, topology};

/// The wait before something is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Deletes the queue after so long, if that is wanted. Dropping the future before leaves it as it is.
pub(super) async fn bid(queue: Arc<Queue>, shared: Arc<Shared>) {
    let (place, delete_after) = (&queue.place, shared.options.delete_after);
    tracing::warn!(
        queue = place.queue,
        ?delete_after,
        "Subscription is gone: its queue gets no more events, and keeps those it has"
    );
    let Some(delay) = delete_after else { return };
    tokio::time::sleep(delay).await;
    loop {
        if let Some(connection) = shared.pool.any() {
            match connection.run(topology::delete(place, &connection.connection)).await {
                Ok(()) => return,
                Err(error) => tracing::debug!(error, "Queue not deleted yet, trying again"),
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}
