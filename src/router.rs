//! The door behind every door: takes events for a channel or broker, whoever brings them (a request, or a reply
//! inside the process), and publishes them.
//!
//! It serves from one immutable value that the dispatcher replaces as a whole.

mod request_reply;
mod waiting;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use http::StatusCode;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::auth::policy::{self, Denial, Inside};
use crate::budget::{Budget, PER_EVENT};
use crate::channel::{PublishError, Publisher, counted};
use crate::event::{DecodeError, Event, http as binding, knative};
use crate::event_type::EventTypes;
use crate::model::{
    Acknowledge, Channel, ChannelKey, ChannelKind, Relays, RoutingTable, Storage, SubscriptionKey, SubscriptionKind,
};
use crate::telemetry::counters::Counters;
use crate::telemetry::series::{Arrival, ChannelSeries, SubscriptionSeries};
use crate::telemetry::trace::{Kind, Span, Tracer};
use crate::telemetry::traced;
pub use request_reply::{RequestLimits, Rooms, Unanswered};
pub use waiting::WaitingRoom;

/// A routing table with a publisher for each of its channels.
pub struct Serving {
    /// Who is at which address.
    pub table: Arc<RoutingTable>,
    /// In the order of [`RoutingTable::channels`].
    pub publishers: Vec<Arc<dyn Publisher>>,
    /// What is counted for each, in the same order.
    pub series: Vec<Arc<ChannelSeries>>,
    /// What is counted for what is relayed.
    pub relayed: RelayedSeries,
    /// Who waits at RequestReplies.
    pub rooms: Rooms,
}

/// A channel with its publisher.
pub struct Door {
    /// The channel.
    pub channel: Arc<Channel>,
    /// Puts events into its queues, which go on being consumed as long as this is there.
    pub publisher: Arc<dyn Publisher>,
    /// What is counted for it.
    pub series: Arc<ChannelSeries>,
}

/// What is counted for Brokers and Triggers that are relayed, by `/namespace/name`.
#[derive(Debug, Default)]
pub struct RelayedSeries {
    /// Of the role `ingress`.
    pub brokers: HashMap<String, Arc<ChannelSeries>>,
    /// Of the role `filter`.
    pub triggers: HashMap<String, Arc<SubscriptionSeries>>,
}

impl Serving {
    /// Counts what became of events for the channel at `index`.
    fn arrived(&self, index: usize, arrival: Arrival, events: usize) {
        if let Some(series) = self.series.get(index) {
            series.arrived(arrival, events as u64);
        }
    }
}

/// Namespace and name of `/namespace/name`.
fn named(path: &str) -> Option<(String, String)> {
    let (namespace, name) = path.strip_prefix('/')?.split_once('/')?;
    Some((namespace.to_owned(), name.to_owned()))
}

/// Why events were not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such channel or broker.
    #[error("{0} does not exist")]
    NotFound(ChannelKey),
    /// Not a valid event; possible for replies, which are taken as they come.
    #[error(transparent)]
    Invalid(#[from] DecodeError),
    /// The event has gone through brokers too often (contract BI-6).
    #[error(
        "knativebrokerttl is used up: the event has passed through brokers too often, check the triggers for a loop"
    )]
    TtlExhausted,
    /// Its sender may not send it.
    #[error(transparent)]
    Denied(Denial),
    /// It could not be published.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// It was sent to a RequestReply, and there is no reply.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
}

impl Refusal {
    /// What it counts as.
    #[must_use]
    pub fn arrival(&self) -> Arrival {
        match self {
            Self::NotFound(_) | Self::Invalid(_) => Arrival::Invalid,
            Self::TtlExhausted => Arrival::TtlExhausted,
            Self::Denied(_) => Arrival::Denied,
            Self::Publish(PublishError::Full { .. }) => Arrival::Full,
            Self::Publish(PublishError::Unavailable(_)) => Arrival::Unavailable,
            Self::Publish(PublishError::Undelivered { .. }) => Arrival::Undelivered,
            Self::Unanswered(unanswered) => unanswered.arrival(),
        }
    }

    /// The status that says so by HTTP (contract IF-5).
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Invalid(_) | Self::TtlExhausted => StatusCode::BAD_REQUEST,
            Self::Denied(denial) => denial.status(),
            Self::Publish(PublishError::Full { .. }) => StatusCode::TOO_MANY_REQUESTS,
            Self::Publish(PublishError::Unavailable(_)) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Publish(PublishError::Undelivered { .. }) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unanswered(unanswered) => unanswered.status(),
        }
    }
}

/// Accepts events into channels and brokers.
pub struct Router {
    serving: ArcSwap<Serving>,
    /// Channels that are not served any more, as long as somebody may be on the way there.
    gone: ArcSwap<HashMap<ChannelKey, Weak<Door>>>,
    max_ttl: i32,
    counters: Arc<Counters>,
    event_types: EventTypes,
    tracer: Tracer,
    /// What replies hold in memory is counted here.
    budget: Option<Arc<Budget>>,
    requests: Option<RequestLimits>,
}

