//! Channels on RabbitMQ: durable, confirmed, shared by as many processes as there are.
//!
//! Promise: an event answered 202 is in the queue of every subscription that wants it, on disk, and leaves it only when
//! it was delivered, when its dead letter sink has it, or when it is in the parking queue. It may be delivered twice:
//! after a crash, or when a connection breaks before a delivery could be acknowledged.

mod acknowledger;
mod connection;
mod consumer;
mod message;
mod names;
mod outbox;
pub mod parking;
mod ticket;
mod topology;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, try_join_all};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{ChannelBackend, Opened, PublishError, Publisher};
use crate::event::Event;
use crate::filter::index::Index;
use crate::model::{Channel, Order, Subscription, SubscriptionKey};
use crate::telemetry::counters::Counters;
pub use connection::Address;
use consumer::Consumer;
use message::{Encoded, Note};
use outbox::{Confirmed, Letter, Outbox};
pub(super) use ticket::Ticket;
use topology::Place;
pub use topology::QueueType;

/// Messages that wait for a worker; at a stop they are delivered first.
const HANDED_OVER: usize = 32;

/// How RabbitMQ is used.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it is.
    pub address: Address,
    /// How queues are stored.
    pub queue_type: QueueType,
    /// Messages that a consumer holds unacknowledged at most.
    pub prefetch: u16,
    /// The longest wait for which a message is held; what is to wait longer goes through a delay queue.
    pub patience: Duration,
}

/// What all parts use.
pub(super) struct Shared {
    options: Options,
    outbox: Arc<Outbox>,
    consuming: connection::Current,
    /// Delays that were declared, in seconds.
    delays: tokio::sync::Mutex<HashSet<u64>>,
    counters: Arc<Counters>,
}

/// One subscription's queue.
#[derive(Debug)]
struct Queue {
    place: Place,
    declared: AtomicBool,
    /// Messages that were handed to the worker and have not been settled.
    unsettled: AtomicUsize,
    stop: CancellationToken,
}

impl Queue {
    fn declared(&self) {
        self.declared.store(true, Ordering::Release);
    }

    /// Whether RabbitMQ would send more messages, if there were any. Of an ordered queue it may send them to another
    /// process, however many there are.
    fn is_hungry(&self, prefetch: u16) -> bool {
        self.place.order == Order::Unordered && self.unsettled.load(Ordering::Acquire) < usize::from(prefetch)
    }
}

/// What runs.
#[derive(Default)]
struct Tasks {
    /// End by themselves when their queue is given up, or all of them are.
    consumers: JoinSet<()>,
    /// Connections, and farewells to queues; they are ended.
    others: JoinSet<()>,
}

/// The queues of all channels on RabbitMQ.
pub struct RabbitmqBackend {
    shared: Arc<Shared>,
    queues: Mutex<HashMap<SubscriptionKey, Arc<Queue>>>,
    tasks: Mutex<Tasks>,
    closing: CancellationToken,
}

impl RabbitmqBackend {
    /// A backend that connects at once. To be made inside a runtime.
    #[must_use]
    pub fn new(options: Options, counters: Arc<Counters>) -> Self {
        let (publishing, publishing_now) = watch::channel(None);
        let (consuming, consuming_now) = watch::channel(None);
        let (outbox, keeper) = Outbox::new();
        let mut tasks = Tasks::default();
        tasks.others.spawn(connection::keep(options.address.clone(), "publishing", publishing, Arc::clone(&counters)));
        tasks.others.spawn(connection::keep(options.address.clone(), "consuming", consuming, Arc::clone(&counters)));
        tasks.others.spawn(keeper.run(publishing_now));
        let delays = tokio::sync::Mutex::default();
        let shared = Arc::new(Shared { options, outbox, consuming: consuming_now, delays, counters });
        Self { shared, queues: Mutex::default(), tasks: Mutex::new(tasks), closing: CancellationToken::new() }
    }

    fn tasks(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends consumers when all that was settled is acknowledged, then the connections. What was not settled stays with
    /// RabbitMQ, as it does when this is given up.
    pub async fn end(&self) {
        self.close();
        let mut tasks = std::mem::take(&mut *self.tasks());
        while tasks.consumers.join_next().await.is_some() {}
        tasks.others.shutdown().await;
    }

    /// Whether RabbitMQ can be published to and consumed from now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.shared.outbox.is_open() && self.shared.consuming.borrow().is_some()
    }

