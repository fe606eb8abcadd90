//! Router: takes events for a channel or Broker, whoever brings them (a request, or a reply inside
//! the process), and publishes them.
//!
//! It serves one immutable table, which the dispatcher replaces as a whole.

mod pending_replies;
mod request_reply;
mod served_table;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use http::StatusCode;
use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;
use opentelemetry_semantic_conventions::attribute::{
    MESSAGING_DESTINATION_NAME, MESSAGING_OPERATION_NAME, MESSAGING_OPERATION_TYPE,
    MESSAGING_SYSTEM,
};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::auth::policy::{self, AccessDenial, InternalSender};
use crate::budget::{MemoryBudget, PER_EVENT};
use crate::channel::{ChannelPublisher, PublishError, metrics};
use crate::event::{DecodeError, Event, http as binding, knative};
use crate::event_type::EventTypeObserver;
use crate::model::{
    AcknowledgeMode, BackendKind, Channel, ChannelKey, ChannelKind, NamespacedName, RelayTable,
    SubscriptionKey, SubscriptionKind,
};
use crate::telemetry::counters::ProcessCounters;
use crate::telemetry::series::{ArrivalOutcome, ChannelSeries};
use crate::telemetry::span_attributes;
use crate::telemetry::tracer::{Span, Tracer};
pub use pending_replies::PendingReplies;
pub use request_reply::{PendingRepliesMap, RequestLimits, RequestReplyError};
pub use served_table::{RelayedSeries, RoutedChannel, ServedTable};

/// Takes `/namespace/name` apart into namespace and name.
fn parse_namespaced_name(path: &str) -> Option<NamespacedName> {
    let (namespace, name) = path.strip_prefix('/')?.split_once('/')?;
    Some((namespace.to_owned(), name.to_owned()))
}

/// Reason for which events were not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AcceptError {
    /// No channel or Broker has this key.
    #[error("{0} does not exist")]
    NotFound(ChannelKey),
    /// The event is not valid; possible for replies, which are decoded without validation.
    #[error(transparent)]
    Invalid(#[from] DecodeError),
    /// The event has passed too many brokers (contract BI-6).
    #[error(
        "knativebrokerttl is used up: the event has passed through brokers too often, check \
         the triggers for a loop"
    )]
    TtlExhausted,
    /// The sender may not send the event.
    #[error(transparent)]
    Denied(AccessDenial),
    /// The event could not be published.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The event was sent to a RequestReply, and there is no reply.
    #[error(transparent)]
    Unanswered(#[from] RequestReplyError),
}

impl AcceptError {
    /// Outcome as which metrics count the events.
    #[must_use]
    pub fn arrival(&self) -> ArrivalOutcome {
        match self {
            Self::NotFound(_) | Self::Invalid(_) => ArrivalOutcome::Invalid,
            Self::TtlExhausted => ArrivalOutcome::TtlExhausted,
            Self::Denied(_) => ArrivalOutcome::Denied,
            Self::Publish(PublishError::Full { .. }) => ArrivalOutcome::Full,
            Self::Publish(PublishError::Unavailable(_)) => ArrivalOutcome::Unavailable,
            Self::Publish(PublishError::Undelivered { .. }) => ArrivalOutcome::Undelivered,
            Self::Unanswered(unanswered) => unanswered.arrival(),
        }
    }

    /// HTTP status for the reason (contract IF-5).
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

/// Accepts events into channels and Brokers.
pub struct Router {
    served_table: ArcSwap<ServedTable>,
    /// Channels that are not served any more, as long as an event may be on the way to them.
    removed_channels: ArcSwap<HashMap<ChannelKey, Weak<RoutedChannel>>>,
    max_ttl: i32,
    counters: Arc<ProcessCounters>,
    event_types: EventTypeObserver,
    tracer: Tracer,
    /// Memory budget for replies, which came by no request.
    budget: Option<Arc<MemoryBudget>>,
    request_limits: Option<RequestLimits>,
}

impl Router {
    /// Makes a router that serves this table. `max_ttl` is the number of brokers that an event may
    /// pass (contract BI-6; 255 by default).
    #[must_use]
    pub fn new(serving: ServedTable, max_ttl: i32, counters: Arc<ProcessCounters>) -> Self {
        let event_types = EventTypeObserver::default();
        Self {
            served_table: ArcSwap::from_pointee(serving),
            removed_channels: ArcSwap::default(),
            max_ttl,
            counters,
            event_types,
            tracer: Tracer::default(),
            budget: None,
            request_limits: None,
        }
    }

