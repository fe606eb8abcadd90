//! One event for one Trigger, and the counting of it.

use bytes::Bytes;
use http::{Response, StatusCode};
use tokio::time::Instant;

use super::relay_request::{RelaySendError, RelayStart};
use super::response::RelayResponse;
use super::scheme_series;
use crate::event::Event;
use crate::model::{Addressable, DestinationRole, TriggerRelay, UriScheme};
use crate::observation::{
    EventObserver, ObservedAttempt, ObservedEnd, ObservedFact, ObservedRefusal,
};
use crate::scrub;
use crate::telemetry::series::{DeliveryEnd, Dropped, SubscriptionSeries};

/// One event on its way through the role `filter`.
#[derive(Clone, Copy)]
pub(super) struct TriggerRequest<'c> {
    pub(super) trigger: &'c TriggerRelay,
    pub(super) series: &'c SubscriptionSeries,
    /// Scheme of the request with which the event came.
    pub(super) scheme: UriScheme,
    /// Time at which the request came.
    pub(super) received_at: Instant,
    /// Takes what happens to the event.
    pub(super) observer: &'c EventObserver,
}

/// A destination of a Trigger's events, in its role.
#[derive(Clone, Copy)]
pub(super) struct TriggerDestination<'c> {
    pub(super) role: DestinationRole,
    pub(super) address: &'c Addressable,
    /// The event that goes there.
    pub(super) event: &'c Event,
}

impl TriggerRequest<'_> {
    /// Counts that the event is refused, and gives the response.
    pub(super) fn refuse(&self, event: &Event, status: StatusCode, text: &str) -> RelayResponse {
        self.series.refused.increment();
        let refused = ObservedFact::Refused(ObservedRefusal {
            status: Some(status.as_u16()),
            reason: text,
            ..ObservedRefusal::default()
        });
        self.observe(event, &refused);
        RelayResponse::from_text(status, text)
    }

    /// Counts that the event is sent now (contract OB-7).
    pub(super) fn record_started(&self, start: &RelayStart) {
        self.series.count_enqueued();
        self.series.start_delivery();
        scheme_series(self.series.relay_durations(), self.scheme)
            .processed
            .record(self.received_at.elapsed(), start.span.as_ref());
    }

    /// Counts the attempt at this destination, with its response or without one (contract OB-6).
    pub(super) fn record_sent(
        &self,
        to: TriggerDestination<'_>,
        start: &RelayStart,
        answer: &Result<Response<Bytes>, RelaySendError>,
    ) {
        let result = match answer {
            Ok(answer) => Ok(answer.status().as_u16()),
            Err(RelaySendError::Token(_)) => Err("token"),
            Err(RelaySendError::Transport(error)) => Err(error.reason()),
        };
        self.series.count_attempt(to.role, result);
        let durations = scheme_series(self.series.relay_durations(), self.scheme);
        start.record_elapsed(result.ok(), &durations.dispatched);
        let took = start.time.elapsed();
        self.series.record_attempt_duration(took);
        let reason = failure_reason(answer);
        let attempt = ObservedAttempt {
            role: to.role,
            number: 1,
            status: result.ok(),
            took,
            reason: &reason,
        };
        self.observe(to.event, &ObservedFact::Attempted(attempt));
        if reason.is_empty() {
            return self.series.record_success(to.role, start.time);
        }
        let url = scrub::url(to.address.url.as_written());
        self.series.record_failure(to.role, &url, &reason);
    }

    /// Counts a dead letter for which there is no dead letter sink.
    pub(super) fn record_lost(&self, event: &Event) {
        let lost = ObservedFact::Ended(ObservedEnd::Lost, "there is no dead letter sink");
        self.observe(event, &lost);
        self.series.count_enqueued();
        self.series.start_delivery();
        self.series.count_end(DeliveryEnd::Lost);
        self.series.count_drop(
            Dropped::Lost,
            DestinationRole::DeadLetterSink,
            "no_dead_letter_sink",
        );
    }

    /// Tells observers what has happened to an event.
    pub(super) fn observe(&self, event: &Event, fact: &ObservedFact<'_>) {
        self.observer.observe(event, self.series.observed(), fact);
    }

    /// Counts the end: the destination has the event, or the channel, which may send it once more.
    pub(super) fn record_ended<T, E>(&self, event: &Event, ended: &Result<T, E>) {
        let observed = if ended.is_ok() {
            ObservedFact::Ended(ObservedEnd::Delivered, "")
        } else {
            ObservedFact::Ended(ObservedEnd::Requeued, "its channel may send it again")
        };
        self.observe(event, &observed);
        self.series.count_end(if ended.is_ok() {
            DeliveryEnd::Delivered
        } else {
            DeliveryEnd::Requeued
        });
    }
}

/// Why an attempt failed, in words; empty if it did not.
fn failure_reason(answer: &Result<Response<Bytes>, RelaySendError>) -> String {
    match answer {
        Ok(answer) if answer.status().is_success() => String::new(),
        Ok(answer) => format!("answered {}", answer.status()),
        Err(error) => error.to_string(),
    }
}
