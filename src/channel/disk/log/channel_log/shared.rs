//! The core of a log, which is replaced when the log is opened anew where it is.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use super::{CommitStatistics, LogCore};

/// The core of a log as it was opened last.
pub(crate) struct SharedCore {
    core: ArcSwap<LogCore>,
    /// What the cores before it have written.
    earlier: Mutex<CommitStatistics>,
    /// Notified when the log has been opened anew.
    pub(crate) reopened: Notify,
}

impl SharedCore {
    pub(crate) fn new(core: Arc<LogCore>) -> Self {
        Self {
            core: ArcSwap::new(core),
            earlier: Mutex::default(),
            reopened: Notify::new(),
        }
    }

    pub(crate) fn core(&self) -> Arc<LogCore> {
        self.core.load_full()
    }

    /// Goes on with another core.
    pub(crate) fn replace(&self, core: Arc<LogCore>) {
        let mut earlier = self.earlier.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.core.swap(core);
        *earlier = earlier.plus(before.statistics.read());
        drop(earlier);
        self.reopened.notify_waiters();
    }

    /// What all cores have written.
    pub(crate) fn statistics(&self) -> CommitStatistics {
        let earlier = self.earlier.lock().unwrap_or_else(PoisonError::into_inner);
        earlier.plus(self.core().statistics.read())
    }
}
