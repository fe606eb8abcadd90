//! Channels on RabbitMQ: durable, confirmed, and shared by as many processes as there are.
//!
//! Promise: an event answered 202 is in the queue of every subscription that wants it, on disk, and
//! leaves it only when it was delivered, when its dead letter sink has it, or when it is in the
//! parking queue. It may be delivered twice: after a crash, or when a connection breaks before a
//! delivery could be acknowledged.

mod acknowledger;
mod address;
mod amqp_channel;
mod amqp_error;
mod basic_return_republishing;
mod channel_keeper;
mod confirming_publisher;
mod connect_attempt;
mod connection;
mod connection_keeper;
mod connection_pool;
mod consumed_channel;
mod consumer;
mod consumer_failure;
mod consumer_watchdog;
mod context;
mod credentials;
mod dead_lettered;
mod dead_lettered_message;
mod deferred_message;
mod delay_queue;
mod forwarding;
mod health;
mod hold_limit;
pub mod message;
pub(crate) mod metrics;
mod misdirected_return;
mod open_queues;
mod options;
pub(crate) mod parking;
mod prefetch_buffer;
mod prefetch_control;
mod publication;
mod publish_error;
mod publish_route;
mod publisher;
mod publishing_connection;
mod queue;
mod queue_arguments;
mod queue_deletion;
mod queue_inspection;
mod queue_names;
mod queue_publication;
mod queue_retirement;
mod receiver;
mod refused_queues;
mod settlement;
mod subscription_table;
#[cfg(test)]
pub(crate) mod tests;
mod topology;
pub(crate) mod trouble;
mod uncancelled_future;
mod unreadable_message;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::metrics::subscription_series;
use super::parked::ParkedStore;
use super::subscription_queues::{OpenedQueue, SubscriptionQueues};
use super::trouble_reason::{BackendConnection, TroubleReason};
use super::{ChannelBackend, OpenedChannel};
use crate::budget::MemoryBudget;
use crate::model::{BackendKind, Channel, ChannelKey, Subscription, SubscriptionKey};
use crate::telemetry::counters::ProcessCounters;
use crate::telemetry::series::SubscriptionSeries;
pub(crate) use address::RabbitmqAddress;
use channel_keeper::AmqpChannelSetKeeper;
use confirming_publisher::ConfirmingPublisher;
use connection::AmqpConnectionWatch;
use connection_keeper::AmqpConnectionKeeper;
use connection_pool::AmqpConnectionPool;
use consumer::RabbitmqConsumer;
use context::RabbitmqContext;
pub(crate) use credentials::{CredentialSource, RabbitmqCredentials};
use health::QueueState;
use metrics::RabbitmqMetrics;
pub(crate) use options::{RabbitmqBackendOptions, RabbitmqQueueType};
use parking::ParkingQueues;
use publisher::RabbitmqPublisher;
use queue::RabbitmqQueue;
use queue_names::RabbitmqQueueNames;
use subscription_table::SubscriptionTable;
use trouble::RabbitmqTrouble;

/// Event deliveries that may wait for a worker; when the process stops, they are delivered first.
const WORKER_QUEUE_CAPACITY: usize = 32;

/// Tasks of the backend.
#[derive(Default)]
struct RabbitmqTasks {
    /// Consumers, one for each queue, which end by themselves when their queue is given up, or the
    /// backend closes.
    consumers: JoinSet<()>,
    /// Connections, forwarders and retirements of queues; they are aborted at the end.
    others: JoinSet<()>,
}

impl RabbitmqTasks {
    /// Starts the tasks that keep the two connections open that are published on.
    fn start_publishing(
        &mut self,
        connections: [AmqpConnectionKeeper; 2],
        channels: [AmqpChannelSetKeeper; 2],
        current: &[AmqpConnectionWatch; 2],
    ) {
        let keepers = connections.into_iter().zip(channels).zip(current);
        for ((connection, channels), current) in keepers {
            self.others.spawn(connection.keep_open());
            self.others.spawn(channels.run(current.clone()));
        }
    }
}

