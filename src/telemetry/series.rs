//! What is counted for each subscription, channel and listener, and who they are. Whoever counts keeps the counters at
//! hand; names are looked up when a configuration is applied. When the last one lets go of a series, it is gone.

mod drops;
mod failing;
mod gauge;
mod last_error;
mod losses;
mod moments;
mod read;
mod relayed;
mod replies;
mod told;
mod traffic;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::counters::Counter;
use super::histogram::ByStatus;
use crate::filter::Undecided;
pub use drops::{Drop as Dropped, Why};
pub use gauge::{Entered, Gauge};
pub use last_error::LastError;
pub use relayed::{OfScheme, Relayed};
pub use replies::{Replied, ReplySeries};
pub use traffic::{ByMethod, Exchange, Requests, Sent, Traffic};

/// Who is counted for: a configured object.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// In lower case: `trigger`, `broker`.
    pub kind: &'static str,
    /// `metadata.namespace`.
    pub namespace: Box<str>,
    /// `metadata.name`.
    pub name: Box<str>,
}

/// How a delivery ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
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
    Returned,
}

/// In the order of [`End`].
const ENDS: [&str; 7] = ["delivered", "dead_lettered", "lost", "abandoned", "deferred", "parked", "returned"];

/// The destination of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The subscriber.
    Subscriber,
    /// The reply address.
    Reply,
    /// The dead letter sink.
    DeadLetterSink,
}

impl Destination {
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

/// In the order of [`Undecided`].
const UNDECIDED: [&str; 2] = ["expression", "limit"];

/// What is counted for a subscription.
#[derive(Debug)]
pub struct SubscriptionSeries {
    name: Name,
    /// `subscription:<name>.<namespace>`, upstream's `messaging.destination.name` (contract OB-8).
    destination: Box<str>,
    born: Instant,
    enqueued: Counter,
    ends: [Counter; ENDS.len()],
    moments: moments::Moments,
    drops: drops::Drops,
    /// Of the destinations that there were attempts at.
    attempts: [OnceLock<Box<[Counter; RESULTS.len()]>>; DESTINATIONS.len()],
    /// Attempts after the first.
    pub retries: Counter,
    /// Attempts that failed, at any of the destinations.
    pub failures: Counter,
    last_error: last_error::Newest,
    /// How the destinations are.
    failing: [failing::Failing; DESTINATIONS.len()],
    /// How the replies are.
    unreadable: failing::Failing,
    losses: losses::Losses,
    parked: losses::Losses,
    /// Events that its filter did not let pass, of those that it was asked about.
    pub filtered: Counter,
    /// Of those, events for which it could not be decided.
    undecided: [Counter; UNDECIDED.len()],
    /// Whether its filter takes too much work.
    costly: failing::Failing,
    /// Requests under way.
    pub in_flight: Gauge,
    /// Events that wait for their first attempt here.
    waiting: Gauge,
    /// Those that still wait with RabbitMQ, when it was last asked.
    pub ready: Gauge,
    /// Events in its parking queue: as many as there were when it was last looked at, and those parked here since.
    pub parked_now: Gauge,
    /// When the oldest of them came, in milliseconds since `born`, plus one; 0 if none waits.
    oldest: AtomicU64,
    durations: ByStatus,
    /// Requests that a role did not take for it.
    pub refused: Counter,
    relayed: OnceLock<Box<Relayed>>,
}

impl Default for SubscriptionSeries {
    fn default() -> Self {
        Self::new(Name::default())
    }
}

impl SubscriptionSeries {
    /// Counts for nobody, until it is registered.
    #[must_use]
    pub fn new(name: Name) -> Self {
        Self {
            destination: format!("{}:{}.{}", name.kind, name.name, name.namespace).into(),
            name,
            born: Instant::now(),
            enqueued: Counter::default(),
            ends: Default::default(),
            moments: moments::Moments::default(),
            drops: drops::Drops::default(),
            attempts: Default::default(),
            retries: Counter::default(),
            failures: Counter::default(),
            last_error: last_error::Newest::default(),
            failing: Default::default(),
            unreadable: failing::Failing::default(),
            losses: losses::Losses::default(),
            parked: losses::Losses::default(),
            filtered: Counter::default(),
            undecided: Default::default(),
            costly: failing::Failing::default(),
            in_flight: Gauge::default(),
            waiting: Gauge::default(),
            ready: Gauge::default(),
            parked_now: Gauge::default(),
            oldest: AtomicU64::new(0),
            durations: ByStatus::default(),
            refused: Counter::default(),
            relayed: OnceLock::new(),
        }
    }

    /// `subscription:<name>.<namespace>` or `trigger:<name>.<namespace>` (contract OB-8).
    #[must_use]
    pub fn destination(&self) -> &str {
        &self.destination
    }

    /// A queue took an event.
    pub fn enqueue(&self) {
        self.enqueued.increment();
        self.waiting.add(1);
    }

    /// The oldest event that waits came at this time.
    pub fn oldest_since(&self, came: Instant) {
        let millis = came.saturating_duration_since(self.born).as_millis();
        self.oldest.store(u64::try_from(millis).unwrap_or(0).saturating_add(1), Ordering::Relaxed);
    }

    /// That event is being delivered now; whether another one waits will be seen.
    pub fn begin(&self) {
        self.waiting.add(-1);
        self.oldest.store(0, Ordering::Relaxed);
    }

