//! Queues that are consumed in this process, by their names on RabbitMQ.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::queue::RabbitmqQueue;

/// Queues by name. Whoever forwards a message finds the queue here that it is for.
#[derive(Debug, Default)]
pub(super) struct OpenQueues(Mutex<HashMap<String, Arc<RabbitmqQueue>>>);

impl OpenQueues {
    fn by_name(&self) -> MutexGuard<'_, HashMap<String, Arc<RabbitmqQueue>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a queue that is consumed in this process.
    pub(super) fn add(&self, queue: &Arc<RabbitmqQueue>) {
        self.by_name()
            .insert(queue.names.queue.clone(), Arc::clone(queue));
    }

    /// Removes a queue that is not consumed in this process any more, unless it was opened anew.
    pub(super) fn remove(&self, queue: &Arc<RabbitmqQueue>) {
        let mut open = self.by_name();
        if open
            .get(&queue.names.queue)
            .is_some_and(|known| Arc::ptr_eq(known, queue))
        {
            open.remove(&queue.names.queue);
        }
    }

    /// Finds a queue that is consumed in this process; `None` if it is not.
    pub(super) fn find(&self, queue: &str) -> Option<Arc<RabbitmqQueue>> {
        self.by_name().get(queue).cloned()
    }

    /// True if a queue is consumed in this process, whose consumer sees to it that the queue
    /// exists.
    pub(super) fn contains(&self, queue: &str) -> bool {
        self.by_name().contains_key(queue)
    }
}
