//! Both backends of a process as one: each channel goes to the backend that keeps its events.

use std::sync::Arc;

use futures_util::FutureExt;

use super::memory::MemoryBackend;
use super::parked::{
    ParkedChange, ParkedError, ParkedFuture, ParkedListing, ParkedOperation, ParkedStore,
    ParkingSubscription,
};
use super::rabbitmq::RabbitmqBackend;
use super::trouble::TroubleReason;
use super::{ChannelBackend, OpenedChannel};
use crate::model::{BackendKind, Channel, SubscriptionKey};

/// The backends of a process, of which each channel has one.
pub struct ChannelBackends {
    memory: MemoryBackend,
    rabbitmq: Option<Arc<RabbitmqBackend>>,
}

impl ChannelBackends {
    /// Makes one backend of both. Without RabbitMQ no channel may ask for it; the control plane
    /// sees to that.
    #[must_use]
    pub fn new(memory: MemoryBackend, rabbitmq: Option<Arc<RabbitmqBackend>>) -> Self {
        Self { memory, rabbitmq }
    }

    /// True if RabbitMQ can be published to and consumed from now; `None` if none is configured.
    #[must_use]
    pub fn is_rabbitmq_connected(&self) -> Option<bool> {
        self.rabbitmq
            .as_ref()
            .map(|rabbitmq| rabbitmq.is_connected())
    }
}

impl ChannelBackend for ChannelBackends {
    /// Opens the channel on its backend. A channel that moves to another backend leaves no event
    /// behind: what is in memory is delivered, and its queues on RabbitMQ go on being consumed as
    /// long as the process runs, since events that wait for a retry come back into them much later.
    fn open(&self, channel: &Channel) -> OpenedChannel {
        let keys = channel
            .subscriptions
            .iter()
            .map(|subscription| &subscription.key);
        match (channel.backend, &self.rabbitmq) {
            (BackendKind::Rabbitmq, Some(rabbitmq)) => {
                keys.for_each(|key| self.memory.retire_subscription(key));
                rabbitmq.open(channel)
            }
            (BackendKind::Memory, _) | (BackendKind::Rabbitmq, None) => self.memory.open(channel),
        }
    }

    fn retire_subscription(&self, subscription: &SubscriptionKey) {
        self.memory.retire_subscription(subscription);
        if let Some(rabbitmq) = &self.rabbitmq {
            rabbitmq.retire_subscription(subscription);
        }
    }

    fn unfinished(&self, subscription: &SubscriptionKey) -> Option<usize> {
        let rabbitmq = || {
            self.rabbitmq
                .as_ref()
                .and_then(|rabbitmq| rabbitmq.unfinished(subscription))
        };
        self.memory.unfinished(subscription).or_else(rabbitmq)
    }

    /// Trouble of the backend that takes the subscription's events now: a queue on RabbitMQ is
    /// given up when its channel moves to memory, but goes on being consumed.
    fn trouble(&self, subscription: &SubscriptionKey) -> Option<TroubleReason> {
        if self.memory.unfinished(subscription).is_some() {
            return self.memory.trouble(subscription);
        }
        self.rabbitmq
            .as_ref()
            .and_then(|rabbitmq| rabbitmq.trouble(subscription))
    }

    fn close(&self) {
        self.memory.close();
        if let Some(rabbitmq) = &self.rabbitmq {
            rabbitmq.close();
        }
    }
}

impl ChannelBackends {
    /// Store of the parked events of a backend.
    ///
    /// # Errors
    /// If the process has no RabbitMQ, or the backend parks nothing.
    fn parked_store(&self, storage: BackendKind) -> Result<Box<dyn ParkedStore>, ParkedError> {
        match (storage, &self.rabbitmq) {
            (BackendKind::Rabbitmq, Some(rabbitmq)) => Ok(Box::new(rabbitmq.parking())),
            (BackendKind::Rabbitmq, None) => Err(ParkedError::Unavailable(
                "this process has no RabbitMQ".to_owned(),
            )),
            (BackendKind::Memory, _) => Err(ParkedError::Unavailable(
                "channels in memory park nothing".to_owned(),
            )),
        }
    }
}

impl ParkedStore for ChannelBackends {
    /// Counts parked events of subscriptions on RabbitMQ; it is 0 for those in memory, where
    /// nothing is parked.
    fn count<'a>(&'a self, owners: &'a [ParkingSubscription]) -> ParkedFuture<'a, Vec<u64>> {
        async move {
            let mut counts = vec![0; owners.len()];
            for storage in [BackendKind::Rabbitmq] {
                let of = owners
                    .iter()
                    .enumerate()
                    .filter(|(_, owner)| owner.backend == storage);
                let (places, of): (Vec<usize>, Vec<ParkingSubscription>) =
                    of.map(|(at, owner)| (at, owner.clone())).unzip();
                if of.is_empty() {
                    continue;
                }
                for (at, found) in places
                    .into_iter()
                    .zip(self.parked_store(storage)?.count(&of).await?)
                {
                    counts
                        .get_mut(at)
                        .into_iter()
                        .for_each(|count| *count = found);
                }
            }
            Ok(counts)
        }
        .boxed()
    }

    fn show<'a>(
        &'a self,
        owner: &'a ParkingSubscription,
        limit: usize,
        operation: &'a ParkedOperation,
    ) -> ParkedFuture<'a, ParkedListing> {
        async move {
            self.parked_store(owner.backend)?
                .show(owner, limit, operation)
                .await
        }
        .boxed()
    }

    fn replay<'a>(
        &'a self,
        owner: &'a ParkingSubscription,
        operation: &'a ParkedOperation,
    ) -> ParkedFuture<'a, ParkedChange> {
        async move {
            self.parked_store(owner.backend)?
                .replay(owner, operation)
                .await
        }
        .boxed()
    }

    fn discard<'a>(
        &'a self,
        owner: &'a ParkingSubscription,
        operation: &'a ParkedOperation,
    ) -> ParkedFuture<'a, ParkedChange> {
        async move {
            self.parked_store(owner.backend)?
                .discard(owner, operation)
                .await
        }
        .boxed()
    }
}
