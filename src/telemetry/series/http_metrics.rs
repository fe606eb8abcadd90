//! What is counted of connections, requests that come, and requests that leave.

use std::time::Duration;

use super::{Counter, Gauge};
use crate::telemetry::histogram::{DurationHistogram, HistogramsByStatus, SizeHistogram};

/// Requests that were answered in one way (contract OB-9).
#[derive(Debug, Default)]
pub struct ServerRequestHistograms {
    /// How long they took.
    pub duration: DurationHistogram,
    /// The sizes of their bodies, as far as these were read or announced.
    pub request_body_size: SizeHistogram,
    /// The sizes of the answers' bodies.
    pub response_body_size: SizeHistogram,
}

impl ServerRequestHistograms {
    /// Counts one of them.
    pub fn record(&self, took: Duration, request: u64, response: Option<u64>) {
        self.duration.record(took);
        self.request_body_size.record(request);
        response.inspect(|bytes| self.response_body_size.record(*bytes));
    }
}

/// Requests to destinations that were answered in one way (contract OB-9).
#[derive(Debug, Default)]
pub struct ClientRequestHistograms {
    /// How long they took.
    pub duration: DurationHistogram,
    /// The sizes of their bodies.
    pub request_body_size: SizeHistogram,
}

/// What is counted for a listener, or for all clients.
#[derive(Debug, Default)]
pub struct ConnectionMetrics {
    /// Connections accepted or made.
    pub opened: Counter,
    /// Connections open.
    pub open: Gauge,
    /// TLS handshakes that succeeded.
    pub handshakes: Counter,
    /// TLS handshakes that failed.
    pub handshakes_failed: Counter,
    /// TLS handshakes that took too long.
    pub handshakes_timed_out: Counter,
}

/// Requests by method.
#[derive(Debug, Default)]
pub struct RequestsByMethod {
    /// By `POST`.
    pub post: HistogramsByStatus<ServerRequestHistograms>,
    /// By any other.
    pub other: HistogramsByStatus<ServerRequestHistograms>,
}

/// The requests of senders.
#[derive(Debug, Default)]
pub struct RequestsByScheme {
    /// Over HTTP.
    pub http: RequestsByMethod,
    /// Over HTTPS.
    pub https: RequestsByMethod,
}
