//! Router: takes events for a channel or Broker, whoever brings them (a request, or a reply inside
//! the process), and publishes them.
//!
//! It serves one immutable table, which the dispatcher replaces as a whole.

mod accept_error;
mod broker_hop;
mod pending_replies;
mod publish_span;
mod refused_events;
mod relayed_series;
mod request_reply;
mod request_reply_error;
mod served_table;
mod table_holder;

use std::sync::Arc;

use crate::auth::policy::{self, AccessDenial, InternalSender};
use crate::budget::{LimitExceeded, MemoryBudget, PER_EVENT};
use crate::channel::metrics;
use crate::event::{Event, http as binding};
use crate::event_type::EventTypeObserver;
use crate::model::{AcknowledgeMode, BackendKind, Channel, ChannelKey, ChannelKind, RoutingTable};
use crate::observation::{EventArrival, ObservedFact};
use crate::telemetry::counters::ProcessCounters;
use crate::telemetry::series::{ArrivalOutcome, ChannelSeries};
use crate::telemetry::tracer::Tracer;
pub(crate) use accept_error::AcceptError;
pub(crate) use broker_hop::enter_broker;
use pending_replies::keep_or_make_pending;
use publish_span::PublishSpans;
pub(crate) use refused_events::observed_request_reply;
use relayed_series::RelayedSeries;
pub(crate) use request_reply::RequestLimits;
pub(crate) use served_table::RoutedChannel;
pub use served_table::ServedTable;
use table_holder::ServedTableHolder;

/// Events that came together, and how they came.
pub(crate) struct ArrivedEvents<'a> {
    pub(crate) events: Vec<Event>,
    pub(crate) arrival: EventArrival<'a>,
}

