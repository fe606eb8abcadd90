//! One attempt of a delivery: the event is sent to the destination by its route, and what comes of
//! it is counted.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::EventDeliverer;
use super::attempt_request::{build_event, build_request};
use super::attempt_span::AttemptSpan;
use super::dead_letter::DeliveryFailure;
use super::delivery_record::DeliveryRecord;
use super::outgoing_event::{DeliveryAttemptResult, OutgoingEvent};
use super::unfinished_events::NextAttempt;
use crate::auth::policy::InternalSender;
use crate::auth::token_cache::TokenError;
use crate::client::{HttpTransport, TransportError};
use crate::event::Event;
use crate::model::{Addressable, DestinationRoute, Subscription};
use crate::observation::EventArrival;
use crate::telemetry::tracer::Span;

/// One attempt to send an event to a destination.
pub(super) struct DeliveryAttempt<'a> {
    pub(super) outgoing: OutgoingEvent<'a>,
    /// The delivery that the attempt is a part of.
    pub(super) record: &'a DeliveryRecord<'a>,
    pub(super) subscription: &'a Subscription,
    pub(super) destination: &'a Addressable,
    /// Limit of the attempt.
    pub(super) timeout: Duration,
    /// Attempts that were made at this destination before.
    pub(super) attempts_before: u32,
    /// How the event comes to a channel of this process, for observers.
    pub(super) arrival: EventArrival<'a>,
}

/// Reason for which an attempt has no response.
enum AttemptError {
    /// There was no token to prove who sends, so nothing was sent.
    Token(TokenError),
    /// The event was sent, or could not be, and there was no response.
    Transport(TransportError),
}

impl<T: HttpTransport> EventDeliverer<T> {
    /// Sends an event once. The permit is held while a request is under way, and given back before
    /// anything inside the process is waited for: a channel that feeds itself must not wait for its
    /// own permits.
    pub(super) async fn send_attempt(
        &self,
        attempt: &DeliveryAttempt<'_>,
        send_span: &Span,
        permit: Option<OwnedSemaphorePermit>,
    ) -> DeliveryAttemptResult {
        let record = attempt.record;
        let (series, role) = (record.worker.series(), attempt.outgoing.role);
        let in_flight = series.in_flight.enter();
        let span = AttemptSpan::start(send_span, attempt.destination, attempt.attempts_before);
        let response = match self.send_by_route(attempt, span.span(), permit).await {
            Ok(response) => Ok(response),
            Err(AttemptError::Transport(error)) => Err(error),
            Err(AttemptError::Token(error)) => {
                series.count_attempt(role, Err("token"));
                record.record_status(None);
                span.end_without_token(&error);
                return Err(attempt.without_token(&error));
            }
        };
        // The attempt has ended for the gauge before it is counted and judged.
        drop(in_flight);
        let result = response
            .as_ref()
            .map(|response| response.status().as_u16())
            .map_err(TransportError::reason);
        series.count_attempt(role, result);
        record.record_status(result.ok());
        span.end(result);
        self.judge_response(response, attempt.destination, attempt.subscription)
    }

    /// Sends an event to its destination; the route decides how, and when the permit is given back.
    async fn send_by_route(
        &self,
        attempt: &DeliveryAttempt<'_>,
        span: &Span,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<Response<Bytes>, AttemptError> {
        match &attempt.destination.route {
            DestinationRoute::Remote { .. } => {
                return self.send_request(attempt, span, permit).await;
            }
            DestinationRoute::Local(key) => {
                // Given back before the channel takes the event: its queue may be drained by this
                // worker only.
                drop(permit);
                let event = attempt.event_in(span);
                Box::pin(self.accept_locally(key, event, attempt)).await
            }
            DestinationRoute::WaitingRequest(key) => {
                drop(permit);
                Ok(self.answer_request(key, attempt.event_in(span)))
            }
            DestinationRoute::EventDisplay => {
                let event = build_event(attempt.outgoing, attempt.subscription);
                Ok(Box::pin(self.display_event(&event)).await)
            }
            DestinationRoute::Unresolved(reason) => {
                drop(permit);
                Err(TransportError::Unreachable(reason.to_string()))
            }
        }
        .map_err(AttemptError::Transport)
    }

    /// Sends an event in a request, and counts that.
    async fn send_request(
        &self,
        attempt: &DeliveryAttempt<'_>,
        span: &Span,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<Response<Bytes>, AttemptError> {
        let started = Instant::now();
        // A request needs its token first: without one, nothing is sent.
        let sender = attempt.subscription.sender.as_ref();
        let authorized = self.tokens.authorization_for(sender, attempt.destination);
        let authorization = authorized.await.map_err(AttemptError::Token)?;
        // The transport builds the request anew where it has to be repeated, hence the closure.
        let mut bytes = 0;
        let request = || {
            let request = build_request(
                attempt.outgoing,
                attempt.subscription,
                span.context().or(attempt.outgoing.event.trace()),
                authorization.as_ref(),
            );
            bytes = request.body().len();
            request
        };
        let response = self
            .transport
            .send_watched(request, attempt.destination, attempt.timeout, || {
                attempt.note_slow(started)
            })
            .await;
        // Given back as soon as the response is there: what follows needs no connection.
        drop(permit);
        let status = response.as_ref().map(|response| response.status().as_u16());
        let series = &self.counters.series;
        series.record_sent(status.ok(), started.elapsed(), bytes, span.recorded());
        response.map_err(AttemptError::Transport)
    }
}

impl DeliveryAttempt<'_> {
    /// Notes that the attempt, which began then, takes long.
    pub(super) fn note_slow(&self, since: Instant) {
        let (role, attempts) = (self.outgoing.role, self.attempts_before);
        self.record
            .note(role, attempts, NextAttempt::UnderWay(since));
    }

    /// Claims of the subscription towards a destination inside of the process.
    pub(super) fn internal_sender(&self) -> InternalSender<'_> {
        InternalSender {
            sender: self.subscription.sender.as_deref(),
            audience: self.destination.audience.as_deref(),
        }
    }

    /// The failure of an attempt for which there was no token; there may be one later.
    fn without_token(&self, error: &TokenError) -> backoff::Error<DeliveryFailure> {
        backoff::Error::transient(DeliveryFailure::from_token_error(self.destination, error))
    }

    /// The event as a destination inside of the process gets it.
    fn event_in(&self, span: &Span) -> Event {
        build_event(self.outgoing, self.subscription).with_trace(span.context().cloned())
    }
}