/// The backend that keeps the queues of channels on RabbitMQ.
pub(crate) struct RabbitmqBackend {
    context: Arc<RabbitmqContext>,
    /// The two connections that are published on.
    publishing: [AmqpConnectionWatch; 2],
    subscriptions: Mutex<SubscriptionTable>,
    tasks: Mutex<RabbitmqTasks>,
    closing: CancellationToken,
}

impl RabbitmqBackend {
    /// Makes a backend that connects at once, and exposes its metrics beside `counters`. It spawns
    /// tasks, so it must be called inside a runtime.
    #[must_use]
    pub(crate) fn new(options: RabbitmqBackendOptions, counters: Arc<ProcessCounters>) -> Self {
        let metrics = Arc::new(RabbitmqMetrics::default());
        counters.add_backend_metrics(Arc::clone(&metrics) as _);
        let address = &options.address;
        let (connections, publishing) = AmqpConnectionKeeper::pair(address, "publishing", &metrics);
        let (publisher, channels, misdirected_returns) =
            ConfirmingPublisher::new(Arc::clone(&metrics));
        let (pool, pool_keeper) = AmqpConnectionPool::new(address.clone(), Arc::clone(&metrics));
        let context = RabbitmqContext::new(options, publisher, pool, counters, metrics);
        let context = Arc::new(context);
        // Tasks start last, when everything that they share exists.
        let mut tasks = RabbitmqTasks::default();
        tasks.start_publishing(connections, channels, &publishing);
        tasks.others.spawn(pool_keeper.run());
        let forward = dead_lettered::forward_all(Arc::clone(&context));
        tasks.others.spawn(forward);
        let republish =
            basic_return_republishing::republish_all(Arc::clone(&context), misdirected_returns);
        tasks.others.spawn(republish);
        Self {
            context,
            publishing,
            subscriptions: Mutex::default(),
            tasks: Mutex::new(tasks),
            closing: CancellationToken::new(),
        }
    }

