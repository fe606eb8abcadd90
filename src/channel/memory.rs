//! Channels in memory: a bounded queue for each subscription.
//!
//! Promise: an event answered 202 has been delivered to every subscription or its dead letter sink;
//! on a channel that acknowledges at once it is in every queue, and lost if the process ends before
//! it is delivered.

mod delivery_countdown;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::subscription_queues::{CountedQueue, FilterDecider, OpenedQueue, SubscriptionQueues};
use super::trouble_reason::TroubleReason;
use super::{
    ChannelBackend, ChannelPublisher, DeliveryOutcome, DeliveryProgress, DeliverySettlement,
    EventDelivery, OpenedChannel, PublishError, metrics,
};
use crate::budget::{MemoryBudget, QueueShare};
use crate::event::Event;
use crate::model::{AcknowledgeMode, Channel, SubscriptionKey};
use crate::observation::{ObservedEnd, ObservedFact};
use crate::telemetry::counters::ProcessCounters;
use crate::telemetry::series::{DeliveryEnd, Dropped, SubscriptionSeries};
use delivery_countdown::DeliveryCountdown;

/// The backend that keeps the queues of channels in memory.
pub struct MemoryBackend {
    queues: Mutex<HashMap<SubscriptionKey, Arc<MemoryQueue>>>,
    capacity: usize,
    counters: Arc<ProcessCounters>,
    /// The budget whose namespaces may have limits.
    budget: Option<Arc<MemoryBudget>>,
}

impl MemoryBackend {
    /// Makes a backend whose queues hold at most `capacity` unfinished events each: waiting, in
    /// flight or between retries.
    #[must_use]
    pub fn new(capacity: usize, counters: Arc<ProcessCounters>) -> Self {
        Self {
            queues: Mutex::default(),
            capacity: capacity.max(1),
            counters,
            budget: None,
        }
    }

    /// Sets the budget whose namespaces may have limits of the places in their queues.
    #[must_use]
    pub(crate) fn with_budget(self, budget: Arc<MemoryBudget>) -> Self {
        Self {
            budget: Some(budget),
            ..self
        }
    }

    /// Opens the queue of a subscription that has none.
    fn open_queue(&self, key: &SubscriptionKey) -> OpenedQueue<MemoryQueue> {
        let budget = self.budget.as_ref();
        let budget = budget.map(|budget| budget.of_namespace(&key.namespace));
        let load = MemoryQueueLoad {
            unfinished: AtomicUsize::new(0),
            places: budget.map_or_else(QueueShare::default, |budget| budget.queue_share()),
            series: metrics::subscription_series(&self.counters, key),
        };
        MemoryQueue::open(key.clone(), self.capacity, load)
    }

    fn queues(&self) -> MutexGuard<'_, HashMap<SubscriptionKey, Arc<MemoryQueue>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ChannelBackend for MemoryBackend {
    fn open(&self, channel: &Channel) -> OpenedChannel {
        let mut open = self.queues();
        let (queues, consumers) = SubscriptionQueues::open(channel, |subscription| {
            if let Some(queue) = open.get(&subscription.key) {
                return OpenedQueue {
                    queue: Arc::clone(queue),
                    consumer: None,
                };
            }
            let opened = self.open_queue(&subscription.key);
            open.insert(subscription.key.clone(), Arc::clone(&opened.queue));
            opened
        });
        let publisher = MemoryPublisher {
            acknowledge: channel.acknowledge,
            queues,
            counters: Arc::clone(&self.counters),
        };
        OpenedChannel {
            publisher: Arc::new(publisher),
            consumers,
        }
    }

    /// Removes the queue for publishers; what is in it can still be consumed.
    fn retire_subscription(&self, subscription: &SubscriptionKey) {
        self.queues().remove(subscription);
    }

    fn unfinished(&self, subscription: &SubscriptionKey) -> Option<usize> {
        self.queues()
            .get(subscription)
            .map(|queue| queue.load.unfinished.load(Ordering::Relaxed))
    }

    /// Is always `None`: memory cannot be away.
    fn trouble(&self, _subscription: &SubscriptionKey) -> Option<TroubleReason> {
        None
    }

    /// Does nothing: no other process would find what is in memory, so it is delivered first.
    fn close(&self) {}
}

