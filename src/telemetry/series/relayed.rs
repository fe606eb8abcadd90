//! How long the roles `ingress` and `filter` take for the events of one Broker or Trigger.

use crate::telemetry::histogram::{ByStatus, Histogram};

/// By the scheme that events came by.
#[derive(Debug, Default)]
pub struct Relayed {
    /// HTTP.
    pub http: OfScheme,
    /// HTTPS.
    pub https: OfScheme,
}

/// Of one scheme.
#[derive(Debug, Default)]
pub struct OfScheme {
    /// From the request to the answer (contract OB-6).
    pub dispatched: ByStatus,
    /// From the arrival of an event to just before that (contract OB-7).
    pub processed: Histogram,
}
