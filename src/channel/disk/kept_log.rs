//! The log of one channel as publishers and keeper share it: which queues it should have, and for
//! how long it keeps events.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::disk_room::DiskRoom;
use super::log_access::LogAccess;
use super::queue::{DiskQueue, EndedQueues};
use crate::model::ChannelKey;

/// A queue that a log should have, or should have retired.
#[derive(Clone)]
pub(super) struct WantedQueue {
    pub(super) queue: Arc<DiskQueue>,
    /// True if the queue is to be retired.
    pub(super) is_retired: bool,
    /// True if the log has it as it should be.
    pub(super) is_done: bool,
    /// Time since which it is wanted so.
    pub(super) since: Instant,
}

/// The log of a channel.
pub(super) struct KeptLog {
    pub(super) access: Arc<LogAccess>,
    /// Those of its queues that have deliveries to be acknowledged.
    pub(super) ends: Arc<EndedQueues>,
    /// Whether it has room for events.
    pub(super) room: DiskRoom,
    /// Milliseconds for which finished events are kept.
    retention: AtomicU64,
    queues: Mutex<BTreeMap<String, WantedQueue>>,
    /// Notified when something is wanted of the keeper.
    pub(super) changed: Notify,
}

impl KeptLog {
    pub(super) fn new(channel: ChannelKey) -> Self {
        Self {
            access: Arc::new(LogAccess::new(channel)),
            ends: Arc::default(),
            room: DiskRoom::default(),
            retention: AtomicU64::new(0),
            queues: Mutex::default(),
            changed: Notify::new(),
        }
    }

    fn queues(&self) -> MutexGuard<'_, BTreeMap<String, WantedQueue>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets for how long events are kept that are finished.
    pub(super) fn set_retention(&self, retain: Option<Duration>) {
        let millis = retain.map_or(0, |retain| {
            u64::try_from(retain.as_millis()).unwrap_or(u64::MAX)
        });
        let before = self.retention.swap(millis, Ordering::AcqRel);
        if before != millis {
            self.changed.notify_one();
        }
    }

    /// Time for which events are kept that are finished.
    pub(super) fn retention(&self) -> Option<Duration> {
        let millis = self.retention.load(Ordering::Acquire);
        (millis > 0).then(|| Duration::from_millis(millis))
    }

    /// Has a queue declared, or taken up again.
    pub(super) fn declare_queue(&self, queue: &Arc<DiskQueue>) {
        self.want(WantedQueue {
            queue: Arc::clone(queue),
            is_retired: false,
            is_done: false,
            since: Instant::now(),
        });
    }

    /// Has a queue retired, unless it has been declared anew.
    pub(super) fn retire_queue(&self, queue: &Arc<DiskQueue>) {
        let queues = self.queues();
        let newest = queues.get(&queue.name).map(|wanted| &wanted.queue);
        let is_newest = newest.is_some_and(|newest| Arc::ptr_eq(newest, queue));
        drop(queues);
        if is_newest {
            self.want(WantedQueue {
                queue: Arc::clone(queue),
                is_retired: true,
                is_done: false,
                since: Instant::now(),
            });
        }
    }

    fn want(&self, wanted: WantedQueue) {
        self.queues().insert(wanted.queue.name.clone(), wanted);
        self.changed.notify_one();
    }

    /// True if a queue of this name is to be declared or retired, or was.
    pub(super) fn wants(&self, name: &str) -> bool {
        self.queues().contains_key(name)
    }

    /// Queues that the keeper has to declare or to retire.
    pub(super) fn undone(&self) -> Vec<WantedQueue> {
        let queues = self.queues();
        let undone = queues.values().filter(|wanted| !wanted.is_done);
        undone.cloned().collect()
    }

    /// Notes that the log has a queue as it should be, if that is still so.
    pub(super) fn set_done(&self, done: &WantedQueue) {
        if let Some(wanted) = self.queues().get_mut(&done.queue.name)
            && Arc::ptr_eq(&wanted.queue, &done.queue)
            && wanted.is_retired == done.is_retired
        {
            wanted.is_done = true;
        }
    }

    /// Queues that have been retired, and are there still.
    pub(super) fn retired(&self) -> Vec<WantedQueue> {
        let queues = self.queues();
        let retired = queues.values().filter(|it| it.is_retired && it.is_done);
        retired.cloned().collect()
    }

    /// Forgets a retired queue that was deleted.
    pub(super) fn forget(&self, queue: &Arc<DiskQueue>) {
        let mut queues = self.queues();
        let is_same = |wanted: &WantedQueue| Arc::ptr_eq(&wanted.queue, queue);
        if queues.get(&queue.name).is_some_and(is_same) {
            queues.remove(&queue.name);
        }
    }
}
