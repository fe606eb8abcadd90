//! An event on its way to one destination of its subscription, and the ways in which sending it
//! fails.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use tokio::sync::OwnedSemaphorePermit;

use super::SubscriptionWorkerState;
use super::dead_letter::DeliveryFailure;
use super::retry::RetrySchedule;
use crate::event::Event;
use crate::model::DestinationRole;

/// An event, and the role of its destination.
#[derive(Clone, Copy)]
pub(super) struct OutgoingEvent<'a> {
    pub(super) role: DestinationRole,
    pub(super) event: &'a Event,
}

impl OutgoingEvent<'_> {
    /// Waits for the permit that an attempt needs; only attempts at the subscriber are limited.
    pub(super) async fn acquire_permit(
        &self,
        worker: &SubscriptionWorkerState,
    ) -> Option<OwnedSemaphorePermit> {
        if self.role == DestinationRole::Subscriber {
            worker.acquire_permit().await
        } else {
            None
        }
    }

    /// Returns the name of the span of sending the event.
    pub(super) fn span_name(&self) -> &'static str {
        match self.role {
            DestinationRole::Subscriber => "send subscriber",
            DestinationRole::Reply => "send reply",
            DestinationRole::DeadLetterSink => "send dead letter sink",
        }
    }

    /// The failure of the last attempt that its schedule has.
    pub(super) fn final_failure(
        &self,
        failure: DeliveryFailure,
        schedule: &RetrySchedule,
    ) -> SendFailure {
        let failure = failure.with_attempts(schedule.attempts_after_wait());
        SendFailure::Failed(failure.with_destination_role(self.role))
    }
}

/// Reason for which an event was not sent.
pub(super) enum SendFailure {
    /// The attempts are used up, or the failure was permanent.
    Failed(DeliveryFailure),
    /// The next attempt is farther away than the event can be held.
    Deferred { attempts: u32, wait: Duration },
    /// The subscription has no such destination any more.
    NoDestination,
}

/// Result of one attempt: a success, or a failure that is permanent or may be retried after a wait.
pub(super) type DeliveryAttemptResult = Result<Response<Bytes>, backoff::Error<DeliveryFailure>>;
