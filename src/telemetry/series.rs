//! What is counted for each subscription, channel and listener, and who they are. Whoever counts keeps the counters at
//! hand; names are looked up when a configuration is applied. When the last one lets go of a series, it is gone.

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

use tokio::time::Instant;

use super::counters::Counter;
use super::histogram::HistogramsByStatus;
use crate::filter::UndecidedReason;
pub use drop_counters::{DropOutcome as Dropped, DropReason};
pub use gauge::{Gauge, GaugeGuard};
pub use http_metrics::{
    ClientRequestHistograms, ConnectionMetrics, RequestsByMethod, RequestsByScheme, ServerRequestHistograms,
};
pub use last_error::LastError;
pub use relay_durations::{RelayDurations, SchemeDurations};
pub use request_reply::{RequestReplyOutcome, RequestReplySeries};

/// Who is counted for: a configured object.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeriesKey {
    /// In lower case: `trigger`, `broker`.
    pub kind: &'static str,
    /// `metadata.namespace`.
    pub namespace: Box<str>,
    /// `metadata.name`.
    pub name: Box<str>,
}

/// How a delivery ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryEnd {
    /// With the subscriber and, if there was one, its reply.
    Delivered,
    /// In the dead letter sink.
    DeadLettered,
    /// Without a home.
    Lost,
    /// Unfinished, since the process had to stop.
    Abandoned,
    /// Put off.
    Deferred,
    /// In the parking queue.
    Parked,
    /// Given back to its queue.
    Requeued,
}

/// In the order of [`DeliveryEnd`].
const ENDS: [&str; 7] = ["delivered", "dead_lettered", "lost", "abandoned", "deferred", "parked", "returned"];

/// The destination of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DestinationRole {
    /// The subscriber.
    Subscriber,
    /// The reply address.
    Reply,
    /// The dead letter sink.
    DeadLetterSink,
}

impl DestinationRole {
    /// As sentences name it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Subscriber => "subscriber",
            Self::Reply => "reply",
            Self::DeadLetterSink => "dead letter sink",
        }
    }
}

/// In the order of [`Destination`].
const DESTINATIONS: [&str; 3] = ["subscriber", "reply", "dead_letter_sink"];

/// What an attempt can end with: the class of a status, or why there is no answer; the last one is every other reason.
const RESULTS: [&str; 11] =
    ["2xx", "3xx", "4xx", "5xx", "connect", "timeout", "tls", "trust", "request", "token", "other"];

/// In the order of [`UndecidedReason`].
const UNDECIDED: [&str; 2] = ["expression", "limit"];

/// What is counted for a subscription.
#[derive(Debug)]
pub struct SubscriptionSeries {
    name: SeriesKey,
    /// `subscription:<name>.<namespace>`, upstream's `messaging.destination.name` (contract OB-8).
    messaging_destination: Box<str>,
    created_at: Instant,
    enqueued: Counter,
    ends: [Counter; ENDS.len()],
    last_end_times: last_end_times::LastEndTimes,
    drops: drop_counters::DropCounters,
    /// Of the destinations that there were attempts at.
    attempts: [OnceLock<Box<[Counter; RESULTS.len()]>>; DESTINATIONS.len()],
    /// Attempts after the first.
    pub retries: Counter,
    /// Attempts that failed, at any of the destinations.
    pub failures: Counter,
    last_error: last_error::LastErrorCell,
    /// How the destinations are.
    failure_trackers: [failure_tracker::FailureTracker; DESTINATIONS.len()],
    /// How the replies are.
    unreadable_replies: failure_tracker::FailureTracker,
    loss_log: loss_log::LossLog,
    parked_log: loss_log::LossLog,
    /// Events that its filter did not let pass, of those that it was asked about.
    pub filtered: Counter,
    /// Of those, events for which it could not be decided.
    undecided: [Counter; UNDECIDED.len()],
    /// Whether its filter takes too much work.
    filter_limit_tracker: failure_tracker::FailureTracker,
    /// Requests under way.
    pub in_flight: Gauge,
    /// Events that wait for their first attempt here.
    waiting: Gauge,
    /// Those that still wait with RabbitMQ, when it was last asked.
    pub ready: Gauge,
    /// Events in its parking queue: as many as there were when it was last looked at, and those parked here since.
    pub parked_now: Gauge,
    /// When the oldest of them came, in milliseconds since `born`, plus one; 0 if none waits.
    oldest_waiting: AtomicU64,
    dispatch_durations: HistogramsByStatus,
    /// Requests that a role did not take for it.
    pub refused: Counter,
    relay_durations: OnceLock<Box<RelayDurations>>,
}

