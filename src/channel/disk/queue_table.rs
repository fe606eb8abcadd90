//! The logs and queues of the backend, by what they belong to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::kept_log::KeptLog;
use super::log::LogQueueCounts;
use super::queue::{DeclaredQueue, DiskQueue};
use super::replay::ReplayList;
use crate::model::{ChannelKey, SubscriptionKey};

/// A queue with the log that it is in.
#[derive(Clone)]
pub(super) struct OpenDiskQueue {
    pub(super) queue: Arc<DiskQueue>,
    pub(super) log: Arc<KeptLog>,
    pub(super) replays: Arc<ReplayList>,
}

impl OpenDiskQueue {
    /// Ends the consumer of the queue. The queue itself stays.
    pub(super) fn stop(&self) {
        self.queue.stop.cancel();
    }

    /// Queues of the replays to the subscription.
    fn replay_queues(&self) -> Vec<Arc<DiskQueue>> {
        let replays = self.replays.all().into_iter();
        replays.map(|replay| Arc::clone(&replay.queue)).collect()
    }

    /// The queue and those of replays, as far as the log has them.
    pub(super) fn declared_queues(&self) -> Vec<DeclaredQueue> {
        let mut queues = vec![Arc::clone(&self.queue)];
        queues.extend(self.replay_queues());
        let declared = queues.iter().filter(|queue| queue.counts().is_some());
        declared
            .filter_map(|queue| queue.declared.get().cloned())
            .collect()
    }

    /// What the queue holds, with what replays have sent and not finished; `None` if the log does
    /// not know it.
    pub(super) fn counts(&self) -> Option<LogQueueCounts> {
        let mut counts = self.queue.counts()?;
        for queue in self.replay_queues() {
            let of_replay = queue.counts().unwrap_or_default();
            let under_way = of_replay.deferred + queue.unsettled();
            counts.depth = counts.depth.saturating_add(under_way as u64);
            counts.in_flight += queue.unsettled();
            counts.deferred += of_replay.deferred;
            counts.parked += of_replay.parked;
        }
        Some(counts)
    }

    /// Deliveries that were handed to the worker and have not been settled.
    pub(super) fn unsettled(&self) -> usize {
        let replays = self.replay_queues();
        let of_replays: usize = replays.iter().map(|queue| queue.unsettled()).sum();
        self.queue.unsettled() + of_replays
    }

    /// Has the queue retired in its log.
    pub(super) fn retire(&self) {
        self.log.retire_queue(&self.queue);
    }
}

/// Logs and queues that are open.
#[derive(Default)]
pub(super) struct DiskQueueTable {
    pub(super) logs: HashMap<ChannelKey, Arc<KeptLog>>,
    pub(super) queues: HashMap<SubscriptionKey, OpenDiskQueue>,
}

/// The table of a backend, shared with who asks about it.
#[derive(Clone, Default)]
pub(super) struct SharedQueueTable(Arc<Mutex<DiskQueueTable>>);

impl SharedQueueTable {
    pub(super) fn lock(&self) -> MutexGuard<'_, DiskQueueTable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All queues that are open.
    pub(super) fn queues(&self) -> Vec<OpenDiskQueue> {
        self.lock().queues.values().cloned().collect()
    }

    /// Queue of a subscription; `None` if it is not open.
    pub(super) fn find(&self, subscription: &SubscriptionKey) -> Option<OpenDiskQueue> {
        self.lock().queues.get(subscription).cloned()
    }
}
