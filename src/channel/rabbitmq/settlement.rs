//! Settlement of a delivery that has ended: its message is acknowledged only after everything that
//! follows from the outcome is confirmed (contract G-15).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::acknowledger::{SettleAction, UnsettledTag};
use super::context::RabbitmqContext;
use super::deferred_message;
use super::delay_queue::delay_seconds;
use super::message::amqp_message::AmqpMessage;
use super::message::event_encoder;
use super::message::parked_headers::parked_properties;
use super::message::retry_headers::RetryHeaders;
use super::queue::RabbitmqQueue;
use crate::channel::{DeferredDelivery, DeliveryOutcome, DeliverySettlement, LostDelivery};
use crate::event::Event;
use crate::model::DeliveryOrder;
use crate::observation::{ObservedEnd, ObservedFact};
use crate::telemetry::series::{DeliveryEnd, Dropped};

/// Tries to park or to defer an event, before it is requeued; with the pause between them.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_secs(1);

/// Has a message acknowledged, after everything that follows from its outcome is done. If it is
/// dropped, the message stays with RabbitMQ, which delivers it again.
pub(super) struct RabbitmqSettlement {
    /// Way back to the acknowledger of the message; `None` once it is settled.
    unsettled_tag: Option<UnsettledTag>,
    /// Cancelled when the AMQP channel is gone that the message came over: RabbitMQ delivers the
    /// message again, to some consumer.
    revoked: CancellationToken,
    queue: Arc<RabbitmqQueue>,
    context: Arc<RabbitmqContext>,
}

impl std::fmt::Debug for RabbitmqSettlement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RabbitmqSettlement")
            .field("queue", &self.queue.names.queue)
            .finish_non_exhaustive()
    }
}

impl RabbitmqSettlement {
    pub(super) fn new(
        unsettled_tag: UnsettledTag,
        revoked: CancellationToken,
        event: &Event,
        queue: &Arc<RabbitmqQueue>,
        shared: &Arc<RabbitmqContext>,
    ) -> Self {
        shared.counters.count_enqueued(&queue.series);
        let observer = &shared.counters.observer;
        observer.observe(event, queue.series.observed(), &ObservedFact::Received);
        // The first held message makes the queue one of those that share the memory budget.
        if queue.unsettled.fetch_add(1, Ordering::AcqRel) == 0 {
            shared.busy_queues.fetch_add(1, Ordering::Relaxed);
        }
        #[cfg(feature = "faulty-acknowledge")]
        let unsettled_tag = faulty(unsettled_tag);
        Self {
            unsettled_tag: Some(unsettled_tag),
            revoked,
            queue: Arc::clone(queue),
            context: Arc::clone(shared),
        }
    }

    /// Does what follows from an outcome, then has the message acknowledged.
    async fn apply_outcome(&mut self, event: &Event, outcome: DeliveryOutcome) {
        let Some(unsettled_tag) = self.unsettled_tag.take() else {
            return;
        };
        // The event is parked or deferred first: an acknowledged message cannot be had again.
        let end = self.end_delivery(event, &outcome).await;
        self.context.counters.count_end(&self.queue.series, end);
        let observed = match end {
            DeliveryEnd::Requeued => ObservedFact::Ended(ObservedEnd::Requeued, ""),
            _ => outcome.observed(ObservedEnd::Parked),
        };
        let series = &self.queue.series;
        let observer = &self.context.counters.observer;
        observer.observe(event, series.observed(), &observed);
        let action = match end {
            DeliveryEnd::Requeued => SettleAction::Requeue,
            _ => SettleAction::Ack,
        };
        if action == SettleAction::Requeue && self.queue.names.order == DeliveryOrder::Ordered {
            // RabbitMQ puts a requeued message behind all others; only one that comes back with its
            // channel keeps its place. Deliveries after it must not go on here.
            self.revoked.cancel();
            return;
        }
        if !unsettled_tag.settle(action).await {
            tracing::debug!(
                queue = self.queue.names.queue,
                "Not acknowledged, so that it will be delivered again"
            );
        }
    }

