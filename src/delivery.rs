//! Delivery of one event to one subscription: subscriber, reply, dead letter sink, each with
//! retries (contract DP-3 to DP-33).
//!
//! The delivery does not know where the event came from or which queue it waits in; it gives its
//! outcome.

mod attempt;
mod attempt_progress;
mod dead_letter;
mod outgoing_event;
mod reply;
mod retry;
mod worker_state;
mod worker_states;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use backoff::backoff::Backoff;
use bytes::Bytes;
use http::Response;
use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;
use opentelemetry_semantic_conventions::attribute::{
    MESSAGING_DESTINATION_NAME, MESSAGING_OPERATION_NAME, MESSAGING_OPERATION_TYPE,
    MESSAGING_SYSTEM,
};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::auth::TokenCache;
use crate::auth::token_cache::NoTokenIssuer;
use crate::channel::{
    DeferredDelivery, DeliveryOutcome, DeliveryProgress, DeliveryStage, LostDelivery, metrics,
};
use crate::client::HttpTransport;
use crate::display::EventDisplay;
use crate::event::{AttributeLimit, Event};
use crate::event_type::EventTypeObserver;
use crate::model::{DestinationRole, Subscription};
use crate::router::Router;
use crate::telemetry::counters::ProcessCounters;
use crate::telemetry::span_attributes;
use crate::telemetry::tracer::{Span, SpanScope};
use crate::wire_text::WireText;
use attempt_progress::AttemptProgress;
use dead_letter::DeliveryFailure;
use outgoing_event::{DeliveryAttemptResult, OutgoingEvent, SendFailure};
use reply::{read_reply, restore_broker_ttl};
use retry::RetrySchedule;
use worker_state::DeliveryRecord;
pub use worker_state::SubscriptionWorkerState;

