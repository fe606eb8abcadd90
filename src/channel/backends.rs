//! The backends of a process as one: each channel goes to the backend that keeps its events.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use super::parked::{
    ParkedAction, ParkedChange, ParkedError, ParkedFuture, ParkedListing, ParkedOperation,
    ParkedStore, ParkingSubscription,
};
use super::replay::{
    ReplayCount, ReplayError, ReplayFuture, ReplayReport, ReplayRequest, ReplayStore,
};
use super::trouble::TroubleSource;
use super::trouble_reason::{BackendConnection, TroubleReason};
use super::{ChannelBackend, OpenedChannel, StorageUsage};
use crate::model::{BackendKind, Channel, SubscriptionKey};

/// The backends of a process, of which each channel has one.
pub struct ChannelBackends {
    /// The backend in memory, which keeps the events of every channel whose own backend the
    /// process does not have; the control plane sees to it that there is no such channel.
    memory: Arc<dyn ChannelBackend>,
    /// The other backends, each of a kind of its own.
    others: Vec<RegisteredBackend>,
}

struct RegisteredBackend {
    kind: BackendKind,
    backend: Arc<dyn ChannelBackend>,
}

impl ChannelBackends {
    /// Makes backends of which memory is the only one.
    #[must_use]
    pub fn new(memory: impl ChannelBackend) -> Self {
        Self {
            memory: Arc::new(memory),
            others: Vec::new(),
        }
    }

    /// Adds the backend of another kind of channels.
    #[must_use]
    pub(crate) fn with_backend(
        mut self,
        kind: BackendKind,
        backend: Arc<dyn ChannelBackend>,
    ) -> Self {
        self.others.push(RegisteredBackend { kind, backend });
        self
    }

    /// Connection of the backend of this kind; `None` if the process has none, or if its queues are
    /// in the process.
    #[must_use]
    pub(crate) fn connection(&self, kind: BackendKind) -> Option<BackendConnection> {
        self.backend(kind)?.connection()
    }

    /// The backend of this kind; `None` if the process has none.
    fn backend(&self, kind: BackendKind) -> Option<&dyn ChannelBackend> {
        if kind == BackendKind::Memory {
            return Some(&*self.memory);
        }
        let other = self.others.iter().find(|other| other.kind == kind)?;
        Some(&*other.backend)
    }

    /// All backends, memory first.
    fn all(&self) -> impl Iterator<Item = &dyn ChannelBackend> {
        let others = self.others.iter().map(|other| &*other.backend);
        std::iter::once(&*self.memory).chain(others)
    }

    /// Store of the parked events of a backend; `None` if it parks nothing.
    ///
    /// # Errors
    /// If the process has no backend of this kind.
    fn find_parked_store(
        &self,
        kind: BackendKind,
    ) -> Result<Option<Box<dyn ParkedStore>>, ParkedError> {
        match self.backend(kind) {
            Some(backend) => Ok(backend.parked_store()),
            None => Err(ParkedError::Unavailable(format!(
                "this process has no {}",
                kind.display_name()
            ))),
        }
    }

    /// Store of the parked events of a subscription.
    ///
    /// # Errors
    /// If the process has no backend of this kind, or the backend parks nothing.
    fn parked_store_of(
        &self,
        owner: &ParkingSubscription,
    ) -> Result<Box<dyn ParkedStore>, ParkedError> {
        self.find_parked_store(owner.backend)?.ok_or_else(|| {
            ParkedError::Unavailable(format!(
                "channels in {} park nothing",
                owner.backend.display_name()
            ))
        })
    }
}

impl ChannelBackends {
    /// Store of the replays to a subscription.
    ///
    /// # Errors
    /// If the backend of its channel retains nothing.
    fn replay_store_of(
        &self,
        owner: &ParkingSubscription,
    ) -> Result<Box<dyn ReplayStore>, ReplayError> {
        let store = self.backend(owner.backend);
        let store = store.and_then(ChannelBackend::replay_store);
        store.ok_or_else(|| ReplayError::RetainsNothing {
            channel: owner.channel.clone(),
            remedy: "it is not on disk; make it a DiskChannel, or its Broker's channel, with the \
                     annotation sealpost.dev/retain",
        })
    }
}

