//! Exemplars: of each bucket of a histogram of durations the newest duration of a recorded span,
//! with the ids of that span, so that a slow bucket leads to a trace (OpenMetrics 1.0, OTLP).

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanContext, SpanId, TraceId};

/// A duration that was measured in a recorded span.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Exemplar {
    /// The trace of the span.
    pub trace_id: TraceId,
    /// The span.
    pub span_id: SpanId,
    /// The duration in seconds.
    pub seconds: f64,
    /// When it was measured.
    pub time: SystemTime,
}

/// The exemplars of a histogram, by bucket. It takes a pointer until a span is recorded.
#[derive(Debug, Default)]
pub(super) struct ExemplarReservoir(OnceLock<Box<Mutex<BTreeMap<usize, Exemplar>>>>);

impl ExemplarReservoir {
    /// Replaces the exemplar of a bucket.
    pub(super) fn offer(&self, bucket: usize, duration: Duration, span: &SpanContext) {
        let exemplar = Exemplar {
            trace_id: span.trace_id(),
            span_id: span.span_id(),
            seconds: duration.as_secs_f64(),
            time: SystemTime::now(),
        };
        let exemplars = self.0.get_or_init(Box::default);
        let mut exemplars = exemplars.lock().unwrap_or_else(PoisonError::into_inner);
        exemplars.insert(bucket, exemplar);
    }

    /// Returns the exemplars as they are now.
    pub(super) fn collect(&self) -> BTreeMap<usize, Exemplar> {
        self.0.get().map_or_else(BTreeMap::new, |exemplars| {
            exemplars
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone()
        })
    }
}