impl Default for SubscriptionSeries {
    fn default() -> Self {
        Self::new(SeriesKey::default())
    }
}

impl SubscriptionSeries {
    /// Counts for nobody, until it is registered.
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

    /// `subscription:<name>.<namespace>` or `trigger:<name>.<namespace>` (contract OB-8).
    #[must_use]
    pub fn messaging_destination(&self) -> &str {
        &self.messaging_destination
    }

    /// A queue took an event.
    pub fn count_enqueued(&self) {
        self.enqueued.increment();
        self.waiting.add(1);
    }

    /// The oldest event that waits came at this time.
    pub fn set_oldest_waiting(&self, came: Instant) {
        let millis = came.saturating_duration_since(self.created_at).as_millis();
        self.oldest_waiting.store(u64::try_from(millis).unwrap_or(0).saturating_add(1), Ordering::Relaxed);
    }

    /// That event is being delivered now; whether another one waits will be seen.
    pub fn start_delivery(&self) {
        self.waiting.add(-1);
        self.oldest_waiting.store(0, Ordering::Relaxed);
    }

    /// A delivery ended.
    pub fn count_end(&self, end: DeliveryEnd) {
        if let Some(counter) = self.ends.get(end as usize) {
            counter.increment();
        }
        self.last_end_times.record(end);
    }

    /// When a delivery last ended so; `None` if none did. Only of [`DeliveryEnd::Delivered`], [`DeliveryEnd::DeadLettered`] and
    /// [`DeliveryEnd::Lost`].
    #[must_use]
    pub fn last_end(&self, end: DeliveryEnd) -> Option<SystemTime> {
        self.last_end_times.last(end)
    }

    /// Nobody took an event: this destination failed last.
    pub fn count_drop(&self, drop: Dropped, destination: DestinationRole, why: impl Into<DropReason>) {
        if drop == Dropped::Parked {
            self.parked_now.add(1);
        }
        self.drops.count(drop, destination, why.into());
    }

    /// Events that its filter did not let pass since it could not be decided, for this reason.
    #[must_use]
    pub fn undecided_count(&self, why: UndecidedReason) -> u64 {
        self.undecided.get(why as usize).map_or(0, Counter::get)
    }

    /// Deliveries that ended so.
    #[must_use]
    pub fn end_count(&self, end: DeliveryEnd) -> u64 {
        self.ends.get(end as usize).map_or(0, Counter::get)
    }

    /// The attempt that failed last.
    #[must_use]
    pub fn last_error(&self) -> Option<LastError> {
        self.last_error.get()
    }

    /// An attempt ended, with a status, or without one for this reason.
    pub fn count_attempt(&self, destination: DestinationRole, result: Result<u16, &'static str>) {
        let result = match result {
            Ok(status @ 200..600) => usize::from(status / 100 - 2),
            Ok(_) => RESULTS.len() - 1,
            Err(reason) => RESULTS.iter().position(|known| *known == reason).unwrap_or(RESULTS.len() - 1),
        };
        let results = self.attempts.get(destination as usize).map(|results| results.get_or_init(Box::default));
        if let Some(counter) = results.and_then(|results| results.get(result)) {
            counter.increment();
        }
    }

    /// The last hop of a delivery took so long, with all its attempts and waits, and ended in this status (contract
    /// OB-6).
    pub fn record_dispatch(&self, status: Option<u16>, took: Duration) {
        self.dispatch_durations.record(status, took);
    }

    /// How long the roles take; only they need it.
    pub fn relay_durations(&self) -> &RelayDurations {
        self.relay_durations.get_or_init(Box::default)
    }

    /// How long the oldest event has waited.
    fn oldest_waiting_age(&self) -> Duration {
        match self.oldest_waiting.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => self.created_at.elapsed().saturating_sub(Duration::from_millis(since - 1)),
        }
    }
}

