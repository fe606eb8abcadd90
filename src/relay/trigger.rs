//! The role `filter`: events for Triggers, to their subscribers if they pass (contract BF-4 to BF-16, A-30 to A-39).

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::json;
use tokio::time::Instant;

use super::answer::Answer;
use super::call::Call;
use super::{Relay, Unsent, passed_through, request};
use crate::client::{PassedOn, ReplyError, Transport};
use crate::event::{Event, TraceContext, http as binding, knative};
use crate::ingress::entrance::Message;
use crate::model::{Addressable, Format, Scheme, TriggerRelay};
use crate::server::{Handler, Incoming};
use crate::telemetry::series::{Destination, SubscriptionSeries};
use crate::wire_text::WireText;

/// Headers that prove who the sender is, and so are not for anybody else (contract G-51). What is about one connection
/// is kept back by the client.
const KEPT_BACK: [HeaderName; 2] = [AUTHORIZATION, COOKIE];

/// Takes events for Triggers.
pub struct TriggerFilter<T> {
    relay: Relay<T>,
    /// What nobody is counted for.
    nobody: Arc<SubscriptionSeries>,
}

/// What a request target asks for (contract BF-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Subscriber,
    Reply,
    DeadLetterSink,
}

/// A request target.
struct Target<'p> {
    /// `/namespace/name`.
    trigger: String,
    uid: &'p str,
    purpose: Purpose,
}

impl<T: Transport> TriggerFilter<T> {
    /// A filter that knows Triggers by the table.
    #[must_use]
    pub fn new(relay: Relay<T>) -> Self {
        Self { relay, nobody: Arc::default() }
    }

    /// In upstream's order: method, target, Trigger, event, then what the target asks for.
    async fn accept(&self, request: Request<Incoming>, scheme: Scheme) -> Result<Answer, Answer> {
        let came = Instant::now();
        if request.method() != Method::POST {
            return Err(Answer::text(StatusCode::METHOD_NOT_ALLOWED, "send events by POST"));
        }
        let serving = self.relay.router.serving();
        let path = request.uri().path_and_query().map_or_else(String::new, ToString::to_string);
        let target = target(&path)
            .ok_or_else(|| Answer::text(StatusCode::BAD_REQUEST, "the path must be /triggers/NAMESPACE/NAME/UID"))?;
        let Some(trigger) = serving.table.relays().triggers.get(&target.trigger) else {
            return Err(Answer::text(StatusCode::NOT_FOUND, "no trigger of this name: check the path"));
        };
        let series = serving.relayed.triggers.get(&target.trigger).unwrap_or(&self.nobody);
        let call = Call { trigger, series, scheme, came };
        self.take(request, &target, call).await
    }

    async fn take(&self, request: Request<Incoming>, target: &Target<'_>, call: Call<'_>) -> Result<Answer, Answer> {
        let refused = |_refused: &Answer| call.series.refused.increment();
        let (event, headers) = self.read(request, target, call.trigger).await.inspect_err(refused)?;
        let (purpose, to) = match target.purpose {
            Purpose::Subscriber => return self.to_subscriber(event, call).await,
            Purpose::Reply => {
                let gone = || Answer::text(StatusCode::NOT_FOUND, "the broker of this trigger is gone: create it");
                (Destination::Reply, call.trigger.broker.as_ref().ok_or_else(gone).inspect_err(refused)?)
            }
            Purpose::DeadLetterSink => {
                let Some(sink) = &call.trigger.dead_letter_sink else {
                    self.relay.counters.lost.increment();
                    call.lost();
                    if call.series.is_first_loss() {
                        tracing::error!(trigger = target.trigger, event.id = %WireText::of(event.id()), "Event lost: there is no dead letter sink");
                    }
                    return Ok(Answer::status(StatusCode::OK));
                };
                (Destination::DeadLetterSink, sink)
            }
        };
        self.pass_on(&event, &headers.unwrap_or_default(), call, (purpose, to)).await
    }