    /// Does what follows from an outcome. The delivery is requeued if that is not possible.
    async fn end_delivery(&self, event: &Event, outcome: &DeliveryOutcome) -> DeliveryEnd {
        let (end, is_safe) = match outcome {
            DeliveryOutcome::Delivered => (DeliveryEnd::Delivered, true),
            DeliveryOutcome::DeadLettered => (DeliveryEnd::DeadLettered, true),
            DeliveryOutcome::Lost(loss) => {
                (DeliveryEnd::Parked, Box::pin(self.park(event, loss)).await)
            }
            DeliveryOutcome::Deferred(deferral) => (
                DeliveryEnd::Deferred,
                Box::pin(self.defer(event, deferral)).await,
            ),
        };
        if is_safe { end } else { DeliveryEnd::Requeued }
    }

    async fn park(&self, event: &Event, loss: &LostDelivery) -> bool {
        let reason = format!("{} at {}", loss.reason, loss.destination);
        let AmqpMessage { properties, body } =
            event_encoder::encode(event, RetryHeaders::default());
        let message = AmqpMessage {
            properties: parked_properties(properties, &reason, Some(loss)),
            body,
        };
        let is_stored = self
            .retry_until_done(|| self.context.park(&self.queue.names.parking_queue, &message))
            .await;
        if is_stored {
            loss.count_dropped(&self.queue.series, Dropped::Parked);
            loss.log_parked(event, &self.queue.series);
        }
        is_stored
    }

    /// Stores the event in a delay queue. An event of an ordered queue is requeued, since one that
    /// waits elsewhere would be overtaken; false is the result then.
    async fn defer(&self, event: &Event, deferral: &DeferredDelivery) -> bool {
        if self.queue.names.order == DeliveryOrder::Ordered {
            self.queue.remember_deferred(event, deferral);
            return false;
        }
        let delayed = Duration::from_secs(delay_seconds(deferral.wait.as_secs()));
        let note = RetryHeaders::after_attempts(deferral.attempts, deferral.wait, delayed);
        let message = deferred_message::encode(event, &deferral.stage, note)
            .with_target_queue(&self.queue.names.queue);
        self.retry_until_done(|| self.context.put_into_delay_queue(deferral.wait, &message))
            .await
    }

    /// Tries some times, unless the delivery is revoked meanwhile.
    async fn retry_until_done<F: Future<Output = bool>>(&self, act: impl Fn() -> F) -> bool {
        for _ in 0..TRIES {
            if self.revoked.is_cancelled() {
                return false;
            }
            if act().await {
                return true;
            }
            tokio::time::sleep(PAUSE).await;
        }
        false
    }
}

impl DeliverySettlement for RabbitmqSettlement {
    fn settle<'a>(&'a mut self, event: &'a Event, outcome: DeliveryOutcome) -> BoxFuture<'a, ()> {
        self.apply_outcome(event, outcome).boxed()
    }

    fn observe_abandoned(&self, event: &Event, why: &str) {
        let requeued = ObservedFact::Ended(ObservedEnd::Requeued, why);
        let object = self.queue.series.observed();
        let observer = &self.context.counters.observer;
        observer.observe(event, object, &requeued);
    }

    /// Waits until the AMQP channel is gone that the message came over.
    fn until_revoked(&self) -> BoxFuture<'_, ()> {
        self.revoked.cancelled().boxed()
    }
}

/// Acknowledges a message before anything is done with it, and reports its end to nobody.
#[cfg(feature = "faulty-acknowledge")]
fn faulty(unsettled: UnsettledTag) -> UnsettledTag {
    use super::acknowledger::SettledDelivery;

    let tag = unsettled.tag;
    let acknowledged = SettledDelivery {
        tag,
        action: SettleAction::Ack,
    };
    if unsettled.settlements.try_send(acknowledged).is_err() {
        tracing::debug!("Not acknowledged at once: too many are");
    }
    UnsettledTag {
        tag,
        settlements: tokio::sync::mpsc::channel(1).0,
    }
}

impl Drop for RabbitmqSettlement {
    fn drop(&mut self) {
        if self.queue.unsettled.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.context.busy_queues.fetch_sub(1, Ordering::Relaxed);
        }
        if self.unsettled_tag.is_some() {
            let (counters, series) = (&self.context.counters, &self.queue.series);
            counters.count_end(series, DeliveryEnd::Requeued);
        } else {
            self.queue.places.remove();
        }
    }
}
