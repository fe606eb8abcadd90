//! Parked events of channels on disk, for operators.

use futures_util::FutureExt;

use super::log::{self, LogError, Sequence};
use super::queue::DeclaredQueue;
use super::queue_table::SharedQueueTable;
use crate::channel::parked::{
    ParkedAction, ParkedChange, ParkedError, ParkedEvent, ParkedFuture, ParkedListing,
    ParkedOperation, ParkedStore, ParkingSubscription,
};
use crate::event::stored;

/// Events that are read, and changed, at once.
const PAGE: usize = 256;

/// Whoever knows the queues of subscriptions.
pub(super) trait QueueFinder: Send + Sync {
    /// The queues of a subscription: its own, and those of replays to it.
    fn find_queues<'a>(
        &'a self,
        owner: &'a ParkingSubscription,
    ) -> ParkedFuture<'a, Vec<DeclaredQueue>>;
}

/// The parked events of logs.
pub(super) struct DiskParking<F> {
    pub(super) finder: F,
}

impl QueueFinder for SharedQueueTable {
    fn find_queues<'a>(
        &'a self,
        owner: &'a ParkingSubscription,
    ) -> ParkedFuture<'a, Vec<DeclaredQueue>> {
        std::future::ready(find_open(self, owner)).boxed()
    }
}

/// The queues of a subscription that are open.
///
/// # Errors
/// If they are not.
fn find_open(
    table: &SharedQueueTable,
    owner: &ParkingSubscription,
) -> Result<Vec<DeclaredQueue>, ParkedError> {
    let open = table.find(&owner.subscription);
    let open = open.filter(|open| open.queue.log.channel == owner.channel);
    let open = open.ok_or_else(|| ParkedError::NoQueue(owner.subscription.clone()))?;
    let declared = open.declared_queues();
    if !declared.is_empty() {
        return Ok(declared);
    }
    let reason = open.queue.log.open_error();
    let reason = reason.map_or_else(
        || "its log is not open yet".to_owned(),
        |error| error.to_string(),
    );
    Err(ParkedError::Unavailable(reason))
}

impl<F: QueueFinder> DiskParking<F> {
    async fn count_all(&self, owners: &[ParkingSubscription]) -> Result<Vec<u64>, ParkedError> {
        let mut counts = Vec::with_capacity(owners.len());
        for owner in owners {
            counts.push(match self.finder.find_queues(owner).await {
                Err(ParkedError::NoQueue(_)) => 0,
                found => count_parked(&found?)?,
            });
        }
        Ok(counts)
    }

    async fn list_events(
        &self,
        owner: &ParkingSubscription,
        limit: usize,
        operation: &ParkedOperation,
    ) -> Result<ParkedListing, ParkedError> {
        let queues = match self.finder.find_queues(owner).await {
            Err(ParkedError::NoQueue(_)) => Vec::new(),
            found => found?,
        };
        let mut listing = ParkedListing {
            parked: count_parked(&queues)?,
            ..ParkedListing::default()
        };
        for queue in &queues {
            list_queue(queue, limit, operation, &mut listing).await?;
        }
        Ok(listing)
    }

    async fn change_events(
        &self,
        owner: &ParkingSubscription,
        action: ParkedAction,
        operation: &ParkedOperation,
    ) -> Result<ParkedChange, ParkedError> {
        let mut change = ParkedChange::default();
        for queue in self.finder.find_queues(owner).await? {
            change_queue(&queue, action, operation, &mut change).await?;
        }
        Ok(change)
    }
}

fn count_parked(queues: &[DeclaredQueue]) -> Result<u64, ParkedError> {
    let mut parked = 0;
    for queue in queues {
        let counts = queue.log.counts(queue.id);
        parked += unless_gone(counts.map(|counts| counts.parked as u64))?;
    }
    Ok(parked)
}

/// Adds the parked events of a queue to a listing, up to its limit.
async fn list_queue(
    queue: &DeclaredQueue,
    limit: usize,
    operation: &ParkedOperation,
    listing: &mut ParkedListing,
) -> Result<(), ParkedError> {
    let mut after = 0;
    let left = |examined| limit.saturating_sub(usize::try_from(examined).unwrap_or(usize::MAX));
    while left(listing.examined) > 0 && !operation.stop.is_cancelled() {
        let most = PAGE.min(left(listing.examined));
        let page = unless_gone(queue.log.parked(queue.id, after, most).await)?;
        let Some(last) = page.last() else { break };
        after = last.sequence;
        listing.examined += page.len() as u64;
        let chosen = page
            .iter()
            .filter(|it| operation.selects(it.parked_at / 1000));
        listing
            .events
            .extend(chosen.map(|parked| describe(parked, operation)));
    }
    Ok(())
}

/// Changes the parked events of a queue.
async fn change_queue(
    queue: &DeclaredQueue,
    action: ParkedAction,
    operation: &ParkedOperation,
    change: &mut ParkedChange,
) -> Result<(), ParkedError> {
    let mut after = 0;
    loop {
        let page = unless_gone(queue.log.parked(queue.id, after, PAGE).await)?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        if operation.stop.is_cancelled() {
            change.stopped = true;
            return Ok(());
        }
        after = last.sequence;
        let chosen = page
            .iter()
            .filter(|it| operation.selects(it.parked_at / 1000));
        let chosen: Vec<Sequence> = chosen.map(|it| it.sequence).collect();
        let done = match action {
            ParkedAction::Replay => queue.log.replay_parked(queue.id, &chosen).await,
            ParkedAction::Discard => queue.log.discard_parked(queue.id, &chosen).await,
        };
        change.done += unless_gone(done)?;
    }
}

/// Returns what a log told of a queue. A queue that is gone has nothing parked: that of a replay goes
/// when the replay has ended, which may be between two looks at it.
fn unless_gone<T: Default>(told: Result<T, LogError>) -> Result<T, ParkedError> {
    match told {
        Err(LogError::UnknownQueue(_)) => Ok(T::default()),
        told => told.map_err(|error| ParkedError::Unavailable(error.to_string())),
    }
}

/// Describes a parked event for operators.
fn describe(parked: &log::ParkedLogEvent, operation: &ParkedOperation) -> ParkedEvent {
    let event = stored::decode(parked.event.clone()).ok();
    let was_tried = parked.attempts > 0 || parked.code != 0;
    let reason = if parked.destination.is_empty() {
        parked.reason.clone()
    } else {
        format!("{} at {}", parked.reason, parked.destination)
    };
    let parked_at = parked.parked_at / 1000;
    let described = ParkedEvent::describe(event.as_ref(), &reason, parked_at, operation);
    ParkedEvent {
        status: was_tried.then(|| parked.code.into()),
        attempts: was_tried.then(|| parked.attempts.into()),
        bytes: event.map_or(parked.event.len(), |event| event.data().len()),
        ..described
    }
}

impl<F: QueueFinder> ParkedStore for DiskParking<F> {
    fn count<'a>(&'a self, owners: &'a [ParkingSubscription]) -> ParkedFuture<'a, Vec<u64>> {
        self.count_all(owners).boxed()
    }

    fn show<'a>(
        &'a self,
        owner: &'a ParkingSubscription,
        limit: usize,
        operation: &'a ParkedOperation,
    ) -> ParkedFuture<'a, ParkedListing> {
        self.list_events(owner, limit, operation).boxed()
    }

    fn change<'a>(
        &'a self,
        owner: &'a ParkingSubscription,
        action: ParkedAction,
        operation: &'a ParkedOperation,
    ) -> ParkedFuture<'a, ParkedChange> {
        self.change_events(owner, action, operation).boxed()
    }
}