    /// The event, and the headers beside it where they are passed on.
    async fn read(
        &self,
        request: Request<Incoming>,
        target: &Target<'_>,
        trigger: &TriggerRelay,
    ) -> Result<(Event, Option<HeaderMap>), Answer> {
        if trigger.uid.as_deref().is_some_and(|uid| uid != target.uid) {
            return Err(Answer::text(StatusCode::BAD_REQUEST, "the trigger has another uid: it was made anew"));
        }
        let access = trigger.access.as_ref();
        let sender = match self.relay.identify(access, request.headers()).await {
            Ok(sender) => sender,
            Err(denial) => {
                let malformed = self.relay.malformed(request, decode).await;
                return Err(malformed.unwrap_or_else(|| self.relay.refuse(&denial)));
            }
        };
        let message = self.relay.entrance.read(request).await.map_err(|error| Answer::body(&error))?;
        let headers = (target.purpose != Purpose::Subscriber).then(|| message.headers.clone());
        let event = decode(message)?;
        self.relay.authorize(access, &sender, &event)?;
        Ok((event, headers))
    }

    /// Contract BF-7 to BF-13.
    async fn to_subscriber(&self, mut event: Event, call: Call<'_>) -> Result<Answer, Answer> {
        let trigger = call.trigger;
        let refuse = |status, text| {
            call.series.refused.increment();
            Err(Answer::text(status, text))
        };
        let ttl: Option<i32> = event.get(knative::BROKER_TTL).and_then(|ttl| ttl.parse().ok());
        let Some(ttl) = ttl else {
            let text = "knativebrokerttl is missing or no integer: only events of a broker are taken here";
            return refuse(StatusCode::BAD_REQUEST, text);
        };
        event.remove(knative::BROKER_TTL);
        let Some(subscriber) = &trigger.subscriber else {
            return refuse(StatusCode::NOT_FOUND, "the subscriber of this trigger is not resolved");
        };
        if !self.relay.counters.filter_of(call.series, trigger.filter.decide(&event)) {
            return Ok(Answer::status(StatusCode::OK));
        }
        let request = request(&event, trigger.format);
        self.send(request, call, (Destination::Subscriber, subscriber), Some(ttl)).await
    }

    /// Contract BF-16: the event as it came, with the headers that came with it, but for those that are not for others.
    async fn pass_on(
        &self,
        event: &Event,
        headers: &HeaderMap,
        call: Call<'_>,
        to: (Destination, &Addressable),
    ) -> Result<Answer, Answer> {
        let mut request = request(event, Format::Binary);
        let traced = |name: &HeaderName| event.trace().is_some() && TraceContext::is_header(name);
        for (name, value) in headers.iter().filter(|(name, _)| is_beside(name) && !traced(name)) {
            request.headers_mut().append(name.clone(), value.clone());
        }
        request.extensions_mut().insert(PassedOn);
        self.send(request, call, to, None).await
    }

    /// Sends once, and answers. `ttl` goes back to an event in the answer.
    async fn send(
        &self,
        request: Request<Bytes>,
        call: Call<'_>,
        (destination, to): (Destination, &Addressable),
        ttl: Option<i32>,
    ) -> Result<Answer, Answer> {
        let request = from_trigger(request, call.trigger);
        call.begin();
        let (in_flight, started) = (call.series.in_flight.enter(), Instant::now());
        let answer = self.relay.send(request, call.trigger.sender.as_ref(), to).await;
        drop(in_flight);
        call.sent((destination, to), started, &answer);
        let ended = self.answered(answer, (call.trigger, to), ttl);
        call.end(&ended);
        ended
    }

