//! What is counted for a RequestReply.

use std::sync::Arc;

use super::{Counter, Gauge, SeriesKey, SeriesRegistry, WeakSeriesMap, find_or_register, live_series};
use crate::telemetry::metric_family::{MetricFamily, MetricLabel, MetricValue};

/// How a request to a RequestReply ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestReplyOutcome {
    /// With the reply.
    Replied,
    /// Without one, in time.
    TimedOut,
    /// At once, since too many wait.
    Full,
    /// Unfinished, since the process stops, or the RequestReply is gone.
    Ended,
    /// The Broker did not take its event, or could not deliver it.
    Refused,
}

/// In the order of [`RequestReplyOutcome`].
const ENDS: [&str; 5] = ["replied", "timed_out", "full", "ended", "refused"];

/// The RequestReplies of a process.
pub(super) type RequestReplySeriesMap = WeakSeriesMap<RequestReplySeries>;

/// What is counted for a RequestReply.
#[derive(Debug, Default)]
pub struct RequestReplySeries {
    name: SeriesKey,
    ends: [Counter; ENDS.len()],
    /// Requests that wait now.
    pub waiting: Gauge,
    /// Genuine replies that nobody waited for, or not any more.
    pub late_replies: Counter,
}

impl RequestReplySeries {
    /// A request ended.
    pub fn count_end(&self, end: RequestReplyOutcome) {
        if let Some(counter) = self.ends.get(end as usize) {
            counter.increment();
        }
    }
}

impl SeriesRegistry {
    /// The series of a RequestReply, which live as long as somebody holds them.
    pub fn request_reply(&self, name: &SeriesKey) -> Arc<RequestReplySeries> {
        find_or_register(&self.request_replies, name, |name| RequestReplySeries {
            name,
            ..RequestReplySeries::default()
        })
    }
}

/// All of them.
pub(super) fn request_reply_families(replies: &RequestReplySeriesMap) -> [MetricFamily<'static>; 3] {
    let mut ends = MetricFamily::new("sealpost_request_reply_requests", "Requests to a RequestReply by how they ended");
    let mut waiting = MetricFamily::new("sealpost_request_reply_waiting", "Requests that wait for their reply now");
    let mut late = MetricFamily::new("sealpost_request_reply_late_replies", "Genuine replies that nobody waited for");
    for series in live_series(replies) {
        let SeriesKey { namespace, name, .. } = &series.name;
        let labels: [MetricLabel<'static>; 2] = [
            ("request_reply_namespace", namespace.clone().into_string().into()),
            ("request_reply_name", name.clone().into_string().into()),
        ];
        for (end, counter) in ENDS.iter().zip(&series.ends) {
            let [namespace, name] = labels.clone();
            ends.push_point(&[namespace, name, ("result", (*end).into())], MetricValue::Sum(counter.get()));
        }
        waiting.push_point(&labels, MetricValue::Gauge(super::families::gauge_value(series.waiting.get())));
        late.push_point(&labels, MetricValue::Sum(series.late_replies.get()));
    }
    [ends, waiting, late]
}
