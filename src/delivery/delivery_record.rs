//! Record of one delivery: what is counted, and written into its span, at its end.

use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_semantic_conventions::attribute::ERROR_TYPE;
use tokio::time::Instant;

use super::unfinished_events::{COMES_BACK, NextAttempt, UnfinishedProgress};
use super::worker_state::SubscriptionWorkerState;
use crate::channel::{DeferredDelivery, DeliveryOutcome, DeliveryProgress, DeliveryStage};
use crate::event::Event;
use crate::model::DestinationRole;
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
    /// Whether such a queue is this process' own, so that what is put off comes back here.
    comes_back: bool,
    /// True once the event may be among the worker's unfinished ones: it takes long, or did before.
    is_noted: AtomicBool,
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
            comes_back: progress.max_wait.is_some_and(|wait| wait.is_zero()),
            is_noted: AtomicBool::new(
                progress.attempts > 0 || progress.stage != DeliveryStage::Subscriber,
            ),
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

    /// Notes how far the event has come, which takes long.
    pub(super) fn note(&self, role: DestinationRole, attempts: u32, next: NextAttempt) {
        let progress = UnfinishedProgress {
            role,
            attempts,
            next,
        };
        if self.worker.unfinished().note(self.event, progress) {
            self.is_noted.store(true, Ordering::Relaxed);
        }
    }

    /// Notes that an attempt begins, if the event takes long already.
    pub(super) fn note_attempt(&self, role: DestinationRole, attempts: u32) {
        if self.is_noted.load(Ordering::Relaxed) {
            self.note(role, attempts, NextAttempt::UnderWay(Instant::now()));
        }
    }

    /// Notes when an event is due that its queue has again.
    fn note_deferred(&self, deferred: &DeferredDelivery) {
        let role = match deferred.stage {
            DeliveryStage::Subscriber => DestinationRole::Subscriber,
            DeliveryStage::Reply(_) => DestinationRole::Reply,
            DeliveryStage::DeadLetterSink(_) => DestinationRole::DeadLetterSink,
        };
        let now = Instant::now();
        let due = now.checked_add(deferred.wait).unwrap_or(now);
        // In a queue that other processes have, too, it may be theirs from then on.
        let grace = if self.comes_back {
            COMES_BACK
        } else {
            Duration::ZERO
        };
        let known_until = due.checked_add(grace).unwrap_or(due);
        self.note(
            role,
            deferred.attempts,
            NextAttempt::Away { due, known_until },
        );
    }

    fn forget_noted(&self) {
        if self.is_noted.load(Ordering::Relaxed) {
            self.worker.unfinished().forget(self.event);
        }
    }

    /// Counts the last send (contract OB-6), and writes the outcome into the span.
    pub(super) fn finish(mut self, outcome: &DeliveryOutcome) {
        self.has_outcome = true;
        match outcome {
            DeliveryOutcome::Deferred(deferred) => self.note_deferred(deferred),
            _ => self.forget_noted(),
        }
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
        if !self.has_outcome {
            self.forget_noted();
        }
        match (self.has_outcome, self.is_of_durable_queue) {
            (true, _) => {}
            (false, true) => self.tell_returned(),
            (false, false) => self.tell_abandoned(),
        }
    }
}