    /// What the channel is told of an answer. `ttl` goes back to an event in it.
    fn answered(
        &self,
        answer: Result<Response<Bytes>, Unsent>,
        (trigger, from): (&TriggerRelay, &Addressable),
        ttl: Option<i32>,
    ) -> Result<Answer, Answer> {
        let answer = answer.map_err(|error| {
            let text = format!("dispatch error: {error}");
            Answer::status(StatusCode::INTERNAL_SERVER_ERROR)
                .with_body("application/json", failure(from, text.as_bytes()))
        })?;
        if ReplyError::of(&answer).is_some() {
            return Err(Answer::status(StatusCode::BAD_GATEWAY));
        }
        let (parts, body) = answer.into_parts();
        if !parts.status.is_success() {
            let answer = Answer::status(parts.status).with_headers(passed_through(&parts.headers));
            return Err(answer.with_body("application/json", failure(from, &body)));
        }
        let passed = passed_through(&parts.headers);
        match binding::decode_reply(parts.headers, &body, self.relay.entrance.attributes()) {
            Ok(Some(event)) => {
                self.relay.counters.accepted.increment();
                self.relay.event_types.observe(trigger.event_types.as_ref(), &event);
                Ok(with_event(parts.status, event, ttl).with_headers(passed))
            }
            Ok(None) if body.is_empty() => {
                self.relay.counters.accepted.increment();
                Ok(Answer::status(parts.status).with_headers(passed))
            }
            // Contract BF-11, BF-12.
            Ok(None) | Err(_) => Err(Answer::status(StatusCode::BAD_GATEWAY)),
        }
    }
}

impl<T: Transport> Handler for TriggerFilter<T> {
    async fn handle(&self, request: Request<Incoming>, scheme: Scheme) -> Response<Full<Bytes>> {
        self.relay.respond(scheme, "POST", self.accept(request, scheme)).await
    }
}

/// Whether a header came beside the event, and neither is part of it nor forwarded with it already.
fn is_beside(name: &HeaderName) -> bool {
    let of_event = name.as_str().starts_with("ce-") || name == http::header::CONTENT_TYPE;
    !of_event && !knative::is_forwarded(name) && *name != knative::PREFER_HEADER && !KEPT_BACK.contains(name)
}

/// `/triggers/NAMESPACE/NAME/UID`, perhaps with one more segment (contract BF-5).
fn target(path: &str) -> Option<Target<'_>> {
    let mut segments = path.strip_prefix("/triggers/")?.split('/');
    let (namespace, name, uid) = (segments.next()?, segments.next()?, segments.next()?);
    let purpose = match segments.next() {
        Some("reply") => Purpose::Reply,
        Some("dls") => Purpose::DeadLetterSink,
        Some(_) | None => Purpose::Subscriber,
    };
    segments.next().is_none().then(|| Target { trigger: format!("/{namespace}/{name}"), uid, purpose })
}

/// The event of a request, which is not validated (contract BF-6).
fn decode(Message { headers, body, share, attributes }: Message) -> Result<Event, Answer> {
    let refused = |text: String| Answer::text(StatusCode::BAD_REQUEST, text);
    let trace = TraceContext::of(&headers);
    match binding::decode_reply(headers, &body, attributes) {
        Ok(Some(event)) => Ok(event.with_lease(Arc::new(share)).with_trace(trace)),
        Ok(None) => Err(refused("not a CloudEvent: send ce-specversion or application/cloudevents+json".to_owned())),
        Err(error) => Err(refused(error.to_string())),
    }
}

fn from_trigger(mut request: Request<Bytes>, trigger: &TriggerRelay) -> Request<Bytes> {
    if let Ok(namespace) = HeaderValue::from_str(&trigger.namespace) {
        request.headers_mut().insert(knative::NAMESPACE_HEADER, namespace);
    }
    request
}

/// The event that a subscriber answered with, binary, with the hops that its cause had left (contract BF-12).
fn with_event(status: StatusCode, mut event: Event, ttl: Option<i32>) -> Answer {
    if let Some(ttl) = ttl {
        event.set_integer(knative::BROKER_TTL, ttl);
    }
    let headers = binding::binary_headers(&event);
    Answer::status(status).with_headers(headers).with_data(event.data().clone())
}

/// Tells the channel who failed and how (contract BF-13). The query of a destination is told, too: it goes into
/// `knativeerrordest` of the dead letter, not into a log.
fn failure(destination: &Addressable, body: &[u8]) -> Bytes {
    let body = body.get(..knative::ERROR_DATA_BYTES).unwrap_or(body);
    let json = json!({ "errdestination": destination.url.text(), "errresponsebody": STANDARD.encode(body) });
    Bytes::from(json.to_string())
}
