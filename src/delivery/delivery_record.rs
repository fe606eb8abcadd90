//! Record of one delivery: what is counted, and written into its span, at its end.

use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::KeyValue;

use super::worker_state::SubscriptionWorkerState;
use crate::channel::DeliveryOutcome;
use crate::event::Event;
use crate::telemetry::tracer::Span;

/// The error of spans of a delivery that is dropped before its end, as at a stop.
pub(super) const GIVEN_UP: &str = "the delivery was given up before its end";

/// Record of one delivery of a worker, with the status and the duration that are counted at its
/// end.
pub(super) struct DeliveryRecord<'l> {
    pub(super) worker: &'l SubscriptionWorkerState,
    /// The event as it came out of the queue, whatever is sent of it.
    pub(super) event: &'l Event,
    /// Span of this delivery; sends and attempts are its children.
    pub(super) span: Span,
    /// Status of the last attempt; 0 if there was no response.
    last_status: AtomicU16,
    /// Duration of the last send with its retries, in nanoseconds.
    last_duration_nanos: AtomicU64,
    has_outcome: bool,
}

impl<'l> DeliveryRecord<'l> {
    pub(super) fn new(worker: &'l SubscriptionWorkerState, event: &'l Event, span: Span) -> Self {
        Self {
            worker,
            event,
            span,
            last_status: AtomicU16::new(0),
            last_duration_nanos: AtomicU64::new(0),
            has_outcome: false,
        }
    }

    /// Records the status of an attempt, or that there was no response.
    pub(super) fn record_status(&self, status: Option<u16>) {
        self.last_status
            .store(status.unwrap_or(0), Ordering::Relaxed);
    }

    /// Status of the last attempt; `None` if there was no response.
    pub(super) fn last_status(&self) -> Option<u16> {
        Some(self.last_status.load(Ordering::Relaxed)).filter(|status| *status != 0)
    }

    /// Records how long a send took with its retries.
    pub(super) fn record_duration(&self, took: Duration) {
        self.last_duration_nanos.store(
            u64::try_from(took.as_nanos()).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
    }

    /// Counts the last send (contract OB-6), and writes the outcome into the span.
    pub(super) fn finish(mut self, outcome: &DeliveryOutcome) {
        self.has_outcome = true;
        self.worker.series().record_dispatch(
            self.last_status(),
            Duration::from_nanos(self.last_duration_nanos.load(Ordering::Relaxed)),
            self.span.recorded(),
        );
        let end = match outcome {
            DeliveryOutcome::Delivered => "delivered",
            DeliveryOutcome::DeadLettered => "dead_lettered",
            DeliveryOutcome::Lost(_) => "lost",
            DeliveryOutcome::Deferred(_) => "deferred",
        };
        self.span
            .set_attributes(|| [KeyValue::new("sealpost.outcome", end)]);
        if let DeliveryOutcome::Lost(loss) = outcome {
            self.span.set_error(|| loss.reason.clone().into());
        }
    }
}

impl Drop for DeliveryRecord<'_> {
    /// A delivery that is dropped before its end, as at a stop, tells so; nothing is counted.
    fn drop(&mut self) {
        if !self.has_outcome {
            self.span
                .set_attributes(|| [KeyValue::new("sealpost.outcome", "abandoned")]);
            self.span.set_error(|| GIVEN_UP.into());
        }
    }
}