/// What became of events that were sent to a channel or broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArrivalOutcome {
    /// Taken.
    Accepted,
    /// A queue is full.
    Full,
    /// A synchronous channel could not deliver it.
    Undelivered,
    /// The queues cannot be reached.
    Unavailable,
    /// Its sender may not send it.
    Denied,
    /// It has passed too many brokers.
    TtlExhausted,
    /// No valid event: a reply inside the process, or, in the role `ingress`, a request.
    Invalid,
}

/// In the order of [`ArrivalOutcome`].
const ARRIVALS: [&str; 7] = ["accepted", "full", "undelivered", "unavailable", "denied", "ttl_exhausted", "invalid"];

/// What is counted for a channel or broker.
#[derive(Debug, Default)]
pub struct ChannelSeries {
    name: SeriesKey,
    arrivals: [Counter; ARRIVALS.len()],
    /// How its channel is, to which the role `ingress` hands events.
    failure_tracker: failure_tracker::FailureTracker,
    relay_durations: OnceLock<Box<RelayDurations>>,
}

impl ChannelSeries {
    /// Counts for nobody, until it is registered.
    #[must_use]
    pub fn new(name: SeriesKey) -> Self {
        Self { name, ..Self::default() }
    }

    /// How long the role `ingress` takes; only that needs it.
    pub fn relay_durations(&self) -> &RelayDurations {
        self.relay_durations.get_or_init(Box::default)
    }

    /// So many events ended so.
    #[must_use]
    pub fn arrival_count(&self, arrival: ArrivalOutcome) -> u64 {
        self.arrivals.get(arrival as usize).map_or(0, Counter::get)
    }

    /// So many events came.
    pub fn count_arrivals(&self, arrival: ArrivalOutcome, events: u64) {
        if let Some(counter) = self.arrivals.get(arrival as usize) {
            counter.add(events);
        }
    }
}

/// Series by their names.
type WeakSeriesMap<S> = Mutex<BTreeMap<SeriesKey, Weak<S>>>;

/// Everybody who is counted for.
#[derive(Debug, Default)]
pub struct SeriesRegistry {
    subscriptions: WeakSeriesMap<SubscriptionSeries>,
    channels: WeakSeriesMap<ChannelSeries>,
    request_replies: request_reply::RequestReplySeriesMap,
    /// Of the listener for HTTP.
    pub http_connections: Arc<ConnectionMetrics>,
    /// Of the listener for HTTPS.
    pub https_connections: Arc<ConnectionMetrics>,
    /// Of the admin port.
    pub admin_connections: Arc<ConnectionMetrics>,
    /// With destinations, which are made, not accepted.
    pub client_connections: Arc<ConnectionMetrics>,
    /// Requests on both ports for events, probes apart.
    pub requests: RequestsByScheme,
    /// Requests to destinations, by status.
    pub sent_requests: HistogramsByStatus<ClientRequestHistograms>,
}

impl SeriesRegistry {
    /// The series of a subscription, which live as long as somebody holds them.
    pub fn subscription(&self, name: &SeriesKey) -> Arc<SubscriptionSeries> {
        find_or_register(&self.subscriptions, name, SubscriptionSeries::new)
    }

    /// A request to a destination ended with this status, or without one, after so long; its body had so many bytes.
    pub fn record_sent(&self, status: Option<u16>, took: Duration, bytes: usize) {
        if let Some(sent) = self.sent_requests.for_status(status) {
            sent.duration.record(took);
            sent.request_body_size.record(bytes as u64);
        }
    }

    /// The series of a channel or broker.
    pub fn channel(&self, name: &SeriesKey) -> Arc<ChannelSeries> {
        find_or_register(&self.channels, name, ChannelSeries::new)
    }
}

fn find_or_register<S>(known: &WeakSeriesMap<S>, name: &SeriesKey, new: impl FnOnce(SeriesKey) -> S) -> Arc<S> {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(series) = known.get(name).and_then(Weak::upgrade) {
        return series;
    }
    let series = Arc::new(new(name.clone()));
    known.insert(name.clone(), Arc::downgrade(&series));
    series
}

/// Those that are there still; the others are forgotten.
fn live_series<S>(known: &WeakSeriesMap<S>) -> Vec<Arc<S>> {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    known.retain(|_, series| series.strong_count() > 0);
    known.values().filter_map(Weak::upgrade).collect()
}
