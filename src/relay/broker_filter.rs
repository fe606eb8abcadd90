//! The role `filter`: events for Triggers go to their subscribers if they pass the filter (contract
//! BF-4 to BF-16, A-30 to A-39).

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::json;
use tokio::time::Instant;

use super::response::RelayResponse;
use super::trigger_request::TriggerRequest;
use super::{RelayDependencies, RelaySendError, build_request, forwarded_headers};
use crate::client::{ForwardAllFields, HttpTransport, ReplyError};
use crate::event::{Event, TraceContext, http as binding, knative};
use crate::ingress::request_reader::ReceivedRequest;
use crate::model::{Addressable, DeliveryFormat, DestinationRole, TriggerRelay, UriScheme};
use crate::server::{RequestBody, RequestHandler};
use crate::telemetry::series::SubscriptionSeries;
use crate::wire_text::WireText;

/// Header fields that prove who the sender is, and so are not passed on (contract G-51). Fields of
/// one connection are removed by the HTTP client.
const KEPT_BACK: [HeaderName; 2] = [AUTHORIZATION, COOKIE];

/// Takes events for Triggers, and sends them once.
pub struct BrokerFilter<T> {
    relay: RelayDependencies<T>,
    /// Counters of Triggers that have none of their own; nobody sees them.
    uncounted_series: Arc<SubscriptionSeries>,
}

/// Target of a request, taken apart: a Trigger and the role of the destination that is meant
/// (contract BF-5).
struct TriggerRequestTarget<'p> {
    /// Path of the Trigger, `/namespace/name`.
    trigger: String,
    uid: &'p str,
    role: DestinationRole,
}

impl<T: HttpTransport> BrokerFilter<T> {
    /// Makes a filter that knows Triggers by the served table.
    #[must_use]
    pub fn new(relay: RelayDependencies<T>) -> Self {
        Self {
            relay,
            uncounted_series: Arc::default(),
        }
    }

    /// Checks a request in upstream's order: method, target, Trigger, event; then does what the
    /// target asks for.
    ///
    /// # Errors
    /// If the request is refused; the error is its response.
    async fn accept(
        &self,
        request: Request<RequestBody>,
        scheme: UriScheme,
    ) -> Result<RelayResponse, RelayResponse> {
        let came = Instant::now();
        if request.method() != Method::POST {
            return Err(RelayResponse::from_text(
                StatusCode::METHOD_NOT_ALLOWED,
                "send events by POST",
            ));
        }
        let serving = self.relay.router.served_table();
        let path = request
            .uri()
            .path_and_query()
            .map_or_else(String::new, ToString::to_string);
        let target = parse_target(&path).ok_or_else(|| {
            RelayResponse::from_text(
                StatusCode::BAD_REQUEST,
                "the path must be /triggers/NAMESPACE/NAME/UID",
            )
        })?;
        let Some(trigger) = serving.table.relays().triggers.get(&target.trigger) else {
            return Err(RelayResponse::from_text(
                StatusCode::NOT_FOUND,
                "no trigger of this name: check the path",
            ));
        };
        let series = serving
            .relayed_series
            .triggers
            .get(&target.trigger)
            .unwrap_or(&self.uncounted_series);
        let call = TriggerRequest {
            trigger,
            series,
            scheme,
            received_at: came,
        };
        self.handle_event(request, &target, call).await
    }

    async fn handle_event(
        &self,
        request: Request<RequestBody>,
        target: &TriggerRequestTarget<'_>,
        call: TriggerRequest<'_>,
    ) -> Result<RelayResponse, RelayResponse> {
        let refused = |_refused: &RelayResponse| call.series.refused.increment();
        let (event, headers) = self
            .read_event(request, target, call.trigger)
            .await
            .inspect_err(refused)?;
        // Only the subscriber's events are filtered; replies and dead letters go on as they are.
        let (role, to) = match target.role {
            DestinationRole::Subscriber => return self.filter_and_send(event, call).await,
            DestinationRole::Reply => {
                let gone = || {
                    RelayResponse::from_text(
                        StatusCode::NOT_FOUND,
                        "the broker of this trigger is gone: create it",
                    )
                };
                (
                    DestinationRole::Reply,
                    call.trigger
                        .broker
                        .as_ref()
                        .ok_or_else(gone)
                        .inspect_err(refused)?,
                )
            }
            DestinationRole::DeadLetterSink => {
                let Some(sink) = &call.trigger.dead_letter_sink else {
                    self.relay.counters.lost.increment();
                    call.record_lost();
                    if call.series.is_first_loss() {
                        tracing::error!(
                            trigger = target.trigger,
                            event.id = %WireText::new(event.id()),
                            "Event lost: there is no dead letter sink"
                        );
                    }
                    return Ok(RelayResponse::from_status(StatusCode::OK));
                };
                (DestinationRole::DeadLetterSink, sink)
            }
        };
        self.send_unfiltered(&event, &headers.unwrap_or_default(), call, (role, to))
            .await
    }

