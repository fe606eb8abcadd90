//! Channels on disk: each has a log of its own below one directory, which one process owns.
//!
//! Promise: an event answered 202 is on the disk (`fdatasync` has returned) for every subscription
//! that wants it, and is finished only when it was delivered, when its dead letter sink has it, or
//! when an operator has given it up. Waits, attempts, replies and dead letters under way are on the
//! disk, too. An event may be delivered twice: when the process ends before the end of a delivery is
//! on the disk.

mod acknowledger;
mod consumer;
mod context;
mod directory;
mod disk_room;
mod history;
mod kept_log;
pub mod log;
mod log_access;
mod log_keeper;
mod metrics;
mod names;
mod options;
pub(crate) mod parked_logs;
mod parking;
mod publisher;
mod queue;
mod queue_gauges;
mod queue_table;
mod recent_events;
mod replay;
mod replay_name;
mod replay_runner;
mod replay_store;
mod send_rate;
mod settlement;
mod stored_delivery;
#[cfg(test)]
mod tests;
mod trouble;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::metrics::subscription_series;
use super::parked::ParkedStore;
use super::replay::ReplayStore;
use super::subscription_queues::{OpenedQueue, SubscriptionQueues};
use super::trouble_reason::{BackendConnection, TroubleReason};
use super::{ChannelBackend, OpenedChannel, StorageUsage};
use crate::model::{BackendKind, Channel, Subscription, SubscriptionKey};
use crate::telemetry::counters::ProcessCounters;
use acknowledger::DiskAcknowledger;
use consumer::DiskConsumer;
use context::DiskContext;
use kept_log::KeptLog;
use log::LogError;
use log_keeper::LogKeeper;
pub use names::{log_owner, queue_owner};
pub use options::DiskBackendOptions;
use parking::DiskParking;
use publisher::DiskPublisher;
use queue::{DiskQueue, QueueLog};
use queue_table::{DiskQueueTable, OpenDiskQueue, SharedQueueTable};
use replay_runner::ReplayRunner;
use replay_store::DiskReplays;
use trouble::DiskTrouble;

/// Event deliveries that may wait for a worker; when the process stops, they are delivered first.
const WORKER_QUEUE_CAPACITY: usize = 32;

/// Tasks of the backend.
#[derive(Default)]
struct DiskTasks {
    /// A consumer for each queue and what runs its replays, which end by themselves when their queue
    /// is given up, or the backend closes.
    consumers: JoinSet<()>,
    /// Acknowledgers, one for each log, which end with the last delivery.
    acknowledgers: JoinSet<()>,
    /// Keepers, one for each log, which close it at the end, and one of gauges.
    keepers: JoinSet<()>,
}

/// The backend that keeps the events of channels in logs on disk.
pub struct DiskBackend {
    context: Arc<DiskContext>,
    table: SharedQueueTable,
    tasks: Mutex<DiskTasks>,
    closing: CancellationToken,
    /// Cancelled when no more deliveries begin.
    settling: CancellationToken,
    /// Cancelled when the last delivery has been settled: logs are closed then.
    ending: CancellationToken,
}

impl DiskBackend {
    /// Makes a backend that opens its directory when the first channel is opened, and exposes its
    /// metrics beside `counters`.
    #[must_use]
    pub fn new(options: DiskBackendOptions, counters: Arc<ProcessCounters>) -> Self {
        Self {
            context: Arc::new(DiskContext::new(options, counters)),
            table: SharedQueueTable::default(),
            tasks: Mutex::default(),
            closing: CancellationToken::new(),
            settling: CancellationToken::new(),
            ending: CancellationToken::new(),
        }
    }

