//! The series of a subscription or Trigger.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::SpanContext;
use tokio::time::Instant;

use super::drop_counters::{DropCounters, DropReason};
use super::failure_tracker::FailureTracker;
use super::history::{HistorySample, SubscriptionHistory};
use super::last_end_times::LastEndTimes;
use super::last_error::{LastError, LastErrorCell};
use super::loss_log::LossLog;
use super::outcome::{
    ByDeliveryEnd, ByDestinationRole, ByUndecidedReason, DeliveryEnd, DropOutcome,
};
use super::relay_durations::RelayDurations;
use super::series_key::SeriesKey;
use crate::filter::UndecidedReason;
use crate::model::DestinationRole;
use crate::observation::ObservedObject;
use crate::telemetry::counter::Counter;
use crate::telemetry::gauge::Gauge;
use crate::telemetry::histogram::HistogramsByStatus;

/// The results of attempts: the class of a status, or an error; the last is every other one.
pub(super) const RESULTS: [&str; 11] = [
    "2xx", "3xx", "4xx", "5xx", "connect", "timeout", "tls", "trust", "request", "token", "other",
];

/// The series of a subscription.
#[derive(Debug)]
pub struct SubscriptionSeries {
    pub(super) name: SeriesKey,
    /// Upstream's `messaging.destination.name` (contract OB-8): `subscription:<name>.<namespace>`.
    pub(super) messaging_destination: Arc<str>,
    /// The subscription as records of events name it.
    observed: Arc<ObservedObject>,
    pub(super) created_at: Instant,
    pub(super) enqueued: Counter,
    pub(super) ends: ByDeliveryEnd<Counter>,
    pub(super) last_end_times: LastEndTimes,
    pub(super) drops: DropCounters,
    /// Counters by destination role and result; made by the first attempt at a destination.
    pub(super) attempts: ByDestinationRole<OnceLock<Box<[Counter; RESULTS.len()]>>>,
    /// Delivery attempts after the first.
    pub retries: Counter,
    /// Attempts that failed, at any of the destinations.
    pub failures: Counter,
    pub(super) last_error: LastErrorCell,
    /// The failure spells of the destinations, by role.
    pub(super) failure_trackers: ByDestinationRole<FailureTracker>,
    /// The failure spell of replies that cannot be read.
    pub(super) unreadable_replies: FailureTracker,
    pub(super) loss_log: LossLog,
    pub(super) parked_log: LossLog,
    /// Events that did not pass its filter, of those for which it was asked.
    pub filtered: Counter,
    /// Events for which the filter could not be decided, by reason.
    pub(super) undecided: ByUndecidedReason<Counter>,
    /// The failure spell of events for which the filter takes too much work.
    pub(super) filter_limit_tracker: FailureTracker,
    /// Requests of deliveries that are in flight.
    pub in_flight: Gauge,
    /// Events that wait for their first attempt in this process.
    pub(super) waiting: Gauge,
    /// Messages that waited in a queue outside of the process when it was last looked at.
    pub ready: Gauge,
    /// Events in its parking queue: those at the last look, and those parked here since.
    pub parked_now: Gauge,
    /// Arrival of the oldest waiting event, in milliseconds since `created_at` plus one; 0: none.
    pub(super) oldest_waiting: AtomicU64,
    /// Arrival of the oldest event that is stored and not finished, in milliseconds since the
    /// epoch; 0: none.
    oldest_stored: AtomicU64,
    pub(super) dispatch_durations: HistogramsByStatus,
    /// Requests for it that a relay role refused.
    pub refused: Counter,
    pub(super) relay_durations: OnceLock<Box<RelayDurations>>,
    /// The last hour; made by the first attempt, or when it is first sampled.
    history: OnceLock<Box<SubscriptionHistory>>,
}

impl Default for SubscriptionSeries {
    fn default() -> Self {
        Self::new(SeriesKey::default())
    }
}

impl SubscriptionSeries {
    /// Makes series that are not registered, and so not exposed.
    #[must_use]
    pub(crate) fn new(name: SeriesKey) -> Self {
        Self {
            observed: ObservedObject::new(name.kind, &name.namespace, &name.name),
            messaging_destination: format!("{}:{}.{}", name.kind, name.name, name.namespace).into(),
            name,
            created_at: Instant::now(),
            enqueued: Counter::default(),
            ends: Default::default(),
            last_end_times: LastEndTimes::default(),
            drops: DropCounters::default(),
            attempts: Default::default(),
            retries: Counter::default(),
            failures: Counter::default(),
            last_error: LastErrorCell::default(),
            failure_trackers: Default::default(),
            unreadable_replies: FailureTracker::default(),
            loss_log: LossLog::default(),
            parked_log: LossLog::default(),
            filtered: Counter::default(),
            undecided: Default::default(),
            filter_limit_tracker: FailureTracker::default(),
            in_flight: Gauge::default(),
            waiting: Gauge::default(),
            ready: Gauge::default(),
            parked_now: Gauge::default(),
            oldest_waiting: AtomicU64::new(0),
            oldest_stored: AtomicU64::new(0),
            dispatch_durations: HistogramsByStatus::default(),
            refused: Counter::default(),
            relay_durations: OnceLock::new(),
            history: OnceLock::new(),
        }
    }

    /// Returns `subscription:<name>.<namespace>` or `trigger:<name>.<namespace>` (contract OB-8).
    #[must_use]
    pub(crate) fn messaging_destination(&self) -> &Arc<str> {
        &self.messaging_destination
    }

