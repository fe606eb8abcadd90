//! Channels on RabbitMQ: durable, confirmed, shared by as many processes as there are.
//!
//! Promise: an event answered 202 is in the queue of every subscription that wants it, on disk, and leaves it only when
//! it was delivered, when its dead letter sink has it, or when it is in the parking queue. It may be delivered twice:
//! after a crash, or when a connection breaks before a delivery could be acknowledged.

mod acknowledger;
mod address;
mod connection;
mod consumer;
mod farewell;
mod health;
mod hold;
mod intake;
pub mod message;
mod names;
mod outbox;
mod pace;
pub mod parking;
mod publication;
mod publisher;
mod publishing;
mod queue;
mod queue_watch;
mod queue_way;
mod receiver;
mod returned;
mod returned_message;
mod settlement;
mod shared;
mod stage;
mod strays;
#[cfg(test)]
pub(crate) mod tests;
mod to_its_end;
mod topology;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::trouble::TroubleReason;
use super::{ChannelBackend, Opened, counted};
use crate::budget::Budget;
use crate::event::AttributeLimit;
use crate::filter::index::Index;
use crate::model::{Channel, Order, Subscription, SubscriptionKey};
use crate::telemetry::counters::Counters;
use crate::telemetry::series::SubscriptionSeries;
pub use address::Address;
use connection::{ConnectionKeeper, ConnectionPool, Current, Start};
use consumer::Consumer;
use health::{LastFailure, QueueHealth, QueueState, TellLimit, TrialLimit};
use outbox::Outbox;
use publisher::{RabbitmqPublisher, SubscriptionQueue};
use queue::Queue;
use queue_way::QueueWay;
use shared::Shared;
use topology::Place;
pub use topology::QueueType;

/// Messages that wait for a worker; at a stop they are delivered first.
const HANDED_OVER: usize = 32;
/// Messages of one queue on their way to RabbitMQ at once. With more than 32 that a quorum queue has not confirmed, RabbitMQ
/// blocks the whole channel (its `quorum_commands_soft_limit`), and with it the other queues that are published to there.
const WINDOW: usize = 32;
/// Messages of an ordered queue that are held: the one that is delivered, and the next.
const ORDERED_PREFETCH: u16 = 2;

/// How RabbitMQ is used.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it is.
    pub address: Address,
    /// How queues are stored.
    pub queue_type: QueueType,
    /// Messages that a consumer holds unacknowledged at most.
    pub prefetch: u16,
    /// Requests to one subscriber at once: twice as many messages are held at most.
    pub concurrency: usize,
    /// The longest wait for which a message is held; what is to wait longer goes through a delay queue.
    pub patience: Duration,
    /// RabbitMQ's consumer timeout, as it is known. A shorter one is learnt from RabbitMQ.
    pub consumer_timeout: Duration,
    /// What events may hold in memory.
    pub budget: Arc<Budget>,
    /// What the attributes of one event may have; what has been added to it since it was let in comes to that.
    pub attributes: AttributeLimit,
    /// How long the queue of a subscription that is gone is kept; `None` keeps it for ever.
    pub delete_after: Option<Duration>,
}

impl Options {
    /// Messages of a queue that a consumer holds: so many that each has its turn after one delivery.
    fn prefetch_for(&self, order: Order) -> u16 {
        let by_concurrency = u16::try_from(self.concurrency.saturating_mul(2)).unwrap_or(u16::MAX).max(1);
        let limit = if order == Order::Ordered { ORDERED_PREFETCH } else { by_concurrency };
        self.prefetch.min(limit)
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
    /// The connections to publish on.
    publishing: [Current; 2],
    queues: Mutex<Queues>,
    tasks: Mutex<Tasks>,
    closing: CancellationToken,
}

impl RabbitmqBackend {
    /// A backend that connects at once. To be made inside a runtime.
    #[must_use]
    pub fn new(options: Options, counters: Arc<Counters>) -> Self {
        let keeper = || ConnectionKeeper::new(options.address.clone(), "publishing", Arc::clone(&counters));
        let [(first, first_current), (second, second_current)] = [keeper(), keeper()];
        let first = first.beside(second_current.clone(), Start::AtOnce);
        let second = second.beside(first_current.clone(), Start::AfterTheOther);
        let publishing = [first_current, second_current];
        let (outbox, channels, strays) = Outbox::new(Arc::clone(&counters));
        let (pool, pool_keeper) = ConnectionPool::new(options.address.clone(), Arc::clone(&counters));
        let shared = Arc::new(Shared::new(options, outbox, pool, counters));
        let mut tasks = Tasks::default();
        for (connection, (channels, current)) in [first, second].into_iter().zip(channels.into_iter().zip(&publishing))
        {
            tasks.others.spawn(connection.keep());
            tasks.others.spawn(channels.run(current.clone()));
        }
        tasks.others.spawn(pool_keeper.run());
        tasks.others.spawn(returned::run(Arc::clone(&shared)));
        tasks.others.spawn(strays::run(Arc::clone(&shared), strays));
        let (queues, tasks) = (Mutex::default(), Mutex::new(tasks));
        Self { shared, publishing, queues, tasks, closing: CancellationToken::new() }
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
        let [first, second] = &self.publishing;
        tokio::join!(self.shared.pool.close(), connection::close(first), connection::close(second));
    }