/// Accepts events into channels and Brokers.
pub struct Router {
    holder: ServedTableHolder,
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
        Self {
            holder: ServedTableHolder::new(serving),
            max_ttl,
            counters,
            event_types: EventTypeObserver::default(),
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
    pub(crate) fn with_tracer(self, tracer: Tracer) -> Self {
        Self { tracer, ..self }
    }

    /// Sets the budget that the memory of replies is charged to.
    #[must_use]
    pub(crate) fn with_budget(self, budget: Arc<MemoryBudget>) -> Self {
        Self {
            budget: Some(budget),
            ..self
        }
    }

    /// Counters of a channel; for applying configuration, not for each event.
    #[must_use]
    pub(crate) fn channel_series(&self, key: &ChannelKey) -> Arc<ChannelSeries> {
        metrics::channel_series(&self.counters, key)
    }

    /// Table that is served now.
    #[must_use]
    pub(crate) fn served_table(&self) -> Arc<ServedTable> {
        self.holder.load_full()
    }

    /// Serves another table from now on, whose channels these are, and no more the channels `gone`,
    /// which take events from inside as long as they exist. Events that are being accepted stay
    /// with the old table; what relays and RequestReplies of it are in the new one, too, keep their
    /// counters and their requests.
    pub(crate) fn serve(
        &self,
        table: &Arc<RoutingTable>,
        channels: Vec<Arc<RoutedChannel>>,
        gone: &[Arc<RoutedChannel>],
    ) {
        let (before, counters) = (self.holder.load(), &self.counters);
        let limits = self.request_limits.as_ref();
        let capacity = limits.map_or(usize::MAX, |limits| limits.max_waiting);
        let (relayed, pending) = (&before.relayed_series, &before.pending_replies);
        let serving = ServedTable {
            table: Arc::clone(table),
            channels,
            relayed_series: RelayedSeries::look_up(table.relays(), relayed, counters),
            pending_replies: keep_or_make_pending(table, pending, capacity, counters),
        };
        self.holder.replace(serving, gone);
    }

    /// Takes the events of a request for the channel at `index` of the table: all or none. Returns
    /// when they are as safe as the channel can make them.
    ///
    /// # Errors
    /// If the channel refuses them.
    pub(crate) async fn accept(
        &self,
        serving: &ServedTable,
        index: usize,
        events: ArrivedEvents<'_>,
    ) -> Result<(), AcceptError> {
        match serving.channels.get(index) {
            Some(channel) => {
                let taken = channel.take_rate(events.events.len());
                self.refuse_over_limit(channel, taken)?;
                self.accept_into(channel, events).await
            }
            None => Ok(()),
        }
    }

    /// Refuses a request for the channel at `index` before it is read, if it would be refused
    /// anyway.
    ///
    /// # Errors
    /// If the rate of its namespace allows no event now.
    pub(crate) fn check_rate(
        &self,
        serving: &ServedTable,
        index: usize,
    ) -> Result<(), AcceptError> {
        match serving.channels.get(index) {
            Some(channel) => self.refuse_over_limit(channel, channel.check_rate()),
            None => Ok(()),
        }
    }

    /// Counts a request that a limit of its namespace does not let pass.
    fn refuse_over_limit(
        &self,
        channel: &RoutedChannel,
        checked: Result<(), LimitExceeded>,
    ) -> Result<(), AcceptError> {
        checked.map_err(|exceeded| {
            channel.count_arrivals(ArrivalOutcome::Full, 1);
            self.counters.refused.increment();
            AcceptError::Publish(exceeded.into())
        })
    }

    /// Takes one event that comes from inside the process; it is validated, and its sender
    /// authorized, as if it came from outside. A channel that is not served any more takes it as
    /// long as it exists.
    ///
    /// # Errors
    /// If there is no such channel, or the event is not valid, or the channel refuses it or its
    /// sender.
    pub(crate) async fn accept_local(
        &self,
        key: &ChannelKey,
        event: Event,
        inside: InternalSender<'_>,
        arrival: EventArrival<'_>,
    ) -> Result<(), AcceptError> {
        let serving = self.served_table();
        let Some((index, _)) = serving.table.channel(key) else {
            let Some(removed) = self.holder.removed_channel(key) else {
                return Err(self.refuse_local(
                    None,
                    &event,
                    arrival,
                    AcceptError::NotFound(key.clone()),
                ));
            };
            return Box::pin(self.accept_authorized(&removed, event, inside, arrival)).await;
        };
        match serving.channels.get(index) {
            Some(channel) => {
                self.accept_authorized(channel, event, inside, arrival)
                    .await
            }
            None => Ok(()),
        }
    }

    /// Counts and tells that an event from inside was refused before a channel had it.
    fn refuse_local(
        &self,
        channel: Option<&RoutedChannel>,
        event: &Event,
        arrival: EventArrival<'_>,
        error: AcceptError,
    ) -> AcceptError {
        self.counters.refused.increment();
        if let Some(channel) = channel {
            channel.count_arrivals(error.arrival(), 1);
        }
        self.observe_error(channel, event, arrival, &error);
        error
    }

    async fn accept_authorized(
        &self,
        channel: &RoutedChannel,
        event: Event,
        inside: InternalSender<'_>,
        arrival: EventArrival<'_>,
    ) -> Result<(), AcceptError> {
        binding::validate(&event)
            .map_err(|invalid| self.refuse_local(Some(channel), &event, arrival, invalid.into()))?;
        policy::authorize_internal(channel.channel.authorization.as_ref(), inside, &event)
            .map_err(|denial| self.count_denied_by(Some(channel), denial))
            .inspect_err(|error| self.observe_error(Some(channel), &event, arrival, error))?;
        // It would be lost if it were refused, so senders are refused instead.
        channel.charge_rate();
        let budget = channel.budget().or(self.budget.as_ref());
        let events = vec![charge_to_budget(event, budget)];
        self.accept_into(channel, ArrivedEvents { events, arrival })
            .await
    }

    /// Publishes events to a channel, and counts what became of them.
    async fn accept_into(
        &self,
        channel: &RoutedChannel,
        events: ArrivedEvents<'_>,
    ) -> Result<(), AcceptError> {
        let count = events.events.len();
        let accepted = self.publish(channel, events).await;
        let arrival = accepted
            .as_ref()
            .map_or_else(AcceptError::arrival, |()| ArrivalOutcome::Accepted);
        channel.count_arrivals(arrival, count);
        if accepted.is_err() {
            self.counters.refused.increment();
        }
        accepted
    }

    /// Charges an event from inside, such as a reply, to the budget: it is there already and would
    /// be lost if it were refused, so senders are refused instead, who can send again.
    #[must_use]
    pub(crate) fn charge_to_budget(&self, event: Event) -> Event {
        charge_to_budget(event, self.budget.as_ref())
    }

    /// The budget of a namespace, if namespaces have limits; for applying configuration, not for
    /// each event.
    #[must_use]
    pub(crate) fn namespace_budget(&self, namespace: &str) -> Option<Arc<MemoryBudget>> {
        let budget = self.budget.as_ref()?.of_namespace(namespace);
        budget.quota().is_some().then_some(budget)
    }

    /// Counts events for the channel at `index` whose sender may not send them, and gives the
    /// error.
    #[must_use]
    pub(crate) fn count_denied(
        &self,
        serving: &ServedTable,
        index: usize,
        denial: AccessDenial,
    ) -> AcceptError {
        self.count_denied_by(serving.channels.get(index).map(AsRef::as_ref), denial)
    }

    fn count_denied_by(
        &self,
        channel: Option<&RoutedChannel>,
        denial: AccessDenial,
    ) -> AcceptError {
        if let Some(channel) = channel {
            channel.count_arrivals(ArrivalOutcome::Denied, 1);
        }
        self.counters.refused.increment();
        AcceptError::Denied(denial)
    }

    /// Counts the hop into a Broker, and publishes the events to the channel's queues.
    async fn publish(
        &self,
        routed: &RoutedChannel,
        arrived: ArrivedEvents<'_>,
    ) -> Result<(), AcceptError> {
        let (channel, mut events) = (&routed.channel, arrived.events);
        if channel.key.kind == ChannelKind::Broker {
            self.enter_broker(routed, &mut events)?;
        }
        // After the hop is counted: an event that is refused for it has no span.
        let mut spans = PublishSpans::start(&self.tracer, &channel.key, &mut events);
        let events = into_shared(events, channel);
        for event in &events {
            self.event_types
                .observe(channel.event_types.as_ref(), event);
            // Before it is published: deliveries may end before the publisher returns.
            let accepted = ObservedFact::Accepted(arrived.arrival);
            self.counters
                .observer
                .observe(event, &routed.observed, &accepted);
        }
        let published = routed.publisher.publish(&events).await;
        if let Err(error) = &published {
            spans.set_error(error);
            self.observe_unpublished(routed, &events, error);
        }
        published?;
        self.counters.accepted.add(events.len() as u64);
        Ok(())
    }

    /// Counts the hop of events into a Broker.
    ///
    /// # Errors
    /// If one of them has no hop left.
    fn enter_broker(
        &self,
        routed: &RoutedChannel,
        events: &mut [Event],
    ) -> Result<(), AcceptError> {
        for event in events {
            enter_broker(event, self.max_ttl).inspect_err(|error| {
                self.observe_error(Some(routed), event, EventArrival::default(), error);
            })?;
        }
        Ok(())
    }
}

/// Charges an event to a budget, unless it is charged already.
fn charge_to_budget(event: Event, budget: Option<&Arc<MemoryBudget>>) -> Event {
    match budget {
        Some(budget) if !event.has_guard() => {
            let share = budget.share().increased_by(PER_EVENT + event.length());
            event.with_guard(Arc::new(share))
        }
        _ => event,
    }
}

/// Makes pointers of events, which all queues share. Events for whose delivery the sender does not
/// wait may wait long, and be many, so that they get memory of their own.
fn into_shared(events: Vec<Event>, channel: &Channel) -> Vec<Arc<Event>> {
    let waits = channel.backend == BackendKind::Memory
        && channel.acknowledge == AcknowledgeMode::AfterEnqueue;
    let kept = |event: Event| if waits { event.owned_copy() } else { event };
    events
        .into_iter()
        .map(|event| Arc::new(kept(event)))
        .collect()
}
