//! What all parts of the backend share.

use std::sync::Arc;

use super::directory::DirectoryKeeper;
use super::metrics::DiskMetrics;
use super::options::DiskBackendOptions;
use crate::telemetry::counters::ProcessCounters;

/// What all parts of the backend share.
pub(super) struct DiskContext {
    pub(super) options: DiskBackendOptions,
    pub(super) directory: Arc<DirectoryKeeper>,
    pub(super) counters: Arc<ProcessCounters>,
    pub(super) metrics: Arc<DiskMetrics>,
}

impl DiskContext {
    /// Makes the context of a backend, whose metrics are exposed beside `counters`.
    pub(super) fn new(options: DiskBackendOptions, counters: Arc<ProcessCounters>) -> Self {
        let directory = DirectoryKeeper::new(options.directory.clone(), options.max_bytes);
        let directory = Arc::new(directory);
        let metrics = Arc::new(DiskMetrics::new(Arc::clone(&directory)));
        counters.add_backend_metrics(Arc::clone(&metrics) as _);
        Self {
            options,
            directory,
            counters,
            metrics,
        }
    }
}