    /// Sets the observer that makes `EventType`s of accepted events.
    #[must_use]
    pub fn with_event_types(self, event_types: EventTypeObserver) -> Self {
        Self {
            event_types,
            ..self
        }
    }

    /// Sets the tracer of accepted events.
    #[must_use]
    pub fn with_tracer(self, tracer: Tracer) -> Self {
        Self { tracer, ..self }
    }

    /// Sets the budget that the memory of replies is charged to.
    #[must_use]
    pub fn with_budget(self, budget: Arc<MemoryBudget>) -> Self {
        Self {
            budget: Some(budget),
            ..self
        }
    }

    /// Tracer of this process.
    #[must_use]
    pub fn tracer(&self) -> &Tracer {
        &self.tracer
    }

    /// Counters of a channel; for applying configuration, not for each event.
    #[must_use]
    pub fn channel_series(&self, key: &ChannelKey) -> Arc<ChannelSeries> {
        metrics::channel_series(&self.counters, key)
    }

    /// Counters of these relays; for applying configuration. Those that were served before are not
    /// looked up again.
    #[must_use]
    pub fn relayed_series(&self, relays: &RelayTable) -> RelayedSeries {
        let before = self.served_table.load();
        let RelayedSeries { brokers, triggers } = &before.relayed_series;
        let broker = |path: &String| {
            let series = brokers.get(path).cloned().or_else(|| {
                let (namespace, name) = parse_namespaced_name(path)?;
                Some(self.channel_series(&ChannelKey {
                    kind: ChannelKind::Broker,
                    namespace,
                    name,
                }))
            });
            Some((path.clone(), series?))
        };
        let trigger = |path: &String| {
            let series = triggers.get(path).cloned().or_else(|| {
                let (namespace, name) = parse_namespaced_name(path)?;
                let key = SubscriptionKey {
                    kind: SubscriptionKind::Trigger,
                    namespace,
                    name,
                };
                Some(metrics::subscription_series(&self.counters, &key))
            });
            Some((path.clone(), series?))
        };
        RelayedSeries {
            brokers: relays.brokers.keys().filter_map(broker).collect(),
            triggers: relays.triggers.keys().filter_map(trigger).collect(),
        }
    }

    /// Table that is served now.
    #[must_use]
    pub fn served_table(&self) -> Arc<ServedTable> {
        self.served_table.load_full()
    }

    /// Serves another table from now on. Events that are being accepted stay with the old one;
    /// requests that wait at a removed RequestReply are ended.
    pub fn serve(&self, serving: ServedTable) {
        let before = self.served_table.swap(Arc::new(serving));
        let serving = self.served_table.load();
        let gone = before
            .pending_replies
            .iter()
            .filter(|(key, _)| !serving.pending_replies.contains_key(*key));
        gone.for_each(|(_, room)| room.close());
    }

    /// Serves another table, without the channels `gone`, which take events from inside as long as
    /// they exist.
    pub fn serve_and_remove(&self, serving: ServedTable, gone: &[Arc<RoutedChannel>]) {
        let before = self.removed_channels.load_full();
        let left = before
            .iter()
            .filter(|(_, channel)| channel.strong_count() > 0);
        let left = left.map(|(key, channel)| (key.clone(), Weak::clone(channel)));
        let now = gone
            .iter()
            .map(|channel| (channel.channel.key.clone(), Arc::downgrade(channel)));
        // Stored before the table is replaced, so that an event finds the channel in one of both.
        self.removed_channels
            .store(Arc::new(left.chain(now).collect()));
        self.serve(serving);
    }

