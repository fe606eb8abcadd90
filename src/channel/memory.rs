//! Channels in memory: a bounded queue for each subscription.
//!
//! Promise: an event answered 202 has been delivered to every subscription or its dead letter sink; on a channel that
//! acknowledges at once it is in every queue, and lost if the process ends before it is delivered.

mod receipt;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::shift::Shift;
use super::trouble::TroubleReason;
use super::{ChannelBackend, Message, Opened, Outcome, Progress, PublishError, Publisher, Settlement, counted};
use crate::event::Event;
use crate::filter::index::Index;
use crate::model::{Acknowledge, Channel, Subscription, SubscriptionKey};
use crate::telemetry::counters::Counters;
use crate::telemetry::series::{Dropped, End, SubscriptionSeries};
use receipt::Receipt;

/// The queues of all channels in memory.
pub struct MemoryBackend {
    queues: Mutex<HashMap<SubscriptionKey, Arc<Queue>>>,
    capacity: usize,
    counters: Arc<Counters>,
}

impl MemoryBackend {
    /// A backend whose queues hold at most `capacity` unfinished events each: waiting, in flight or between retries.
    #[must_use]
    pub fn new(capacity: usize, counters: Arc<Counters>) -> Self {
        Self { queues: Mutex::default(), capacity: capacity.max(1), counters }
    }

    fn queues(&self) -> MutexGuard<'_, HashMap<SubscriptionKey, Arc<Queue>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ChannelBackend for MemoryBackend {
    fn open(&self, channel: &Channel) -> Opened {
        let mut queues = self.queues();
        let mut consumers = Vec::new();
        let mut lanes = Vec::with_capacity(channel.subscriptions.len());
        for subscription in &channel.subscriptions {
            let queue = queues.entry(subscription.key.clone()).or_insert_with(|| {
                let series = counted::subscription(&self.counters, &subscription.key);
                let (queue, consumer) = Queue::new(subscription.key.clone(), self.capacity, series);
                consumers.push((Arc::clone(subscription), consumer));
                Arc::new(queue)
            });
            lanes.push(Lane { subscription: Arc::clone(subscription), queue: Arc::clone(queue) });
        }
        let index = Index::new(lanes.iter().map(|lane| &lane.subscription.filter));
        let counters = Arc::clone(&self.counters);
        let publisher = MemoryPublisher { acknowledge: channel.acknowledge, index, lanes, counters };
        Opened { publisher: Arc::new(publisher), consumers }
    }

    /// What is in the queue can still be consumed.
    fn retire(&self, subscription: &SubscriptionKey) {
        self.queues().remove(subscription);
    }

    fn unfinished(&self, subscription: &SubscriptionKey) -> Option<usize> {
        self.queues().get(subscription).map(|queue| queue.load.unfinished.load(Ordering::Relaxed))
    }

    /// Memory is always there.
    fn trouble(&self, _subscription: &SubscriptionKey) -> Option<TroubleReason> {
        None
    }

    /// Memory is left to nobody: what is in queues is delivered first.
    fn close(&self) {}
}

/// How much a queue holds, and what is counted of it.
#[derive(Debug)]
struct Load {
    unfinished: AtomicUsize,
    series: Arc<SubscriptionSeries>,
}

/// One subscription's queue. Its consumer ends when the last publisher that knows the queue is gone.
struct Queue {
    key: SubscriptionKey,
    capacity: usize,
    load: Arc<Load>,
    messages: mpsc::Sender<Box<Message>>,
}

impl Queue {
    fn new(key: SubscriptionKey, capacity: usize, series: Arc<SubscriptionSeries>) -> (Self, super::Consumer) {
        let (messages, consumer) = mpsc::channel(capacity);
        let load = Arc::new(Load { unfinished: AtomicUsize::new(0), series });
        (Self { key, capacity, load, messages }, consumer)
    }

    /// Takes a place, or tells that there is none, or that nobody would take what is put there.
    fn reserve(&self) -> Result<Place, PublishError> {
        if self.messages.is_closed() {
            return Err(no_worker());
        }
        let place = Place(Arc::clone(&self.load));
        if self.load.unfinished.fetch_add(1, Ordering::Relaxed) >= self.capacity {
            return Err(PublishError::Full { subscription: self.key.clone() });
        }
        Ok(place)
    }
}

/// The worker of a queue has been stopped.
fn no_worker() -> PublishError {
    PublishError::Unavailable("this process is stopping".to_owned())
}

