//! One attempt of a delivery: the request is built and sent to the destination by its route, and
//! the response judged.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;
use opentelemetry_semantic_conventions::attribute::{
    HTTP_REQUEST_METHOD, HTTP_REQUEST_RESEND_COUNT, SERVER_ADDRESS, SERVER_PORT, URL_SCHEME,
};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::retry::{RetryVerdict, judge_status, retry_after};
use super::{
    DeliveryAttemptResult, DeliveryFailure, DeliveryRecord, EventDeliverer, OutgoingEvent,
};
use crate::auth::policy::InternalSender;
use crate::client::{self, HttpTransport, TransportError};
use crate::event::{Event, TraceContext, http as binding, knative};
use crate::model::{
    Addressable, ChannelKey, ChannelKind, DeliveryFormat, DestinationRole, DestinationRoute,
    Subscription, SubscriptionKind,
};
use crate::router::AcceptError;
use crate::telemetry::span_attributes;
use crate::telemetry::tracer::Span;

const BROKER_TTL_HEADER: &str = "ce-knativebrokerttl";

impl<T: HttpTransport> EventDeliverer<T> {
    /// Sends an event once. The permit is held while a request is under way, and given back before
    /// anything inside the process is waited for: a channel that feeds itself must not wait for its
    /// own permits.
    pub(super) async fn send_attempt(
        &self,
        outgoing: OutgoingEvent<'_>,
        (record, step, attempts): (&DeliveryRecord<'_>, &Span, u32),
        (subscription, destination, timeout): (&Subscription, &Addressable, Duration),
        permit: Option<OwnedSemaphorePermit>,
    ) -> DeliveryAttemptResult {
        let series = record.worker.series();
        let in_flight = series.in_flight.enter();
        let mut span = start_attempt_span(step, destination, attempts);
        let started = Instant::now();
        // The route decides how the event is sent, and when the permit is given back.
        let response = match &destination.route {
            DestinationRoute::Remote { .. } => {
                // A request needs its token first: without one, nothing is sent.
                let authorization = match self
                    .tokens
                    .authorization_for(subscription.sender.as_ref(), destination)
                    .await
                {
                    Ok(authorization) => authorization,
                    Err(error) => {
                        series.count_attempt(outgoing.role, Err("token"));
                        record.record_status(None);
                        span.set_error(|| error.to_string().into());
                        return Err(backoff::Error::transient(
                            DeliveryFailure::from_token_error(destination, &error),
                        ));
                    }
                };
                // The transport builds the request anew where it has to be repeated, hence the
                // closure.
                let mut bytes = 0;
                let request = || {
                    let request = build_request(
                        outgoing,
                        subscription,
                        (span.context().map(AsRef::as_ref), authorization.as_ref()),
                    );
                    bytes = request.body().len();
                    request
                };
                let response = self.transport.send(request, destination, timeout).await;
                // Given back as soon as the response is there: what follows needs no connection.
                drop(permit);
                let status = response
                    .as_ref()
                    .ok()
                    .map(|response| response.status().as_u16());
                self.counters
                    .series
                    .record_sent(status, started.elapsed(), bytes, span.recorded());
                response
            }
            DestinationRoute::Local(key) => {
                // Given back before the channel takes the event: its queue may be drained by this
                // worker only.
                drop(permit);
                let audience = destination.audience.as_deref();
                let inside = InternalSender {
                    sender: subscription.sender.as_deref(),
                    audience,
                };
                let event = build_event(outgoing, subscription).with_trace(span.context().cloned());
                Box::pin(self.accept_locally(key, event, inside, timeout)).await
            }
            DestinationRoute::WaitingRequest(key) => {
                drop(permit);
                let event = build_event(outgoing, subscription).with_trace(span.context().cloned());
                Ok(router_response(self.router.accept_reply(key, event)))
            }
            DestinationRoute::EventDisplay => {
                Box::pin(self.display_event(&build_event(outgoing, subscription))).await
            }
            DestinationRoute::Unresolved(reason) => {
                drop(permit);
                Err(TransportError::Unreachable(reason.to_string()))
            }
        };
        // The attempt has ended for the gauge before it is counted and judged.
        drop(in_flight);
        let result = response
            .as_ref()
            .map(|response| response.status().as_u16())
            .map_err(TransportError::reason);
        series.count_attempt(outgoing.role, result);
        record.record_status(result.ok());
        span_attributes::set_response_attributes(&mut span, result);
        self.judge_response(response, destination, subscription)
    }

    /// Sends an event into a channel, Broker or RequestReply of this process, as if by HTTP.
    ///
    /// # Errors
    /// If that takes longer than `timeout`.
    async fn accept_locally(
        &self,
        key: &ChannelKey,
        event: Event,
        inside: InternalSender<'_>,
        timeout: Duration,
    ) -> Result<Response<Bytes>, TransportError> {
        let entered = async {
            if key.kind == ChannelKind::RequestReply {
                self.router
                    .request_local(key, event, inside)
                    .await
                    .map(Some)
            } else {
                self.router
                    .accept_local(key, event, inside)
                    .await
                    .map(|()| None)
            }
        };
        match tokio::time::timeout(timeout, entered).await {
            Ok(Ok(Some(reply))) => Ok(binding::binary_response(&reply)),
            Ok(entered) => Ok(router_response(entered.map(drop))),
            Err(_elapsed) => Err(TransportError::Timeout { after: timeout }),
        }
    }

    async fn display_event(&self, event: &Event) -> Result<Response<Bytes>, TransportError> {
        match self.display.show(event).await {
            Ok(()) => Ok(build_response(StatusCode::OK, Bytes::new())),
            Err(error) => Ok(build_response(
                StatusCode::INTERNAL_SERVER_ERROR,
                Bytes::from(error.to_string()),
            )),
        }
    }

    fn judge_response(
        &self,
        response: Result<Response<Bytes>, TransportError>,
        destination: &Addressable,
        subscription: &Subscription,
    ) -> DeliveryAttemptResult {
        let response = response.map_err(|error| {
            let failure = DeliveryFailure::from_transport_error(destination, &error);
            if error.is_permanent() {
                backoff::Error::permanent(failure)
            } else {
                backoff::Error::transient(failure)
            }
        })?;
        match judge_status(response.status()) {
            RetryVerdict::Success => Ok(response),
            RetryVerdict::Refused => Err(backoff::Error::permanent(
                self.response_failure(destination, &response),
            )),
            RetryVerdict::Retry => {
                let wait = retry_after(
                    response.status(),
                    response.headers(),
                    &subscription.delivery,
                    SystemTime::now(),
                );
                Err(backoff::Error::Transient {
                    err: self.response_failure(destination, &response),
                    retry_after: wait,
                })
            }
        }
    }

    /// Failure that a response reports. A broker filter of another process reports the subscriber
    /// that it asked, and its response (contract DP-32).
    fn response_failure(
        &self,
        destination: &Addressable,
        response: &Response<Bytes>,
    ) -> DeliveryFailure {
        let failure =
            DeliveryFailure::from_response(destination, response.status(), response.body());
        let is_filter = destination.url.host_str() == Some(&*self.options.broker_filter_host);
        if is_filter {
            failure.with_filter_report(response.body())
        } else {
            failure
        }
    }
}

/// Starts the span of an attempt (contract OB-12); of a destination's URL it has neither path nor
/// query.
fn start_attempt_span(step: &Span, to: &Addressable, attempts: u32) -> Span {
    let (name, kind) = match to.route {
        DestinationRoute::Remote { .. } => ("POST", SpanKind::Client),
        DestinationRoute::Local(_) => ("enter channel", SpanKind::Internal),
        DestinationRoute::WaitingRequest(_) => ("answer request", SpanKind::Internal),
        DestinationRoute::EventDisplay => ("display", SpanKind::Internal),
        DestinationRoute::Unresolved(_) => ("nowhere", SpanKind::Internal),
    };
    let is_request = kind == SpanKind::Client;
    let mut span = step.child(name, kind);
    if is_request {
        span.set_attributes(|| {
            [
                KeyValue::new(HTTP_REQUEST_METHOD, "POST"),
                KeyValue::new(URL_SCHEME, to.url.scheme().to_owned()),
                KeyValue::new(
                    SERVER_ADDRESS,
                    to.url.host_str().unwrap_or_default().to_owned(),
                ),
                KeyValue::new(
                    SERVER_PORT,
                    i64::from(to.url.port_or_known_default().unwrap_or_default()),
                ),
            ]
        });
    }
    // The first attempt has no resend count, as OpenTelemetry asks.
    if attempts > 0 {
        span.set_attributes(|| {
            [KeyValue::new(
                HTTP_REQUEST_RESEND_COUNT,
                i64::from(attempts),
            )]
        });
    }
    span
}

/// Response that the router's answer would be by HTTP.
fn router_response(taken: Result<(), AcceptError>) -> Response<Bytes> {
    match taken {
        Ok(()) => build_response(StatusCode::ACCEPTED, Bytes::new()),
        Err(refusal) => build_response(refusal.status(), Bytes::from(refusal.to_string())),
    }
}

fn build_response(status: StatusCode, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

/// True if the event is sent without the broker's hop count: a Trigger's subscriber does not see it
/// (contract BF-9).
fn removes_broker_ttl(role: DestinationRole, subscription: &Subscription) -> bool {
    role == DestinationRole::Subscriber && subscription.key.kind == SubscriptionKind::Trigger
}

fn build_event(outgoing: OutgoingEvent<'_>, subscription: &Subscription) -> Event {
    let mut event = outgoing.event.clone();
    if removes_broker_ttl(outgoing.role, subscription) {
        event.remove(knative::BROKER_TTL);
    }
    event
}

/// Builds the request of contract DP-4 to DP-8: the event in the format that is wanted, the
/// forwarded fields beside it, and Knative's own headers; with the trace context and the sender's
/// token, where there are any.
fn build_request(
    outgoing: OutgoingEvent<'_>,
    subscription: &Subscription,
    (trace, authorization): (Option<&TraceContext>, Option<&HeaderValue>),
) -> Request<Bytes> {
    let mut request = match subscription.delivery.format {
        DeliveryFormat::Binary => client::event_request(outgoing.event, DeliveryFormat::Binary),
        DeliveryFormat::Json => {
            client::event_request(&build_event(outgoing, subscription), DeliveryFormat::Json)
        }
    };
    if removes_broker_ttl(outgoing.role, subscription) {
        request.headers_mut().remove(BROKER_TTL_HEADER);
    }
    add_knative_headers(request.headers_mut(), outgoing.role, subscription);
    if let Some(trace) = trace {
        trace.write_headers(request.headers_mut());
    }
    if let Some(authorization) = authorization {
        request
            .headers_mut()
            .insert(AUTHORIZATION, authorization.clone());
    }
    request
}

fn add_knative_headers(
    headers: &mut HeaderMap,
    role: DestinationRole,
    subscription: &Subscription,
) {
    if let Ok(namespace) = HeaderValue::from_str(&subscription.namespace) {
        headers.insert(knative::NAMESPACE_HEADER, namespace);
    }
    if role == DestinationRole::Subscriber {
        headers.insert(knative::PREFER_HEADER, HeaderValue::from_static("reply"));
    }
}
