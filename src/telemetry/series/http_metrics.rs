//! The series of connections, of requests that are received, and of requests that are sent.

use std::time::Duration;

use opentelemetry::trace::SpanContext;

use crate::telemetry::counter::Counter;
use crate::telemetry::gauge::Gauge;
use crate::telemetry::histogram::{DurationHistogram, HistogramsByStatus, SizeHistogram};

/// Histograms of received requests that ended in one status (contract OB-9).
#[derive(Debug, Default)]
pub struct ServerRequestHistograms {
    /// Durations from the request to its response.
    pub duration: DurationHistogram,
    /// Sizes of request bodies in bytes, as far as they were read or announced.
    pub request_body_size: SizeHistogram,
    /// Sizes of response bodies in bytes.
    pub response_body_size: SizeHistogram,
}

impl ServerRequestHistograms {
    /// Records one request: its duration, and the sizes of its bodies in bytes.
    pub(crate) fn record(
        &self,
        took: Duration,
        request: u64,
        response: Option<u64>,
        span: Option<&SpanContext>,
    ) {
        self.duration.record(took, span);
        self.request_body_size.record(request);
        response.inspect(|bytes| self.response_body_size.record(*bytes));
    }
}

/// Histograms of requests to destinations that ended in one status (contract OB-9).
#[derive(Debug, Default)]
pub struct ClientRequestHistograms {
    /// Durations from the request to its response, one for each attempt.
    pub duration: DurationHistogram,
    /// Sizes of request bodies in bytes.
    pub request_body_size: SizeHistogram,
}

/// The series of the connections of a listener, or of all clients.
#[derive(Debug, Default)]
pub struct ConnectionMetrics {
    /// Connections that were accepted or opened.
    pub opened: Counter,
    /// Connections that are open now.
    pub open: Gauge,
    /// Connections that may be open at once; 0 if there is no limit.
    pub limit: Gauge,
    /// TLS handshakes that succeeded.
    pub handshakes: Counter,
    /// TLS handshakes that failed.
    pub handshakes_failed: Counter,
    /// TLS handshakes that took too long.
    pub handshakes_timed_out: Counter,
    /// Lookups of host names that failed; none of a listener.
    pub lookups_failed: Counter,
}

impl ConnectionMetrics {
    /// Sets how many connections may be open at once.
    pub(crate) fn set_limit(&self, limit: usize) {
        self.limit.set(i64::try_from(limit).unwrap_or(0));
    }
}

/// Histograms of received requests by method, then by status.
#[derive(Debug, Default)]
pub struct RequestsByMethod {
    /// Requests by `POST`, the method of events.
    pub post: HistogramsByStatus<ServerRequestHistograms>,
    /// Requests by any other method.
    pub other: HistogramsByStatus<ServerRequestHistograms>,
}

/// Histograms of received requests by scheme.
#[derive(Debug, Default)]
pub struct RequestsByScheme {
    /// Requests that came by http.
    pub http: RequestsByMethod,
    /// Requests that came by https.
    pub https: RequestsByMethod,
}
