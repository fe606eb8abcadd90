//! One budget of bytes for all logs of a directory.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that the files of all logs may take, and those that they take.
#[derive(Debug)]
pub struct DiskBudget {
    limit: u64,
    used: AtomicU64,
}

impl DiskBudget {
    /// Makes a budget of which nothing is used.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self {
            limit,
            used: AtomicU64::new(0),
        }
    }

    /// Bytes that the files of all logs may take.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes that the files of all logs take, whether they hold events or are kept ready.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes bytes if they are left.
    pub(crate) fn reserve(&self, bytes: u64) -> bool {
        let take = |used: u64| {
            let after = used.checked_add(bytes)?;
            (after <= self.limit).then_some(after)
        };
        let taken = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.is_ok()
    }

    /// Counts bytes that are there whatever the limit says.
    pub(crate) fn count(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Gives bytes back.
    pub(crate) fn release(&self, bytes: u64) {
        let give = |used: u64| Some(used.saturating_sub(bytes));
        // The closure gives a value always, so that the update cannot fail.
        let _previous = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, give);
    }
}
