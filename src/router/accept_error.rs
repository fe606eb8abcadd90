//! The reasons for which a channel, Broker or RequestReply does not take an event, with what senders
//! and metrics are told of each.

use std::time::Duration;

use http::StatusCode;

use super::request_reply_error::RequestReplyError;
use crate::auth::policy::AccessDenial;
use crate::channel::{self, PublishError};
use crate::event::DecodeError;
use crate::model::ChannelKey;
use crate::telemetry::series::ArrivalOutcome;

/// Reason for which events were not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AcceptError {
    /// No channel or Broker has this key.
    #[error("{0} does not exist")]
    NotFound(ChannelKey),
    /// The event is not valid; possible for replies, which are decoded without validation.
    #[error(transparent)]
    Invalid(#[from] DecodeError),
    /// The event has passed too many brokers (contract BI-6).
    #[error(
        "knativebrokerttl is used up: the event has passed through brokers too often, check \
         the triggers for a loop"
    )]
    TtlExhausted,
    /// The sender may not send the event.
    #[error(transparent)]
    Denied(AccessDenial),
    /// The event could not be published.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The event was sent to a RequestReply, and there is no reply.
    #[error(transparent)]
    Unanswered(#[from] RequestReplyError),
}

impl AcceptError {
    /// Outcome as which metrics count the events.
    #[must_use]
    pub(crate) fn arrival(&self) -> ArrivalOutcome {
        match self {
            Self::NotFound(_) | Self::Invalid(_) | Self::Publish(PublishError::TooLarge(_)) => {
                ArrivalOutcome::Invalid
            }
            Self::TtlExhausted => ArrivalOutcome::TtlExhausted,
            Self::Denied(_) => ArrivalOutcome::Denied,
            Self::Publish(
                PublishError::Full { .. } | PublishError::NoRoom(_) | PublishError::OverLimit(_),
            ) => ArrivalOutcome::Full,
            Self::Publish(PublishError::Unavailable(_)) => ArrivalOutcome::Unavailable,
            Self::Publish(PublishError::Undelivered { .. }) => ArrivalOutcome::Undelivered,
            Self::Unanswered(unanswered) => unanswered.arrival(),
        }
    }

    /// HTTP status for the reason (contract IF-5).
    #[must_use]
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Invalid(_) | Self::TtlExhausted => StatusCode::BAD_REQUEST,
            Self::Denied(denial) => denial.status(),
            Self::Publish(error) => publish_status(error),
            Self::Unanswered(unanswered) => unanswered.status(),
        }
    }

    /// Time after which the sender should try again, where trying again helps.
    #[must_use]
    pub(crate) fn retry_after(&self) -> Duration {
        match self {
            Self::Publish(PublishError::OverLimit(exceeded)) => exceeded.retry_after,
            _ => channel::RETRY_AFTER,
        }
    }
}

/// HTTP status for events that could not be published (contract IF-5).
pub(super) fn publish_status(error: &PublishError) -> StatusCode {
    match error {
        PublishError::Full { .. } | PublishError::NoRoom(_) | PublishError::OverLimit(_) => {
            StatusCode::TOO_MANY_REQUESTS
        }
        PublishError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
        PublishError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        PublishError::Undelivered { .. } => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
