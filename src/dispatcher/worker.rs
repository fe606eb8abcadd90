//! Worker of one subscription: it consumes, delivers with limited concurrency, and settles. A panic
//! in one delivery does not harm others.

use std::pin::pin;
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use tokio::task::{JoinError, JoinSet};

use crate::channel::{DeliveryOutcome, EventDelivery, QueueConsumer};
use crate::client::HttpTransport;
use crate::delivery::{EventDeliverer, SubscriptionWorkerState};
use crate::model::DeliveryOrder;
use crate::telemetry::tracer::SpanScope;

/// Works until the queue is retired and empty and the last delivery has ended.
pub(super) async fn run<T: HttpTransport>(
    worker: Arc<SubscriptionWorkerState>,
    mut consumer: QueueConsumer,
    delivery: Arc<EventDeliverer<T>>,
) {
    let mut deliveries = JoinSet::new();
    let mut next = None;
    while let Some(message) = take_or_receive(next.take(), &mut consumer).await {
        // The wait is shown before the permit is awaited: it is the wait for that permit.
        worker.series().set_oldest_waiting(message.received_at);
        // The permit is taken only now: one that is held while there is no event would be missing
        // to retries.
        let Some(permit) = worker.acquire_permit().await else {
            break;
        };
        worker.series().start_delivery();
        join_ended(&worker, &mut deliveries);
        let is_ordered = worker.order() == DeliveryOrder::Ordered;
        let (state, delivery) = (Arc::clone(&worker), Arc::clone(&delivery));
        // The future is boxed, since a task moves its future and its result about as one.
        deliveries.spawn(Box::pin(deliver(message, state, permit, delivery)));
        // The next event of an ordered queue is delivered only when this one has been settled.
        if is_ordered {
            next = until_deliveries_ended(&worker, &mut deliveries, &mut consumer).await;
        }
    }
    while let Some(ended) = deliveries.join_next().await {
        log_panic(&worker, ended);
    }
}

/// Joins the deliveries that have ended, so that the set does not grow.
fn join_ended(worker: &SubscriptionWorkerState, deliveries: &mut JoinSet<()>) {
    while let Some(ended) = deliveries.try_join_next() {
        log_panic(worker, ended);
    }
}

/// Delivers one event, and settles it. A revoked delivery is dropped without settling: its event is
/// with another consumer.
async fn deliver<T: HttpTransport>(
    mut message: Box<EventDelivery>,
    worker: Arc<SubscriptionWorkerState>,
    permit: OwnedSemaphorePermit,
    delivery: Arc<EventDeliverer<T>>,
) {
    let progress = std::mem::take(&mut message.progress);
    let outcome = tokio::select! {
        biased;
        () = message.until_revoked() => return,
        outcome = delivery.deliver(&message.event, &worker, permit, progress) => outcome,
    };
    let scope = match outcome {
        DeliveryOutcome::Delivered => SpanScope::default(),
        _ => delivery.scope(&message.event),
    };
    scope.run(pin!(message.settle(outcome))).await;
}

async fn take_or_receive(
    next: Option<Box<EventDelivery>>,
    consumer: &mut QueueConsumer,
) -> Option<Box<EventDelivery>> {
    if next.is_some() {
        next
    } else {
        consumer.recv().await
    }
}

/// Waits until no delivery is under way. Takes the next event meanwhile, so that its waiting time
/// is reported.
async fn until_deliveries_ended(
    worker: &SubscriptionWorkerState,
    deliveries: &mut JoinSet<()>,
    consumer: &mut QueueConsumer,
) -> Option<Box<EventDelivery>> {
    let mut next = None;
    let mut is_closed = false;
    loop {
        tokio::select! {
            biased;
            ended = deliveries.join_next() => match ended {
                Some(ended) => log_panic(worker, ended),
                None => return next,
            },
            came = consumer.recv(), if next.is_none() && !is_closed => {
                is_closed = came.is_none();
                came.as_ref().inspect(|message| worker.series().set_oldest_waiting(message.received_at));
                next = came;
            }
        }
    }
}

fn log_panic(worker: &SubscriptionWorkerState, ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(
            subscription = %worker.subscription().key,
            "A delivery panicked: in memory its event is lost, else it is delivered again; others go on"
        );
    }
}