    /// Takes the events of a request for the channel at `index` of the table: all or none. Returns
    /// when they are as safe as the channel can make them.
    ///
    /// # Errors
    /// If the channel refuses them.
    pub async fn accept(
        &self,
        serving: &ServedTable,
        index: usize,
        events: Vec<Event>,
    ) -> Result<(), AcceptError> {
        let (Some(channel), Some(publisher)) = (
            serving.table.channels().get(index),
            serving.publishers.get(index),
        ) else {
            return Ok(());
        };
        let count = events.len();
        let accepted = self.publish(channel, publisher.as_ref(), events).await;
        let arrival = accepted
            .as_ref()
            .map_or_else(AcceptError::arrival, |()| ArrivalOutcome::Accepted);
        serving.count_arrival(index, arrival, count);
        if accepted.is_err() {
            self.counters.refused.increment();
        }
        accepted
    }

    /// Takes one event that comes from inside the process; it is validated, and its sender
    /// authorized, as if it came from outside.
    ///
    /// # Errors
    /// If there is no such channel, or the event is not valid, or the channel refuses it or its
    /// sender.
    pub async fn accept_local(
        &self,
        key: &ChannelKey,
        event: Event,
        inside: InternalSender<'_>,
    ) -> Result<(), AcceptError> {
        binding::validate(&event)?;
        let serving = self.served_table();
        let Some((index, channel)) = serving.table.channel(key) else {
            return Box::pin(self.accept_removed(key, event, inside)).await;
        };
        policy::authorize_internal(channel.authorization.as_ref(), inside, &event)
            .map_err(|denial| self.count_denied(&serving, index, denial))?;
        self.accept(&serving, index, vec![self.charge_to_budget(event)])
            .await
    }

    /// Takes an event for a channel that is not served any more.
    async fn accept_removed(
        &self,
        key: &ChannelKey,
        event: Event,
        inside: InternalSender<'_>,
    ) -> Result<(), AcceptError> {
        let channel = self
            .removed_channels
            .load()
            .get(key)
            .and_then(Weak::upgrade)
            .ok_or_else(|| AcceptError::NotFound(key.clone()))?;
        let accepted = match policy::authorize_internal(
            channel.channel.authorization.as_ref(),
            inside,
            &event,
        ) {
            Ok(()) => {
                self.publish(
                    &channel.channel,
                    channel.publisher.as_ref(),
                    vec![self.charge_to_budget(event)],
                )
                .await
            }
            Err(denial) => Err(AcceptError::Denied(denial)),
        };
        channel.series.count_arrivals(
            accepted
                .as_ref()
                .map_or_else(AcceptError::arrival, |()| ArrivalOutcome::Accepted),
            1,
        );
        if accepted.is_err() {
            self.counters.refused.increment();
        }
        accepted
    }

    /// Charges an event from inside, such as a reply, to the budget: it is there already and would
    /// be lost if it were refused, so senders are refused instead, who can send again.
    #[must_use]
    pub fn charge_to_budget(&self, event: Event) -> Event {
        match &self.budget {
            Some(budget) if !event.has_guard() => {
                let share = budget.share().increased_by(PER_EVENT + event.length());
                event.with_guard(Arc::new(share))
            }
            _ => event,
        }
    }

    /// Counts events for the channel at `index` whose sender may not send them, and gives the
    /// error.
    #[must_use]
    pub fn count_denied(
        &self,
        serving: &ServedTable,
        index: usize,
        denial: AccessDenial,
    ) -> AcceptError {
        serving.count_arrival(index, ArrivalOutcome::Denied, 1);
        self.counters.refused.increment();
        AcceptError::Denied(denial)
    }

