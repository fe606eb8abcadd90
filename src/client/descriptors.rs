//! Connections to destinations that may be open at once, since each is a descriptor and a process has so many. Who wants one
//! when there is none left waits for it, and idle ones are closed meanwhile.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// How often idle connections are asked for by one that waits.
const ASK: Duration = Duration::from_millis(50);

/// What is left of them. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Descriptors {
    free: Arc<Semaphore>,
    wanted: Arc<Notify>,
}

impl Descriptors {
    /// So many.
    pub(super) fn new(count: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(count.clamp(1, Semaphore::MAX_PERMITS))), wanted: Arc::default() }
    }

    /// One, when there is one. `None` never comes.
    pub(super) async fn take(&self) -> Option<OwnedSemaphorePermit> {
        loop {
            let free = Arc::clone(&self.free);
            match tokio::time::timeout(ASK, free.acquire_owned()).await {
                Ok(permit) => return permit.ok(),
                Err(_elapsed) => self.wanted.notify_one(),
            }
        }
    }

    /// Returns when somebody waits for one.
    pub(super) async fn wanted(&self) {
        self.wanted.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_waits_asks_for_idle_ones() {
        let descriptors = Descriptors::new(1);
        let mut idle = descriptors.take().await;
        let taking = descriptors.take();
        let closing = async {
            descriptors.wanted().await;
            idle.take();
        };
        let (taken, ()) = tokio::join!(taking, closing);
        assert!(taken.is_some());
    }
}
