//! Metrics that only channels on disk have: what they hold, and what the disk does.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::kept_log::KeptLog;
use crate::telemetry::backend_metrics::BackendMetrics;
use crate::telemetry::counter::{Counter, CounterDescription};
use crate::telemetry::metric_family::MetricFamily;

/// Counters and gauges about the disk. They are exposed as 0 if no channel is on disk.
#[derive(Debug, Default)]
pub struct DiskMetrics {
    /// Requests that were refused, since there was no room on the disk.
    pub(crate) refused_full: Counter,
    logs: Mutex<LogList>,
}

/// The logs that are counted.
#[derive(Default)]
struct LogList(Vec<Weak<KeptLog>>);

impl std::fmt::Debug for LogList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} logs", self.0.len())
    }
}

/// Counters of [`DiskMetrics`]: the name and the help text of each, as they are exposed.
const COUNTERS: &[CounterDescription<DiskMetrics>] = &[CounterDescription {
    name: "sealpost_disk_refused_full",
    help: "Requests refused since the disk had no room",
    counter: |counters| &counters.refused_full,
}];

impl DiskMetrics {
    fn logs(&self) -> MutexGuard<'_, LogList> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a log, which is counted as long as it is there.
    pub(super) fn add_log(&self, log: &Arc<KeptLog>) {
        let mut logs = self.logs();
        logs.0.retain(|log| log.strong_count() > 0);
        logs.0.push(Arc::downgrade(log));
    }
}

impl BackendMetrics for DiskMetrics {
    fn collect_counters(&self) -> Vec<MetricFamily<'static>> {
        COUNTERS
            .iter()
            .map(|counter| counter.collect(self))
            .collect()
    }

    fn collect_gauges(&self) -> Vec<MetricFamily<'static>> {
        Vec::new()
    }
}
