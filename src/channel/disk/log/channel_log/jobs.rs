//! Background work of a log, which has to end before the log is closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Number of jobs that are under way or about to be.
#[derive(Debug, Default)]
pub(crate) struct JobCount {
    active: AtomicUsize,
    idle: Notify,
}

/// Counts a job for as long as it lives.
#[derive(Debug)]
pub(crate) struct JobGuard(Arc<JobCount>);

impl JobCount {
    pub(crate) fn begin(self: &Arc<Self>) -> JobGuard {
        self.active.fetch_add(1, Ordering::SeqCst);
        JobGuard(Arc::clone(self))
    }

    /// Returns when there is no job.
    pub(crate) async fn until_idle(&self) {
        loop {
            let mut idle = std::pin::pin!(self.idle.notified());
            idle.as_mut().enable();
            if self.active.load(Ordering::SeqCst) == 0 {
                return;
            }
            idle.await;
        }
    }
}

impl Drop for JobGuard {
    fn drop(&mut self) {
        if self.0.active.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}