    /// Starts a span for each event, which gets it as parent; none while nothing is traced.
    fn start_publish_spans(&self, channel: &Channel, events: &mut [Event]) -> Vec<Span> {
        if !self.tracer.is_enabled() {
            return Vec::new();
        }
        let begin = |event: &mut Event| {
            let mut span = self
                .tracer
                .start("publish", SpanKind::Producer, event.trace());
            set_publish_attributes(&mut span, &channel.key, event);
            event.set_trace(span.context().cloned());
            span
        };
        events.iter_mut().map(begin).collect()
    }

    async fn publish(
        &self,
        channel: &Channel,
        publisher: &dyn ChannelPublisher,
        mut events: Vec<Event>,
    ) -> Result<(), AcceptError> {
        if channel.key.kind == ChannelKind::Broker {
            events
                .iter_mut()
                .try_for_each(|event| enter_broker(event, self.max_ttl))?;
        }
        // After the hop is counted: an event that is refused for it has no span.
        let mut spans = self.start_publish_spans(channel, &mut events);
        // Events for whose delivery the sender does not wait may wait long, and be many.
        let waits = channel.backend == BackendKind::Memory
            && channel.acknowledge == AcknowledgeMode::AfterEnqueue;
        let kept = |event: Event| if waits { event.owned_copy() } else { event };
        let events: Vec<Arc<Event>> = events
            .into_iter()
            .map(|event| Arc::new(kept(event)))
            .collect();
        for event in &events {
            self.event_types
                .observe(channel.event_types.as_ref(), event);
        }
        let published = publisher.publish(&events).await;
        if let Err(error) = &published {
            spans
                .iter_mut()
                .for_each(|span| span.set_error(|| error.to_string().into()));
        }
        published?;
        self.counters.accepted.add(events.len() as u64);
        Ok(())
    }
}

/// Sets the attributes of the span of a published event (contract OB-8, OB-13).
fn set_publish_attributes(span: &mut Span, key: &ChannelKey, event: &Event) {
    let (kind, name, namespace) = match key.kind {
        ChannelKind::Channel => ("channel", "kn.channel.name", "kn.channel.namespace"),
        ChannelKind::Broker => ("broker", "kn.broker.name", "kn.broker.namespace"),
        ChannelKind::RequestReply => (
            "requestreply",
            "kn.requestreply.name",
            "kn.requestreply.namespace",
        ),
    };
    span.set_attributes(|| {
        [
            KeyValue::new(MESSAGING_SYSTEM, "knative"),
            KeyValue::new(MESSAGING_OPERATION_NAME, "publish"),
            KeyValue::new(MESSAGING_OPERATION_TYPE, "send"),
            KeyValue::new(
                MESSAGING_DESTINATION_NAME,
                format!("{kind}:{}.{}", key.name, key.namespace),
            ),
            KeyValue::new(name, key.name.clone()),
            KeyValue::new(namespace, key.namespace.clone()),
        ]
    });
    span_attributes::set_event_attributes(span, event);
}

/// Counts the hop into a Broker and sets the time of arrival (contract BI-5, BI-6; a TTL above
/// `max_ttl` is not believed, contract G-56).
///
/// # Errors
/// If the event has no hop left.
pub fn enter_broker(event: &mut Event, max_ttl: i32) -> Result<(), AcceptError> {
    let left = match event
        .get(knative::BROKER_TTL)
        .as_deref()
        .map(str::parse::<i64>)
    {
        Some(Ok(ttl)) => i32::try_from(ttl.saturating_sub(1).clamp(0, max_ttl.into())).unwrap_or(0),
        Some(Err(_)) | None => max_ttl,
    };
    if left <= 0 {
        return Err(AcceptError::TtlExhausted);
    }
    event.set_integer(knative::BROKER_TTL, left);
    let now = OffsetDateTime::now_utc()
        .format(&Rfc3339)
        .map_or(Cow::Borrowed(""), Cow::Owned);
    event.set(knative::ARRIVAL_TIME, &now);
    Ok(())
}
