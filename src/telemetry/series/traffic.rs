//! What is counted of connections, requests that come, and requests that leave.

use std::time::Duration;

use super::{Counter, Gauge};
use crate::telemetry::histogram::{ByStatus, Histogram, Sizes};

/// Requests that were answered in one way (contract OB-9).
#[derive(Debug, Default)]
pub struct Exchange {
    /// How long they took.
    pub took: Histogram,
    /// The sizes of their bodies, as far as these were read or announced.
    pub request: Sizes,
    /// The sizes of the answers' bodies.
    pub response: Sizes,
}

impl Exchange {
    /// Counts one of them.
    pub fn record(&self, took: Duration, request: u64, response: Option<u64>) {
        self.took.record(took);
        self.request.record(request);
        response.inspect(|bytes| self.response.record(*bytes));
    }
}

/// Requests to destinations that were answered in one way (contract OB-9).
#[derive(Debug, Default)]
pub struct Sent {
    /// How long they took.
    pub took: Histogram,
    /// The sizes of their bodies.
    pub request: Sizes,
}

/// What is counted for a listener, or for all clients.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Connections accepted or made.
    pub accepted: Counter,
    /// Connections open.
    pub open: Gauge,
    /// TLS handshakes that succeeded.
    pub handshakes: Counter,
    /// TLS handshakes that failed.
    pub handshakes_failed: Counter,
    /// TLS handshakes that took too long.
    pub handshakes_late: Counter,
}

/// Requests by method.
#[derive(Debug, Default)]
pub struct ByMethod {
    /// By `POST`.
    pub post: ByStatus<Exchange>,
    /// By any other.
    pub other: ByStatus<Exchange>,
}

/// The requests of senders.
#[derive(Debug, Default)]
pub struct Requests {
    /// Over HTTP.
    pub http: ByMethod,
    /// Over HTTPS.
    pub https: ByMethod,
}
