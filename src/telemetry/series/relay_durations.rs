//! How long the roles `ingress` and `filter` take for the events of one Broker or Trigger.

use crate::telemetry::histogram::{DurationHistogram, HistogramsByStatus};

/// By the scheme that events came by.
#[derive(Debug, Default)]
pub struct RelayDurations {
    /// HTTP.
    pub http: SchemeDurations,
    /// HTTPS.
    pub https: SchemeDurations,
}

/// Of one scheme.
#[derive(Debug, Default)]
pub struct SchemeDurations {
    /// From the request to the answer (contract OB-6).
    pub dispatched: HistogramsByStatus,
    /// From the arrival of an event to just before that (contract OB-7).
    pub processed: DurationHistogram,
}
