//! Queues that did not take a forwarded message, and are left alone for a while.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Time for which a queue is left alone that did not take a forwarded message.
const REFUSED_FOR: Duration = Duration::from_secs(5);
/// Largest number of queues that are remembered to have refused.
const MOST_REFUSED: usize = 1024;

/// Queues by name, each with the time until which it is left alone.
#[derive(Debug, Default)]
pub(super) struct RefusedQueues(Mutex<HashMap<String, Instant>>);

impl RefusedQueues {
    fn until(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if the queue did not take a message a moment ago.
    pub(super) fn contains(&self, queue: &str) -> bool {
        let mut refused = self.until();
        match refused.get(queue) {
            Some(until) if *until > Instant::now() => true,
            Some(_) => {
                refused.remove(queue);
                false
            }
            None => false,
        }
    }

    /// Records that the queue did not take a message.
    pub(super) fn record(&self, queue: &str) {
        let mut refused = self.until();
        if refused.len() < MOST_REFUSED {
            refused.insert(queue.to_owned(), Instant::now() + REFUSED_FOR);
        }
    }
}
