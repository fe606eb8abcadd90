//! Data points of metrics: the values of time series at one moment, with their labels.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::exemplar::Exemplar;

/// The number of buckets that a histogram has at most.
pub(super) const MAX_BUCKETS: usize = 15;

/// The name of a label, as OpenTelemetry spells it, and its value.
pub(crate) type MetricLabel<'a> = (&'static str, Cow<'a, str>);

/// The value of a data point: a number or a histogram.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum MetricValue {
    /// A counter, which only grows.
    Sum(u64),
    /// A counter of seconds, which only grows.
    SumOfSeconds(f64),
    /// A gauge, which goes up and down.
    Gauge(f64),
    /// A histogram of durations in seconds.
    DurationHistogram(HistogramDataPoint),
    /// A histogram of sizes in bytes.
    SizeHistogram(HistogramDataPoint),
}

impl MetricValue {
    /// Makes the value of a gauge that is never below 0; every count of a lifetime fits.
    #[must_use]
    pub(crate) fn of_gauge(value: i64) -> Self {
        Self::Gauge(f64::from(i32::try_from(value.max(0)).unwrap_or(i32::MAX)))
    }
}

/// One time series with its value now.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DataPoint<'a> {
    /// The labels that tell it from the other series of its family.
    pub labels: Vec<MetricLabel<'a>>,
    /// The value, of the same kind as in the whole family.
    pub value: MetricValue,
}

/// A histogram as it was at one moment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HistogramDataPoint {
    /// The upper bounds of all buckets but the last.
    pub explicit_bounds: &'static [f64],
    bucket_counts: [u64; MAX_BUCKETS],
    /// The sum of all durations in seconds, or of all sizes in bytes.
    pub sum: f64,
    /// The exemplars, by bucket.
    pub exemplars: BTreeMap<usize, Exemplar>,
}

impl HistogramDataPoint {
    /// Makes a data point of these bounds, without exemplars. Counts of buckets beyond the bounds
    /// are ignored.
    pub(super) fn new(
        explicit_bounds: &'static [f64],
        bucket_counts: [u64; MAX_BUCKETS],
        sum: f64,
    ) -> Self {
        Self {
            explicit_bounds,
            bucket_counts,
            sum,
            exemplars: BTreeMap::new(),
        }
    }

    /// Returns the same data point with these exemplars.
    #[must_use]
    pub(super) fn with_exemplars(self, exemplars: BTreeMap<usize, Exemplar>) -> Self {
        Self { exemplars, ..self }
    }

    /// Returns the count of each bucket by itself, not cumulated; there is one more than there are
    /// bounds.
    pub(crate) fn bucket_counts(&self) -> impl Iterator<Item = u64> {
        self.bucket_counts
            .into_iter()
            .take(self.explicit_bounds.len() + 1)
    }

    /// Returns the number of values that were recorded.
    #[must_use]
    pub(crate) fn count(&self) -> u64 {
        self.bucket_counts.iter().sum()
    }
}

/// Converts a count into a float. This is exact for everything that is counted here: 2^53 is far
/// away.
#[expect(
    clippy::cast_precision_loss,
    reason = "a gauge in Prometheus is a float"
)]
#[must_use]
pub(crate) fn float(value: u64) -> f64 {
    value as f64
}