pub use worker_states::SubscriptionWorkerStates;

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

    /// Makes the worker state of a subscription, counted under its name.
    #[must_use]
    pub fn worker_state(
        &self,
        subscription: Arc<Subscription>,
        concurrency: usize,
    ) -> SubscriptionWorkerState {
        let series = metrics::subscription_series(&self.counters, &subscription.key);
        SubscriptionWorkerState::new(subscription, concurrency).with_series(series)
    }

    /// Delivers an event to the worker's subscription, from its `progress` on. `permit` is for the
    /// first attempt at the subscriber.
    pub async fn deliver(
        &self,
        event: &Arc<Event>,
        worker: &SubscriptionWorkerState,
        permit: OwnedSemaphorePermit,
        progress: DeliveryProgress,
    ) -> DeliveryOutcome {
        let record = DeliveryRecord::new(worker, self.start_delivery_span(event, worker));
        let outcome = {
            let delivery = pin!(self.resume_delivery(event, &record, permit, progress));
            record.span.scope().run(delivery).await
        };
        record.finish(&outcome);
        outcome
    }

    /// Returns the scope of what is done for an event after its delivery.
    #[must_use]
    pub fn scope(&self, event: &Event) -> SpanScope {
        self.router.tracer().scope(event.trace())
    }

    /// Starts the span of a delivery.
    fn start_delivery_span(&self, event: &Event, worker: &SubscriptionWorkerState) -> Span {
        let mut span = self
            .router
            .tracer()
            .start("deliver", SpanKind::Consumer, event.trace());
        span.set_attributes(|| {
            [
                KeyValue::new(MESSAGING_SYSTEM, "knative"),
                KeyValue::new(MESSAGING_OPERATION_NAME, "deliver"),
                KeyValue::new(MESSAGING_OPERATION_TYPE, "process"),
                KeyValue::new(
                    MESSAGING_DESTINATION_NAME,
                    worker.series().messaging_destination().to_owned(),
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

    async fn send_to_subscriber(
        &self,
        event: &Arc<Event>,
        record: &DeliveryRecord<'_>,
        permit: OwnedSemaphorePermit,
        tries: AttemptProgress,
    ) -> DeliveryOutcome {
        match self
            .send(
                OutgoingEvent {
                    role: DestinationRole::Subscriber,
                    event,
                },
                record,
                Some(permit),
                tries,
            )
            .await
        {
            Ok(response) => {
                self.handle_reply(event, record, response, tries.for_next_destination())
                    .await
            }
            Err(SendFailure::Deferred { attempts, wait }) => {
                DeliveryOutcome::Deferred(DeferredDelivery {
                    stage: DeliveryStage::Subscriber,
                    attempts,
                    wait,
                })
            }
            Err(SendFailure::Failed(failure)) => {
                Box::pin(self.send_to_dead_letter_sink(
                    event,
                    record,
                    failure,
                    tries.for_next_destination(),
                ))
                .await
            }
            Err(SendFailure::NoDestination) => DeliveryOutcome::Delivered,
        }
    }

    /// Sends the event that the subscriber replied with, if there is one and it has a destination
    /// (contract DP-21, DP-22).
    async fn handle_reply(
        &self,
        event: &Arc<Event>,
        record: &DeliveryRecord<'_>,
        response: Response<Bytes>,
        tries: AttemptProgress,
    ) -> DeliveryOutcome {
        let subscription = record.worker.subscription();
        let Some(destination) = DestinationRole::Reply.destination(&subscription) else {
            return DeliveryOutcome::Delivered;
        };
        // Without a reply address, the response is not even decoded: it cannot fail the delivery.
        let answered = read_reply(response, self.options.attributes);
        if answered.is_ok() {
            record.worker.series().record_readable_reply(Instant::now());
        }
        match answered {
            Ok(None) => DeliveryOutcome::Delivered,
            Ok(Some(reply)) => {
                self.event_types
                    .observe(subscription.event_types.as_ref(), &reply);
                let reply = restore_broker_ttl(reply, event, &subscription);
                let reply = Arc::new(self.router.charge_to_budget(reply));
                Box::pin(self.send_reply(event, record, reply, tries)).await
            }
            Err(error) => {
                let failure = DeliveryFailure::from_unreadable_reply(destination, &*error);
                record
                    .worker
                    .series()
                    .record_unreadable_reply(&failure.scrubbed_destination(), failure.reason());
                Box::pin(self.send_to_dead_letter_sink(event, record, failure, tries)).await
            }
        }
    }

    async fn send_reply(
        &self,
        event: &Arc<Event>,
        record: &DeliveryRecord<'_>,
        reply: Arc<Event>,
        tries: AttemptProgress,
    ) -> DeliveryOutcome {
        match self
            .send(
                OutgoingEvent {
                    role: DestinationRole::Reply,
                    event: &reply,
                },
                record,
                None,
                tries,
            )
            .await
        {
            Ok(_) | Err(SendFailure::NoDestination) => DeliveryOutcome::Delivered,
            Err(SendFailure::Deferred { attempts, wait }) => {
                DeliveryOutcome::Deferred(DeferredDelivery {
                    stage: DeliveryStage::Reply(reply),
                    attempts,
                    wait,
                })
            }
            Err(SendFailure::Failed(failure)) => {
                let failure = failure.with_forwarded(reply.forwarded().to_vec());
                self.send_to_dead_letter_sink(event, record, failure, tries.for_next_destination())
                    .await
            }
        }
    }

    /// Sends the event to the dead letter sink; without one it is lost (contract DP-27, DP-28).
    async fn send_to_dead_letter_sink(
        &self,
        event: &Event,
        record: &DeliveryRecord<'_>,
        failure: DeliveryFailure,
        tries: AttemptProgress,
    ) -> DeliveryOutcome {
        let subscription = record.worker.subscription();
        if subscription.dead_letter_sink.is_none() {
            return lost_outcome(failure, record);
        }
        let dead = Arc::new(failure.add_error_attributes(event.clone()));
        self.send_annotated_event(record, dead, failure, tries)
            .await
    }

    async fn send_annotated_event(
        &self,
        record: &DeliveryRecord<'_>,
        dead: Arc<Event>,
        failure: DeliveryFailure,
        tries: AttemptProgress,
    ) -> DeliveryOutcome {
        match self
            .send(
                OutgoingEvent {
                    role: DestinationRole::DeadLetterSink,
                    event: &dead,
                },
                record,
                None,
                tries,
            )
            .await
        {
            Ok(_answer) => DeliveryOutcome::DeadLettered,
            Err(SendFailure::Deferred { attempts, wait }) => {
                DeliveryOutcome::Deferred(DeferredDelivery {
                    stage: DeliveryStage::DeadLetterSink(dead),
                    attempts,
                    wait,
                })
            }
            Err(SendFailure::Failed(second)) => {
                let end = format!("the dead letter sink failed too: {second}");
                let loss = failure.into_lost_delivery(&record.worker.subscription(), &end);
                DeliveryOutcome::Lost(Box::new(LostDelivery {
                    counted_as: second.counted_as(),
                    ..*loss
                }))
            }
            Err(SendFailure::NoDestination) => lost_outcome(failure, record),
        }
    }

    /// Sends an event until it is taken or the attempts of the delivery spec are used up.
    async fn send(
        &self,
        outgoing: OutgoingEvent<'_>,
        record: &DeliveryRecord<'_>,
        permit: Option<OwnedSemaphorePermit>,
        tries: AttemptProgress,
    ) -> Result<Response<Bytes>, SendFailure> {
        let started = Instant::now();
        let mut span = record.span.child(outgoing.span_name(), SpanKind::Internal);
        let sent = self
            .send_with_retries(outgoing, (record, &mut span), permit, tries)
            .await;
        // Recorded also for a failure: the last destination counts, whatever became of it.
        record.record_duration(started.elapsed());
        if let Err(SendFailure::Failed(failure)) = &sent {
            span.set_error(|| failure.to_string().into());
        }
        sent
    }

    /// Timeout of one attempt at this subscription.
    fn attempt_timeout(&self, subscription: &Subscription) -> Duration {
        let timeout = subscription
            .delivery
            .timeout
            .filter(|timeout| !timeout.is_zero());
        timeout.unwrap_or(self.options.default_timeout)
    }

    /// Makes the attempts. None holds a permit between them, so that its wait delays no other
    /// event.
    async fn send_with_retries(
        &self,
        outgoing: OutgoingEvent<'_>,
        (record, span): (&DeliveryRecord<'_>, &mut Span),
        mut permit: Option<OwnedSemaphorePermit>,
        tries: AttemptProgress,
    ) -> Result<Response<Bytes>, SendFailure> {
        // The rest of an earlier wait comes first; what does not fit into the hold time is deferred
        // again.
        if !tries.wait.is_zero() {
            drop(permit.take());
            let pause = tries.wait_here(self.attempt_timeout(&record.worker.subscription()));
            tokio::time::sleep(pause).await;
            let wait = tries.wait.saturating_sub(pause);
            if !wait.is_zero() {
                return Err(SendFailure::Deferred {
                    attempts: tries.attempts,
                    wait,
                });
            }
            permit = outgoing.acquire_permit(record.worker).await;
        }
        let mut schedule =
            RetrySchedule::new(&record.worker.subscription().delivery, self.options.jitter)
                .after_attempts(tries.attempts);
        loop {
            // The subscription may have changed during the wait: each attempt uses its newest form.
            let subscription = record.worker.subscription();
            let Some(destination) = outgoing.role.destination(&subscription) else {
                return Err(SendFailure::NoDestination);
            };
            let timeout = self.attempt_timeout(&subscription);
            let Some(limit) = tries.attempt_timeout(timeout) else {
                return Err(SendFailure::Deferred {
                    attempts: schedule.attempts_made(),
                    wait: Duration::ZERO,
                });
            };
            let to = (&*subscription, destination, limit);
            let began = Instant::now();
            let (failure, retry_after) = match self
                .send_attempt(
                    outgoing,
                    (record, span, schedule.attempts_made()),
                    to,
                    permit,
                )
                .await
            {
                Ok(response) => {
                    record.worker.record_success(outgoing.role, began);
                    return Ok(response);
                }
                Err(backoff::Error::Permanent(failure)) => {
                    record.worker.record_failure(outgoing.role, &failure);
                    return Err(outgoing.final_failure(failure, &schedule));
                }
                Err(backoff::Error::Transient { err, retry_after }) => (err, retry_after),
            };
            record.worker.record_failure(outgoing.role, &failure);
            let Some(wait) = schedule.next_backoff() else {
                return Err(outgoing.final_failure(failure, &schedule));
            };
            let wait = wait.max(retry_after.unwrap_or_default());
            let attempts = i64::from(schedule.attempts_made());
            span.add_event("retry", || {
                [
                    KeyValue::new("sealpost.attempts", attempts),
                    KeyValue::new("sealpost.reason", failure.to_string()),
                    KeyValue::new("sealpost.backoff", wait.as_secs_f64()),
                ]
            });
            // A wait that the queue cannot hold the event for is left to the queue.
            if tries.exceeds_hold_time(wait, timeout) {
                self.counters.count_retry(record.worker.series());
                return Err(SendFailure::Deferred {
                    attempts: schedule.attempts_made(),
                    wait,
                });
            }
            tracing::debug!(
                subscription = %subscription.key,
                event.id = %WireText::new(outgoing.event.id()),
                to = outgoing.role.as_str(),
                reason = %failure,
                ?wait,
                "Attempt failed, trying again"
            );
            tokio::time::sleep(wait).await;
            self.counters.count_retry(record.worker.series());
            permit = outgoing.acquire_permit(record.worker).await;
        }
    }
}

fn lost_outcome(failure: DeliveryFailure, record: &DeliveryRecord<'_>) -> DeliveryOutcome {
    DeliveryOutcome::Lost(failure.into_lost_delivery(
        &record.worker.subscription(),
        "there is no dead letter sink",
    ))
}

#[cfg(test)]
mod tests;