    fn tasks(&self) -> MutexGuard<'_, RabbitmqTasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends consumers when all that was settled is acknowledged, and after that the connections.
    /// What was not settled stays with RabbitMQ, as it does when this future is dropped.
    pub(crate) async fn shut_down(&self) {
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
    pub(crate) fn is_connected(&self) -> bool {
        self.context.publisher.is_open() && self.context.pool.is_connected()
    }

    fn subscriptions(&self) -> MutexGuard<'_, SubscriptionTable> {
        self.subscriptions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the queue of a subscription, unless it is open under the same names already.
    fn open_queue(
        &self,
        subscriptions: &mut SubscriptionTable,
        channel: &ChannelKey,
        subscription: &Subscription,
    ) -> OpenedQueue<RabbitmqQueue> {
        let key = &subscription.key;
        let names = RabbitmqQueueNames::new(channel, subscription);
        if let Some(queue) = subscriptions.find_named(key, &names) {
            return OpenedQueue {
                queue: Arc::clone(queue),
                consumer: None,
            };
        }
        subscriptions.cancel_retirement(&names.queue);
        self.warn_of_long_timeout(subscription);
        let series = subscription_series(&self.context.counters, key);
        let budget = self.context.options.budget.of_namespace(&key.namespace);
        let opened = self.start_consumer(names, series, budget);
        subscriptions.insert(key.clone(), Arc::clone(&opened.queue));
        opened
    }

    /// Makes a queue, and spawns its consumer.
    fn start_consumer(
        &self,
        names: RabbitmqQueueNames,
        series: Arc<SubscriptionSeries>,
        budget: Arc<MemoryBudget>,
    ) -> OpenedQueue<RabbitmqQueue> {
        let max_prefetch = self.context.options.prefetch_for(names.order);
        let stop = self.closing.child_token();
        let queue = RabbitmqQueue::new(names, max_prefetch, series, budget, stop);
        let queue = Arc::new(queue);
        // Known before it is consumed, so that a forwarded message finds it.
        self.context.open_queues.add(&queue);
        let (messages, consumer) = mpsc::channel(WORKER_QUEUE_CAPACITY);
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
        OpenedQueue {
            queue,
            consumer: Some(consumer),
        }
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

    /// Trouble of RabbitMQ as a whole, if there is any.
    fn backend_trouble(&self) -> Option<RabbitmqTrouble> {
        if !self.is_connected() {
            Some(RabbitmqTrouble::Disconnected)
        } else if self.context.metrics.link.blocked.get() > 0 {
            Some(RabbitmqTrouble::Blocked)
        } else {
            None
        }
    }

    /// Trouble of the queue of one subscription, if there is any.
    fn queue_trouble(&self, subscription: &SubscriptionKey) -> Option<RabbitmqTrouble> {
        let Some(queue) = self.subscriptions().find(subscription).cloned() else {
            return Some(RabbitmqTrouble::NotDeclared);
        };
        match queue.state() {
            QueueState::Served => None,
            QueueState::Undeclared => Some(RabbitmqTrouble::NotDeclared),
            QueueState::Unconsumed | QueueState::Unavailable => {
                if let Some(refusal) = queue.refusal().clone() {
                    return Some(RabbitmqTrouble::Refused(refusal));
                }
                if queue.is_unavailable() && self.context.diversion_failure.is_failing() {
                    return Some(RabbitmqTrouble::NoAnswerAnywhere);
                }
                Some(RabbitmqTrouble::NoAnswer)
            }
        }
    }
}

impl ChannelBackend for RabbitmqBackend {
    fn open(&self, channel: &Channel) -> OpenedChannel {
        let mut subscriptions = self.subscriptions();
        let (queues, consumers) = SubscriptionQueues::open(channel, |subscription| {
            self.open_queue(&mut subscriptions, &channel.key, subscription)
        });
        let publisher = RabbitmqPublisher {
            queues,
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
        let mut subscriptions = self.subscriptions();
        let Some(queue) = subscriptions.remove(subscription) else {
            return;
        };
        queue.stop.cancel();
        self.context.open_queues.remove(&queue);
        // When the process stops, the next one consumes the queue.
        if self.closing.is_cancelled() {
            return;
        }
        let returned = subscriptions.start_retirement(&queue);
        // The lock is given back before the one of the tasks is taken.
        drop(subscriptions);
        let retirement = queue_retirement::retire_queue(queue, Arc::clone(&self.context));
        let mut tasks = self.tasks();
        while tasks.others.try_join_next().is_some() {}
        tasks.others.spawn(async move {
            returned.run_until_cancelled(retirement).await;
            returned.cancel();
        });
    }

    fn unfinished(&self, subscription: &SubscriptionKey) -> Option<usize> {
        self.subscriptions()
            .find(subscription)
            .map(|queue| queue.unsettled.load(Ordering::Acquire))
    }

    fn trouble(&self, subscription: &SubscriptionKey) -> Option<TroubleReason> {
        // The most general reason comes first: it explains all others.
        let trouble = self
            .backend_trouble()
            .or_else(|| self.queue_trouble(subscription));
        trouble.map(TroubleReason::from)
    }

    fn connection(&self) -> Option<BackendConnection> {
        let outage = (!self.is_connected()).then(|| RabbitmqTrouble::Disconnected.into());
        Some(BackendConnection {
            backend: BackendKind::Rabbitmq,
            outage,
            failure: None,
        })
    }

    fn parked_store(&self) -> Option<Box<dyn ParkedStore>> {
        let address = self.context.options.address.clone();
        Some(Box::new(ParkingQueues::new(address)))
    }

    fn close(&self) {
        self.closing.cancel();
    }
}