    /// Reads the event, and the header fields beside it where they are passed on.
    ///
    /// # Errors
    /// If the Trigger has another uid, the sender may not send, or the request is no event.
    async fn read_event(
        &self,
        request: Request<RequestBody>,
        target: &TriggerRequestTarget<'_>,
        trigger: &TriggerRelay,
    ) -> Result<(Event, Option<HeaderMap>), RelayResponse> {
        // The uid comes first: an event for an older Trigger of this name is not for this one.
        if trigger.uid.as_deref().is_some_and(|uid| uid != target.uid) {
            return Err(RelayResponse::from_text(
                StatusCode::BAD_REQUEST,
                "the trigger has another uid: it was made anew",
            ));
        }
        let access = trigger.authorization.as_ref();
        let sender = match self.relay.identify_sender(access, request.headers()).await {
            Ok(sender) => sender,
            // Upstream reports what is wrong with an event before it refuses its sender.
            Err(denial) => {
                let malformed = self
                    .relay
                    .decode_error_response(request, decode_event)
                    .await;
                return Err(malformed.unwrap_or_else(|| self.relay.refuse_sender(&denial)));
            }
        };
        let message = self
            .relay
            .request_reader
            .read_request(request)
            .await
            .map_err(|error| RelayResponse::from_body_error(&error))?;
        // Copied before decoding takes the header fields apart.
        let headers = (target.role != DestinationRole::Subscriber).then(|| message.headers.clone());
        let event = decode_event(message)?;
        self.relay.authorize(access, &sender, &event)?;
        Ok((event, headers))
    }

    /// Sends the event to the subscriber if it passes the filter, as contract BF-7 to BF-13 say.
    async fn filter_and_send(
        &self,
        mut event: Event,
        call: TriggerRequest<'_>,
    ) -> Result<RelayResponse, RelayResponse> {
        let trigger = call.trigger;
        let refuse = |status, text| {
            call.series.refused.increment();
            Err(RelayResponse::from_text(status, text))
        };
        let ttl: Option<i32> = event
            .get(knative::BROKER_TTL)
            .and_then(|ttl| ttl.parse().ok());
        let Some(ttl) = ttl else {
            let text =
                "knativebrokerttl is missing or no integer: only events of a broker are taken here";
            return refuse(StatusCode::BAD_REQUEST, text);
        };
        // The hop count is the broker's own: neither filter nor subscriber sees it, a reply gets it
        // back.
        event.remove(knative::BROKER_TTL);
        let Some(subscriber) = &trigger.subscriber else {
            return refuse(
                StatusCode::NOT_FOUND,
                "the subscriber of this trigger is not resolved",
            );
        };
        if !self
            .relay
            .counters
            .count_filter_decision(call.series, trigger.filter.decide(&event))
        {
            return Ok(RelayResponse::from_status(StatusCode::OK));
        }
        let request = build_request(&event, trigger.format);
        self.send_and_respond(
            request,
            call,
            (DestinationRole::Subscriber, subscriber),
            Some(ttl),
        )
        .await
    }

    /// Sends the event as it came (contract BF-16), with the header fields that came with it,
    /// except those that are not for others.
    async fn send_unfiltered(
        &self,
        event: &Event,
        headers: &HeaderMap,
        call: TriggerRequest<'_>,
        to: (DestinationRole, &Addressable),
    ) -> Result<RelayResponse, RelayResponse> {
        let mut request = build_request(event, DeliveryFormat::Binary);
        let traced = |name: &HeaderName| event.trace().is_some() && TraceContext::is_header(name);
        for (name, value) in headers
            .iter()
            .filter(|(name, _)| is_passed_on(name) && !traced(name))
        {
            request.headers_mut().append(name.clone(), value.clone());
        }
        request.extensions_mut().insert(ForwardAllFields);
        self.send_and_respond(request, call, to, None).await
    }

    /// Sends a request once, and gives the response. `ttl` is set on an event that the response
    /// holds.
    async fn send_and_respond(
        &self,
        request: Request<Bytes>,
        call: TriggerRequest<'_>,
        (destination, to): (DestinationRole, &Addressable),
        ttl: Option<i32>,
    ) -> Result<RelayResponse, RelayResponse> {
        let request = with_namespace_header(request, call.trigger);
        call.record_started();
        let (in_flight, started) = (call.series.in_flight.enter(), Instant::now());
        let answer = self
            .relay
            .send(request, call.trigger.sender.as_ref(), to)
            .await;
        drop(in_flight);
        call.record_sent((destination, to), started, &answer);
        let ended = self.convert_response(answer, (call.trigger, to), ttl);
        call.record_ended(&ended);
        ended
    }

