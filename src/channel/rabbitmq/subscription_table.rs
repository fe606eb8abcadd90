//! Queues of the subscriptions that are configured, and retirements of those that were.

use std::collections::HashMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::queue::RabbitmqQueue;
use super::queue_names::RabbitmqQueueNames;
use crate::model::SubscriptionKey;

/// Queues that this process knows.
#[derive(Default)]
pub(super) struct SubscriptionTable {
    open: HashMap<SubscriptionKey, Arc<RabbitmqQueue>>,
    /// Retirements of queues, by name of the queue; each is cancelled when it is done, or its
    /// subscription comes back.
    retiring: HashMap<String, CancellationToken>,
}

impl SubscriptionTable {
    /// Queue of a subscription; `None` if it is not open.
    pub(super) fn find(&self, subscription: &SubscriptionKey) -> Option<&Arc<RabbitmqQueue>> {
        self.open.get(subscription)
    }

    /// Queue of a subscription with these names and this order; `None` if it is not open.
    pub(super) fn find_named(
        &self,
        subscription: &SubscriptionKey,
        names: &RabbitmqQueueNames,
    ) -> Option<&Arc<RabbitmqQueue>> {
        self.find(subscription)
            .filter(|queue| queue.names == *names)
    }

    /// Adds the queue of a subscription. If that has another one, with other names or in another
    /// order, the consumer of that ends.
    pub(super) fn insert(&mut self, subscription: SubscriptionKey, queue: Arc<RabbitmqQueue>) {
        if let Some(before) = self.open.insert(subscription, queue) {
            before.stop.cancel();
        }
    }

    /// Takes the queue of a subscription out.
    pub(super) fn remove(&mut self, subscription: &SubscriptionKey) -> Option<Arc<RabbitmqQueue>> {
        self.open.remove(subscription)
    }

    /// Adds a retirement that begins. Gives the token that is cancelled when the subscription comes
    /// back.
    pub(super) fn start_retirement(&mut self, queue: &RabbitmqQueue) -> CancellationToken {
        let returned = CancellationToken::new();
        self.retiring
            .retain(|_, retirement| !retirement.is_cancelled());
        self.retiring
            .insert(queue.names.queue.clone(), returned.clone());
        returned
    }

    /// Cancels the retirement of a queue, if one is under way: it would delete the queue that is
    /// opened again.
    pub(super) fn cancel_retirement(&mut self, queue: &str) {
        if let Some(retirement) = self.retiring.remove(queue) {
            retirement.cancel();
        }
    }
}