    /// A delivery ended.
    pub fn end(&self, end: End) {
        if let Some(counter) = self.ends.get(end as usize) {
            counter.increment();
        }
        self.moments.note(end);
    }

    /// When a delivery last ended so; `None` if none did. Only of [`End::Delivered`], [`End::DeadLettered`] and
    /// [`End::Lost`].
    #[must_use]
    pub fn last(&self, end: End) -> Option<SystemTime> {
        self.moments.last(end)
    }

    /// Nobody took an event: this destination failed last.
    pub fn dropped(&self, drop: Dropped, destination: Destination, why: impl Into<Why>) {
        if drop == Dropped::Parked {
            self.parked_now.add(1);
        }
        self.drops.count(drop, destination, why.into());
    }

    /// Events that its filter did not let pass since it could not be decided, for this reason.
    #[must_use]
    pub fn left_undecided(&self, why: Undecided) -> u64 {
        self.undecided.get(why as usize).map_or(0, Counter::get)
    }

    /// Deliveries that ended so.
    #[must_use]
    pub fn ended(&self, end: End) -> u64 {
        self.ends.get(end as usize).map_or(0, Counter::get)
    }

    /// The attempt that failed last.
    #[must_use]
    pub fn last_error(&self) -> Option<LastError> {
        self.last_error.get()
    }

    /// An attempt ended, with a status, or without one for this reason.
    pub fn attempt(&self, destination: Destination, result: Result<u16, &'static str>) {
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
    pub fn dispatched(&self, status: Option<u16>, took: Duration) {
        self.durations.record(status, took);
    }

    /// How long the roles take; only they need it.
    pub fn relayed(&self) -> &Relayed {
        self.relayed.get_or_init(Box::default)
    }

    /// How long the oldest event has waited.
    fn oldest_age(&self) -> Duration {
        match self.oldest.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => self.born.elapsed().saturating_sub(Duration::from_millis(since - 1)),
        }
    }
}

/// What became of events that were sent to a channel or broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
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

/// In the order of [`Arrival`].
const ARRIVALS: [&str; 7] = ["accepted", "full", "undelivered", "unavailable", "denied", "ttl_exhausted", "invalid"];

/// What is counted for a channel or broker.
#[derive(Debug, Default)]
pub struct ChannelSeries {
    name: Name,
    arrivals: [Counter; ARRIVALS.len()],
    /// How its channel is, to which the role `ingress` hands events.
    failing: failing::Failing,
    relayed: OnceLock<Box<Relayed>>,
}

impl ChannelSeries {
    /// Counts for nobody, until it is registered.
    #[must_use]
    pub fn new(name: Name) -> Self {
        Self { name, ..Self::default() }
    }

    /// How long the role `ingress` takes; only that needs it.
    pub fn relayed(&self) -> &Relayed {
        self.relayed.get_or_init(Box::default)
    }

    /// So many events ended so.
    #[must_use]
    pub fn arrivals(&self, arrival: Arrival) -> u64 {
        self.arrivals.get(arrival as usize).map_or(0, Counter::get)
    }

    /// So many events came.
    pub fn arrived(&self, arrival: Arrival, events: u64) {
        if let Some(counter) = self.arrivals.get(arrival as usize) {
            counter.add(events);
        }
    }
}

/// Series by their names.
type Known<S> = Mutex<BTreeMap<Name, Weak<S>>>;

/// Everybody who is counted for.
#[derive(Debug, Default)]
pub struct Series {
    subscriptions: Known<SubscriptionSeries>,
    channels: Known<ChannelSeries>,
    request_replies: replies::Replies,
    /// Of the listener for HTTP.
    pub http: Arc<Traffic>,
    /// Of the listener for HTTPS.
    pub https: Arc<Traffic>,
    /// Of the admin port.
    pub admin: Arc<Traffic>,
    /// With destinations, which are made, not accepted.
    pub clients: Arc<Traffic>,
    /// Requests on both ports for events, probes apart.
    pub requests: Requests,
    /// Requests to destinations, by status.
    pub sent: ByStatus<Sent>,
}

impl Series {
    /// The series of a subscription, which live as long as somebody holds them.
    pub fn subscription(&self, name: &Name) -> Arc<SubscriptionSeries> {
        find(&self.subscriptions, name, SubscriptionSeries::new)
    }

    /// A request to a destination ended with this status, or without one, after so long; its body had so many bytes.
    pub fn sent(&self, status: Option<u16>, took: Duration, bytes: usize) {
        if let Some(sent) = self.sent.of(status) {
            sent.took.record(took);
            sent.request.record(bytes as u64);
        }
    }

    /// The series of a channel or broker.
    pub fn channel(&self, name: &Name) -> Arc<ChannelSeries> {
        find(&self.channels, name, ChannelSeries::new)
    }
}

fn find<S>(known: &Known<S>, name: &Name, new: impl FnOnce(Name) -> S) -> Arc<S> {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(series) = known.get(name).and_then(Weak::upgrade) {
        return series;
    }
    let series = Arc::new(new(name.clone()));
    known.insert(name.clone(), Arc::downgrade(&series));
    series
}

/// Those that are there still; the others are forgotten.
fn alive<S>(known: &Known<S>) -> Vec<Arc<S>> {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    known.retain(|_, series| series.strong_count() > 0);
    known.values().filter_map(Weak::upgrade).collect()
}