impl Router {
    /// A router that serves this. `max_ttl` is the number of brokers that an event may pass (contract BI-6; 255 by
    /// default).
    #[must_use]
    pub fn new(serving: Serving, max_ttl: i32, counters: Arc<Counters>) -> Self {
        let event_types = EventTypes::default();
        Self {
            serving: ArcSwap::from_pointee(serving),
            gone: ArcSwap::default(),
            max_ttl,
            counters,
            event_types,
            tracer: Tracer::default(),
            budget: None,
            requests: None,
        }
    }

    /// The same router; `EventType`s are made of what it accepts, where that is wanted.
    #[must_use]
    pub fn with_event_types(self, event_types: EventTypes) -> Self {
        Self { event_types, ..self }
    }

    /// The same router; what it accepts is traced by this.
    #[must_use]
    pub fn with_tracer(self, tracer: Tracer) -> Self {
        Self { tracer, ..self }
    }

    /// The same router; what replies hold in memory that it takes is counted there.
    #[must_use]
    pub fn with_budget(self, budget: Arc<Budget>) -> Self {
        Self { budget: Some(budget), ..self }
    }

    /// What traces events.
    #[must_use]
    pub fn tracer(&self) -> &Tracer {
        &self.tracer
    }

    /// What is counted for a channel; for configuring, not for each event.
    #[must_use]
    pub fn series(&self, key: &ChannelKey) -> Arc<ChannelSeries> {
        counted::channel(&self.counters, key)
    }

    /// What is counted for these; for configuring, not for each event. What was served before is not looked up again.
    #[must_use]
    pub fn relayed(&self, relays: &Relays) -> RelayedSeries {
        let before = self.serving.load();
        let RelayedSeries { brokers, triggers } = &before.relayed;
        let broker = |path: &String| {
            let series = brokers.get(path).cloned().or_else(|| {
                let (namespace, name) = named(path)?;
                Some(self.series(&ChannelKey { kind: ChannelKind::Broker, namespace, name }))
            });
            Some((path.clone(), series?))
        };
        let trigger = |path: &String| {
            let series = triggers.get(path).cloned().or_else(|| {
                let (namespace, name) = named(path)?;
                let key = SubscriptionKey { kind: SubscriptionKind::Trigger, namespace, name };
                Some(counted::subscription(&self.counters, &key))
            });
            Some((path.clone(), series?))
        };
        RelayedSeries {
            brokers: relays.brokers.keys().filter_map(broker).collect(),
            triggers: relays.triggers.keys().filter_map(trigger).collect(),
        }
    }

    /// What is served now.
    #[must_use]
    pub fn serving(&self) -> Arc<Serving> {
        self.serving.load_full()
    }

    /// Serves something else from now on. Events that are being accepted end where they began; who waits at a RequestReply
    /// that is gone is told.
    pub fn serve(&self, serving: Serving) {
        let before = self.serving.swap(Arc::new(serving));
        let serving = self.serving.load();
        let gone = before.rooms.iter().filter(|(key, _)| !serving.rooms.contains_key(*key));
        gone.for_each(|(_, room)| room.close());
    }

    /// The same; these channels are not in it any more, and take what comes from inside as long as they are there.
    pub fn serve_without(&self, serving: Serving, gone: &[Arc<Door>]) {
        let before = self.gone.load_full();
        let left = before.iter().filter(|(_, door)| door.strong_count() > 0);
        let left = left.map(|(key, door)| (key.clone(), Weak::clone(door)));
        let now = gone.iter().map(|door| (door.channel.key.clone(), Arc::downgrade(door)));
        self.gone.store(Arc::new(left.chain(now).collect()));
        self.serve(serving);
    }

    /// Takes the events of a request for the channel at `index` of the table: all or none. Returns when they are as
    /// safe as the channel can make them.
    ///
    /// # Errors
    /// If the channel refuses them.
    pub async fn accept(&self, serving: &Serving, index: usize, events: Vec<Event>) -> Result<(), Refusal> {
        let (Some(channel), Some(publisher)) = (serving.table.channels().get(index), serving.publishers.get(index))
        else {
            return Ok(());
        };
        let count = events.len();
        let accepted = self.publish(channel, publisher.as_ref(), events).await;
        let arrival = accepted.as_ref().map_or_else(Refusal::arrival, |()| Arrival::Accepted);
        serving.arrived(index, arrival, count);
        if accepted.is_err() {
            self.counters.refused.increment();
        }
        accepted
    }

    /// Takes one event that comes from inside the process; it is validated, and its sender authorized, as if it came
    /// from outside.
    ///
    /// # Errors
    /// If there is no such channel, or the event is not valid, or the channel refuses it or its sender.
    pub async fn accept_local(&self, key: &ChannelKey, event: Event, inside: Inside<'_>) -> Result<(), Refusal> {
        binding::validate(&event)?;
        let serving = self.serving();
        let Some((index, channel)) = serving.table.get(key) else {
            return Box::pin(self.accept_late(key, event, inside)).await;
        };
        policy::admit_inside(channel.access.as_ref(), inside, &event)
            .map_err(|denial| self.refuse(&serving, index, denial))?;
        self.accept(&serving, index, vec![self.counted(event)]).await
    }

