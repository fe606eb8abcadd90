//! The series of RequestReplies.

use std::sync::Arc;

use super::{
    Counter, Gauge, SeriesKey, SeriesRegistry, WeakSeriesMap, find_or_register, live_series,
};
use crate::telemetry::metric_family::{MetricFamily, MetricLabel, MetricValue};

/// The ways in which a request to a RequestReply can end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestReplyOutcome {
    /// The request got its reply.
    Replied,
    /// No reply came in time.
    TimedOut,
    /// The request was refused at once, since too many wait.
    Full,
    /// The request ended unfinished, since the process stops or the RequestReply is gone.
    Ended,
    /// The Broker did not take the event, or could not deliver it.
    Refused,
}

/// The label values of [`RequestReplyOutcome`], in the order of its variants.
const OUTCOMES: [&str; 5] = ["replied", "timed_out", "full", "ended", "refused"];

/// The series of all RequestReplies of a process, by name.
pub(super) type RequestReplySeriesMap = WeakSeriesMap<RequestReplySeries>;

/// The series of a RequestReply.
#[derive(Debug, Default)]
pub struct RequestReplySeries {
    name: SeriesKey,
    ends: [Counter; OUTCOMES.len()],
    /// Requests that wait for their reply now.
    pub waiting: Gauge,
    /// Genuine replies for which no request waited, or none any more.
    pub late_replies: Counter,
}

impl RequestReplySeries {
    /// Counts the end of a request.
    pub fn count_end(&self, end: RequestReplyOutcome) {
        if let Some(counter) = self.ends.get(end as usize) {
            counter.increment();
        }
    }
}

impl SeriesRegistry {
    /// Returns the series of a RequestReply, which live as long as somebody holds them.
    pub fn request_reply(&self, name: &SeriesKey) -> Arc<RequestReplySeries> {
        find_or_register(&self.request_replies, name, |name| RequestReplySeries {
            name,
            ..RequestReplySeries::default()
        })
    }
}

/// Makes the metric families of all RequestReplies.
pub(super) fn request_reply_families(
    replies: &RequestReplySeriesMap,
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
    for series in live_series(replies) {
        let SeriesKey {
            namespace, name, ..
        } = &series.name;
        let labels: [MetricLabel<'static>; 2] = [
            (
                "request_reply_namespace",
                namespace.clone().into_string().into(),
            ),
            ("request_reply_name", name.clone().into_string().into()),
        ];
        for (end, counter) in OUTCOMES.iter().zip(&series.ends) {
            let [namespace, name] = labels.clone();
            ends.push_point(
                &[namespace, name, ("result", (*end).into())],
                MetricValue::Sum(counter.get()),
            );
        }
        waiting.push_point(
            &labels,
            MetricValue::Gauge(super::families::gauge_value(series.waiting.get())),
        );
        late.push_point(&labels, MetricValue::Sum(series.late_replies.get()));
    }
    [ends, waiting, late]
}
