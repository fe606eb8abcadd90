//! Settings of the backend.

use std::sync::Arc;
use std::time::Duration;

use super::address::RabbitmqAddress;
use crate::budget::MemoryBudget;
use crate::event::AttributeLimit;
use crate::model::DeliveryOrder;

/// Prefetch of an ordered queue: the message that is being delivered, and the next one.
const ORDERED_PREFETCH: u16 = 2;

/// Type of the queues, which decides how they are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum RabbitmqQueueType {
    /// Replicated by Raft over the nodes; this is what RabbitMQ recommends.
    #[default]
    Quorum,
    /// Stored on one node only.
    Classic,
}

/// Settings of the RabbitMQ backend.
#[derive(Clone, Debug)]
pub(crate) struct RabbitmqBackendOptions {
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
    pub(super) fn prefetch_for(&self, order: DeliveryOrder) -> u16 {
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
