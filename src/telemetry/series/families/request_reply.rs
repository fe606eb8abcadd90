//! The families of the series of RequestReplies.

use std::sync::Arc;

use super::labels::OwnedLabel;
use crate::telemetry::data_point::MetricValue;
use crate::telemetry::metric_family::MetricFamily;
use crate::telemetry::series::request_reply::RequestReplySeries;

/// Makes the metric families of all RequestReplies.
pub(super) fn request_reply_families(
    replies: &[Arc<RequestReplySeries>],
) -> [MetricFamily<'static>; 3] {
    let mut ends = MetricFamily::new(
        "sealpost_request_reply_requests",
        "Requests to a RequestReply by how they ended",
    );
    let mut waiting = MetricFamily::new(
        "sealpost_request_reply_waiting",
        "Requests that wait for their reply now",
    );
    let mut late = MetricFamily::new(
        "sealpost_request_reply_late_replies",
        "Genuine replies that nobody waited for",
    );
    for series in replies {
        let labels = request_reply_labels(series);
        for (result, counter) in series.ends.labelled() {
            let labels = [&labels[..], &[("result", result.into())]].concat();
            ends.push_point(&labels, MetricValue::Sum(counter.get()));
        }
        waiting.push_point(&labels, MetricValue::of_gauge(series.waiting.get()));
        late.push_point(&labels, MetricValue::Sum(series.late_replies.get()));
    }
    [ends, waiting, late]
}

fn request_reply_labels(series: &RequestReplySeries) -> [OwnedLabel; 2] {
    [
        (
            "request_reply_namespace",
            series.name.namespace.to_string().into(),
        ),
        ("request_reply_name", series.name.name.to_string().into()),
    ]
}