    /// Returns the subscription as records of events name it.
    #[must_use]
    pub(crate) fn observed(&self) -> &Arc<ObservedObject> {
        &self.observed
    }

    /// Counts an event that the queue took.
    pub(crate) fn count_enqueued(&self) {
        self.enqueued.increment();
        self.waiting.add(1);
    }

    /// Records the arrival of the oldest event that waits.
    pub(crate) fn set_oldest_waiting(&self, came: Instant) {
        let millis = came.saturating_duration_since(self.created_at).as_millis();
        self.oldest_waiting.store(
            u64::try_from(millis).unwrap_or(0).saturating_add(1),
            Ordering::Relaxed,
        );
    }

    /// Records the arrival, in milliseconds since the epoch, of the oldest event that is stored
    /// outside of memory and not finished.
    pub fn set_oldest_stored(&self, came: Option<u64>) {
        self.oldest_stored
            .store(came.unwrap_or(0), Ordering::Relaxed);
    }

    /// Records that the oldest event is delivered now; the next one that waits is set after this.
    pub fn start_delivery(&self) {
        self.waiting.add(-1);
        self.oldest_waiting.store(0, Ordering::Relaxed);
    }

    /// Counts the end of a delivery, and records its time.
    pub(crate) fn count_end(&self, end: DeliveryEnd) {
        self.ends.get(end).increment();
        self.last_end_times.record(end);
    }

    /// Returns when a delivery last ended delivered, dead-lettered or lost; `None` for other ends.
    #[must_use]
    pub(crate) fn last_end(&self, end: DeliveryEnd) -> Option<SystemTime> {
        self.last_end_times.last(end)
    }

    /// Counts an event that nobody took, by the destination that failed last and the reason.
    pub(crate) fn count_drop(
        &self,
        drop: DropOutcome,
        destination: DestinationRole,
        why: impl Into<DropReason>,
    ) {
        if drop == DropOutcome::Parked {
            self.parked_now.add(1);
        }
        self.drops.count(drop, destination, why.into());
    }

    /// Returns how many events the filter did not decide for this reason.
    #[must_use]
    pub(crate) fn undecided_count(&self, why: UndecidedReason) -> u64 {
        self.undecided.get(why).get()
    }

    /// Returns the number of deliveries that ended in this way.
    #[must_use]
    pub(crate) fn end_count(&self, end: DeliveryEnd) -> u64 {
        self.ends.get(end).get()
    }

    /// Returns the attempt that failed last.
    #[must_use]
    pub(crate) fn last_error(&self) -> Option<LastError> {
        self.last_error.get()
    }

    /// Counts an attempt that ended with a status, or without one for this reason.
    pub fn count_attempt(&self, destination: DestinationRole, result: Result<u16, &'static str>) {
        let counters = self.attempts.get(destination).get_or_init(Box::default);
        if let Some(counter) = counters.get(result_index(result)) {
            counter.increment();
        }
    }

    /// Records how long an attempt took, whatever came of it.
    pub(crate) fn record_attempt_duration(&self, took: Duration) {
        self.history().attempts.record(took);
    }

    pub(super) fn history(&self) -> &SubscriptionHistory {
        self.history.get_or_init(Box::default)
    }

    /// Returns the numbers that the history is made of.
    pub(super) fn history_sample(&self) -> HistorySample {
        let (mut undelivered, mut ended) = (0, 0);
        for (_end, counter) in self.ends.labelled() {
            ended += counter.get();
        }
        for end in [
            DeliveryEnd::DeadLettered,
            DeliveryEnd::Lost,
            DeliveryEnd::Parked,
        ] {
            undelivered += self.end_count(end);
        }
        let count = |gauge: &Gauge| u64::try_from(gauge.get()).unwrap_or(0);
        HistorySample {
            delivered: self.end_count(DeliveryEnd::Delivered),
            undelivered,
            failed_attempts: self.failures.get(),
            depth: self.enqueued.get().saturating_sub(ended) + count(&self.ready),
            age: self.oldest_waiting_age(),
            concurrency: count(&self.in_flight),
        }
    }

    /// Records the last hop of a delivery: final status and time with retries (contract OB-6).
    pub fn record_dispatch(&self, status: Option<u16>, took: Duration, span: Option<&SpanContext>) {
        self.dispatch_durations.record(status, took, span);
    }

    /// Returns the durations of the relay roles; they are made when first asked for.
    pub(crate) fn relay_durations(&self) -> &RelayDurations {
        self.relay_durations.get_or_init(Box::default)
    }

    /// Returns how long the oldest event has waited.
    pub(super) fn oldest_waiting_age(&self) -> Duration {
        self.oldest_stored_age().max(self.oldest_held_age())
    }

    fn oldest_stored_age(&self) -> Duration {
        match self.oldest_stored.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            came => SystemTime::now()
                .duration_since(UNIX_EPOCH + Duration::from_millis(came))
                .unwrap_or_default(),
        }
    }

    fn oldest_held_age(&self) -> Duration {
        match self.oldest_waiting.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => self
                .created_at
                .elapsed()
                .saturating_sub(Duration::from_millis(since - 1)),
        }
    }
}

/// The index in [`RESULTS`] of an attempt that ended with a status, or without one for this reason.
fn result_index(result: Result<u16, &'static str>) -> usize {
    let other = RESULTS.len() - 1;
    match result {
        Ok(status @ 200..600) => usize::from(status / 100 - 2),
        Ok(_) => other,
        Err(reason) => RESULTS
            .iter()
            .position(|known| *known == reason)
            .unwrap_or(other),
    }
}
