//! How the deliveries of one request ended, for the sender that waits for all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use crate::channel::PublishError;

/// Counts down the deliveries of one request.
#[derive(Debug)]
pub(super) struct DeliveryCountdown {
    total: usize,
    unfinished: AtomicUsize,
    failed: AtomicUsize,
    done: Notify,
}

impl DeliveryCountdown {
    /// A receipt for `total` deliveries, at least one.
    pub(super) fn new(total: usize) -> Arc<Self> {
        Arc::new(Self { total, unfinished: AtomicUsize::new(total), failed: AtomicUsize::new(0), done: Notify::new() })
    }

    /// One delivery ended without a home.
    pub(super) fn count_failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.count_ended();
    }

    /// One delivery ended.
    pub(super) fn count_ended(&self) {
        if self.unfinished.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.done.notify_one();
        }
    }

    /// Waits until all have ended. For one waiter.
    pub(super) async fn wait(&self) -> Result<(), PublishError> {
        while self.unfinished.load(Ordering::Acquire) > 0 {
            self.done.notified().await;
        }
        match self.failed.load(Ordering::Relaxed) {
            0 => Ok(()),
            failed => Err(PublishError::Undelivered { failed, total: self.total }),
        }
    }
}