impl ReplayStore for ChannelBackends {
    fn count_replay<'a>(
        &'a self,
        owner: &'a ParkingSubscription,
        request: &'a ReplayRequest,
        stop: &'a CancellationToken,
    ) -> ReplayFuture<'a, ReplayCount> {
        async move {
            let store = self.replay_store_of(owner)?;
            store.count_replay(owner, request, stop).await
        }
        .boxed()
    }

    fn start_replay<'a>(
        &'a self,
        owner: &'a ParkingSubscription,
        request: &'a ReplayRequest,
    ) -> ReplayFuture<'a, ReplayReport> {
        async move {
            let store = self.replay_store_of(owner)?;
            store.start_replay(owner, request).await
        }
        .boxed()
    }

    fn replay_progress(&self, owner: &ParkingSubscription) -> Result<ReplayReport, ReplayError> {
        self.replay_store_of(owner)?.replay_progress(owner)
    }

    fn stop_replay<'a>(&'a self, owner: &'a ParkingSubscription) -> ReplayFuture<'a, ReplayReport> {
        async move { self.replay_store_of(owner)?.stop_replay(owner).await }.boxed()
    }
}

impl ChannelBackend for ChannelBackends {
    /// Opens the channel on its backend. A channel that moves to another backend leaves no event
    /// behind: what is in memory is delivered, and queues outside of the process go on being
    /// consumed as long as the process runs, since events that wait for a retry come back into them
    /// much later.
    fn open(&self, channel: &Channel) -> OpenedChannel {
        let backend = self.backend(channel.backend).unwrap_or(&*self.memory);
        let left = self
            .all()
            .filter(|other| !std::ptr::addr_eq(*other, backend) && other.connection().is_none());
        for other in left {
            for subscription in &channel.subscriptions {
                other.retire_subscription(&subscription.key);
            }
        }
        backend.open(channel)
    }

    fn retire_subscription(&self, subscription: &SubscriptionKey) {
        self.all()
            .for_each(|backend| backend.retire_subscription(subscription));
    }

    fn unfinished(&self, subscription: &SubscriptionKey) -> Option<usize> {
        self.all()
            .find_map(|backend| backend.unfinished(subscription))
    }

    fn depth(&self, subscription: &SubscriptionKey) -> Option<usize> {
        self.all().find_map(|backend| backend.depth(subscription))
    }

    fn until_next_due(&self, subscription: &SubscriptionKey) -> Option<Duration> {
        self.all()
            .find_map(|backend| backend.until_next_due(subscription))
    }

    /// Trouble of the backend that takes the subscription's events now: a queue outside of the
    /// process is given up when its channel moves to memory, but goes on being consumed. A
    /// subscription that no backend has opened is in the trouble of any of them.
    fn trouble(&self, subscription: &SubscriptionKey) -> Option<TroubleReason> {
        let is_open = |backend: &&dyn ChannelBackend| backend.unfinished(subscription).is_some();
        match self.all().find(is_open) {
            Some(backend) => backend.trouble(subscription),
            None => self.all().find_map(|backend| backend.trouble(subscription)),
        }
    }

    fn storage_usage(&self) -> Option<StorageUsage> {
        self.all().find_map(ChannelBackend::storage_usage)
    }

    fn close(&self) {
        self.all().for_each(ChannelBackend::close);
    }
}

impl TroubleSource for ChannelBackends {
    fn connections(&self) -> Vec<BackendConnection> {
        self.all().filter_map(ChannelBackend::connection).collect()
    }

    fn subscription_trouble(&self, subscription: &SubscriptionKey) -> Option<TroubleReason> {
        self.trouble(subscription)
    }
}

impl ParkedStore for ChannelBackends {
    /// Counts parked events; the number is 0 for subscriptions of a backend that parks nothing.
    fn count<'a>(&'a self, owners: &'a [ParkingSubscription]) -> ParkedFuture<'a, Vec<u64>> {
        async move {
            let mut counts = vec![0; owners.len()];
            for kind in kinds_of(owners) {
                let Some(store) = self.find_parked_store(kind)? else {
                    continue;
                };
                let of_kind = |owner: &&ParkingSubscription| owner.backend == kind;
                let asked: Vec<_> = owners.iter().filter(of_kind).cloned().collect();
                let places = owners.iter().zip(&mut counts);
                let places = places.filter(|(owner, _)| owner.backend == kind);
                for ((_, count), found) in places.zip(store.count(&asked).await?) {
                    *count = found;
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
            self.parked_store_of(owner)?
                .show(owner, limit, operation)
                .await
        }
        .boxed()
    }

    fn change<'a>(
        &'a self,
        owner: &'a ParkingSubscription,
        action: ParkedAction,
        operation: &'a ParkedOperation,
    ) -> ParkedFuture<'a, ParkedChange> {
        async move {
            let store = self.parked_store_of(owner)?;
            store.change(owner, action, operation).await
        }
        .boxed()
    }
}

/// Kinds of the backends of these subscriptions, each once.
fn kinds_of(owners: &[ParkingSubscription]) -> Vec<BackendKind> {
    let mut kinds = Vec::new();
    for owner in owners {
        if !kinds.contains(&owner.backend) {
            kinds.push(owner.backend);
        }
    }
    kinds
}
