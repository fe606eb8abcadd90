//! The way in which delivery to one subscription is tried (Knative's `DeliverySpec`).

use std::time::Duration;

use super::HistoryPoint;

/// The growth of the wait from retry to retry (contract DP-17).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackoffPolicy {
    /// `delay × (n − 1)` before retry n.
    Linear,
    /// `delay × 2^(n − 1)` before retry n.
    Exponential,
}

/// The content mode in which events are sent (contract DP-8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeliveryFormat {
    /// Binary content mode: attributes in header fields.
    #[default]
    Binary,
    /// Structured content mode, as one JSON document.
    Json,
}

/// The order in which the events of a queue are delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeliveryOrder {
    /// Several events are under way at once, so that one that fails delays no other.
    #[default]
    Unordered,
    /// One at a time, in the order of arrival; the next one waits until this one is delivered or
    /// given up.
    Ordered,
}

/// The retries, waits, limits and format of delivery. The default is one attempt without a limit of
/// its own (contract DP-3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliverySpec {
    /// The number of attempts after the first one.
    pub retry: u32,
    /// The growth of the wait between attempts; `None` means no wait.
    pub backoff_policy: Option<BackoffPolicy>,
    /// The wait that the policy makes grow; `None` means no wait.
    pub backoff_delay: Option<Duration>,
    /// The longest wait between two attempts; `None` sets no limit.
    pub backoff_max: Option<Duration>,
    /// The limit of each attempt, from connecting to the end of the response (contract DP-13).
    pub timeout: Option<Duration>,
    /// The longest `Retry-After` that is obeyed; `None` or zero ignores the header (contract
    /// DP-19).
    pub retry_after_max: Option<Duration>,
    /// The content mode in which events are sent.
    pub format: DeliveryFormat,
    /// The order in which events are delivered.
    pub order: DeliveryOrder,
    /// The point in what its channel has retained with which a queue on disk begins when it is made;
    /// `None` begins with what comes then.
    pub start_at: Option<HistoryPoint>,
}