    /// The same for a channel that is not served any more.
    async fn accept_late(&self, key: &ChannelKey, event: Event, inside: Inside<'_>) -> Result<(), Refusal> {
        let door = self.gone.load().get(key).and_then(Weak::upgrade).ok_or_else(|| Refusal::NotFound(key.clone()))?;
        let accepted = match policy::admit_inside(door.channel.access.as_ref(), inside, &event) {
            Ok(()) => self.publish(&door.channel, door.publisher.as_ref(), vec![self.counted(event)]).await,
            Err(denial) => Err(Refusal::Denied(denial)),
        };
        door.series.arrived(accepted.as_ref().map_or_else(Refusal::arrival, |()| Arrival::Accepted), 1);
        if accepted.is_err() {
            self.counters.refused.increment();
        }
        accepted
    }

    /// An event that came from inside, such as a reply, counted: it is there already and would be lost if it were refused, so
    /// that senders are, who can send again.
    #[must_use]
    pub fn counted(&self, event: Event) -> Event {
        match &self.budget {
            Some(budget) if !event.has_lease() => {
                let share = budget.share().and(PER_EVENT + event.length());
                event.with_lease(Arc::new(share))
            }
            _ => event,
        }
    }

    /// Refuses events for the channel at `index`, whose sender may not send them.
    #[must_use]
    pub fn refuse(&self, serving: &Serving, index: usize, denial: Denial) -> Refusal {
        serving.arrived(index, Arrival::Denied, 1);
        self.counters.refused.increment();
        Refusal::Denied(denial)
    }

    /// A span for each event, which belongs to it from now on; none while nothing is traced.
    fn trace(&self, channel: &Channel, events: &mut [Event]) -> Vec<Span> {
        if !self.tracer.is_on() {
            return Vec::new();
        }
        let begin = |event: &mut Event| {
            let mut span = self.tracer.start("publish", Kind::Producer, event.trace());
            describe(&mut span, &channel.key, event);
            event.set_trace(span.context().cloned());
            span
        };
        events.iter_mut().map(begin).collect()
    }

    async fn publish(
        &self,
        channel: &Channel,
        publisher: &dyn Publisher,
        mut events: Vec<Event>,
    ) -> Result<(), Refusal> {
        if channel.key.kind == ChannelKind::Broker {
            events.iter_mut().try_for_each(|event| enter_broker(event, self.max_ttl))?;
        }
        let mut spans = self.trace(channel, &mut events);
        // Those that the sender does not wait for may wait long, and be many.
        let waits = channel.storage == Storage::Memory && channel.acknowledge == Acknowledge::AfterEnqueue;
        let kept = |event: Event| if waits { event.detached() } else { event };
        let events: Vec<Arc<Event>> = events.into_iter().map(|event| Arc::new(kept(event))).collect();
        for event in &events {
            self.event_types.observe(channel.event_types.as_ref(), event);
        }
        let published = publisher.publish(&events).await;
        if let Err(error) = &published {
            spans.iter_mut().for_each(|span| span.failed(|| error.to_string().into()));
        }
        published?;
        self.counters.accepted.add(events.len() as u64);
        Ok(())
    }
}

/// What is told of an event that is published (contract OB-8, OB-13).
fn describe(span: &mut Span, key: &ChannelKey, event: &Event) {
    let (kind, name, namespace) = match key.kind {
        ChannelKind::Channel => ("channel", "kn.channel.name", "kn.channel.namespace"),
        ChannelKind::Broker => ("broker", "kn.broker.name", "kn.broker.namespace"),
        ChannelKind::RequestReply => ("requestreply", "kn.requestreply.name", "kn.requestreply.namespace"),
    };
    span.tell(|| {
        [
            ("messaging.system", "knative".into()),
            ("messaging.operation.name", "publish".into()),
            ("messaging.operation.type", "send".into()),
            ("messaging.destination.name", format!("{kind}:{}.{}", key.name, key.namespace).into()),
            (name, key.name.clone().into()),
            (namespace, key.namespace.clone().into()),
        ]
    });
    traced::describe(span, event);
}

/// Counts the hop into a broker and notes the arrival (contract BI-5, BI-6; a TTL above `max_ttl` is not believed,
/// contract G-56).
///
/// # Errors
/// If the event has no hop left.
pub fn enter_broker(event: &mut Event, max_ttl: i32) -> Result<(), Refusal> {
    let left = match event.get(knative::BROKER_TTL).as_deref().map(str::parse::<i64>) {
        Some(Ok(ttl)) => i32::try_from(ttl.saturating_sub(1).clamp(0, max_ttl.into())).unwrap_or(0),
        Some(Err(_)) | None => max_ttl,
    };
    if left <= 0 {
        return Err(Refusal::TtlExhausted);
    }
    event.set_integer(knative::BROKER_TTL, left);
    let now = OffsetDateTime::now_utc().format(&Rfc3339).map_or(Cow::Borrowed(""), Cow::Owned);
    event.set(knative::ARRIVAL_TIME, &now);
    Ok(())
}
