//! The metrics that a backend of channels keeps itself, beside those that all backends share.

use std::fmt;

use super::metric_family::MetricFamily;

/// The metrics of one backend. They are collected whenever somebody asks for metrics.
pub(crate) trait BackendMetrics: fmt::Debug + Send + Sync {
    /// Makes the metric families of its counters.
    fn collect_counters(&self) -> Vec<MetricFamily<'static>>;

    /// Makes the metric families of its gauges.
    fn collect_gauges(&self) -> Vec<MetricFamily<'static>>;
}