    /// Whether RabbitMQ can be published to and consumed from now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.shared.outbox.is_open() && self.shared.pool.is_connected()
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to consume a queue.
    fn start(&self, place: Place, series: Arc<SubscriptionSeries>) -> (Arc<Queue>, super::Consumer) {
        let (messages, consumer) = mpsc::channel(HANDED_OVER);
        let queue = Arc::new(Queue {
            prefetch: self.shared.options.prefetch_for(place.order),
            window_open: AtomicU16::new(0),
            way: Arc::new(QueueWay::new(place.order)),
            place,
            health: QueueHealth::default(),
            unconfirmed: LastFailure::default(),
            trial: TrialLimit::default(),
            given_up: TellLimit::default(),
            window: Semaphore::new(WINDOW),
            refusal: Mutex::default(),
            begun: AtomicU64::new(0),
            published: AtomicU64::new(0),
            parked_counted: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            missing: Notify::new(),
            doubted: Notify::new(),
            unsettled: AtomicUsize::new(0),
            given_back: Mutex::default(),
            series,
            stop: self.closing.child_token(),
        });
        self.shared.opened(&queue);
        let consume = Consumer {
            queue: Arc::clone(&queue),
            shared: Arc::clone(&self.shared),
            messages,
            told: AtomicBool::new(false),
        };
        let mut tasks = self.tasks();
        while tasks.consumers.try_join_next().is_some() {}
        tasks.consumers.spawn(consume.run());
        (queue, consumer)
    }

    /// Says so if an attempt may take longer than RabbitMQ lets a message be held.
    fn check_timeout(&self, subscription: &Subscription) {
        let limit = self.shared.hold.get();
        if let Some(timeout) = subscription.delivery.timeout.filter(|timeout| *timeout > limit) {
            tracing::warn!(subscription = %subscription.key, ?timeout, ?limit, "delivery.timeout is longer than RabbitMQ's consumer timeout allows: an attempt ends after the limit; see --rabbitmq-consumer-timeout");
        }
    }
}

impl ChannelBackend for RabbitmqBackend {
    fn open(&self, channel: &Channel) -> Opened {
        let mut queues = self.queues();
        let mut consumers = Vec::new();
        let mut opened = Vec::with_capacity(channel.subscriptions.len());
        for subscription in &channel.subscriptions {
            let place = Place::new(&channel.key, subscription);
            let known = queues.open.get(&subscription.key).filter(|queue| queue.place == place).cloned();
            let queue = known.unwrap_or_else(|| {
                if let Some(farewell) = queues.leaving.remove(&place.queue) {
                    farewell.cancel();
                }
                self.check_timeout(subscription);
                let series = counted::subscription(&self.shared.counters, &subscription.key);
                let (queue, consumer) = self.start(place, series);
                consumers.push((Arc::clone(subscription), consumer));
                if let Some(before) = queues.open.insert(subscription.key.clone(), Arc::clone(&queue)) {
                    before.stop.cancel();
                }
                queue
            });
            opened.push(SubscriptionQueue { subscription: Arc::clone(subscription), queue });
        }
        let index = Index::new(opened.iter().map(|to| &to.subscription.filter));
        let publisher = RabbitmqPublisher { index, queues: opened, shared: Arc::clone(&self.shared) };
        Opened { publisher: Arc::new(publisher), consumers }
    }

    /// The queue gets nothing more, and stays with what is in it, for ever or for as long as is wanted.
    fn retire(&self, subscription: &SubscriptionKey) {
        let mut queues = self.queues();
        let Some(queue) = queues.open.remove(subscription) else { return };
        queue.stop.cancel();
        self.shared.closed(&queue);
        if self.closing.is_cancelled() {
            return;
        }
        let returned = CancellationToken::new();
        queues.leaving.retain(|_, farewell| !farewell.is_cancelled());
        queues.leaving.insert(queue.place.queue.clone(), returned.clone());
        drop(queues);
        let farewell = farewell::bid(queue, Arc::clone(&self.shared));
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

    fn trouble(&self, subscription: &SubscriptionKey) -> Option<TroubleReason> {
        if !self.is_connected() {
            return Some(TroubleReason::Away);
        }
        if self.shared.counters.rabbitmq.blocked.get() > 0 {
            return Some(TroubleReason::Blocked);
        }
        let queue = self.queues().open.get(subscription).cloned();
        match queue.as_ref().map(|queue| (queue, queue.state())) {
            None | Some((_, QueueState::Undeclared)) => Some(TroubleReason::NotDeclared),
            Some((queue, QueueState::Unconsumed | QueueState::Away)) => {
                let refused = queue.refusal().clone().map(TroubleReason::Refused);
                let anywhere = queue.is_away() && self.shared.elsewhere.is_failing();
                let no_answer = if anywhere { TroubleReason::NoAnswerAnywhere } else { TroubleReason::NoAnswer };
                Some(refused.unwrap_or(no_answer))
            }
            Some((_, QueueState::Served)) => None,
        }
    }

    fn close(&self) {
        self.closing.cancel();
    }
}
