//! Channels on RabbitMQ: durable, confirmed, and shared by as many processes as there are.
//!
//! Promise: an event answered 202 is in the queue of every subscription that wants it, on disk, and
//! leaves it only when it was delivered, when its dead letter sink has it, or when it is in the
//! parking queue. It may be delivered twice: after a crash, or when a connection breaks before a
//! delivery could be acknowledged.

mod acknowledger;
mod address;
mod confirming_publisher;
mod connection;
mod consumer;
mod consumer_watchdog;
mod context;
mod dead_lettered;
mod dead_lettered_message;
mod deferred_message;
mod health;
mod hold_limit;
pub mod message;
pub mod metrics;
mod misdirected_returns;
pub mod parking;
mod prefetch_buffer;
mod prefetch_control;
mod publication;
mod publish_route;
mod publisher;
mod publishing_connection;
mod queue;
mod queue_names;
mod queue_retirement;
mod receiver;
mod settlement;
#[cfg(test)]
pub(crate) mod tests;
mod topology;
mod uncancelled_future;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::metrics::subscription_series;
use super::trouble::TroubleReason;
use super::{ChannelBackend, OpenedChannel};
use crate::budget::MemoryBudget;
use crate::event::AttributeLimit;
use crate::filter::index::FilterIndex;
use crate::model::{Channel, DeliveryOrder, Subscription, SubscriptionKey};
use crate::telemetry::counters::ProcessCounters;
use crate::telemetry::series::SubscriptionSeries;
pub use address::RabbitmqAddress;
use confirming_publisher::ConfirmingPublisher;
use connection::{AmqpConnectionKeeper, AmqpConnectionPool, AmqpConnectionWatch, ConnectionStart};
use consumer::RabbitmqConsumer;
use context::RabbitmqContext;
use health::{LastFailure, OncePerMinute, OncePerSecond, QueueHealth, QueueState};
use metrics::RabbitmqMetrics;
use publish_route::PublishRoute;
use publisher::{RabbitmqPublisher, RabbitmqSubscriptionQueue};
use queue::RabbitmqQueue;
use topology::RabbitmqQueueNames;
pub use topology::RabbitmqQueueType;

/// Event deliveries that may wait for a worker; when the process stops, they are delivered first.
const WORKER_QUEUE_CAPACITY: usize = 32;
/// Messages of one queue that may be on their way to RabbitMQ at once. If a quorum queue has more
/// than 32 that it has not confirmed, RabbitMQ blocks the whole channel (its
/// `quorum_commands_soft_limit`), and with it the other queues that are published to there.
const WINDOW: usize = 32;
/// Prefetch of an ordered queue: the message that is being delivered, and the next one.
const ORDERED_PREFETCH: u16 = 2;

/// Settings of the RabbitMQ backend.
#[derive(Clone, Debug)]
pub struct RabbitmqBackendOptions {
    /// URIs, credentials and CA by which RabbitMQ is reached.
    pub address: RabbitmqAddress,
    /// Type with which the queues of subscriptions are declared.
    pub queue_type: RabbitmqQueueType,
    /// Largest number of messages that one consumer holds unacknowledged.
    pub prefetch: u16,
    /// Requests to one subscriber at once; a consumer holds twice as many messages at most.
    pub concurrency: usize,
    /// Longest wait before a retry for which a message is held; for a longer one it goes through a
    /// delay queue.
    pub max_held_wait: Duration,
    /// RabbitMQ's consumer timeout, as the operator states it. A shorter one is learnt from
    /// RabbitMQ's errors.
    pub consumer_timeout: Duration,
    /// Limit of the bytes that events hold in memory.
    pub budget: Arc<MemoryBudget>,
    /// Limit of the attributes of one event, including those that were added to it after it was
    /// accepted.
    pub attributes: AttributeLimit,
    /// Time for which the queue of a subscription that is no longer configured is kept; `None`
    /// keeps it for ever.
    pub delete_after: Option<Duration>,
}

impl RabbitmqBackendOptions {
    /// Prefetch of a consumer: twice the concurrency, so that each message has its turn after one
    /// delivery, and less for ordered queues.
    fn prefetch_for(&self, order: DeliveryOrder) -> u16 {
        let by_concurrency = u16::try_from(self.concurrency.saturating_mul(2))
            .unwrap_or(u16::MAX)
            .max(1);
        let limit = if order == DeliveryOrder::Ordered {
            ORDERED_PREFETCH
        } else {
            by_concurrency
        };
        self.prefetch.min(limit)
    }
}

/// Tasks of the backend.
#[derive(Default)]
struct RabbitmqTasks {
    /// Consumers, one for each queue, which end by themselves when their queue is given up, or the
    /// backend closes.
    consumers: JoinSet<()>,
    /// Connections, forwarders and retirements of queues; they are aborted at the end.
    others: JoinSet<()>,
}

/// Queues that this process knows.
#[derive(Default)]
struct RabbitmqQueues {
    open: HashMap<SubscriptionKey, Arc<RabbitmqQueue>>,
    /// Retirements of queues, by name of the queue; each is cancelled when it is done, or its
    /// subscription comes back.
    retiring: HashMap<String, CancellationToken>,
}

