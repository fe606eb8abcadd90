//! Series: the counters of each subscription, channel and listener, with their names. Who counts
//! holds the series; names are looked up when a configuration is applied. A series nobody holds is
//! gone.

mod drop_counters;
mod failure_log;
mod failure_tracker;
mod families;
mod gauge;
mod http_metrics;
mod last_end_times;
mod last_error;
mod loss_log;
mod relay_durations;
mod request_reply;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use opentelemetry::trace::SpanContext;
use tokio::time::Instant;

use super::counters::Counter;
use super::histogram::HistogramsByStatus;
use crate::filter::UndecidedReason;
use crate::model::DestinationRole;
pub use drop_counters::{DropOutcome as Dropped, DropReason};
pub use gauge::{Gauge, GaugeGuard};
pub use http_metrics::{
    ClientRequestHistograms, ConnectionMetrics, RequestsByMethod, RequestsByScheme,
    ServerRequestHistograms,
};
pub use last_error::LastError;
pub use relay_durations::{RelayDurations, SchemeDurations};
pub use request_reply::{RequestReplyOutcome, RequestReplySeries};

/// The configured object that a series belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeriesKey {
    /// The kind in lower case, such as `trigger` or `broker`.
    pub kind: &'static str,
    /// The `metadata.namespace` of the object.
    pub namespace: Box<str>,
    /// The `metadata.name` of the object.
    pub name: Box<str>,
}

/// The ways in which a delivery can end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryEnd {
    /// Delivered to the subscriber and, if there was one, its reply to the reply address.
    Delivered,
    /// Taken by the dead letter sink.
    DeadLettered,
    /// Taken by nobody, and not kept either.
    Lost,
    /// Unfinished, since the process had to stop.
    Abandoned,
    /// Deferred to a later time, in a delay queue.
    Deferred,
    /// Put into the parking queue.
    Parked,
    /// Given back to its queue unfinished.
    Requeued,
}

/// The label values of [`DeliveryEnd`], in the order of its variants.
const ENDS: [&str; 7] = [
    "delivered",
    "dead_lettered",
    "lost",
    "abandoned",
    "deferred",
    "parked",
    "returned",
];

/// The label values of [`DestinationRole`], in the order of its variants.
const DESTINATIONS: [&str; 3] = ["subscriber", "reply", "dead_letter_sink"];

/// The results of attempts: the class of a status, or an error; the last is every other one.
const RESULTS: [&str; 11] = [
    "2xx", "3xx", "4xx", "5xx", "connect", "timeout", "tls", "trust", "request", "token", "other",
];

/// The label values of [`UndecidedReason`], in the order of its variants.
const UNDECIDED: [&str; 2] = ["expression", "limit"];

/// The series of a subscription.
#[derive(Debug)]
pub struct SubscriptionSeries {
    name: SeriesKey,
    /// Upstream's `messaging.destination.name` (contract OB-8): `subscription:<name>.<namespace>`.
    messaging_destination: Box<str>,
    created_at: Instant,
    enqueued: Counter,
    ends: [Counter; ENDS.len()],
    last_end_times: last_end_times::LastEndTimes,
    drops: drop_counters::DropCounters,
    /// Counters by destination role and result; made by the first attempt at a destination.
    attempts: [OnceLock<Box<[Counter; RESULTS.len()]>>; DESTINATIONS.len()],
    /// Delivery attempts after the first.
    pub retries: Counter,
    /// Attempts that failed, at any of the destinations.
    pub failures: Counter,
    last_error: last_error::LastErrorCell,
    /// The failure spells of the destinations, by role.
    failure_trackers: [failure_tracker::FailureTracker; DESTINATIONS.len()],
    /// The failure spell of replies that cannot be read.
    unreadable_replies: failure_tracker::FailureTracker,
    loss_log: loss_log::LossLog,
    parked_log: loss_log::LossLog,
    /// Events that did not pass its filter, of those for which it was asked.
    pub filtered: Counter,
    /// Events for which the filter could not be decided, by reason.
    undecided: [Counter; UNDECIDED.len()],
    /// The failure spell of events for which the filter takes too much work.
    filter_limit_tracker: failure_tracker::FailureTracker,
    /// Requests of deliveries that are in flight.
    pub in_flight: Gauge,
    /// Events that wait for their first attempt in this process.
    waiting: Gauge,
    /// Messages that waited in the queue of RabbitMQ when it was last asked.
    pub ready: Gauge,
    /// Events in its parking queue: those at the last look, and those parked here since.
    pub parked_now: Gauge,
    /// Arrival of the oldest waiting event, in milliseconds since `created_at` plus one; 0: none.
    oldest_waiting: AtomicU64,
    dispatch_durations: HistogramsByStatus,
    /// Requests for it that a relay role refused.
    pub refused: Counter,
    relay_durations: OnceLock<Box<RelayDurations>>,
}

