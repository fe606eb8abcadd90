//! Parked events of channels on disk, for operators.

use std::sync::Arc;

use futures_util::FutureExt;

use super::log::{self, LogError, Sequence};
use super::queue::{DeclaredQueue, DiskQueue};
use super::queue_gauges;
use super::queue_table::SharedQueueTable;
use crate::channel::parked::{
    ParkedChange, ParkedError, ParkedEvent, ParkedFuture, ParkedListing, ParkedOperation,
    ParkedStore, ParkingSubscription, rfc3339,
};
use crate::event::stored;
use crate::wire_text::WireText;

/// Events that are read, and changed, at once.
const PAGE: usize = 256;

/// The parked events of all logs.
pub(super) struct DiskParking {
    pub(super) table: SharedQueueTable,
}

/// What an operation does with parked events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DiskParkedAction {
    Replay,
    Discard,
}

impl DiskParking {
    /// The queue of a subscription.
    ///
    /// # Errors
    /// If it is not open.
    fn find_open(&self, owner: &ParkingSubscription) -> Result<Arc<DiskQueue>, ParkedError> {
        let queue = self.table.find(&owner.subscription).map(|open| open.queue);
        let queue = queue.filter(|queue| queue.log.channel == owner.channel);
        queue.ok_or_else(|| ParkedError::NoQueue(owner.subscription.clone()))
    }

    fn find_queue(&self, owner: &ParkingSubscription) -> Result<DeclaredQueue, ParkedError> {
        declared(&*self.find_open(owner)?)
    }

    fn count_one(&self, owner: &ParkingSubscription) -> Result<u64, ParkedError> {
        let queue = match self.find_queue(owner) {
            Err(ParkedError::NoQueue(_)) => return Ok(0),
            found => found?,
        };
        let counts = queue
            .log
            .counts(queue.id)
            .map_err(|error| unavailable(&error))?;
        Ok(counts.parked as u64)
    }

    async fn list_events(
        &self,
        owner: &ParkingSubscription,
        limit: usize,
        operation: &ParkedOperation,
    ) -> Result<ParkedListing, ParkedError> {
        let queue = self.find_queue(owner)?;
        let mut listing = ParkedListing {
            parked: self.count_one(owner)?,
            ..ParkedListing::default()
        };
        let (mut after, mut left) = (0, limit);
        while left > 0 && !operation.stop.is_cancelled() {
            let page = queue.log.parked(queue.id, after, PAGE.min(left)).await;
            let page = page.map_err(|error| unavailable(&error))?;
            let Some(last) = page.last() else { break };
            (after, left) = (last.sequence, left - page.len().min(left));
            listing.examined += page.len() as u64;
            let chosen = page
                .iter()
                .filter(|it| operation.selects(it.parked_at / 1000));
            listing.events.extend(chosen.map(describe));
        }
        Ok(listing)
    }

    async fn change_events(
        &self,
        owner: &ParkingSubscription,
        action: DiskParkedAction,
        operation: &ParkedOperation,
    ) -> Result<ParkedChange, ParkedError> {
        let open = self.find_open(owner)?;
        let queue = declared(&open)?;
        let mut change = ParkedChange::default();
        let mut after = 0;
        loop {
            let page = queue.log.parked(queue.id, after, PAGE).await;
            let page = page.map_err(|error| unavailable(&error))?;
            let Some(last) = page.last() else {
                return Ok(change);
            };
            if operation.stop.is_cancelled() {
                change.stopped = true;
                return Ok(change);
            }
            after = last.sequence;
            let chosen = page
                .iter()
                .filter(|it| operation.selects(it.parked_at / 1000));
            let chosen: Vec<Sequence> = chosen.map(|it| it.sequence).collect();
            let done = match action {
                DiskParkedAction::Replay => queue.log.replay_parked(queue.id, &chosen).await,
                DiskParkedAction::Discard => queue.log.discard_parked(queue.id, &chosen).await,
            };
            change.done += done.map_err(|error| unavailable(&error))?;
            queue_gauges::refresh(&open);
        }
    }
}

/// The queue as its log knows it.
///
/// # Errors
/// If the log is not open.
fn declared(queue: &DiskQueue) -> Result<DeclaredQueue, ParkedError> {
    if let Some(declared) = queue.declared.get() {
        return Ok(declared.clone());
    }
    let reason = queue.log.open_error();
    let reason = reason.map_or_else(
        || "its log is not open yet".to_owned(),
        |error| error.to_string(),
    );
    Err(ParkedError::Unavailable(reason))
}

fn unavailable(error: &LogError) -> ParkedError {
    ParkedError::Unavailable(error.to_string())
}

/// Describes a parked event for operators.
fn describe(parked: &log::ParkedLogEvent) -> ParkedEvent {
    let event = stored::decode(parked.event.clone()).ok();
    let text = |name: &str| {
        let text = event.as_ref()?.get(name)?;
        Some(WireText::new(text).into())
    };
    let was_tried = parked.attempts > 0 || parked.code != 0;
    let reason = if parked.destination.is_empty() {
        parked.reason.clone()
    } else {
        format!("{} at {}", parked.reason, parked.destination)
    };
    ParkedEvent {
        id: text("id"),
        ty: text("type"),
        reason: WireText::new(reason).into(),
        status: was_tried.then(|| parked.code.into()),
        attempts: was_tried.then(|| parked.attempts.into()),
        parked_at: rfc3339(parked.parked_at / 1000),
        bytes: event.map_or(parked.event.len(), |event| event.data().len()),
    }
}

impl ParkedStore for DiskParking {
    fn count<'a>(&'a self, owners: &'a [ParkingSubscription]) -> ParkedFuture<'a, Vec<u64>> {
        let counts = owners.iter().map(|owner| self.count_one(owner)).collect();
        std::future::ready(counts).boxed()
    }

    fn show<'a>(
        &'a self,
        owner: &'a ParkingSubscription,
        limit: usize,
        operation: &'a ParkedOperation,
    ) -> ParkedFuture<'a, ParkedListing> {
        self.list_events(owner, limit, operation).boxed()
    }

    fn replay<'a>(
        &'a self,
        owner: &'a ParkingSubscription,
        operation: &'a ParkedOperation,
    ) -> ParkedFuture<'a, ParkedChange> {
        let action = DiskParkedAction::Replay;
        self.change_events(owner, action, operation).boxed()
    }

    fn discard<'a>(
        &'a self,
        owner: &'a ParkingSubscription,
        operation: &'a ParkedOperation,
    ) -> ParkedFuture<'a, ParkedChange> {
        let action = DiskParkedAction::Discard;
        self.change_events(owner, action, operation).boxed()
    }
}