/// The backend that keeps the queues of channels on RabbitMQ.
pub struct RabbitmqBackend {
    context: Arc<RabbitmqContext>,
    /// The two connections that are published on.
    publishing: [AmqpConnectionWatch; 2],
    queues: Mutex<RabbitmqQueues>,
    tasks: Mutex<RabbitmqTasks>,
    closing: CancellationToken,
}

impl RabbitmqBackend {
    /// Makes a backend that connects at once. It spawns tasks, so it must be called inside a
    /// runtime.
    #[must_use]
    pub fn new(options: RabbitmqBackendOptions, counters: Arc<ProcessCounters>) -> Self {
        let metrics = Arc::new(RabbitmqMetrics::default());
        counters.add_backend_metrics(Arc::clone(&metrics) as _);
        // The second connection waits for the first, so that both can lead to different nodes.
        let keeper = || {
            AmqpConnectionKeeper::new(options.address.clone(), "publishing", Arc::clone(&metrics))
        };
        let [(first, first_current), (second, second_current)] = [keeper(), keeper()];
        let first = first.with_other_connection(second_current.clone(), ConnectionStart::AtOnce);
        let second =
            second.with_other_connection(first_current.clone(), ConnectionStart::AfterOther);
        let publishing = [first_current, second_current];
        let (outbox, channels, misdirected_returns) =
            ConfirmingPublisher::new(Arc::clone(&metrics));
        let (pool, pool_keeper) =
            AmqpConnectionPool::new(options.address.clone(), Arc::clone(&metrics));
        let context = Arc::new(RabbitmqContext::new(
            options, outbox, pool, counters, metrics,
        ));
        // Tasks start last, when everything that they share exists.
        let mut tasks = RabbitmqTasks::default();
        for (connection, (channels, current)) in [first, second]
            .into_iter()
            .zip(channels.into_iter().zip(&publishing))
        {
            tasks.others.spawn(connection.keep_open());
            tasks.others.spawn(channels.run(current.clone()));
        }
        tasks.others.spawn(pool_keeper.run());
        tasks
            .others
            .spawn(dead_lettered::forward_all(Arc::clone(&context)));
        tasks.others.spawn(misdirected_returns::republish_all(
            Arc::clone(&context),
            misdirected_returns,
        ));
        let (queues, tasks) = (Mutex::default(), Mutex::new(tasks));
        Self {
            context,
            publishing,
            queues,
            tasks,
            closing: CancellationToken::new(),
        }
    }

    fn tasks(&self) -> MutexGuard<'_, RabbitmqTasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends consumers when all that was settled is acknowledged, and after that the connections.
    /// What was not settled stays with RabbitMQ, as it does when this future is dropped.
    pub async fn shut_down(&self) {
        self.close();
        let mut tasks = std::mem::take(&mut *self.tasks());
        // Consumers end first: they need their connections for the last acknowledgements.
        while tasks.consumers.join_next().await.is_some() {}
        tasks.others.shutdown().await;
        let [first, second] = &self.publishing;
        tokio::join!(
            self.context.pool.close(),
            connection::close_connection(first),
            connection::close_connection(second)
        );
    }

    /// Counters and gauges about RabbitMQ.
    #[cfg(test)]
    pub(crate) fn metrics(&self) -> &RabbitmqMetrics {
        &self.context.metrics
    }

    /// True if RabbitMQ can be published to and consumed from now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.context.publisher.is_open() && self.context.pool.is_connected()
    }

    fn queues(&self) -> MutexGuard<'_, RabbitmqQueues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a queue, and spawns its consumer; gives both the queue and the receiver of its event
    /// deliveries.
    fn start_consumer(
        &self,
        place: RabbitmqQueueNames,
        series: Arc<SubscriptionSeries>,
    ) -> (Arc<RabbitmqQueue>, super::QueueConsumer) {
        let (messages, consumer) = mpsc::channel(WORKER_QUEUE_CAPACITY);
        let queue = Arc::new(RabbitmqQueue {
            max_prefetch: self.context.options.prefetch_for(place.order),
            current_prefetch: AtomicU16::new(0),
            publish_route: Arc::new(PublishRoute::new(place.order)),
            names: place,
            health: QueueHealth::default(),
            last_unconfirmed: LastFailure::default(),
            trial_limit: OncePerSecond::default(),
            given_up_log_limit: OncePerMinute::default(),
            publish_window: Semaphore::new(WINDOW),
            refusal: Mutex::default(),
            consumer_starts: AtomicU64::new(0),
            published: AtomicU64::new(0),
            parked_counted: AtomicBool::new(false),
            being_inspected: AtomicBool::new(false),
            missing_notify: Notify::new(),
            unanswered_notify: Notify::new(),
            unsettled: AtomicUsize::new(0),
            last_requeued: Mutex::default(),
            series,
            stop: self.closing.child_token(),
        });
        // Known before it is consumed, so that a forwarded message finds it.
        self.context.add_open_queue(&queue);
        let consume = RabbitmqConsumer {
            queue: Arc::clone(&queue),
            context: Arc::clone(&self.context),
            messages,
            failure_logged: AtomicBool::new(false),
        };
        let mut tasks = self.tasks();
        // Consumers that have ended are joined here, so that the set does not grow.
        while tasks.consumers.try_join_next().is_some() {}
        tasks.consumers.spawn(consume.run());
        (queue, consumer)
    }

    /// Warns if an attempt of this subscription may take longer than RabbitMQ lets a message be
    /// held.
    fn warn_of_long_timeout(&self, subscription: &Subscription) {
        let limit = self.context.hold_limit.get();
        if let Some(timeout) = subscription
            .delivery
            .timeout
            .filter(|timeout| *timeout > limit)
        {
            tracing::warn!(
                subscription = %subscription.key,
                ?timeout,
                ?limit,
                "delivery.timeout is longer than RabbitMQ's consumer timeout allows: an \
                 attempt ends after the limit; see --rabbitmq-consumer-timeout"
            );
        }
    }
}

