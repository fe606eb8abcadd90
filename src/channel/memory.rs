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

use super::cooperative_yield::CooperativeYield;
use super::trouble::TroubleReason;
use super::{
    ChannelBackend, ChannelPublisher, DeliveryOutcome, DeliveryProgress, DeliverySettlement,
    EventDelivery, OpenedChannel, PublishError, metrics,
};
use crate::event::Event;
use crate::filter::index::FilterIndex;
use crate::model::{AcknowledgeMode, Channel, Subscription, SubscriptionKey};
use crate::telemetry::counters::ProcessCounters;
use crate::telemetry::series::{DeliveryEnd, Dropped, SubscriptionSeries};
use delivery_countdown::DeliveryCountdown;

/// The backend that keeps the queues of channels in memory.
pub struct MemoryBackend {
    queues: Mutex<HashMap<SubscriptionKey, Arc<MemoryQueue>>>,
    capacity: usize,
    counters: Arc<ProcessCounters>,
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
        }
    }

    fn queues(&self) -> MutexGuard<'_, HashMap<SubscriptionKey, Arc<MemoryQueue>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ChannelBackend for MemoryBackend {
    fn open(&self, channel: &Channel) -> OpenedChannel {
        let mut queues = self.queues();
        let mut consumers = Vec::new();
        let mut subscription_queues = Vec::with_capacity(channel.subscriptions.len());
        for subscription in &channel.subscriptions {
            let queue = queues.entry(subscription.key.clone()).or_insert_with(|| {
                let series = metrics::subscription_series(&self.counters, &subscription.key);
                let (queue, consumer) =
                    MemoryQueue::new(subscription.key.clone(), self.capacity, series);
                consumers.push((Arc::clone(subscription), consumer));
                Arc::new(queue)
            });
            subscription_queues.push(MemorySubscriptionQueue {
                subscription: Arc::clone(subscription),
                queue: Arc::clone(queue),
            });
        }
        let index = FilterIndex::new(
            subscription_queues
                .iter()
                .map(|subscription_queue| &subscription_queue.subscription.filter),
        );
        let counters = Arc::clone(&self.counters);
        let publisher = MemoryPublisher {
            acknowledge: channel.acknowledge,
            filter_index: index,
            queues: subscription_queues,
            counters,
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
    fn new(
        key: SubscriptionKey,
        capacity: usize,
        series: Arc<SubscriptionSeries>,
    ) -> (Self, super::QueueConsumer) {
        let (messages, consumer) = mpsc::channel(capacity);
        let load = Arc::new(MemoryQueueLoad {
            unfinished: AtomicUsize::new(0),
            series,
        });
        (
            Self {
                key,
                capacity,
                load,
                messages,
            },
            consumer,
        )
    }

    /// Takes a slot for one event.
    ///
    /// # Errors
    /// If the queue is full, or has no consumer any more.
    fn reserve_slot(&self) -> Result<MemoryQueueSlot, PublishError> {
        if self.messages.is_closed() {
            return Err(worker_stopped_error());
        }
        let slot = MemoryQueueSlot(Arc::clone(&self.load));
        if self.load.unfinished.fetch_add(1, Ordering::Relaxed) >= self.capacity {
            return Err(PublishError::Full {
                subscription: self.key.clone(),
            });
        }
        Ok(slot)
    }
}

/// Error for a queue whose worker has been stopped.
fn worker_stopped_error() -> PublishError {
    PublishError::Unavailable("this process is stopping".to_owned())
}

/// Slot of one event in a queue, given back when it is dropped.
#[derive(Debug)]
struct MemoryQueueSlot(Arc<MemoryQueueLoad>);

impl Drop for MemoryQueueSlot {
    fn drop(&mut self) {
        self.0.unfinished.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Queue of a subscription, with the filter that says what goes into it.
struct MemorySubscriptionQueue {
    subscription: Arc<Subscription>,
    queue: Arc<MemoryQueue>,
}

struct MemoryPublisher {
    acknowledge: AcknowledgeMode,
    /// Index of the filters of `queues`, by their positions there.
    filter_index: FilterIndex,
    queues: Vec<MemorySubscriptionQueue>,
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
        let (mut reserved, mut cooperative_yield) = (Vec::new(), CooperativeYield::default());
        for event in events {
            for subscription_queue in self
                .filter_index
                .candidates(event)
                .filter_map(|place| self.queues.get(place))
            {
                let queue: &MemoryQueue = &subscription_queue.queue;
                let decision = subscription_queue.subscription.filter.decide(event);
                if self
                    .counters
                    .count_filter_decision(&queue.load.series, decision)
                {
                    reserved.push(ReservedEvent {
                        queue,
                        event,
                        slot: queue.reserve_slot()?,
                    });
                }
                cooperative_yield.yield_if_due(decision).await;
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
        let mut enqueued = Ok(());
        let receipt = (self.acknowledge == AcknowledgeMode::AfterDelivery)
            .then(|| DeliveryCountdown::new(reserved.len()));
        for ReservedEvent {
            queue,
            event,
            slot: place,
        } in reserved
        {
            self.counters.count_enqueued(&place.0.series);
            let settlement = MemorySettlement {
                countdown: receipt.clone(),
                counters: Some(Arc::clone(&self.counters)),
                slot: place,
            };
            let message =
                EventDelivery::new(Arc::clone(event), DeliveryProgress::default(), settlement);
            // A delivery that the queue does not take settles itself as abandoned: its consumer has
            // been stopped.
            if queue.messages.try_send(message).is_err() {
                enqueued = Err(worker_stopped_error());
            }
        }
        match receipt {
            // The countdown has counted such deliveries as failed, so the sender learns of them
            // there.
            Some(receipt) => Ok(Some(receipt)),
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
