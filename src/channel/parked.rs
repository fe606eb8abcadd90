//! Parked events: those that nobody took, and that their backend keeps. This is the interface for
//! operators, whatever the backend is.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio_util::sync::CancellationToken;

use crate::event::{Event, REQUIRED_ATTRIBUTES, ShownData};
use crate::model::{BackendKind, ChannelKey, RoutingTable, SubscriptionKey};
use crate::wire_text::WireText;

/// A subscription whose events may be parked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkingSubscription {
    /// Backend that keeps the events of the subscription.
    pub backend: BackendKind,
    /// Channel or Broker that the subscription belongs to.
    pub channel: ChannelKey,
    /// Key of the subscription, which names its queues.
    pub subscription: SubscriptionKey,
}

/// All subscriptions of a table, including those in memory, which park nothing.
#[must_use]
pub(crate) fn parking_subscriptions(table: &RoutingTable) -> Vec<ParkingSubscription> {
    let channels = table.channels().iter();
    let each = channels.flat_map(|channel| {
        channel
            .subscriptions
            .iter()
            .map(move |each| (channel, each))
    });
    each.map(|(channel, subscription)| ParkingSubscription {
        backend: channel.backend,
        channel: channel.key.clone(),
        subscription: subscription.key.clone(),
    })
    .collect()
}

/// One parked event, or a parked message that is no event, as it is shown to operators.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ParkedEvent {
    /// The attribute `id` of the event; `None` if the message is no event.
    pub id: Option<String>,
    /// The attribute `type` of the event; `None` if the message is no event.
    #[serde(rename = "type")]
    pub ty: Option<String>,
    /// The attribute `source` of the event; `None` if the message is no event.
    pub source: Option<String>,
    /// The other attributes of the event.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    /// Reason for which the event was parked, in words.
    pub reason: String,
    /// Last status of the destination, if delivery was tried; -1 if no request could be sent.
    pub status: Option<i64>,
    /// Number of attempts, if delivery was tried.
    pub attempts: Option<i64>,
    /// Time at which the event was parked, in the format of RFC 3339.
    pub parked_at: String,
    /// Size of the message's body in bytes.
    pub bytes: usize,
    /// The data of the event, if they were asked for.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub shown: Option<ShownData>,
}

impl ParkedEvent {
    /// Describes what was parked, an event or not, at a time in seconds since the epoch, as far as
    /// no backend has it in a form of its own. What peers wrote is shown as it can be printed.
    pub(super) fn describe(
        event: Option<&Event>,
        reason: &str,
        parked_at: u64,
        operation: &ParkedOperation,
    ) -> Self {
        let mut described = Self {
            reason: WireText::new(reason).into(),
            parked_at: rfc3339(parked_at),
            ..Self::default()
        };
        if let Some(event) = event {
            described.set_event(event, operation);
        }
        described
    }

    /// Sets what an event says of itself; its data, too, if the operation asks for them.
    fn set_event(&mut self, event: &Event, operation: &ParkedOperation) {
        let text = |name: &str| Some(WireText::new(event.get(name)?).into());
        (self.id, self.ty, self.source) = (text("id"), text("type"), text("source"));
        let names = event.attributes().iter().map(|attribute| attribute.name());
        let names = names.chain(["datacontenttype"]);
        let others = names.filter(|name| !REQUIRED_ATTRIBUTES.contains(name));
        self.attributes = others
            .filter_map(|name| Some((name.to_owned(), text(name)?)))
            .collect();
        self.shown = operation.wants_data.then(|| ShownData::of_event(event));
    }
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

/// Formats seconds since the epoch as RFC 3339 says; empty if they are out of its range.
fn rfc3339(seconds: u64) -> String {
    let time = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    time.and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_default()
}

/// Parked events of one subscription that were found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParkedListing {
    /// Number of parked events of the subscription.
    pub parked: u64,
    /// Number of those that were looked at, the oldest first.
    pub examined: u64,
    /// Events among those looked at that have been parked for long enough.
    pub events: Vec<ParkedEvent>,
}

/// Result of a replay or discard of the parked events of one subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParkedChange {
    /// Number of events that were replayed or discarded.
    pub done: u64,
    /// True if the operation was told to stop before it had been through all parked events.
    pub stopped: bool,
}

/// Change of parked events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParkedAction {
    /// They go back into the queue of their subscription. Each leaves its parking place only when
    /// its own queue has it.
    Replay,
    /// They are deleted for good.
    Discard,
}

/// Conditions of an operation on parked events, besides the subscription.
#[derive(Clone, Debug, Default)]
pub struct ParkedOperation {
    /// Shortest time for which an event must have been parked; younger ones stay as they are.
    pub older_than: Duration,
    /// True if the data of events are to be shown.
    pub wants_data: bool,
    /// Cancelled to make the operation come to an orderly end soon.
    pub stop: CancellationToken,
}

impl ParkedOperation {
    /// True if the operation is meant for an event that was parked at this time, in seconds since
    /// the epoch.
    pub(super) fn selects(&self, parked_at: u64) -> bool {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        Duration::from_secs(now.saturating_sub(parked_at)) >= self.older_than
    }
}

/// Reason for which an operation on parked events failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParkedError {
    /// Another operation on the parked events of this subscription is under way.
    #[error("somebody else is at the parked events of {0}: try again when that has ended")]
    Busy(SubscriptionKey),
    /// The queue of this subscription, into which its events would be replayed, does not exist.
    #[error(
        "the queue of {0} is not there: run sealpost with this subscription, so that it is \
         declared, and try again"
    )]
    NoQueue(SubscriptionKey),
    /// The backend cannot be reached, does not answer, or refuses; holds the cause in words.
    #[error("{0}")]
    Unavailable(String),
}

/// Future of a backend's answer about parked events.
pub(crate) type ParkedFuture<'a, T> = BoxFuture<'a, Result<T, ParkedError>>;

/// Backend that parks events. An operation that is cut off loses no event; it may leave one twice.
pub trait ParkedStore: Send + Sync {
    /// Counts the parked events of each subscription; the numbers are in the order of `owners`.
    fn count<'a>(&'a self, owners: &'a [ParkingSubscription]) -> ParkedFuture<'a, Vec<u64>>;

    /// Shows parked events, `limit` of them at most. Leaves all of them as they are, in their
    /// order.
    fn show<'a>(
        &'a self,
        owner: &'a ParkingSubscription,
        limit: usize,
        operation: &'a ParkedOperation,
    ) -> ParkedFuture<'a, ParkedListing>;

    /// Changes the parked events that the operation is meant for.
    fn change<'a>(
        &'a self,
        owner: &'a ParkingSubscription,
        action: ParkedAction,
        operation: &'a ParkedOperation,
    ) -> ParkedFuture<'a, ParkedChange>;
}
