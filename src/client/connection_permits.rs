//! Connections to destinations that may be open at once, since each is a descriptor and a process has so many. Who wants one
//! when there is none left waits for it, and idle ones are closed meanwhile.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// How often idle connections are asked for by one that waits.
const ASK: Duration = Duration::from_millis(50);

/// What is left of them. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct ConnectionPermits {
    free: Arc<Semaphore>,
    demand: Arc<Notify>,
}

impl ConnectionPermits {
    /// So many.
    pub(super) fn new(count: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(count.clamp(1, Semaphore::MAX_PERMITS))), demand: Arc::default() }
    }

    /// One, when there is one. `None` never comes.
    pub(super) async fn acquire(&self) -> Option<OwnedSemaphorePermit> {
        loop {
            let free = Arc::clone(&self.free);
            match tokio::time::timeout(ASK, free.acquire_owned()).await {
                Ok(permit) => return permit.ok(),
                Err(_elapsed) => self.demand.notify_one(),
            }
        }
    }

    /// Returns when somebody waits for one.
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
