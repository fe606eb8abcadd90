//! Delivery of one event to one subscription: subscriber, reply, dead letter sink, each with
//! retries (contract DP-3 to DP-33).
//!
//! The delivery does not know where the event came from or which queue it waits in; it gives its
//! outcome.

mod attempt;
mod attempt_progress;
mod attempt_request;
mod attempt_span;
mod attempt_verdict;
mod dead_letter;
mod delivery_record;
mod destination_send;
mod local_destination;
mod outgoing_event;
mod reply;
mod retry_schedule;
mod stages;
mod unfinished_events;
mod worker_state;
mod worker_states;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;
use opentelemetry_semantic_conventions::attribute::{
    MESSAGING_DESTINATION_NAME, MESSAGING_OPERATION_NAME, MESSAGING_OPERATION_TYPE,
    MESSAGING_SYSTEM,
};
use tokio::sync::OwnedSemaphorePermit;

use crate::auth::TokenCache;
use crate::auth::token_cache::NoTokenIssuer;
use crate::channel::{DeliveryOutcome, DeliveryProgress, DeliveryStage, metrics};
use crate::client::HttpTransport;
use crate::display::EventDisplay;
use crate::event::{AttributeLimit, Event};
use crate::event_type::EventTypeObserver;
use crate::model::Subscription;
use crate::router::Router;
use crate::telemetry::counters::ProcessCounters;
use crate::telemetry::span_attributes;
use crate::telemetry::tracer::{Span, SpanScope, Tracer};
use attempt_progress::AttemptProgress;
use dead_letter::DeliveryFailure;
use delivery_record::DeliveryRecord;
pub(crate) use unfinished_events::{NextAttempt, NotedEvent, UnfinishedProgress};
pub(crate) use worker_state::{AttemptPlaces, SubscriptionWorkerState};
pub(crate) use worker_states::SubscriptionWorkerStates;

/// Options that hold for every delivery.
#[derive(Clone, Debug, PartialEq)]
pub struct DeliveryOptions {
    /// Timeout of an attempt whose delivery spec has none.
    pub default_timeout: Duration,
    /// Part of each wait that is left to chance, from 0 (none) to 1 (all of it).
    pub jitter: f64,
    /// Limit of the attributes of a subscriber's reply.
    pub attributes: AttributeLimit,
    /// `broker-filter.<system namespace>.svc.<domain>`: its responses report another's (contract
    /// DP-32).
    pub broker_filter_host: Box<str>,
}

/// Delivers events to subscriptions. There is one for the process.
pub struct EventDeliverer<T> {
    transport: Arc<T>,
    router: Arc<Router>,
    display: EventDisplay,
    options: DeliveryOptions,
    counters: Arc<ProcessCounters>,
    tokens: Arc<TokenCache>,
    event_types: EventTypeObserver,
    tracer: Tracer,
}

impl<T: HttpTransport> EventDeliverer<T> {
    /// Makes a deliverer that sends by `transport`, to channels of this process by `router`, or to
    /// `display`.
    #[must_use]
    pub fn new(
        transport: Arc<T>,
        router: Arc<Router>,
        display: EventDisplay,
        options: DeliveryOptions,
        counters: Arc<ProcessCounters>,
    ) -> Self {
        let tokens = Arc::new(TokenCache::new(
            Arc::new(NoTokenIssuer),
            Arc::clone(&counters),
        ));
        Self {
            transport,
            router,
            display,
            options,
            counters,
            tokens,
            event_types: EventTypeObserver::default(),
            tracer: Tracer::default(),
        }
    }

    /// Sets the tokens for destinations that want to know the sender.
    #[must_use]
    pub fn with_tokens(self, tokens: Arc<TokenCache>) -> Self {
        Self { tokens, ..self }
    }

    /// Sets the observer that makes `EventType`s of replies.
    #[must_use]
    pub fn with_event_types(self, event_types: EventTypeObserver) -> Self {
        Self {
            event_types,
            ..self
        }
    }

    /// Sets the tracer of deliveries.
    #[must_use]
    pub(crate) fn with_tracer(self, tracer: Tracer) -> Self {
        Self { tracer, ..self }
    }

    /// Makes the worker state of a subscription, counted under its name.
    #[must_use]
    pub(crate) fn worker_state(
        &self,
        subscription: Arc<Subscription>,
        concurrency: usize,
    ) -> SubscriptionWorkerState {
        let series = metrics::subscription_series(&self.counters, &subscription.key);
        SubscriptionWorkerState::new(subscription, concurrency).with_series(series)
    }

    /// Delivers an event to the worker's subscription, from its `progress` on. `permit` is for the
    /// first attempt at the subscriber.
    pub(crate) async fn deliver(
        &self,
        event: &Arc<Event>,
        worker: &SubscriptionWorkerState,
        permit: OwnedSemaphorePermit,
        progress: DeliveryProgress,
    ) -> DeliveryOutcome {
        let span = self.start_delivery_span(event, worker);
        let record = DeliveryRecord::new(worker, event, span, &progress);
        let outcome = {
            let delivery = pin!(self.resume_delivery(event, &record, permit, progress));
            record.span.scope().run(delivery).await
        };
        record.finish(&outcome);
        outcome
    }

    /// Returns the scope of what is done for an event after its delivery.
    #[must_use]
    pub(crate) fn scope(&self, event: &Event) -> SpanScope {
        self.tracer.scope(event.trace())
    }

    /// Starts the span of a delivery.
    fn start_delivery_span(&self, event: &Event, worker: &SubscriptionWorkerState) -> Span {
        let mut span = self
            .tracer
            .start("deliver", SpanKind::Consumer, event.trace());
        span.set_attributes(|| {
            [
                KeyValue::new(MESSAGING_SYSTEM, "knative"),
                KeyValue::new(MESSAGING_OPERATION_NAME, "deliver"),
                KeyValue::new(MESSAGING_OPERATION_TYPE, "process"),
                KeyValue::new(
                    MESSAGING_DESTINATION_NAME,
                    Arc::clone(worker.series().messaging_destination()),
                ),
            ]
        });
        span_attributes::set_event_attributes(&mut span, event);
        span
    }

    async fn resume_delivery(
        &self,
        event: &Arc<Event>,
        record: &DeliveryRecord<'_>,
        permit: OwnedSemaphorePermit,
        progress: DeliveryProgress,
    ) -> DeliveryOutcome {
        let tries = AttemptProgress::from(&progress);
        match progress.stage {
            DeliveryStage::Subscriber => {
                self.send_to_subscriber(event, record, permit, tries).await
            }
            DeliveryStage::Reply(reply) => {
                drop(permit);
                Box::pin(self.send_reply(event, record, reply, tries)).await
            }
            DeliveryStage::DeadLetterSink(dead) => {
                drop(permit);
                let failure = DeliveryFailure::from_dead_letter(&dead);
                Box::pin(self.send_annotated_event(record, dead, failure, tries)).await
            }
        }
    }
}

#[cfg(test)]
mod tests;
