//! The reasons for which a request to a RequestReply has no reply, with what senders and metrics are
//! told of each.

use std::time::Duration;

use http::StatusCode;

use crate::event::DecodeError;
use crate::telemetry::series::{ArrivalOutcome, RequestReplyOutcome};

/// Reason for which a request has no reply, although its Broker did not refuse it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RequestReplyError {
    /// No reply came in time.
    #[error(
        "no reply came within {} s: a subscriber of the Broker answers with an event whose \
         {attribute} is the correlation id that it got",
        after.as_secs_f64()
    )]
    TimedOut {
        /// Time for which the request waited.
        after: Duration,
        /// Attribute of replies that holds the correlation id.
        attribute: String,
    },
    /// As many requests wait as may.
    #[error("{waiting} requests wait for their replies already: try again later")]
    Full {
        /// Number of requests that wait.
        waiting: usize,
    },
    /// The memory budget has no room for the request.
    #[error("events hold all the memory that they may: try again later")]
    OverBudget,
    /// The process is stopping.
    #[error("the process is stopping before the reply has come: try again")]
    Stopping,
    /// The RequestReply was removed while the request waited.
    #[error("the RequestReply was removed before the reply came")]
    Removed,
    /// The event has no room for the correlation id.
    #[error("with its correlation id the event is too long: {0}")]
    TooLong(DecodeError),
    /// No correlation id can be made, for want of random numbers.
    #[error(
        "the system gives no random numbers, so that no correlation id can be made: try again later"
    )]
    NoRandomness,
}

impl RequestReplyError {
    /// HTTP status for the reason. Upstream's data plane ends a request without a reply by 200 and
    /// an empty body, which no client could tell from success; its design says 408, which some
    /// clients repeat by themselves.
    #[must_use]
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::TimedOut { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::Full { .. } | Self::OverBudget => StatusCode::TOO_MANY_REQUESTS,
            Self::Stopping | Self::NoRandomness => StatusCode::SERVICE_UNAVAILABLE,
            Self::Removed => StatusCode::NOT_FOUND,
            Self::TooLong(_) => StatusCode::BAD_REQUEST,
        }
    }

    /// Outcome as which metrics count the request.
    #[must_use]
    pub(crate) fn arrival(&self) -> ArrivalOutcome {
        match self {
            Self::TimedOut { .. } => ArrivalOutcome::Undelivered,
            Self::Full { .. } | Self::OverBudget => ArrivalOutcome::Full,
            Self::Stopping | Self::NoRandomness => ArrivalOutcome::Unavailable,
            Self::Removed | Self::TooLong(_) => ArrivalOutcome::Invalid,
        }
    }

    /// Outcome as which the metrics of its RequestReply count the request.
    pub(super) fn reply_outcome(&self) -> RequestReplyOutcome {
        match self {
            Self::TimedOut { .. } => RequestReplyOutcome::TimedOut,
            Self::Full { .. } | Self::OverBudget => RequestReplyOutcome::Full,
            Self::Stopping | Self::Removed => RequestReplyOutcome::Ended,
            Self::TooLong(_) | Self::NoRandomness => RequestReplyOutcome::Refused,
        }
    }
}
