//! Metrics that only channels on disk have: what their logs take, and what the disk does.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::directory::DirectoryKeeper;
use super::log_access::LogAccess;
use crate::model::ChannelKey;
use crate::telemetry::backend_metrics::BackendMetrics;
use crate::telemetry::counter::Counter;
use crate::telemetry::data_point::{MetricLabel, MetricValue, float};
use crate::telemetry::metric_family::MetricFamily;

/// Counters and gauges about the disk.
pub(super) struct DiskMetrics {
    /// Requests that were refused, since there was no room on the disk.
    pub(super) refused_full: Counter,
    directory: Arc<DirectoryKeeper>,
    logs: Mutex<Vec<Weak<LogAccess>>>,
}

impl std::fmt::Debug for DiskMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiskMetrics").finish_non_exhaustive()
    }
}

/// Sums over all logs.
#[derive(Default)]
struct DiskTotals {
    syncs: u64,
    written: u64,
    busy: Duration,
    is_failing: bool,
}

impl DiskMetrics {
    pub(super) fn new(directory: Arc<DirectoryKeeper>) -> Self {
        Self {
            refused_full: Counter::default(),
            directory,
            logs: Mutex::default(),
        }
    }

    fn logs(&self) -> MutexGuard<'_, Vec<Weak<LogAccess>>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a log, which is counted as long as it is there.
    pub(super) fn add_log(&self, log: &Arc<LogAccess>) {
        self.logs().push(Arc::downgrade(log));
    }

    fn live_logs(&self) -> Vec<Arc<LogAccess>> {
        self.logs().iter().filter_map(Weak::upgrade).collect()
    }

    fn totals(&self) -> DiskTotals {
        let mut totals = DiskTotals {
            is_failing: self.directory.failure().is_some(),
            ..DiskTotals::default()
        };
        for log in self.live_logs() {
            totals.is_failing |= log.disk_failure().is_some();
            if let Some(log) = log.open_log() {
                let statistics = log.statistics();
                totals.syncs += statistics.frames;
                totals.written += statistics.bytes;
                totals.busy += statistics.busy;
            }
        }
        totals
    }

    /// Family of the bytes that the log of each channel takes.
    fn channel_bytes(&self) -> MetricFamily<'static> {
        let mut family = MetricFamily::new(
            "sealpost_disk_channel_bytes",
            "Bytes that the log of a channel takes",
        );
        for log in self.live_logs() {
            if let Some(open) = log.open_log() {
                let bytes = MetricValue::Gauge(float(open.usage().bytes));
                family.push_point(&channel_labels(&log.channel), bytes);
            }
        }
        family
    }
}

fn channel_labels(channel: &ChannelKey) -> [MetricLabel<'static>; 3] {
    [
        ("channel_kind", channel.kind.as_str().into()),
        ("channel_namespace", channel.namespace.clone().into()),
        ("channel_name", channel.name.clone().into()),
    ]
}

impl BackendMetrics for DiskMetrics {
    fn collect_counters(&self) -> Vec<MetricFamily<'static>> {
        let totals = self.totals();
        let sum = |name, help, value| {
            MetricFamily::new(name, help).with_point(&[], MetricValue::Sum(value))
        };
        vec![
            sum(
                "sealpost_disk_syncs",
                "Frames written to logs, each with one sync",
                totals.syncs,
            ),
            MetricFamily::new(
                "sealpost_disk_commit_seconds",
                "Time that these writes and syncs took",
            )
            .with_point(&[], MetricValue::SumOfSeconds(totals.busy.as_secs_f64())),
            sum(
                "sealpost_disk_written_bytes",
                "Bytes of these frames",
                totals.written,
            ),
            sum(
                "sealpost_disk_refused_full",
                "Requests refused for want of room on the disk",
                self.refused_full.get(),
            ),
        ]
    }

    /// Gauges are exposed only while the directory is in use, or cannot be opened.
    fn collect_gauges(&self) -> Vec<MetricFamily<'static>> {
        let up = MetricFamily::new("sealpost_disk_up", "Whether the disk can be written to");
        let Some(usage) = self.directory.usage() else {
            return match self.directory.failure() {
                Some(_) => vec![up.with_point(&[], MetricValue::of_gauge(0))],
                None => Vec::new(),
            };
        };
        let is_up = i64::from(!self.totals().is_failing);
        let gauge = |name, help, value| {
            MetricFamily::new(name, help).with_point(&[], MetricValue::Gauge(float(value)))
        };
        vec![
            up.with_point(&[], MetricValue::of_gauge(is_up)),
            gauge(
                "sealpost_disk_bytes",
                "Bytes that all logs take",
                usage.used,
            ),
            gauge(
                "sealpost_disk_bytes_limit",
                "Bytes that all logs may take",
                usage.limit,
            ),
            self.channel_bytes(),
        ]
    }
}
