//! Channels on RabbitMQ: durable, confirmed, shared by as many processes as there are.
//!
//! Promise: an event answered 202 is in the queue of every subscription that wants it, on disk, and leaves it only when
//! it was delivered, when its dead letter sink has it, or when it is in the parking queue. It may be delivered twice:
//! after a crash, or when a connection breaks before a delivery could be acknowledged.

mod acknowledger;
mod connection;
mod consumer;
mod farewell;
mod message;
mod names;
mod outbox;
pub mod parking;
mod stage;
#[cfg(test)]
mod tests;
mod ticket;
mod topology;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, try_join_all};
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{ChannelBackend, Opened, PublishError, Publisher, counted};
use crate::event::Event;
use crate::filter::index::Index;
use crate::model::{Channel, Order, Subscription, SubscriptionKey};
use crate::telemetry::counters::Counters;
use crate::telemetry::series::SubscriptionSeries;
pub use connection::Address;
use connection::{Pool, Seat};
use consumer::Consumer;
use message::{Encoded, Note};
use outbox::{Confirmed, Letter, Outbox};
pub(super) use ticket::Ticket;
use topology::Place;
pub use topology::QueueType;

/// Messages that wait for a worker; at a stop they are delivered first.
const HANDED_OVER: usize = 32;
/// Queues that are declared at once.
const DECLARING: usize = 16;

/// Tells what a connection is; who holds it has to keep that connection.
type Keeper = watch::Sender<Option<Arc<lapin::Connection>>>;

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
    /// How long the queue of a subscription that is gone is kept; `None` keeps it for ever.
    pub delete_after: Option<Duration>,
}

/// What all parts use.
pub(super) struct Shared {
    options: Options,
    outbox: Arc<Outbox>,
    /// For what has no connection of its own.
    consuming: Seat,
    /// Queues that may be declared at once.
    declaring: Semaphore,
    /// Delays that were declared, in seconds.
    delays: tokio::sync::Mutex<HashSet<u64>>,
    counters: Arc<Counters>,
}

/// One subscription's queue.
#[derive(Debug)]
struct Queue {
    place: Place,
    declared: AtomicBool,
    /// Told when RabbitMQ turns out not to have all of it.
    missing: Notify,
    /// Messages that were handed to the worker and have not been settled.
    unsettled: AtomicUsize,
    series: Arc<SubscriptionSeries>,
    stop: CancellationToken,
}

impl Queue {
    fn is_missing(&self) {
        self.declared.store(false, Ordering::Release);
        self.missing.notify_one();
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

impl Tasks {
    /// Keeps a connection for consumers, if there is one to be kept.
    fn keep(&mut self, keeper: Option<Keeper>, address: &Address, counters: &Arc<Counters>) {
        if let Some(keeper) = keeper {
            self.others.spawn(connection::keep(address.clone(), "consuming", keeper, Arc::clone(counters)));
        }
    }
}

/// Which queues there are.
#[derive(Default)]
struct Queues {
    open: HashMap<SubscriptionKey, Arc<Queue>>,
    /// Farewells to queues, by name; cancelled when they are done, or their subscription comes back.
    leaving: HashMap<String, CancellationToken>,
}

/// The queues of all channels on RabbitMQ.
pub struct RabbitmqBackend {
    shared: Arc<Shared>,
    queues: Mutex<Queues>,
    pool: Mutex<Pool>,
    tasks: Mutex<Tasks>,
    closing: CancellationToken,
}

impl RabbitmqBackend {
    /// A backend that connects at once. To be made inside a runtime.
    #[must_use]
    pub fn new(options: Options, counters: Arc<Counters>) -> Self {
        let (publishing, publishing_now) = watch::channel(None);
        let (outbox, keeper) = Outbox::new(Arc::clone(&counters));
        let mut tasks = Tasks::default();
        tasks.others.spawn(connection::keep(options.address.clone(), "publishing", publishing, Arc::clone(&counters)));
        tasks.others.spawn(keeper.run(publishing_now));
        let (mut pool, delays, declaring) = (Pool::default(), tokio::sync::Mutex::default(), Semaphore::new(DECLARING));
        let (consuming, keeper) = pool.seat();
        tasks.keep(keeper, &options.address, &counters);
        let shared = Arc::new(Shared { options, outbox, consuming, declaring, delays, counters });
        let (queues, pool, tasks) = (Mutex::default(), Mutex::new(pool), Mutex::new(tasks));
        Self { shared, queues, pool, tasks, closing: CancellationToken::new() }
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
        self.shared.outbox.is_open() && self.pool().is_connected()
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seat(&self) -> Seat {
        let (seat, keeper) = self.pool().seat();
        self.tasks().keep(keeper, &self.shared.options.address, &self.shared.counters);
        seat
    }

    /// Begins to consume a queue.
    fn start(&self, place: Place, series: Arc<SubscriptionSeries>) -> (Arc<Queue>, super::Consumer) {
        let (messages, consumer) = mpsc::channel(HANDED_OVER);
        let stop = self.closing.child_token();
        let (declared, missing, unsettled) = (AtomicBool::new(false), Notify::new(), AtomicUsize::new(0));
        let queue = Arc::new(Queue { place, declared, missing, unsettled, series, stop });
        let shared = Arc::clone(&self.shared);
        let consume = Consumer { queue: Arc::clone(&queue), shared, messages, seat: self.seat() };
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
            let known = queues.open.get(&subscription.key).filter(|queue| queue.place == place).cloned();
            let queue = known.unwrap_or_else(|| {
                if let Some(farewell) = queues.leaving.remove(&place.queue) {
                    farewell.cancel();
                }
                let series = counted::subscription(&self.shared.counters, &subscription.key);
                let (queue, consumer) = self.start(place, series);
                consumers.push((Arc::clone(subscription), consumer));
                if let Some(before) = queues.open.insert(subscription.key.clone(), Arc::clone(&queue)) {
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

    /// The queue is unbound at once, and stays with what is in it, for ever or for as long as is wanted.
    fn retire(&self, subscription: &SubscriptionKey) {
        let mut queues = self.queues();
        let Some(queue) = queues.open.remove(subscription) else { return };
        queue.stop.cancel();
        if self.closing.is_cancelled() {
            return;
        }
        let returned = CancellationToken::new();
        queues.leaving.retain(|_, farewell| !farewell.is_cancelled());
        queues.leaving.insert(queue.place.queue.clone(), returned.clone());
        drop(queues);
        let farewell = farewell::bid(queue, self.shared.consuming.clone(), self.shared.options.delete_after);
        let mut tasks = self.tasks();
        while tasks.others.try_join_next().is_some() {}
        tasks.others.spawn(async move {
            returned.run_until_cancelled(farewell).await;
            returned.cancel();
        });
    }

    fn unfinished(&self, subscription: &SubscriptionKey) -> Option<usize> {
        self.queues().open.get(subscription).map(|queue| queue.unsettled.load(Ordering::Acquire))
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
        let passes = |lane: &&Lane| counters.filter_of(&lane.queue.series, lane.subscription.filter.decide(event));
        let wanted: Vec<&Lane> = candidates.filter(passes).collect();
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
                queue.is_missing();
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
