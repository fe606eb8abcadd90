//! One budget of bytes for all logs of a directory, and what each of them has of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

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
    fn reserve(&self, bytes: u64) -> bool {
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
    fn count(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Gives bytes back.
    fn release(&self, bytes: u64) {
        let give = |used: u64| Some(used.saturating_sub(bytes));
        // The closure gives a value always, so that the update cannot fail.
        let _previous = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, give);
    }
}

/// What one log has of the budget, whether it is open or not.
#[derive(Debug)]
pub(crate) struct LogAccount {
    budget: Arc<DiskBudget>,
    own: AtomicU64,
}

impl LogAccount {
    /// Bytes that all logs may have together.
    pub(crate) fn limit(&self) -> u64 {
        self.budget.limit()
    }

    /// Takes bytes if they are left.
    pub(crate) fn reserve(&self, bytes: u64) -> bool {
        let is_reserved = self.budget.reserve(bytes);
        if is_reserved {
            self.own.fetch_add(bytes, Ordering::Relaxed);
        }
        is_reserved
    }

    /// Counts bytes that are there whatever the limit says.
    pub(crate) fn count(&self, bytes: u64) {
        self.own.fetch_add(bytes, Ordering::Relaxed);
        self.budget.count(bytes);
    }

    /// Gives bytes back.
    pub(crate) fn release(&self, bytes: u64) {
        let take = |own: u64| Some(own.saturating_sub(bytes));
        // The closure gives a value always, so that the update cannot fail.
        let own = self
            .own
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        self.budget.release(bytes.min(own.unwrap_or_default()));
    }

    /// Counts what is there of a log that nobody has open, instead of what was counted before:
    /// operators may have moved it away, or put it back.
    pub(crate) fn set(&self, bytes: u64) {
        let before = self.own.swap(bytes, Ordering::Relaxed);
        self.budget.count(bytes.saturating_sub(before));
        self.budget.release(before.saturating_sub(bytes));
    }
}

/// The accounts of all logs of a directory.
#[derive(Debug)]
pub(crate) struct LogAccounts {
    pub(crate) budget: Arc<DiskBudget>,
    accounts: Mutex<BTreeMap<PathBuf, Arc<LogAccount>>>,
}

impl LogAccounts {
    pub(crate) fn new(budget: DiskBudget) -> Self {
        Self {
            budget: Arc::new(budget),
            accounts: Mutex::default(),
        }
    }

    /// The account of a log.
    pub(crate) fn of(&self, log: &Path) -> Arc<LogAccount> {
        let accounts = self.accounts.lock();
        let mut accounts = accounts.unwrap_or_else(PoisonError::into_inner);
        let account = accounts.entry(log.to_owned()).or_insert_with(|| {
            Arc::new(LogAccount {
                budget: Arc::clone(&self.budget),
                own: AtomicU64::new(0),
            })
        });
        Arc::clone(account)
    }
}
