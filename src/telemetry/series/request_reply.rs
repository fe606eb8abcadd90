//! The series of a RequestReply.

use super::outcome::{ByRequestReplyOutcome, RequestReplyOutcome};
use super::series_key::SeriesKey;
use crate::telemetry::counter::Counter;
use crate::telemetry::gauge::Gauge;

/// The series of a RequestReply.
#[derive(Debug, Default)]
pub(crate) struct RequestReplySeries {
    pub(super) name: SeriesKey,
    pub(super) ends: ByRequestReplyOutcome<Counter>,
    /// Requests that wait for their reply now.
    pub waiting: Gauge,
    /// Genuine replies for which no request waited, or none any more.
    pub late_replies: Counter,
}

impl RequestReplySeries {
    /// Makes series that are not registered, and so not exposed.
    #[must_use]
    pub(crate) fn new(name: SeriesKey) -> Self {
        Self {
            name,
            ..Self::default()
        }
    }

    /// Counts the end of a request.
    pub(crate) fn count_end(&self, end: RequestReplyOutcome) {
        self.ends.get(end).increment();
    }
}
