//! What becomes of the queue of a subscription that is gone: it is unbound at once, and deleted after a grace, if that is
//! wanted.

use std::sync::Arc;
use std::time::Duration;

use lapin::Connection;

use super::connection::Seat;
use super::{Queue, topology};

/// The wait before something is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Takes the queue off its exchange, and deletes it after so long, if that is wanted. Dropping the future before leaves
/// it as it is.
pub(super) async fn bid(queue: Arc<Queue>, seat: Seat, delete_after: Option<Duration>) {
    let place = &queue.place;
    until_done(&seat, |connection| async move { place.unbind(&connection).await }).await;
    tracing::warn!(
        queue = place.queue,
        ?delete_after,
        "Subscription is gone: its queue gets no more events, and keeps those it has"
    );
    let Some(delay) = delete_after else { return };
    tokio::time::sleep(delay).await;
    until_done(&seat, |connection| async move { topology::delete(place, &connection).await }).await;
}

/// Does it, over as many connections as it takes.
async fn until_done<F: Future<Output = lapin::Result<()>>>(seat: &Seat, act: impl Fn(Arc<Connection>) -> F) {
    let mut connections = seat.current.clone();
    while let Ok(connection) = connections.wait_for(Option::is_some).await.map(|current| current.clone()) {
        let Some(connection) = connection else { continue };
        match act(connection).await {
            Ok(()) => return,
            Err(error) => tracing::debug!(%error, "No farewell yet, trying again"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}
