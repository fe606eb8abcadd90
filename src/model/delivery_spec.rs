//! How delivery to one subscription is tried (Knative's `DeliverySpec`).

use std::time::Duration;

/// How the wait grows from retry to retry (contract DP-17).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackoffPolicy {
    /// `delay × (n − 1)` before retry n.
    Linear,
    /// `delay × 2^(n − 1)` before retry n.
    Exponential,
}

/// In which mode events are sent (contract DP-8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeliveryFormat {
    /// Binary mode.
    #[default]
    Binary,
    /// Structured mode, JSON.
    Json,
}

/// Whether events wait for those before them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeliveryOrder {
    /// Several events are under way at once, so that one that fails delays no other.
    #[default]
    Unordered,
    /// One at a time, in the order of arrival; the next one waits until this one is delivered or given up.
    Ordered,
}

/// How delivery is tried. The default is one attempt without a limit of its own (contract DP-3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliverySpec {
    /// Attempts after the first.
    pub retry: u32,
    /// How the wait grows; `None` means no wait.
    pub backoff_policy: Option<BackoffPolicy>,
    /// The wait that grows; `None` means no wait.
    pub backoff_delay: Option<Duration>,
    /// The longest wait between two attempts.
    pub backoff_max: Option<Duration>,
    /// Bounds each attempt, from connecting to the end of the answer (contract DP-13).
    pub timeout: Option<Duration>,
    /// The longest `Retry-After` that is obeyed; `None` or zero ignores the header (contract DP-19).
    pub retry_after_max: Option<Duration>,
    /// In which mode events are sent.
    pub format: DeliveryFormat,
    /// Whether events wait for those before them.
    pub order: DeliveryOrder,
}