    /// Opens the directory now, so that whoever starts the process learns that it is taken.
    ///
    /// # Errors
    /// If another process has it. Any other failure is in the trouble of all channels, and the
    /// directory is opened as soon as it can be.
    pub fn claim_directory(&self) -> Result<(), LogError> {
        match self.context.directory.open() {
            Err(error @ LogError::Locked { .. }) => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Ends consumers, then closes the logs. What was not settled stays on the disk, as it does when
    /// this future is dropped.
    pub async fn shut_down(&self) {
        self.close();
        let mut tasks = std::mem::take(&mut *self.tasks());
        while tasks.consumers.join_next().await.is_some() {}
        self.settling.cancel();
        while tasks.acknowledgers.join_next().await.is_some() {}
        self.ending.cancel();
        while tasks.keepers.join_next().await.is_some() {}
        self.context.directory.close();
    }

    fn tasks(&self) -> MutexGuard<'_, DiskTasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log of a channel; it is opened by its keeper if the channel is new.
    fn keep_log(&self, table: &mut DiskQueueTable, channel: &Channel) -> Arc<KeptLog> {
        if let Some(log) = table.logs.get(&channel.key) {
            return Arc::clone(log);
        }
        let log = Arc::new(KeptLog::new(channel.key.clone()));
        table.logs.insert(channel.key.clone(), Arc::clone(&log));
        self.context.metrics.add_log(&log.access);
        let keeper = LogKeeper {
            log: Arc::clone(&log),
            context: Arc::clone(&self.context),
            ending: self.ending.clone(),
        };
        let acknowledger = DiskAcknowledger {
            log: Arc::clone(&log),
            context: Arc::clone(&self.context),
            settling: self.settling.clone(),
        };
        let mut tasks = self.tasks();
        tasks.acknowledgers.spawn(acknowledger.run());
        if tasks.keepers.is_empty() {
            let gauges = queue_gauges::keep_current(self.table.clone(), self.ending.clone());
            tasks.keepers.spawn(gauges);
        }
        tasks.keepers.spawn(keeper.run());
        log
    }

    /// Opens the queue of a subscription, unless it is open in the same log already.
    fn open_queue(
        &self,
        table: &mut DiskQueueTable,
        log: &Arc<KeptLog>,
        subscription: &Arc<Subscription>,
    ) -> OpenedQueue<DiskQueue> {
        let (key, order) = (&subscription.key, subscription.delivery.order);
        let is_same = |open: &&OpenDiskQueue| Arc::ptr_eq(&open.log, log);
        let known = table.queues.get(key).filter(is_same);
        if let Some(open) = known.filter(|open| open.queue.order == order) {
            open.queue.set_subscription(subscription);
            return OpenedQueue {
                queue: Arc::clone(&open.queue),
                consumer: None,
            };
        }
        let series = subscription_series(&self.context.counters, key);
        let parts = QueueLog {
            access: Arc::clone(&log.access),
            ends: Arc::clone(&log.ends),
        };
        let (budget, stop) = (&self.context.options.budget, self.closing.child_token());
        let queue = DiskQueue::new(subscription, parts, series, budget, stop);
        let queue = Arc::new(queue);
        let open = OpenDiskQueue {
            queue: Arc::clone(&queue),
            log: Arc::clone(log),
            replays: Arc::default(),
        };
        let opened = self.start_consumer(&open);
        if let Some(former) = table.queues.insert(key.clone(), open) {
            former.stop();
            // In the same log, the queue is only taken up anew.
            if !Arc::ptr_eq(&former.log, log) {
                former.retire();
            }
        }
        log.declare_queue(&queue);
        opened
    }

    /// Spawns the consumer of a queue, and what runs the replays to its subscription.
    fn start_consumer(&self, open: &OpenDiskQueue) -> OpenedQueue<DiskQueue> {
        let (messages, consumer) = mpsc::channel(WORKER_QUEUE_CAPACITY);
        let queue = Arc::clone(&open.queue);
        let replays = ReplayRunner {
            queue: Arc::clone(&queue),
            replays: Arc::clone(&open.replays),
            context: Arc::clone(&self.context),
            messages: messages.clone(),
        };
        let consume = DiskConsumer::new(&queue, &self.context, messages);
        let mut tasks = self.tasks();
        // Consumers that have ended are joined here, so that the set does not grow.
        while tasks.consumers.try_join_next().is_some() {}
        tasks.consumers.spawn(consume.run());
        tasks.consumers.spawn(replays.run());
        OpenedQueue {
            queue,
            consumer: Some(consumer),
        }
    }
}

impl ChannelBackend for DiskBackend {
    fn open(&self, channel: &Channel) -> OpenedChannel {
        let mut table = self.table.lock();
        let log = self.keep_log(&mut table, channel);
        log.set_retention(channel.retain);
        let (queues, consumers) = SubscriptionQueues::open(channel, |subscription| {
            self.open_queue(&mut table, &log, subscription)
        });
        let publisher = DiskPublisher {
            queues,
            log,
            context: Arc::clone(&self.context),
        };
        OpenedChannel {
            publisher: Arc::new(publisher),
            consumers,
        }
    }

    /// Stops publishing to the queue and consuming it. It stays with the events that are in it, for
    /// ever or for the configured time.
    fn retire_subscription(&self, subscription: &SubscriptionKey) {
        let Some(open) = self.table.lock().queues.remove(subscription) else {
            return;
        };
        open.stop();
        // When the process stops, the next one consumes the queue.
        if !self.closing.is_cancelled() {
            open.retire();
        }
    }

    fn unfinished(&self, subscription: &SubscriptionKey) -> Option<usize> {
        let open = self.table.find(subscription)?;
        Some(open.unsettled())
    }

    /// Events that are not finished, on the disk or under way.
    fn depth(&self, subscription: &SubscriptionKey) -> Option<usize> {
        let open = self.table.find(subscription)?;
        let counts = open.counts().unwrap_or_default();
        Some(usize::try_from(counts.depth).unwrap_or(usize::MAX))
    }

    fn until_next_due(&self, subscription: &SubscriptionKey) -> Option<Duration> {
        self.table.find(subscription)?.queue.until_next_due()
    }

    fn trouble(&self, subscription: &SubscriptionKey) -> Option<TroubleReason> {
        let trouble = match self.table.find(subscription) {
            Some(open) => open.queue.trouble(),
            None => Some(DiskTrouble::NotDeclared),
        };
        trouble.map(TroubleReason::from)
    }

    fn connection(&self) -> Option<BackendConnection> {
        let table = self.table.lock();
        let mut logs = table.logs.values();
        let failing = logs.find_map(|log| log.access.disk_failure());
        drop(table);
        let failing = failing.or_else(|| self.context.directory.failure());
        let failure = failing.map(|cause| DiskTrouble::Failing(cause).into());
        Some(BackendConnection {
            backend: BackendKind::Disk,
            outage: None,
            failure,
        })
    }

    fn storage_usage(&self) -> Option<StorageUsage> {
        let mut usage = self.context.directory.usage()?;
        let table = self.table.lock();
        usage.lack = table.logs.values().find_map(|log| log.room.lack());
        Some(usage)
    }

    fn parked_store(&self) -> Option<Box<dyn ParkedStore>> {
        Some(Box::new(DiskParking {
            finder: self.table.clone(),
        }))
    }

    fn replay_store(&self) -> Option<Box<dyn ReplayStore>> {
        Some(Box::new(DiskReplays {
            table: self.table.clone(),
        }))
    }

    fn close(&self) {
        self.closing.cancel();
    }
}
