//! One attempt: the request is made, sent to where the destination really is, and the answer judged.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::retry::{Verdict, judge, retry_after};
use super::{Attempted, Delivery, Failure, Hop, Leg, Story};
use crate::auth::policy::Inside;
use crate::client::{self, Transport, TransportError};
use crate::event::{Event, TraceContext, http as binding, knative};
use crate::model::{Addressable, ChannelKey, ChannelKind, Format, Subscription, SubscriptionKind, Target};
use crate::router::Refusal;
use crate::telemetry::trace::{Kind, Span};
use crate::telemetry::traced;

const BROKER_TTL_HEADER: &str = "ce-knativebrokerttl";

impl<T: Transport> Delivery<T> {
    /// Sends once. The permit is held while a request is under way and given back before anything inside the process
    /// is waited for: a channel that feeds itself must not wait for its own permits.
    pub(super) async fn attempt(
        &self,
        hop: Hop<'_>,
        (story, step, attempts): (&Story<'_>, &Span, u32),
        (subscription, destination, timeout): (&Subscription, &Addressable, Duration),
        permit: Option<OwnedSemaphorePermit>,
    ) -> Attempted {
        let series = story.lane.series();
        let in_flight = series.in_flight.enter();
        let mut span = begin(step, destination, attempts);
        let started = Instant::now();
        let answer = match &destination.target {
            Target::Remote { .. } => {
                let proof = match self.tokens.proof(subscription.sender.as_ref(), destination).await {
                    Ok(proof) => proof,
                    Err(error) => {
                        series.attempt(hop.leg.counted(), Err("token"));
                        story.answered(None);
                        span.failed(|| error.to_string().into());
                        return Err(backoff::Error::transient(Failure::unproven(destination, &error)));
                    }
                };
                let mut bytes = 0;
                let request = || {
                    let request = request(hop, subscription, (span.context().map(AsRef::as_ref), proof.as_ref()));
                    bytes = request.body().len();
                    request
                };
                let answer = self.transport.send(request, destination, timeout).await;
                drop(permit);
                let status = answer.as_ref().ok().map(|answer| answer.status().as_u16());
                self.counters.series.sent(status, started.elapsed(), bytes);
                answer
            }
            Target::Local(key) => {
                drop(permit);
                let audience = destination.audience.as_deref();
                let inside = Inside { sender: subscription.sender.as_deref(), audience };
                let event = outgoing(hop, subscription).with_trace(span.context().cloned());
                Box::pin(self.enter(key, event, inside, timeout)).await
            }
            Target::Waiting(key) => {
                drop(permit);
                let event = outgoing(hop, subscription).with_trace(span.context().cloned());
                Ok(taken(self.router.reply(key, event)))
            }
            Target::Display => Box::pin(self.show(&outgoing(hop, subscription))).await,
            Target::Nowhere(reason) => {
                drop(permit);
                Err(TransportError::Unreachable(reason.to_string()))
            }
        };
        drop(in_flight);
        let result = answer.as_ref().map(|answer| answer.status().as_u16()).map_err(TransportError::reason);
        series.attempt(hop.leg.counted(), result);
        story.answered(result.ok());
        traced::answered(&mut span, result);
        self.conclude(answer, destination, subscription)
    }

    /// Into a channel, broker or RequestReply of this process, as if by HTTP.
    async fn enter(
        &self,
        key: &ChannelKey,
        event: Event,
        inside: Inside<'_>,
        timeout: Duration,
    ) -> Result<Response<Bytes>, TransportError> {
        let entered = async {
            if key.kind == ChannelKind::RequestReply {
                self.router.request_local(key, event, inside).await.map(Some)
            } else {
                self.router.accept_local(key, event, inside).await.map(|()| None)
            }
        };
        match tokio::time::timeout(timeout, entered).await {
            Ok(Ok(Some(reply))) => Ok(binding::binary_answer(&reply)),
            Ok(entered) => Ok(taken(entered.map(drop))),
            Err(_elapsed) => Err(TransportError::Timeout { after: timeout }),
        }
    }

    async fn show(&self, event: &Event) -> Result<Response<Bytes>, TransportError> {
        match self.display.show(event).await {
            Ok(()) => Ok(answer(StatusCode::OK, Bytes::new())),
            Err(error) => Ok(answer(StatusCode::INTERNAL_SERVER_ERROR, Bytes::from(error.to_string()))),
        }
    }

    fn conclude(
        &self,
        answer: Result<Response<Bytes>, TransportError>,
        destination: &Addressable,
        subscription: &Subscription,
    ) -> Attempted {
        let answer = answer.map_err(|error| {
            let failure = Failure::unanswered(destination, &error);
            if error.is_permanent() { backoff::Error::permanent(failure) } else { backoff::Error::transient(failure) }
        })?;
        match judge(answer.status()) {
            Verdict::Success => Ok(answer),
            Verdict::Refused => Err(backoff::Error::permanent(self.failure(destination, &answer))),
            Verdict::Retry => {
                let wait = retry_after(answer.status(), answer.headers(), &subscription.delivery, SystemTime::now());
                Err(backoff::Error::Transient { err: self.failure(destination, &answer), retry_after: wait })
            }
        }
    }

    /// A broker filter elsewhere tells whom it has asked and what that answered (contract DP-32).
    fn failure(&self, destination: &Addressable, answer: &Response<Bytes>) -> Failure {
        let failure = Failure::answered(destination, answer.status(), answer.body());
        let is_filter = destination.url.host_str() == Some(&*self.options.broker_filter_host);
        if is_filter { failure.told_by_filter(answer.body()) } else { failure }
    }
}

/// The span of an attempt (contract OB-12); of a destination's URL it has neither path nor query.
fn begin(step: &Span, to: &Addressable, attempts: u32) -> Span {
    let (name, kind) = match to.target {
        Target::Remote { .. } => ("POST", Kind::Client),
        Target::Local(_) => ("enter channel", Kind::Internal),
        Target::Waiting(_) => ("answer request", Kind::Internal),
        Target::Display => ("display", Kind::Internal),
        Target::Nowhere(_) => ("nowhere", Kind::Internal),
    };
    let mut span = step.child(name, kind);
    if kind == Kind::Client {
        span.tell(|| {
            [
                ("http.request.method", "POST".into()),
                ("url.scheme", to.url.scheme().to_owned().into()),
                ("server.address", to.url.host_str().unwrap_or_default().to_owned().into()),
                ("server.port", i64::from(to.url.port_or_known_default().unwrap_or_default()).into()),
            ]
        });
    }
    if attempts > 0 {
        span.tell(|| [("http.request.resend_count", i64::from(attempts).into())]);
    }
    span
}

/// What the router says, as if by HTTP.
fn taken(taken: Result<(), Refusal>) -> Response<Bytes> {
    match taken {
        Ok(()) => answer(StatusCode::ACCEPTED, Bytes::new()),
        Err(refusal) => answer(refusal.status(), Bytes::from(refusal.to_string())),
    }
}

fn answer(status: StatusCode, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

/// Whether the broker's hop count is for the broker only: a Trigger's subscriber does not see it (contract BF-9).
fn hides_ttl(leg: Leg, subscription: &Subscription) -> bool {
    leg == Leg::Subscriber && subscription.key.kind == SubscriptionKind::Trigger
}

fn outgoing(hop: Hop<'_>, subscription: &Subscription) -> Event {
    let mut event = hop.event.clone();
    if hides_ttl(hop.leg, subscription) {
        event.remove(knative::BROKER_TTL);
    }
    event
}

/// The request of contract DP-4 to DP-8: the event in the format that is wanted, what is forwarded beside it, and
/// Knative's own headers; with its trace, and with proof of who sends, where there is one.
fn request(
    hop: Hop<'_>,
    subscription: &Subscription,
    (trace, proof): (Option<&TraceContext>, Option<&HeaderValue>),
) -> Request<Bytes> {
    let mut request = match subscription.delivery.format {
        Format::Binary => client::request(hop.event, Format::Binary),
        Format::Json => client::request(&outgoing(hop, subscription), Format::Json),
    };
    if hides_ttl(hop.leg, subscription) {
        request.headers_mut().remove(BROKER_TTL_HEADER);
    }
    add_knative_headers(request.headers_mut(), hop.leg, subscription);
    if let Some(trace) = trace {
        trace.write(request.headers_mut());
    }
    if let Some(proof) = proof {
        request.headers_mut().insert(AUTHORIZATION, proof.clone());
    }
    request
}

fn add_knative_headers(headers: &mut HeaderMap, leg: Leg, subscription: &Subscription) {
    if let Ok(namespace) = HeaderValue::from_str(&subscription.namespace) {
        headers.insert(knative::NAMESPACE_HEADER, namespace);
    }
    if leg == Leg::Subscriber {
        headers.insert(knative::PREFER_HEADER, HeaderValue::from_static("reply"));
    }
}
