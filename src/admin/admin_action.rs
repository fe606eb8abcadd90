//! What requests to the admin API are about to do.

/// The admin action that a request is about to do, from the least to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum AdminAction {
    /// Ask for health or metrics, which hold no secrets, and which are asked for by programs that
    /// have no token.
    Probe,
    /// Read anything else than health and metrics.
    Read,
    /// Read the data of events, which may be anybody's secret.
    ReadData,
    /// Change something, such as parked events.
    Change,
}
