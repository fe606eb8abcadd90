//! Replays: what a channel has retained goes to one of its subscriptions again. This is the
//! interface for operators, whatever the backend is.

use std::num::NonZeroU32;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::parked::ParkingSubscription;
use crate::model::{ChannelKey, HistoryPoint, SubscriptionKey};

/// Extension by which a subscriber knows an event that was replayed; its value is the id of the
/// replay.
pub(crate) const REPLAY_EXTENSION: &str = "sealpostreplay";
/// Events that are replayed in a second, if nothing else is asked for: few enough that live events
/// are delivered as if there were no replay.
pub(crate) const DEFAULT_RATE: NonZeroU32 = NonZeroU32::MIN.saturating_add(999);

/// Request for a replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayRequest {
    /// Point from which on events are replayed.
    pub from: HistoryPoint,
    /// Point up to which they are; `None` means all that are there now.
    pub until: Option<HistoryPoint>,
    /// CESQL expression that an event must pass, besides the filter of the subscription.
    pub filter: Option<String>,
    /// Most events in a second.
    pub rate: NonZeroU32,
}

/// Events that a replay would send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplayCount {
    /// Number of events that would be sent.
    pub events: u64,
    /// Number of events that were looked at.
    pub examined: u64,
    /// True if the count was told to stop before its end.
    pub stopped: bool,
}

/// Progress of a replay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplayReport {
    /// Id of the replay, which its events carry.
    pub id: String,
    /// Events that were sent since the replay, or the process, began.
    pub sent: u64,
    /// Events that were looked at since then.
    pub examined: u64,
    /// Events that were sent and have not ended: in flight, or between two attempts.
    pub under_way: u64,
    /// Those of them that wait for another attempt.
    pub waiting: u64,
    /// Position of the first event that was retained for the replay.
    pub first: u64,
    /// Position from which a replay would go on.
    pub position: u64,
    /// Position at which the replay ends.
    pub until: u64,
    /// True if the replay was stopped before its end.
    pub stopped: bool,
    /// True if it cannot go on, since its log was moved, removed or replaced; position and end are
    /// what was known last.
    pub lost: bool,
    /// True if an earlier process began the replay: what that one sent is not in the numbers.
    pub resumed: bool,
}

impl ReplayReport {
    /// True if everything that is to be sent has been sent.
    #[must_use]
    pub(crate) fn is_sent(&self) -> bool {
        !self.lost && self.position >= self.until
    }
}

/// Reason for which nothing is replayed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// The channel retains nothing, for this reason, with the remedy.
    #[error("{channel} retains nothing: {remedy}")]
    RetainsNothing {
        /// Channel of the subscription.
        channel: ChannelKey,
        /// What to do about it.
        remedy: &'static str,
    },
    /// Nothing is there between the points.
    #[error(
        "{channel} has retained nothing from there on: {oldest}; choose an earlier --from, or a \
        later --until"
    )]
    NothingThere {
        /// Channel of the subscription.
        channel: ChannelKey,
        /// What it has, in words.
        oldest: String,
    },
    /// The filter is no expression of CESQL.
    #[error("the filter is not understood: {0}")]
    Filter(String),
    /// Another replay to this subscription is under way.
    #[error("replay {id} to {subscription} is under way: wait for its end, or stop it by --stop")]
    Busy {
        /// Id of that replay.
        id: String,
        /// Its subscription.
        subscription: SubscriptionKey,
    },
    /// No replay to this subscription is under way.
    #[error("no replay to {0} is under way")]
    NotRunning(SubscriptionKey),
    /// The backend cannot do it now; holds the cause in words.
    #[error("{0}")]
    Unavailable(String),
}

/// Future of a backend's answer about replays.
pub(crate) type ReplayFuture<'a, T> = BoxFuture<'a, Result<T, ReplayError>>;

/// Backend that replays. A replay that has begun outlives its client and the process.
pub trait ReplayStore: Send + Sync {
    /// Counts the events that a replay would send.
    fn count_replay<'a>(
        &'a self,
        owner: &'a ParkingSubscription,
        request: &'a ReplayRequest,
        stop: &'a CancellationToken,
    ) -> ReplayFuture<'a, ReplayCount>;

    /// Begins a replay.
    fn start_replay<'a>(
        &'a self,
        owner: &'a ParkingSubscription,
        request: &'a ReplayRequest,
    ) -> ReplayFuture<'a, ReplayReport>;

    /// Progress of the latest replay to a subscription.
    ///
    /// # Errors
    /// If the process knows none.
    fn replay_progress(&self, owner: &ParkingSubscription) -> Result<ReplayReport, ReplayError>;

    /// Ends a replay with what has been sent; gives its progress then.
    fn stop_replay<'a>(&'a self, owner: &'a ParkingSubscription) -> ReplayFuture<'a, ReplayReport>;
}
