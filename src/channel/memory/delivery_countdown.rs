//! Countdown of the deliveries of one request, for the sender that waits until all of them have
//! ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use crate::channel::PublishError;

/// Counts down the deliveries of one request, and how many of them failed.
#[derive(Debug)]
pub(super) struct DeliveryCountdown {
    total: usize,
    unfinished: AtomicUsize,
    failed: AtomicUsize,
    done: Notify,
}

impl DeliveryCountdown {
    /// Makes a countdown of `total` deliveries, which must be one at least.
    pub(super) fn new(total: usize) -> Arc<Self> {
        Arc::new(Self {
            total,
            unfinished: AtomicUsize::new(total),
            failed: AtomicUsize::new(0),
            done: Notify::new(),
        })
    }

    /// Counts one delivery that has ended as lost or abandoned.
    pub(super) fn count_failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.count_ended();
    }

    /// Counts one delivery that has ended.
    pub(super) fn count_ended(&self) {
        if self.unfinished.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.done.notify_one();
        }
    }

    /// Waits until all deliveries have ended. For one waiter only.
    ///
    /// # Errors
    /// If some of the deliveries failed.
    pub(super) async fn wait(&self) -> Result<(), PublishError> {
        while self.unfinished.load(Ordering::Acquire) > 0 {
            self.done.notified().await;
        }
        match self.failed.load(Ordering::Relaxed) {
            0 => Ok(()),
            failed => Err(PublishError::Undelivered {
                failed,
                total: self.total,
            }),
        }
    }
}
