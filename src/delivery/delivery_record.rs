//! Record of one delivery: what is counted, and written into its span, at its end.

use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_semantic_conventions::attribute::ERROR_TYPE;

use super::worker_state::SubscriptionWorkerState;
use crate::channel::{DeliveryOutcome, DeliveryProgress};
use crate::event::Event;
use crate::telemetry::tracer::Span;

/// The error of spans of a delivery that is dropped before its end, as at a stop.
pub(super) const GIVEN_UP: &str = "the delivery was given up before its end";
/// The outcome of such a delivery, and the type of its error and of its attempt's.
pub(super) const ABANDONED: &str = "abandoned";

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
    /// Whether the queue has the event again if the delivery does not end, instead of it being lost
    /// with the process: such a queue limits how long an event is held.
    is_of_durable_queue: bool,
    has_outcome: bool,
}

impl<'l> DeliveryRecord<'l> {
    pub(super) fn new(
        worker: &'l SubscriptionWorkerState,
        event: &'l Event,
        span: Span,
        progress: &DeliveryProgress,
    ) -> Self {
        Self {
            worker,
            event,
            span,
            last_status: AtomicU16::new(0),
            last_duration_nanos: AtomicU64::new(0),
            is_of_durable_queue: progress.max_wait.is_some() || progress.hold_time.is_some(),
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
            let reason = loss.counted_as.reason.as_str();
            self.span
                .set_attributes(|| [KeyValue::new(ERROR_TYPE, reason)]);
            self.span.set_error(|| loss.reason.clone().into());
        }
    }

    /// Writes into the span of a delivery that did not end that its queue has the event again.
    fn tell_returned(&mut self) {
        self.span
            .set_attributes(|| [KeyValue::new("sealpost.outcome", "returned")]);
    }

    /// Writes into the span of a delivery that did not end that its event is gone with it.
    fn tell_abandoned(&mut self) {
        self.span.set_attributes(|| {
            [
                KeyValue::new("sealpost.outcome", ABANDONED),
                KeyValue::new(ERROR_TYPE, ABANDONED),
            ]
        });
        self.span.set_error(|| GIVEN_UP.into());
    }
}

impl Drop for DeliveryRecord<'_> {
    /// A delivery that is dropped before its end, as at a stop, tells so; nothing is counted.
    fn drop(&mut self) {
        match (self.has_outcome, self.is_of_durable_queue) {
            (true, _) => {}
            (false, true) => self.tell_returned(),
            (false, false) => self.tell_abandoned(),
        }
    }
}
