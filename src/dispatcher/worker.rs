//! One subscription's worker: consumes, delivers with bounded concurrency, settles. A panic in one delivery harms no
//! other.

use std::sync::Arc;

use tokio::task::{JoinError, JoinSet};

use crate::channel::{Consumer, Message};
use crate::client::Transport;
use crate::delivery::{Delivery, Lane};
use crate::model::Order;

/// Works until the queue is retired and empty and the last delivery has ended.
pub(super) async fn run<T: Transport>(lane: Arc<Lane>, mut consumer: Consumer, delivery: Arc<Delivery<T>>) {
    let mut deliveries = JoinSet::new();
    let mut next = None;
    while let Some(mut message) = or_recv(next.take(), &mut consumer).await {
        lane.series().oldest_since(message.came);
        // Only now: a permit that is held while nothing is to be done would be missing to those that try again.
        let Some(permit) = lane.permit().await else { break };
        lane.series().begin();
        while let Some(ended) = deliveries.try_join_next() {
            report(&lane, ended);
        }
        let ordered = lane.order() == Order::Ordered;
        let (lane_of_one, delivery) = (Arc::clone(&lane), Arc::clone(&delivery));
        // On the heap, since a task moves its future and its result about as one.
        deliveries.spawn(Box::pin(async move {
            let progress = std::mem::take(&mut message.progress);
            let outcome = tokio::select! {
                biased;
                () = message.revoked() => return,
                outcome = delivery.deliver(&message.event, &lane_of_one, permit, progress) => outcome,
            };
            message.settle(outcome).await;
        }));
        if ordered {
            next = until_ended(&lane, &mut deliveries, &mut consumer).await;
        }
    }
    while let Some(ended) = deliveries.join_next().await {
        report(&lane, ended);
    }
}

async fn or_recv(next: Option<Box<Message>>, consumer: &mut Consumer) -> Option<Box<Message>> {
    if next.is_some() { next } else { consumer.recv().await }
}

/// Waits until nothing is under way. Takes the message that is next meanwhile, so that it is seen since when it waits.
async fn until_ended(lane: &Lane, deliveries: &mut JoinSet<()>, consumer: &mut Consumer) -> Option<Box<Message>> {
    let mut next = None;
    let mut is_closed = false;
    loop {
        tokio::select! {
            biased;
            ended = deliveries.join_next() => match ended {
                Some(ended) => report(lane, ended),
                None => return next,
            },
            came = consumer.recv(), if next.is_none() && !is_closed => {
                is_closed = came.is_none();
                came.as_ref().inspect(|message| lane.series().oldest_since(message.came));
                next = came;
            }
        }
    }
}

fn report(lane: &Lane, ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(subscription = %lane.current().key, "A delivery panicked; its event is lost, others go on");
    }
}