/// Number of unfinished events of one queue, and the counters of its subscription.
#[derive(Debug)]
struct MemoryQueueLoad {
    unfinished: AtomicUsize,
    /// The same, as it counts for the namespace.
    places: QueueShare,
    series: Arc<SubscriptionSeries>,
}

/// Queue of one subscription. Its consumer ends when the last publisher that knows the queue is
/// gone.
struct MemoryQueue {
    key: SubscriptionKey,
    capacity: usize,
    load: Arc<MemoryQueueLoad>,
    messages: mpsc::Sender<Box<EventDelivery>>,
}

impl MemoryQueue {
    /// Opens a queue that nobody consumes yet.
    fn open(key: SubscriptionKey, capacity: usize, load: MemoryQueueLoad) -> OpenedQueue<Self> {
        let (messages, consumer) = mpsc::channel(capacity);
        let queue = Self {
            key,
            capacity,
            load: Arc::new(load),
            messages,
        };
        OpenedQueue {
            queue: Arc::new(queue),
            consumer: Some(consumer),
        }
    }

    /// Takes a slot for one event.
    ///
    /// # Errors
    /// If the queue is full, or those of its namespace together, or if it has no consumer any more.
    fn reserve_slot(&self) -> Result<MemoryQueueSlot, PublishError> {
        if self.messages.is_closed() {
            return Err(worker_stopped_error());
        }
        self.load.places.take_place()?;
        let slot = MemoryQueueSlot(Arc::clone(&self.load));
        if self.load.unfinished.fetch_add(1, Ordering::Relaxed) >= self.capacity {
            return Err(PublishError::Full {
                subscription: self.key.clone(),
            });
        }
        Ok(slot)
    }
}

impl CountedQueue for MemoryQueue {
    fn series(&self) -> &SubscriptionSeries {
        &self.load.series
    }
}

/// Error for a queue whose worker has been stopped.
fn worker_stopped_error() -> PublishError {
    PublishError::Unavailable("this process is stopping".to_owned())
}

/// The error of a queue that has no slot left; of one that would not have enough for this request
/// if it were empty, that says so, since trying again does not help.
fn tell_too_large(
    error: PublishError,
    queue: &MemoryQueue,
    reserved: &[ReservedEvent<'_>],
) -> PublishError {
    let own = reserved.iter().filter(|it| std::ptr::eq(it.queue, queue));
    match error {
        PublishError::Full { subscription } if own.count() >= queue.capacity => {
            PublishError::TooLarge(format!(
                "this request has more events for {subscription} than its queue takes ({})",
                queue.capacity
            ))
        }
        _ => error,
    }
}

/// Slot of one event in a queue, given back when it is dropped.
#[derive(Debug)]
struct MemoryQueueSlot(Arc<MemoryQueueLoad>);

impl Drop for MemoryQueueSlot {
    fn drop(&mut self) {
        self.0.unfinished.fetch_sub(1, Ordering::Relaxed);
        self.0.places.remove();
    }
}

struct MemoryPublisher {
    acknowledge: AcknowledgeMode,
    queues: SubscriptionQueues<MemoryQueue>,
    counters: Arc<ProcessCounters>,
}

/// An event that has its slot in a queue but is not in the queue yet.
struct ReservedEvent<'a> {
    queue: &'a MemoryQueue,
    event: &'a Arc<Event>,
    slot: MemoryQueueSlot,
}

