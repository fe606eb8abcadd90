//! The durations of the roles `ingress` and `filter` for the events of one Broker or Trigger.

use crate::telemetry::histogram::{DurationHistogram, HistogramsByStatus};

/// The durations by the scheme that events came by.
#[derive(Debug, Default)]
pub(crate) struct RelayDurations {
    /// Events that came by http.
    pub http: SchemeDurations,
    /// Events that came by https.
    pub https: SchemeDurations,
}

/// The durations of events that came by one scheme.
#[derive(Debug, Default)]
pub(crate) struct SchemeDurations {
    /// From the request to the response, by status (contract OB-6).
    pub dispatched: HistogramsByStatus,
    /// From the arrival of an event to just before it is sent (contract OB-7).
    pub processed: DurationHistogram,
}
