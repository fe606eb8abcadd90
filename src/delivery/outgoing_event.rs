//! An event on its way to one destination of its subscription, and the ways in which sending it
//! fails.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use tokio::sync::OwnedSemaphorePermit;

use super::dead_letter::DeliveryFailure;
use super::retry_schedule::RetrySchedule;
use super::worker_state::SubscriptionWorkerState;
use crate::channel::{DeferredDelivery, DeliveryOutcome, DeliveryStage};
use crate::event::Event;
use crate::model::DestinationRole;

/// An event, and the role of its destination.
#[derive(Clone, Copy)]
pub(super) struct OutgoingEvent<'a> {
    pub(super) role: DestinationRole,
    pub(super) event: &'a Event,
}

impl<'a> OutgoingEvent<'a> {
    pub(super) fn new(role: DestinationRole, event: &'a Event) -> Self {
        Self { role, event }
    }

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
    Deferred(DeferredAttempt),
    /// The subscription has no such destination any more.
    NoDestination,
}

impl From<DeferredAttempt> for SendFailure {
    fn from(deferred: DeferredAttempt) -> Self {
        Self::Deferred(deferred)
    }
}

/// The next attempt at a destination, which is left to the queue.
pub(super) struct DeferredAttempt {
    /// Attempts that were made before.
    pub(super) attempts: u32,
    /// Wait before the next one.
    pub(super) wait: Duration,
}

impl DeferredAttempt {
    /// An attempt that is due, for which the event cannot be held.
    pub(super) fn at_once(attempts: u32) -> Self {
        Self {
            attempts,
            wait: Duration::ZERO,
        }
    }

    /// Makes the outcome of a delivery that goes on at this stage.
    pub(super) fn into_outcome(self, stage: DeliveryStage) -> DeliveryOutcome {
        DeliveryOutcome::Deferred(DeferredDelivery {
            stage,
            attempts: self.attempts,
            wait: self.wait,
        })
    }
}

/// Result of one attempt: a success, or a failure that is permanent or may be retried after a wait.
pub(super) type DeliveryAttemptResult = Result<Response<Bytes>, backoff::Error<DeliveryFailure>>;
