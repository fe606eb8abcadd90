//! Labels of the data points of series.

use crate::telemetry::data_point::MetricLabel;
use crate::telemetry::series::series_key::SeriesKey;

/// A label that the snapshot owns.
pub(super) type OwnedLabel = MetricLabel<'static>;

/// Returns the labels of an object; the first parameter has the names of kind, namespace and name.
pub(super) fn object_labels(
    [kind, namespace, name]: [&'static str; 3],
    of: &SeriesKey,
) -> [OwnedLabel; 3] {
    [
        (kind, of.kind.into()),
        (namespace, of.namespace.to_string().into()),
        (name, of.name.to_string().into()),
    ]
}

/// Returns upstream's labels, without what senders write (contract OB-8).
pub(super) fn messaging_labels(destination: &str) -> [OwnedLabel; 3] {
    [
        ("messaging.system", "knative".into()),
        ("messaging.operation.name", "send".into()),
        ("messaging.destination.name", destination.to_owned().into()),
    ]
}
