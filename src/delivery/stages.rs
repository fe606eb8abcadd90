//! The destinations of an event, one after the other: the subscriber, the reply address, the dead
//! letter sink (contract DP-20 to DP-28).

use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::EventDeliverer;
use super::attempt_progress::AttemptProgress;
use super::dead_letter::DeliveryFailure;
use super::delivery_record::DeliveryRecord;
use super::outgoing_event::{DeferredAttempt, OutgoingEvent, SendFailure};
use super::reply::{describe_json, read_reply, restore_broker_ttl};
use crate::channel::{DeliveryOutcome, DeliveryStage, LostDelivery};
use crate::client::HttpTransport;
use crate::event::Event;
use crate::model::DestinationRole;
use crate::observation::ObservedFact;

impl<T: HttpTransport> EventDeliverer<T> {
    /// Sends the event to the subscriber, and what follows from that to where it belongs.
    pub(super) async fn send_to_subscriber(
        &self,
        event: &Arc<Event>,
        record: &DeliveryRecord<'_>,
        permit: OwnedSemaphorePermit,
        tries: AttemptProgress,
    ) -> DeliveryOutcome {
        let outgoing = OutgoingEvent::new(DestinationRole::Subscriber, event);
        let next = tries.for_next_destination();
        match self.send(outgoing, record, Some(permit), tries).await {
            Ok(response) => self.handle_reply(event, record, response, next).await,
            Err(SendFailure::Deferred(deferred)) => {
                deferred.into_outcome(DeliveryStage::Subscriber)
            }
            Err(SendFailure::Failed(failure)) => {
                Box::pin(self.send_to_dead_letter_sink(event, record, failure, next)).await
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
        let json = describe_json(&response);
        let answered = read_reply(response, self.options.attributes);
        let series = record.worker.series();
        if answered.is_ok() {
            series.record_readable_reply(Instant::now());
        }
        match answered {
            Ok(None) => {
                if let Some(json) = json {
                    let (observer, fact) = (&self.counters.observer, ObservedFact::NoReply(&json));
                    observer.observe(record.event, series.observed(), &fact);
                }
                DeliveryOutcome::Delivered
            }
            Ok(Some(reply)) => {
                self.event_types
                    .observe(subscription.event_types.as_ref(), &reply);
                let reply = restore_broker_ttl(reply, event, &subscription);
                let reply = Arc::new(self.router.charge_to_budget(reply));
                Box::pin(self.send_reply(event, record, reply, tries)).await
            }
            Err(error) => {
                let failure = DeliveryFailure::from_unreadable_reply(destination, &*error);
                series.record_unreadable_reply(&failure.scrubbed_destination(), failure.reason());
                Box::pin(self.send_to_dead_letter_sink(event, record, failure, tries)).await
            }
        }
    }

    /// Sends a reply to the reply address; if that fails, the event goes to the dead letter sink.
    pub(super) async fn send_reply(
        &self,
        event: &Arc<Event>,
        record: &DeliveryRecord<'_>,
        reply: Arc<Event>,
        tries: AttemptProgress,
    ) -> DeliveryOutcome {
        let outgoing = OutgoingEvent::new(DestinationRole::Reply, &reply);
        match self.send(outgoing, record, None, tries).await {
            Ok(_) | Err(SendFailure::NoDestination) => DeliveryOutcome::Delivered,
            Err(SendFailure::Deferred(deferred)) => {
                deferred.into_outcome(DeliveryStage::Reply(reply))
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
        if tries.is_recorded() {
            // The subscriber is not asked again, whatever becomes of this process.
            return DeferredAttempt::at_once(0).into_outcome(DeliveryStage::DeadLetterSink(dead));
        }
        self.send_annotated_event(record, dead, failure, tries)
            .await
    }

    /// Sends an event that has the attributes of its failure to the dead letter sink.
    pub(super) async fn send_annotated_event(
        &self,
        record: &DeliveryRecord<'_>,
        dead: Arc<Event>,
        failure: DeliveryFailure,
        tries: AttemptProgress,
    ) -> DeliveryOutcome {
        let outgoing = OutgoingEvent::new(DestinationRole::DeadLetterSink, &dead);
        match self.send(outgoing, record, None, tries).await {
            Ok(_answer) => DeliveryOutcome::DeadLettered,
            Err(SendFailure::Deferred(deferred)) => {
                deferred.into_outcome(DeliveryStage::DeadLetterSink(dead))
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
}

fn lost_outcome(failure: DeliveryFailure, record: &DeliveryRecord<'_>) -> DeliveryOutcome {
    DeliveryOutcome::Lost(failure.into_lost_delivery(
        &record.worker.subscription(),
        "there is no dead letter sink",
    ))
}
