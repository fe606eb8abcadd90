//! Reasons for which a subscription is not served, whatever the backend is.

use std::borrow::Cow;
use std::fmt;

use crate::model::{BackendKind, DeliveryOrder};

/// Part of a backend that a trouble concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TroubleScope {
    /// The whole backend: none of its queues can be used.
    Backend,
    /// One queue that is not there yet: the subscription is new, or somebody has deleted its queue.
    UndeclaredQueue,
    /// One queue that is there, and cannot be used.
    Queue,
}

/// Reason for which events of a subscription cannot be put into its queue, or taken out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TroubleReason {
    /// Part of the backend that is in trouble.
    pub scope: TroubleScope,
    /// True if events wait elsewhere meanwhile, so that senders are not refused. Events that are
    /// delivered in order cannot.
    pub keeps_unordered_events: bool,
    /// The reason of the condition `Ready` of what is not served, by the backend.
    pub condition: &'static str,
    /// The reason in the words of the backend.
    pub message: Cow<'static, str>,
}

impl TroubleReason {
    /// True if senders are refused for a subscription in this order.
    pub(super) fn refuses_senders(&self, order: DeliveryOrder) -> bool {
        !self.keeps_unordered_events || order == DeliveryOrder::Ordered
    }
}

impl fmt::Display for TroubleReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Connection of a backend to its queues, which are outside of this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendConnection {
    /// Kind of the backend.
    pub backend: BackendKind,
    /// Reason for which no queue can be published to or consumed from now; `None` if the backend
    /// is connected.
    pub outage: Option<TroubleReason>,
    /// Reason for which the process should get no traffic, whatever else it can serve: what it
    /// keeps events on fails. `None` if it works.
    pub failure: Option<TroubleReason>,
}