impl Default for SubscriptionSeries {
    fn default() -> Self {
        Self::new(SeriesKey::default())
    }
}

impl SubscriptionSeries {
    /// Makes series that are not registered, and so not exposed.
    #[must_use]
    pub fn new(name: SeriesKey) -> Self {
        Self {
            messaging_destination: format!("{}:{}.{}", name.kind, name.name, name.namespace).into(),
            name,
            created_at: Instant::now(),
            enqueued: Counter::default(),
            ends: Default::default(),
            last_end_times: last_end_times::LastEndTimes::default(),
            drops: drop_counters::DropCounters::default(),
            attempts: Default::default(),
            retries: Counter::default(),
            failures: Counter::default(),
            last_error: last_error::LastErrorCell::default(),
            failure_trackers: Default::default(),
            unreadable_replies: failure_tracker::FailureTracker::default(),
            loss_log: loss_log::LossLog::default(),
            parked_log: loss_log::LossLog::default(),
            filtered: Counter::default(),
            undecided: Default::default(),
            filter_limit_tracker: failure_tracker::FailureTracker::default(),
            in_flight: Gauge::default(),
            waiting: Gauge::default(),
            ready: Gauge::default(),
            parked_now: Gauge::default(),
            oldest_waiting: AtomicU64::new(0),
            dispatch_durations: HistogramsByStatus::default(),
            refused: Counter::default(),
            relay_durations: OnceLock::new(),
        }
    }

    /// Returns `subscription:<name>.<namespace>` or `trigger:<name>.<namespace>` (contract OB-8).
    #[must_use]
    pub fn messaging_destination(&self) -> &str {
        &self.messaging_destination
    }

    /// Counts an event that the queue took.
    pub fn count_enqueued(&self) {
        self.enqueued.increment();
        self.waiting.add(1);
    }

    /// Records the arrival of the oldest event that waits.
    pub fn set_oldest_waiting(&self, came: Instant) {
        let millis = came.saturating_duration_since(self.created_at).as_millis();
        self.oldest_waiting.store(
            u64::try_from(millis).unwrap_or(0).saturating_add(1),
            Ordering::Relaxed,
        );
    }

    /// Records that the oldest event is delivered now; the next one that waits is set after this.
    pub fn start_delivery(&self) {
        self.waiting.add(-1);
        self.oldest_waiting.store(0, Ordering::Relaxed);
    }

    /// Counts the end of a delivery, and records its time.
    pub fn count_end(&self, end: DeliveryEnd) {
        if let Some(counter) = self.ends.get(end as usize) {
            counter.increment();
        }
        self.last_end_times.record(end);
    }

    /// Returns when a delivery last ended delivered, dead-lettered or lost; `None` for other ends.
    #[must_use]
    pub fn last_end(&self, end: DeliveryEnd) -> Option<SystemTime> {
        self.last_end_times.last(end)
    }

    /// Counts an event that nobody took, by the destination that failed last and the reason.
    pub fn count_drop(
        &self,
        drop: Dropped,
        destination: DestinationRole,
        why: impl Into<DropReason>,
    ) {
        if drop == Dropped::Parked {
            self.parked_now.add(1);
        }
        self.drops.count(drop, destination, why.into());
    }

    /// Returns how many events the filter did not decide for this reason.
    #[must_use]
    pub fn undecided_count(&self, why: UndecidedReason) -> u64 {
        self.undecided.get(why as usize).map_or(0, Counter::get)
    }

    /// Returns the number of deliveries that ended in this way.
    #[must_use]
    pub fn end_count(&self, end: DeliveryEnd) -> u64 {
        self.ends.get(end as usize).map_or(0, Counter::get)
    }

    /// Returns the attempt that failed last.
    #[must_use]
    pub fn last_error(&self) -> Option<LastError> {
        self.last_error.get()
    }

    /// Counts an attempt that ended with a status, or without one for this reason.
    pub fn count_attempt(&self, destination: DestinationRole, result: Result<u16, &'static str>) {
        let result = match result {
            Ok(status @ 200..600) => usize::from(status / 100 - 2),
            Ok(_) => RESULTS.len() - 1,
            Err(reason) => RESULTS
                .iter()
                .position(|known| *known == reason)
                .unwrap_or(RESULTS.len() - 1),
        };
        let results = self
            .attempts
            .get(destination as usize)
            .map(|results| results.get_or_init(Box::default));
        if let Some(counter) = results.and_then(|results| results.get(result)) {
            counter.increment();
        }
    }

    /// Records the last hop of a delivery: final status and time with retries (contract OB-6).
    pub fn record_dispatch(&self, status: Option<u16>, took: Duration, span: Option<&SpanContext>) {
        self.dispatch_durations.record_in_span(status, took, span);
    }

    /// Returns the durations of the relay roles; they are made when first asked for.
    pub fn relay_durations(&self) -> &RelayDurations {
        self.relay_durations.get_or_init(Box::default)
    }