    fn queues(&self) -> MutexGuard<'_, HashMap<SubscriptionKey, Arc<Queue>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to consume a queue.
    fn start(&self, place: Place) -> (Arc<Queue>, super::Consumer) {
        let (messages, consumer) = mpsc::channel(HANDED_OVER);
        let stop = self.closing.child_token();
        let (declared, unsettled) = (AtomicBool::new(false), AtomicUsize::new(0));
        let queue = Arc::new(Queue { place, declared, unsettled, stop });
        let consume = Consumer { queue: Arc::clone(&queue), shared: Arc::clone(&self.shared), messages };
        let mut tasks = self.tasks();
        while tasks.consumers.try_join_next().is_some() {}
        tasks.consumers.spawn(consume.run());
        (queue, consumer)
    }
}

impl ChannelBackend for RabbitmqBackend {
    fn open(&self, channel: &Channel) -> Opened {
        let mut queues = self.queues();
        let mut consumers = Vec::new();
        let mut lanes = Vec::with_capacity(channel.subscriptions.len());
        for subscription in &channel.subscriptions {
            let place = Place::new(&channel.key, subscription);
            let known = queues.get(&subscription.key).filter(|queue| queue.place == place).cloned();
            let queue = known.unwrap_or_else(|| {
                let (queue, consumer) = self.start(place);
                consumers.push((Arc::clone(subscription), consumer));
                if let Some(before) = queues.insert(subscription.key.clone(), Arc::clone(&queue)) {
                    before.stop.cancel();
                }
                queue
            });
            lanes.push(Lane { subscription: Arc::clone(subscription), queue });
        }
        let index = Index::new(lanes.iter().map(|lane| &lane.subscription.filter));
        let publisher = RabbitmqPublisher { index, lanes, shared: Arc::clone(&self.shared) };
        Opened { publisher: Arc::new(publisher), consumers }
    }

    /// The queue is unbound at once, and stays with what is in it.
    fn retire(&self, subscription: &SubscriptionKey) {
        let Some(queue) = self.queues().remove(subscription) else { return };
        queue.stop.cancel();
        if self.closing.is_cancelled() {
            return;
        }
        let mut connections = self.shared.consuming.clone();
        let unbind = async move {
            while let Ok(connection) = connections.wait_for(Option::is_some).await.map(|current| current.clone()) {
                let Some(connection) = connection else { continue };
                match queue.place.unbind(&connection).await {
                    Ok(()) => {
                        tracing::warn!(
                            queue = queue.place.queue,
                            "Subscription is gone: its queue gets no more events, and keeps those it has"
                        );
                        return;
                    }
                    Err(error) => tracing::debug!(queue = queue.place.queue, %error, "Could not unbind, trying again"),
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let mut tasks = self.tasks();
        while tasks.others.try_join_next().is_some() {}
        tasks.others.spawn(unbind);
    }

    fn close(&self) {
        self.closing.cancel();
    }
}

/// A subscription as a publisher sees it.
struct Lane {
    subscription: Arc<Subscription>,
    queue: Arc<Queue>,
}

/// Publishes to one channel.
struct RabbitmqPublisher {
    index: Index,
    lanes: Vec<Lane>,
    shared: Arc<Shared>,
}

impl RabbitmqPublisher {
    /// One message for each queue whose subscription wants the event.
    async fn publish_one(&self, event: &Event) -> Result<(), PublishError> {
        let counters = &self.shared.counters;
        let candidates = self.index.candidates(event).filter_map(|place| self.lanes.get(place));
        let wanted: Vec<&Lane> =
            candidates.filter(|lane| counters.filter_decided(lane.subscription.filter.decide(event))).collect();
        if wanted.is_empty() {
            counters.unrouted.increment();
            return Ok(());
        }
        if let Some(missing) = wanted.iter().find(|lane| !lane.queue.declared.load(Ordering::Acquire)) {
            let text = format!("the queue of {} is not declared yet", missing.subscription.key);
            return Err(PublishError::Unavailable(text));
        }
        let message = message::encode(event, Note::default());
        let each = wanted.iter().map(|lane| self.publish_to(&lane.queue, &message));
        try_join_all(each).await.map(drop)
    }

    async fn publish_to(&self, queue: &Queue, message: &Encoded) -> Result<(), PublishError> {
        let Place { exchange, routing_key, .. } = &queue.place;
        let letter = Letter { exchange, routing_key, properties: message.properties.clone(), body: &message.body };
        match self.shared.outbox.publish(letter).await {
            Ok(Confirmed::Stored) => Ok(()),
            Ok(Confirmed::Unroutable) => {
                queue.declared.store(false, Ordering::Release);
                Err(PublishError::Unavailable(format!("the queue {} is gone", queue.place.queue)))
            }
            Err(error) => Err(PublishError::Unavailable(error)),
        }
    }
}

impl Publisher for RabbitmqPublisher {
    fn publish<'a>(&'a self, events: &'a [Arc<Event>]) -> BoxFuture<'a, Result<(), PublishError>> {
        async move {
            let each = events.iter().map(|event| self.publish_one(event));
            try_join_all(each).await.map(drop)
        }
        .boxed()
    }
}