impl ChannelBackend for RabbitmqBackend {
    fn open(&self, channel: &Channel) -> OpenedChannel {
        let mut queues = self.queues();
        let mut consumers = Vec::new();
        let mut opened = Vec::with_capacity(channel.subscriptions.len());
        for subscription in &channel.subscriptions {
            let names = RabbitmqQueueNames::new(&channel.key, subscription);
            let known = queues
                .open
                .get(&subscription.key)
                .filter(|queue| queue.names == names)
                .cloned();
            let queue = known.unwrap_or_else(|| {
                // A retirement that is under way would delete the queue that is opened here.
                if let Some(retirement) = queues.retiring.remove(&names.queue) {
                    retirement.cancel();
                }
                self.warn_of_long_timeout(subscription);
                let series = subscription_series(&self.context.counters, &subscription.key);
                let (queue, consumer) = self.start_consumer(names, series);
                consumers.push((Arc::clone(subscription), consumer));
                // The queue has new names or another order: the consumer of the old one ends.
                if let Some(before) = queues
                    .open
                    .insert(subscription.key.clone(), Arc::clone(&queue))
                {
                    before.stop.cancel();
                }
                queue
            });
            opened.push(RabbitmqSubscriptionQueue {
                subscription: Arc::clone(subscription),
                queue,
            });
        }
        let index = FilterIndex::new(opened.iter().map(|to| &to.subscription.filter));
        let publisher = RabbitmqPublisher {
            filter_index: index,
            queues: opened,
            context: Arc::clone(&self.context),
        };
        OpenedChannel {
            publisher: Arc::new(publisher),
            consumers,
        }
    }

    /// Stops publishing to the queue and consuming it. It stays with the messages that are in it,
    /// for ever or for the configured time.
    fn retire_subscription(&self, subscription: &SubscriptionKey) {
        let mut queues = self.queues();
        let Some(queue) = queues.open.remove(subscription) else {
            return;
        };
        queue.stop.cancel();
        self.context.remove_open_queue(&queue);
        // When the process stops, the next one consumes the queue.
        if self.closing.is_cancelled() {
            return;
        }
        let returned = CancellationToken::new();
        queues
            .retiring
            .retain(|_, retirement| !retirement.is_cancelled());
        queues
            .retiring
            .insert(queue.names.queue.clone(), returned.clone());
        // The lock is given back before the one of the tasks is taken.
        drop(queues);
        let retirement = queue_retirement::retire_queue(queue, Arc::clone(&self.context));
        let mut tasks = self.tasks();
        while tasks.others.try_join_next().is_some() {}
        tasks.others.spawn(async move {
            returned.run_until_cancelled(retirement).await;
            returned.cancel();
        });
    }

    fn unfinished(&self, subscription: &SubscriptionKey) -> Option<usize> {
        self.queues()
            .open
            .get(subscription)
            .map(|queue| queue.unsettled.load(Ordering::Acquire))
    }

    fn trouble(&self, subscription: &SubscriptionKey) -> Option<TroubleReason> {
        // The most general reason comes first: it explains all others.
        if !self.is_connected() {
            return Some(TroubleReason::Disconnected);
        }
        if self.context.metrics.link.blocked.get() > 0 {
            return Some(TroubleReason::Blocked);
        }
        let queue = self.queues().open.get(subscription).cloned();
        match queue.as_ref().map(|queue| (queue, queue.state())) {
            None | Some((_, QueueState::Undeclared)) => Some(TroubleReason::NotDeclared),
            Some((queue, QueueState::Unconsumed | QueueState::Unavailable)) => {
                let refused = queue.refusal().clone().map(TroubleReason::Refused);
                let anywhere =
                    queue.is_unavailable() && self.context.diversion_failure.is_failing();
                let no_answer = if anywhere {
                    TroubleReason::NoAnswerAnywhere
                } else {
                    TroubleReason::NoAnswer
                };
                Some(refused.unwrap_or(no_answer))
            }
            Some((_, QueueState::Served)) => None,
        }
    }

    fn close(&self) {
        self.closing.cancel();
    }
}
