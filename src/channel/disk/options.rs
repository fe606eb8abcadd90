//! Settings of the backend.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::budget::MemoryBudget;

/// Settings of the disk backend.
#[derive(Clone, Debug)]
pub struct DiskBackendOptions {
    /// Directory of the logs, which this process alone uses.
    pub directory: PathBuf,
    /// Bytes that all logs may take; `None` allows nine tenths of what is free when the directory
    /// is opened, besides what they take already.
    pub max_bytes: Option<u64>,
    /// Limit of the bytes that events hold in memory.
    pub budget: Arc<MemoryBudget>,
    /// Time for which the queue of a subscription that is no longer configured is kept; `None`
    /// keeps it for ever.
    pub delete_after: Option<Duration>,
}
