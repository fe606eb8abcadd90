//! The logs and queues of the backend, by what they belong to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::kept_log::KeptLog;
use super::queue::DiskQueue;
use crate::model::{ChannelKey, SubscriptionKey};

/// A queue with the log that it is in.
#[derive(Clone)]
pub(super) struct OpenDiskQueue {
    pub(super) queue: Arc<DiskQueue>,
    pub(super) log: Arc<KeptLog>,
}

impl OpenDiskQueue {
    /// Ends the consumer of the queue. The queue itself stays.
    pub(super) fn stop(&self) {
        self.queue.stop.cancel();
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
    pub(super) fn queues(&self) -> Vec<Arc<DiskQueue>> {
        let table = self.lock();
        let open = table.queues.values();
        open.map(|open| Arc::clone(&open.queue)).collect()
    }

    /// Queue of a subscription; `None` if it is not open.
    pub(super) fn find(&self, subscription: &SubscriptionKey) -> Option<OpenDiskQueue> {
        self.lock().queues.get(subscription).cloned()
    }
}
