//! Parked events: those that nobody took, and that their backend keeps. This is the door for whoever looks after them,
//! whatever the backend is.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio_util::sync::CancellationToken;

use crate::model::{BackendKind, ChannelKey, RoutingTable, SubscriptionKey};

/// A subscription whose events may be parked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkingSubscription {
    /// What keeps its events.
    pub storage: BackendKind,
    /// The channel or Broker that it belongs to.
    pub channel: ChannelKey,
    /// Its name.
    pub subscription: SubscriptionKey,
}

/// Every subscription of a table, those in memory included, which park nothing.
#[must_use]
pub fn parking_subscriptions(table: &RoutingTable) -> Vec<ParkingSubscription> {
    let channels = table.channels().iter();
    let each = channels.flat_map(|channel| channel.subscriptions.iter().map(move |each| (channel, each)));
    each.map(|(channel, subscription)| ParkingSubscription {
        storage: channel.backend,
        channel: channel.key.clone(),
        subscription: subscription.key.clone(),
    })
    .collect()
}

/// One parked event, or message that is no event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParkedEvent {
    /// `id` of the event; `None` if it is none.
    pub id: Option<String>,
    /// `type` of the event.
    #[serde(rename = "type")]
    pub ty: Option<String>,
    /// Why it was parked, in words.
    pub reason: String,
    /// The last status, if delivery was tried.
    pub status: Option<i64>,
    /// The number of attempts, if delivery was tried.
    pub attempts: Option<i64>,
    /// When it was parked, by RFC 3339.
    pub parked_at: String,
    /// The size of its data.
    pub bytes: usize,
}

impl fmt::Display for ParkedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.id, &self.ty) {
            (Some(id), Some(ty)) => write!(f, "id {id}, type {ty}")?,
            _ => f.write_str("no event")?,
        }
        write!(f, ", {} bytes: {}", self.bytes, self.reason)?;
        if let Some(attempts) = self.attempts {
            write!(f, ", attempts {attempts}")?;
        }
        if let Some(status) = self.status {
            write!(f, ", status {status}")?;
        }
        write!(f, ", parked at {}", self.parked_at)
    }
}

/// Seconds since the epoch, by RFC 3339.
pub(super) fn rfc3339(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
}

/// What a look at the parked events of one subscription has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParkedListing {
    /// How many there are.
    pub parked: u64,
    /// How many were looked at, the oldest first.
    pub examined: u64,
    /// Those of them that have been parked for long enough.
    pub events: Vec<ParkedEvent>,
}

/// What has become of the parked events of one subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParkedChange {
    /// How many were replayed or dropped.
    pub done: u64,
    /// Whether the change was told to stop before it had been through all that were there.
    pub stopped: bool,
}

/// What is asked for besides the subscription.
#[derive(Clone, Debug, Default)]
pub struct ParkedOperation {
    /// How long an event must have been parked; others stay as they are.
    pub older_than: Duration,
    /// Tells the errand to come to an orderly end soon.
    pub stop: CancellationToken,
}

impl ParkedOperation {
    /// Whether an event that was parked then, in seconds since the epoch, is meant.
    pub(super) fn selects(&self, parked_at: u64) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Duration::from_secs(now.saturating_sub(parked_at)) >= self.older_than
    }
}

/// Why nothing can be said of parked events, or nothing be done with them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParkedError {
    /// Somebody else looks at them, or changes them.
    #[error("somebody else is at the parked events of {0}: try again when that has ended")]
    Busy(SubscriptionKey),
    /// There is nowhere to replay them to.
    #[error(
        "the queue of {0} is not there: run sealpost with this subscription, so that it is declared, and try again"
    )]
    NoQueue(SubscriptionKey),
    /// The backend cannot be reached, does not answer, or refuses.
    #[error("{0}")]
    Unavailable(String),
}

/// The answer of a backend about parked events.
pub type ParkedFuture<'a, T> = BoxFuture<'a, Result<T, ParkedError>>;

/// A backend that parks events. An errand that is cut off loses no event; it may leave one twice.
pub trait ParkedStore: Send + Sync {
    /// The number of parked events of each subscription, in the same order.
    fn count<'a>(&'a self, owners: &'a [ParkingSubscription]) -> ParkedFuture<'a, Vec<u64>>;

    /// Looks at parked events, at `limit` of them at most. Leaves all of them as they are, in their order.
    fn show<'a>(
        &'a self,
        owner: &'a ParkingSubscription,
        limit: usize,
        errand: &'a ParkedOperation,
    ) -> ParkedFuture<'a, ParkedListing>;

    /// Puts parked events back into the queue of their subscription. Each leaves only when its queue has it.
    fn replay<'a>(
        &'a self,
        owner: &'a ParkingSubscription,
        errand: &'a ParkedOperation,
    ) -> ParkedFuture<'a, ParkedChange>;

    /// Deletes parked events.
    fn discard<'a>(
        &'a self,
        owner: &'a ParkingSubscription,
        errand: &'a ParkedOperation,
    ) -> ParkedFuture<'a, ParkedChange>;
}
