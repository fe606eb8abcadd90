//! Adds data points of several counters or histograms to a family.

use super::labels::OwnedLabel;
use crate::telemetry::counter::Counter;
use crate::telemetry::data_point::{DataPoint, MetricValue};
use crate::telemetry::histogram::HistogramsByStatus;
use crate::telemetry::metric_family::MetricFamily;

/// Adds a data point for each status that was seen.
pub(super) fn push_by_status<H: Default>(
    family: &mut MetricFamily<'static>,
    labels: &[OwnedLabel],
    by_status: &HistogramsByStatus<H>,
    read: impl Fn(&H) -> MetricValue,
) {
    for (status, histogram) in by_status.histograms() {
        let mut labels = labels.to_vec();
        labels.push(("http.response.status_code", status.into()));
        family.data_points.push(DataPoint {
            labels,
            value: read(histogram),
        });
    }
}

pub(super) fn push_durations(
    family: &mut MetricFamily<'static>,
    labels: &[OwnedLabel],
    by_status: &HistogramsByStatus,
) {
    push_by_status(family, labels, by_status, |histogram| {
        MetricValue::DurationHistogram(histogram.collect())
    });
}

/// Adds the counters that were used, each with one label more, whose values come with the counters.
pub(super) fn push_used<'c>(
    family: &mut MetricFamily<'static>,
    labels: &[OwnedLabel],
    label: &'static str,
    counters: impl IntoIterator<Item = (&'static str, &'c Counter)>,
) {
    let used = counters
        .into_iter()
        .filter(|(_, counter)| counter.get() > 0);
    for (value, counter) in used {
        family.data_points.push(DataPoint {
            labels: [labels, &[(label, value.into())]].concat(),
            value: MetricValue::Sum(counter.get()),
        });
    }
}
