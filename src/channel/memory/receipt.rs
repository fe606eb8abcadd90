//! How the deliveries of one request ended, for the sender that waits for all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use crate::channel::PublishError;

/// Counts down the deliveries of one request.
#[derive(Debug)]
pub(super) struct Receipt {
    total: usize,
    open: AtomicUsize,
    failed: AtomicUsize,
    done: Notify,
}

impl Receipt {
    /// A receipt for `total` deliveries, at least one.
    pub(super) fn new(total: usize) -> Arc<Self> {
        Arc::new(Self { total, open: AtomicUsize::new(total), failed: AtomicUsize::new(0), done: Notify::new() })
    }

    /// One delivery ended without a home.
    pub(super) fn fail(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.end();
    }

    /// One delivery ended.
    pub(super) fn end(&self) {
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.done.notify_one();
        }
    }

    /// Waits until all have ended. For one waiter.
    pub(super) async fn wait(&self) -> Result<(), PublishError> {
        while self.open.load(Ordering::Acquire) > 0 {
            self.done.notified().await;
        }
        match self.failed.load(Ordering::Relaxed) {
            0 => Ok(()),
            failed => Err(PublishError::Undelivered { failed, total: self.total }),
        }
    }
}