impl MemoryPublisher {
    /// Reserves a slot for each event in each queue whose subscription wants it.
    ///
    /// # Errors
    /// If one queue has no slot left; all slots are given back then.
    async fn reserve_slots<'a>(
        &'a self,
        events: &'a [Arc<Event>],
    ) -> Result<Vec<ReservedEvent<'a>>, PublishError> {
        let mut reserved = Vec::new();
        let mut filters = FilterDecider::new(&self.counters);
        for event in events {
            for to in self.queues.candidates(event) {
                if filters.passes(to, event).await {
                    let queue: &MemoryQueue = &to.queue;
                    let slot = queue.reserve_slot();
                    let slot = slot.map_err(|error| tell_too_large(error, queue, &reserved))?;
                    reserved.push(ReservedEvent { queue, event, slot });
                }
            }
        }
        Ok(reserved)
    }

    /// Enqueues each event that has a slot. Gives the countdown of their deliveries, if the channel
    /// acknowledges after delivery.
    fn enqueue(
        &self,
        reserved: Vec<ReservedEvent<'_>>,
    ) -> Result<Option<Arc<DeliveryCountdown>>, PublishError> {
        let countdown = (self.acknowledge == AcknowledgeMode::AfterDelivery)
            .then(|| DeliveryCountdown::new(reserved.len()));
        let mut enqueued = Ok(());
        for ReservedEvent { queue, event, slot } in reserved {
            self.counters.count_enqueued(&slot.0.series);
            let settlement = MemorySettlement {
                countdown: countdown.clone(),
                counters: Some(Arc::clone(&self.counters)),
                slot,
            };
            let progress = DeliveryProgress::default();
            let delivery = EventDelivery::new(Arc::clone(event), progress, settlement);
            // A delivery that the queue does not take settles itself as abandoned: its consumer has
            // been stopped.
            if queue.messages.try_send(delivery).is_err() {
                enqueued = Err(worker_stopped_error());
            }
        }
        match countdown {
            // The countdown has counted such deliveries as failed, so the sender learns of them
            // there.
            Some(countdown) => Ok(Some(countdown)),
            None => enqueued.map(|()| None),
        }
    }
}

impl ChannelPublisher for MemoryPublisher {
    fn publish<'a>(&'a self, events: &'a [Arc<Event>]) -> BoxFuture<'a, Result<(), PublishError>> {
        async move {
            let reserved = self.reserve_slots(events).await?;
            if reserved.is_empty() {
                self.counters.unrouted.add(events.len() as u64);
                return Ok(());
            }
            match self.enqueue(reserved)? {
                Some(countdown) => countdown.wait().await,
                None => Ok(()),
            }
        }
        .boxed()
    }
}

/// Settlement of a delivery in memory: it counts the end, for the metrics and for the sender who
/// waits for it.
#[derive(Debug)]
struct MemorySettlement {
    countdown: Option<Arc<DeliveryCountdown>>,
    /// Taken when the delivery is settled, so that it is counted once.
    counters: Option<Arc<ProcessCounters>>,
    slot: MemoryQueueSlot,
}

impl MemorySettlement {
    fn apply_outcome(&mut self, event: &Event, outcome: &DeliveryOutcome) {
        let Some(counters) = self.counters.take() else {
            return;
        };
        let end = match outcome {
            DeliveryOutcome::Delivered => DeliveryEnd::Delivered,
            DeliveryOutcome::DeadLettered => DeliveryEnd::DeadLettered,
            // Nothing is deferred, since a queue in memory sets no limit to waits.
            DeliveryOutcome::Lost(_) | DeliveryOutcome::Deferred(_) => DeliveryEnd::Lost,
        };
        counters.count_end(&self.slot.0.series, end);
        let observed = outcome.observed(ObservedEnd::Lost);
        counters
            .observer
            .observe(event, self.slot.0.series.observed(), &observed);
        if let DeliveryOutcome::Lost(loss) = outcome {
            loss.log_lost(event, &self.slot.0.series);
            loss.count_dropped(&self.slot.0.series, Dropped::Lost);
        }
        if let Some(countdown) = self.countdown.take() {
            if end == DeliveryEnd::Lost {
                countdown.count_failed()
            } else {
                countdown.count_ended()
            }
        }
    }
}

impl DeliverySettlement for MemorySettlement {
    fn settle<'a>(&'a mut self, event: &'a Event, outcome: DeliveryOutcome) -> BoxFuture<'a, ()> {
        self.apply_outcome(event, &outcome);
        std::future::ready(()).boxed()
    }

    fn observe_abandoned(&self, event: &Event, why: &str) {
        let why = if why.is_empty() {
            "the process or its subscription has ended"
        } else {
            why
        };
        let lost = ObservedFact::Ended(ObservedEnd::Lost, why);
        if let Some(counters) = &self.counters {
            let object = self.slot.0.series.observed();
            counters.observer.observe(event, object, &lost);
        }
    }
}

impl Drop for MemorySettlement {
    fn drop(&mut self) {
        if let Some(counters) = self.counters.take() {
            counters.count_end(&self.slot.0.series, DeliveryEnd::Abandoned);
        }
        if let Some(countdown) = self.countdown.take() {
            countdown.count_failed();
        }
    }
}

#[cfg(test)]
mod tests;