    /// Returns how long the oldest event has waited.
    fn oldest_waiting_age(&self) -> Duration {
        match self.oldest_waiting.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => self
                .created_at
                .elapsed()
                .saturating_sub(Duration::from_millis(since - 1)),
        }
    }
}

/// The results of events that were sent to a channel or broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArrivalOutcome {
    /// The event was accepted.
    Accepted,
    /// A queue of the channel is full.
    Full,
    /// A synchronous channel could not deliver the event.
    Undelivered,
    /// The queues of the channel cannot be reached.
    Unavailable,
    /// The sender may not send the event.
    Denied,
    /// The event has passed too many brokers.
    TtlExhausted,
    /// The reply inside the process, or the request to the role `ingress`, was no valid event.
    Invalid,
}

/// The label values of [`ArrivalOutcome`], in the order of its variants.
const ARRIVALS: [&str; 7] = [
    "accepted",
    "full",
    "undelivered",
    "unavailable",
    "denied",
    "ttl_exhausted",
    "invalid",
];

/// The series of a channel or broker.
#[derive(Debug, Default)]
pub struct ChannelSeries {
    name: SeriesKey,
    arrivals: [Counter; ARRIVALS.len()],
    /// The failure spell of the channel to which the role `ingress` sends events.
    failure_tracker: failure_tracker::FailureTracker,
    relay_durations: OnceLock<Box<RelayDurations>>,
}

impl ChannelSeries {
    /// Makes series that are not registered, and so not exposed.
    #[must_use]
    pub fn new(name: SeriesKey) -> Self {
        Self {
            name,
            ..Self::default()
        }
    }

    /// Returns the durations of the role `ingress`; they are made when first asked for.
    pub fn relay_durations(&self) -> &RelayDurations {
        self.relay_durations.get_or_init(Box::default)
    }

    /// Returns the number of events with this result.
    #[must_use]
    pub fn arrival_count(&self, arrival: ArrivalOutcome) -> u64 {
        self.arrivals.get(arrival as usize).map_or(0, Counter::get)
    }

    /// Counts events with this result.
    pub fn count_arrivals(&self, arrival: ArrivalOutcome, events: u64) {
        if let Some(counter) = self.arrivals.get(arrival as usize) {
            counter.add(events);
        }
    }
}

/// The registered series of one type, by the objects that they belong to.
type WeakSeriesMap<S> = Mutex<BTreeMap<SeriesKey, Weak<S>>>;

/// All series of the process.
#[derive(Debug, Default)]
pub struct SeriesRegistry {
    subscriptions: WeakSeriesMap<SubscriptionSeries>,
    channels: WeakSeriesMap<ChannelSeries>,
    request_replies: request_reply::RequestReplySeriesMap,
    /// Connections of the HTTP listener.
    pub http_connections: Arc<ConnectionMetrics>,
    /// Connections of the HTTPS listener.
    pub https_connections: Arc<ConnectionMetrics>,
    /// Connections of the admin port.
    pub admin_connections: Arc<ConnectionMetrics>,
    /// Connections to destinations, which are opened here, not accepted.
    pub client_connections: Arc<ConnectionMetrics>,
    /// Requests to both event ports, without probes.
    pub requests: RequestsByScheme,
    /// Requests to destinations, by the status of their responses.
    pub sent_requests: HistogramsByStatus<ClientRequestHistograms>,
}

impl SeriesRegistry {
    /// Returns the series of a subscription, which live as long as somebody holds them.
    pub fn subscription(&self, name: &SeriesKey) -> Arc<SubscriptionSeries> {
        find_or_register(&self.subscriptions, name, SubscriptionSeries::new)
    }

    /// Records a request to a destination: status, if any, duration and size of its body in bytes.
    pub fn record_sent(
        &self,
        status: Option<u16>,
        took: Duration,
        bytes: usize,
        span: Option<&SpanContext>,
    ) {
        if let Some(sent) = self.sent_requests.for_status(status) {
            sent.duration.record_in_span(took, span);
            sent.request_body_size.record(bytes as u64);
        }
    }

    /// Returns the series of a channel or broker, which live as long as somebody holds them.
    pub fn channel(&self, name: &SeriesKey) -> Arc<ChannelSeries> {
        find_or_register(&self.channels, name, ChannelSeries::new)
    }
}

fn find_or_register<S>(
    known: &WeakSeriesMap<S>,
    name: &SeriesKey,
    new: impl FnOnce(SeriesKey) -> S,
) -> Arc<S> {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(series) = known.get(name).and_then(Weak::upgrade) {
        return series;
    }
    let series = Arc::new(new(name.clone()));
    known.insert(name.clone(), Arc::downgrade(&series));
    series
}

/// Returns the series that somebody still holds; the others are forgotten.
fn live_series<S>(known: &WeakSeriesMap<S>) -> Vec<Arc<S>> {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    known.retain(|_, series| series.strong_count() > 0);
    known.values().filter_map(Weak::upgrade).collect()
}