    /// Converts a response to the one that the channel gets. `ttl` is set on an event in it.
    fn convert_response(
        &self,
        answer: Result<Response<Bytes>, RelaySendError>,
        (trigger, from): (&TriggerRelay, &Addressable),
        ttl: Option<i32>,
    ) -> Result<RelayResponse, RelayResponse> {
        let answer = answer.map_err(|error| {
            let text = format!("dispatch error: {error}");
            RelayResponse::from_status(StatusCode::INTERNAL_SERVER_ERROR)
                .with_body("application/json", failure_report(from, text.as_bytes()))
        })?;
        // A reply that broke off must not count as none.
        if ReplyError::of_response(&answer).is_some() {
            return Err(RelayResponse::from_status(StatusCode::BAD_GATEWAY));
        }
        let (parts, body) = answer.into_parts();
        if !parts.status.is_success() {
            let answer = RelayResponse::from_status(parts.status)
                .with_headers(forwarded_headers(&parts.headers));
            return Err(answer.with_body("application/json", failure_report(from, &body)));
        }
        // Copied before decoding takes the header fields apart.
        let passed = forwarded_headers(&parts.headers);
        match binding::decode_reply(
            parts.headers,
            &body,
            self.relay.request_reader.attribute_limit(),
        ) {
            Ok(Some(event)) => {
                self.relay.counters.accepted.increment();
                self.relay
                    .event_types
                    .observe(trigger.event_types.as_ref(), &event);
                Ok(event_response(parts.status, event, ttl).with_headers(passed))
            }
            Ok(None) if body.is_empty() => {
                self.relay.counters.accepted.increment();
                Ok(RelayResponse::from_status(parts.status).with_headers(passed))
            }
            // Neither a body that is no event, nor an invalid event can be passed on (contract
            // BF-11, BF-12).
            Ok(None) | Err(_) => Err(RelayResponse::from_status(StatusCode::BAD_GATEWAY)),
        }
    }
}

impl<T: HttpTransport> RequestHandler for BrokerFilter<T> {
    async fn handle(
        &self,
        request: Request<RequestBody>,
        scheme: UriScheme,
    ) -> Response<Full<Bytes>> {
        self.relay
            .respond(scheme, "POST", self.accept(request, scheme))
            .await
    }
}

/// True if a header field came beside the event, and neither is part of it nor forwarded with it
/// already.
fn is_passed_on(name: &HeaderName) -> bool {
    let of_event = name.as_str().starts_with("ce-") || name == http::header::CONTENT_TYPE;
    !of_event
        && !knative::is_forwarded(name)
        && *name != knative::PREFER_HEADER
        && !KEPT_BACK.contains(name)
}

/// Takes apart `/triggers/NAMESPACE/NAME/UID`, perhaps with one more segment (contract BF-5).
fn parse_target(path: &str) -> Option<TriggerRequestTarget<'_>> {
    let mut segments = path.strip_prefix("/triggers/")?.split('/');
    let (namespace, name, uid) = (segments.next()?, segments.next()?, segments.next()?);
    let purpose = match segments.next() {
        Some("reply") => DestinationRole::Reply,
        Some("dls") => DestinationRole::DeadLetterSink,
        Some(_) | None => DestinationRole::Subscriber,
    };
    segments.next().is_none().then(|| TriggerRequestTarget {
        trigger: format!("/{namespace}/{name}"),
        uid,
        role: purpose,
    })
}

/// Decodes the event of a request, which is not validated (contract BF-6).
fn decode_event(
    ReceivedRequest {
        headers,
        body,
        memory_share: share,
        attribute_limit: attributes,
    }: ReceivedRequest,
) -> Result<Event, RelayResponse> {
    let refused = |text: String| RelayResponse::from_text(StatusCode::BAD_REQUEST, text);
    let trace = TraceContext::from_headers(&headers);
    match binding::decode_reply(headers, &body, attributes) {
        Ok(Some(event)) => Ok(event.with_guard(Arc::new(share)).with_trace(trace)),
        Ok(None) => Err(refused(
            "not a CloudEvent: send ce-specversion or application/cloudevents+json".to_owned(),
        )),
        Err(error) => Err(refused(error.to_string())),
    }
}

fn with_namespace_header(mut request: Request<Bytes>, trigger: &TriggerRelay) -> Request<Bytes> {
    if let Ok(namespace) = HeaderValue::from_str(&trigger.namespace) {
        request
            .headers_mut()
            .insert(knative::NAMESPACE_HEADER, namespace);
    }
    request
}

/// Response with the event that a subscriber replied with, in binary mode, with the hops that the
/// first event had left (contract BF-12).
fn event_response(status: StatusCode, mut event: Event, ttl: Option<i32>) -> RelayResponse {
    if let Some(ttl) = ttl {
        event.set_integer(knative::BROKER_TTL, ttl);
    }
    let headers = binding::binary_headers(&event);
    RelayResponse::from_status(status)
        .with_headers(headers)
        .with_body_bytes(event.data().clone())
}

/// Report for the channel of which destination failed, and how (contract BF-13). It has the query
/// of the URL, too: the URL goes into `knativeerrordest` of the dead letter, not into a log.
fn failure_report(destination: &Addressable, body: &[u8]) -> Bytes {
    let body = body.get(..knative::ERROR_DATA_BYTES).unwrap_or(body);
    let json = json!({ "errdestination": destination.url.as_written(), "errresponsebody": STANDARD.encode(body) });
    Bytes::from(json.to_string())
}
