//! Limits the connections to destinations that are open at once, since each takes a file descriptor
//! and a process has a limited number of them. A connection that gets no permit waits for one, and
//! idle connections are closed meanwhile.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Interval at which a waiting connection asks again for idle connections to be closed.
const ASK: Duration = Duration::from_millis(50);

/// The permits that are left. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct ConnectionPermits {
    free: Arc<Semaphore>,
    demand: Arc<Notify>,
}

impl ConnectionPermits {
    /// Makes `count` permits, at least one.
    pub(super) fn new(count: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(count.clamp(1, Semaphore::MAX_PERMITS))),
            demand: Arc::default(),
        }
    }

    /// Waits for a permit; every 50 ms it asks for idle connections to be closed. `None` never
    /// comes, since the semaphore is never closed.
    pub(super) async fn acquire(&self) -> Option<OwnedSemaphorePermit> {
        loop {
            let free = Arc::clone(&self.free);
            match tokio::time::timeout(ASK, free.acquire_owned()).await {
                Ok(permit) => return permit.ok(),
                Err(_elapsed) => self.demand.notify_one(),
            }
        }
    }

    /// Returns when a connection waits for a permit.
    pub(super) async fn wait_for_demand(&self) {
        self.demand.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_waits_asks_for_idle_ones() {
        let descriptors = ConnectionPermits::new(1);
        let mut idle = descriptors.acquire().await;
        let taking = descriptors.acquire();
        let closing = async {
            descriptors.wait_for_demand().await;
            idle.take();
        };
        let (taken, ()) = tokio::join!(taking, closing);
        assert!(taken.is_some());
    }
}