/// A place in a queue, given back when it is dropped.
#[derive(Debug)]
struct Place(Arc<Load>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.unfinished.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A subscription as a publisher sees it.
struct Lane {
    subscription: Arc<Subscription>,
    queue: Arc<Queue>,
}

struct MemoryPublisher {
    acknowledge: Acknowledge,
    /// Of the lanes' filters, by their places.
    index: Index,
    lanes: Vec<Lane>,
    counters: Arc<Counters>,
}

/// An event that has its place in a queue but is not in it yet.
struct Reserved<'a> {
    queue: &'a Queue,
    event: &'a Arc<Event>,
    place: Place,
}

impl MemoryPublisher {
    /// A place for each event in each queue whose subscription wants it, or no place at all.
    async fn reserve<'a>(&'a self, events: &'a [Arc<Event>]) -> Result<Vec<Reserved<'a>>, PublishError> {
        let (mut reserved, mut shift) = (Vec::new(), Shift::default());
        for event in events {
            for lane in self.index.candidates(event).filter_map(|place| self.lanes.get(place)) {
                let queue: &Queue = &lane.queue;
                let decision = lane.subscription.filter.decide(event);
                if self.counters.filter_of(&queue.load.series, decision) {
                    reserved.push(Reserved { queue, event, place: queue.reserve()? });
                }
                shift.worked(decision).await;
            }
        }
        Ok(reserved)
    }

    /// Enqueues what has a place; the receipt tells how it ends, if the channel waits for that.
    fn enqueue(&self, reserved: Vec<Reserved<'_>>) -> Result<Option<Arc<Receipt>>, PublishError> {
        let mut enqueued = Ok(());
        let receipt = (self.acknowledge == Acknowledge::AfterDelivery).then(|| Receipt::new(reserved.len()));
        for Reserved { queue, event, place } in reserved {
            self.counters.enqueue(&place.0.series);
            let settlement =
                MemorySettlement { receipt: receipt.clone(), counters: Some(Arc::clone(&self.counters)), place };
            let message = Message::new(Arc::clone(event), Progress::default(), settlement);
            // A message that the queue does not take settles itself as abandoned: its consumer has been stopped.
            if queue.messages.try_send(message).is_err() {
                enqueued = Err(no_worker());
            }
        }
        match receipt {
            // It knows of that, too.
            Some(receipt) => Ok(Some(receipt)),
            None => enqueued.map(|()| None),
        }
    }
}

impl Publisher for MemoryPublisher {
    fn publish<'a>(&'a self, events: &'a [Arc<Event>]) -> BoxFuture<'a, Result<(), PublishError>> {
        async move {
            let reserved = self.reserve(events).await?;
            if reserved.is_empty() {
                self.counters.unrouted.add(events.len() as u64);
                return Ok(());
            }
            match self.enqueue(reserved)? {
                Some(receipt) => receipt.wait().await,
                None => Ok(()),
            }
        }
        .boxed()
    }
}

/// Counts how a delivery ended, and tells the sender who waits for it.
#[derive(Debug)]
struct MemorySettlement {
    receipt: Option<Arc<Receipt>>,
    /// Taken when the message is settled.
    counters: Option<Arc<Counters>>,
    place: Place,
}

impl MemorySettlement {
    fn end(&mut self, event: &Event, outcome: &Outcome) {
        let Some(counters) = self.counters.take() else { return };
        let end = match outcome {
            Outcome::Delivered => End::Delivered,
            Outcome::DeadLettered => End::DeadLettered,
            // A queue without limits on patience has nothing deferred.
            Outcome::Lost(_) | Outcome::Deferred(_) => End::Lost,
        };
        counters.end(&self.place.0.series, end);
        if let Outcome::Lost(loss) = outcome {
            loss.report(event, &self.place.0.series);
            loss.count(&self.place.0.series, Dropped::Lost);
        }
        if let Some(receipt) = self.receipt.take() {
            if end == End::Lost { receipt.fail() } else { receipt.end() }
        }
    }
}

impl Settlement for MemorySettlement {
    fn settle<'a>(&'a mut self, event: &'a Event, outcome: Outcome) -> BoxFuture<'a, ()> {
        self.end(event, &outcome);
        std::future::ready(()).boxed()
    }
}

impl Drop for MemorySettlement {
    fn drop(&mut self) {
        if let Some(counters) = self.counters.take() {
            counters.end(&self.place.0.series, End::Abandoned);
        }
        if let Some(receipt) = self.receipt.take() {
            receipt.fail();
        }
    }
}

#[cfg(test)]
mod tests;
