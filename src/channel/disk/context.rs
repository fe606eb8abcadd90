//! What all parts of the backend share.

use std::sync::Arc;

use super::directory::DirectoryKeeper;
use super::metrics::DiskMetrics;
use super::options::DiskBackendOptions;
use crate::telemetry::counters::ProcessCounters;

/// What all parts of the backend share.
pub(super) struct DiskContext {
    pub(super) options: DiskBackendOptions,
    pub(super) directory: DirectoryKeeper,
    pub(super) counters: Arc<ProcessCounters>,
    pub(super) metrics: Arc<DiskMetrics>,
}

impl DiskContext {
    pub(super) fn new(
        options: DiskBackendOptions,
        counters: Arc<ProcessCounters>,
        metrics: Arc<DiskMetrics>,
    ) -> Self {
        let directory = DirectoryKeeper::new(options.directory.clone(), options.max_bytes);
        Self {
            options,
            directory,
            counters,
            metrics,
        }
    }
}
