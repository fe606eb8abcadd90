//! The role `filter`: events for Triggers go to their subscribers if they pass the filter (contract
//! BF-4 to BF-16, A-30 to A-39).

use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use tokio::time::Instant;

use super::RelayDependencies;
use super::refused_event::RefusedEvent;
use super::relay_request::RelayRequest;
use super::response::RelayResponse;
use super::trigger_request::{TriggerDestination, TriggerRequest};
use super::trigger_target::TriggerRequestTarget;
use crate::client::HttpTransport;
use crate::event::{Event, SpecVersion, TraceContext, http as binding, knative};
use crate::filter::explain;
use crate::ingress::request_reader::ReceivedRequest;
use crate::model::{DeliveryFormat, DestinationRole, TriggerRelay};
use crate::observation::{EventArrival, ObservedFact};
use crate::server::{RequestBody, RequestContext, RequestHandler};
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
        context: &mut RequestContext,
    ) -> Result<RelayResponse, RelayResponse> {
        let came = Instant::now();
        if request.method() != Method::POST {
            return Err(RelayResponse::method_not_allowed());
        }
        let serving = self.relay.router.served_table();
        let path = request
            .uri()
            .path_and_query()
            .map_or_else(String::new, ToString::to_string);
        let (via, peer) = (context.scheme.as_str(), context.peer);
        let arrival = EventArrival { via, by: "", peer };
        let observer = &self.relay.counters.observer;
        let unaddressed = |response| {
            RefusedEvent::unread(response, request.headers()).observe(observer, None, arrival)
        };
        let target = TriggerRequestTarget::parse(&path);
        let target = target.ok_or_else(bad_path).map_err(unaddressed)?;
        let trigger = serving.table.relays().triggers.get(&target.trigger);
        let trigger = trigger.ok_or_else(no_trigger).map_err(unaddressed)?;
        let series = serving.relayed_series.triggers.get(&target.trigger);
        let call = TriggerRequest {
            trigger,
            series: series.unwrap_or(&self.uncounted_series),
            scheme: context.scheme,
            received_at: came,
            observer,
        };
        let received = self.read_event(request, context, &target, trigger).await;
        let received = received.map_err(|refused| {
            call.series.refused.increment();
            refused.observe(observer, Some(call.series.observed()), arrival)
        })?;
        self.handle_event(received, &target, call).await
    }

    /// Reads the event, and the header fields beside it where they are passed on.
    ///
    /// # Errors
    /// If the Trigger has another uid, the sender may not send, or the request is no event.
    async fn read_event(
        &self,
        request: Request<RequestBody>,
        context: &mut RequestContext,
        target: &TriggerRequestTarget<'_>,
        trigger: &TriggerRelay,
    ) -> Result<TriggerEvent, Box<RefusedEvent>> {
        // The uid comes first: an event for an older Trigger of this name is not for this one.
        if trigger.uid.as_deref().is_some_and(|uid| uid != target.uid) {
            return Err(RefusedEvent::unread(other_uid(), request.headers()));
        }
        let access = trigger.authorization.as_ref();
        let identified = self.relay.identify_sender(access, request.headers()).await;
        let sender = match identified {
            Ok(sender) => sender,
            // Upstream reports what is wrong with an event before it refuses its sender.
            Err(denial) => {
                let read = self.relay.read_refused(request, context, decode_event);
                let event = read.await?;
                return Err(RefusedEvent::denied(
                    self.relay.refuse_sender(&denial),
                    event,
                ));
            }
        };
        let message = self.relay.read_request(request, context).await?;
        // Copied before decoding takes the header fields apart.
        let headers = (target.role != DestinationRole::Subscriber).then(|| message.headers.clone());
        let event = decode_event(message)?;
        if let Err(response) = self.relay.authorize(access, &sender, &event) {
            return Err(RefusedEvent::denied(response, event));
        }
        let headers = headers.unwrap_or_default();
        Ok(TriggerEvent { event, headers })
    }

    /// Sends the event to where the target says. Only the subscriber's events are filtered; replies
    /// and dead letters go on as they are.
    async fn handle_event(
        &self,
        received: TriggerEvent,
        target: &TriggerRequestTarget<'_>,
        call: TriggerRequest<'_>,
    ) -> Result<RelayResponse, RelayResponse> {
        call.observe(&received.event, &ObservedFact::Received);
        let address = match target.role {
            DestinationRole::Subscriber => return self.filter_and_send(received.event, call).await,
            DestinationRole::Reply => call.trigger.broker.as_ref().ok_or_else(|| {
                let text = "the broker of this trigger is gone: create it";
                call.refuse(&received.event, StatusCode::NOT_FOUND, text)
            })?,
            DestinationRole::DeadLetterSink => match &call.trigger.dead_letter_sink {
                Some(sink) => sink,
                None => return Ok(self.lose_event(&received.event, &target.trigger, call)),
            },
        };
        let to = TriggerDestination {
            role: target.role,
            address,
            event: &received.event,
        };
        self.send_unfiltered(&received, call, to).await
    }

    /// Counts and logs a dead letter for which there is no dead letter sink; its sender is told
    /// that it was taken.
    fn lose_event(&self, event: &Event, trigger: &str, call: TriggerRequest<'_>) -> RelayResponse {
        self.relay.counters.lost.increment();
        call.record_lost(event);
        if call.series.is_first_loss() {
            tracing::error!(
                trigger,
                event.id = %WireText::new(event.id()),
                "Event lost: there is no dead letter sink"
            );
        }
        RelayResponse::from_status(StatusCode::OK)
    }

    /// Sends the event to the subscriber if it passes the filter, as contract BF-7 to BF-13 say.
    async fn filter_and_send(
        &self,
        mut event: Event,
        call: TriggerRequest<'_>,
    ) -> Result<RelayResponse, RelayResponse> {
        let trigger = call.trigger;
        // The hop count is the broker's own: neither filter nor subscriber sees it, a reply gets it
        // back.
        let ttl = take_broker_ttl(&mut event);
        let ttl = ttl.ok_or_else(|| {
            let text =
                "knativebrokerttl is missing or no integer: only events of a broker are taken here";
            call.refuse(&event, StatusCode::BAD_REQUEST, text)
        })?;
        let address = trigger.subscriber.as_ref().ok_or_else(|| {
            let text = "the subscriber of this trigger is not resolved";
            call.refuse(&event, StatusCode::NOT_FOUND, text)
        })?;
        let decision = trigger.filter.decide(&event);
        let counters = &self.relay.counters;
        if !counters.count_filter_decision(call.series, decision) {
            let reason = explain::explain(&trigger.filter, &event).unwrap_or_default();
            call.observe(&event, &ObservedFact::Filtered(&reason));
            return Ok(RelayResponse::from_status(StatusCode::OK));
        }
        let request = RelayRequest::new(&self.relay.tracer, &event, trigger.format);
        let to = TriggerDestination {
            role: DestinationRole::Subscriber,
            address,
            event: &event,
        };
        self.send_and_respond(request, call, to, Some(ttl)).await
    }

    /// Sends the event as it came (contract BF-16), with the header fields that came with it,
    /// except those that are not for others.
    async fn send_unfiltered(
        &self,
        received: &TriggerEvent,
        call: TriggerRequest<'_>,
        to: TriggerDestination<'_>,
    ) -> Result<RelayResponse, RelayResponse> {
        let TriggerEvent { event, headers } = received;
        let mut request = RelayRequest::new(&self.relay.tracer, event, DeliveryFormat::Binary);
        for (name, value) in headers.iter().filter(|(name, _)| is_passed_on(name)) {
            // The trace context of the request's span goes before one that came and is none.
            if !(TraceContext::is_header(name) && request.has_trace()) {
                request.headers_mut().append(name.clone(), value.clone());
            }
        }
        request.forward_all_fields();
        self.send_and_respond(request, call, to, None).await
    }

    /// Sends a request once, and gives the response. `ttl` is set on an event that the response
    /// holds.
    async fn send_and_respond(
        &self,
        mut request: RelayRequest,
        call: TriggerRequest<'_>,
        to: TriggerDestination<'_>,
        ttl: Option<i32>,
    ) -> Result<RelayResponse, RelayResponse> {
        if let Ok(namespace) = HeaderValue::from_str(&call.trigger.namespace) {
            let headers = request.headers_mut();
            headers.insert(knative::NAMESPACE_HEADER, namespace);
        }
        let (in_flight, start) = (call.series.in_flight.enter(), request.start());
        call.record_started(&start);
        let sender = call.trigger.sender.as_ref();
        let answer = self.relay.send(request, sender, to.address).await;
        drop(in_flight);
        call.record_sent(to, &start, &answer);
        let ended = self
            .relay
            .convert_response(answer, call.trigger, to.address, ttl);
        call.record_ended(to.event, &ended);
        ended
    }
}

impl<T: HttpTransport> RequestHandler for BrokerFilter<T> {
    async fn handle(
        &self,
        request: Request<RequestBody>,
        context: &mut RequestContext,
    ) -> Response<Full<Bytes>> {
        let scheme = context.scheme;
        self.relay
            .respond(scheme, "POST", self.accept(request, context))
            .await
    }
}

fn bad_path() -> RelayResponse {
    RelayResponse::from_text(
        StatusCode::BAD_REQUEST,
        "the path must be /triggers/NAMESPACE/NAME/UID",
    )
}

fn no_trigger() -> RelayResponse {
    RelayResponse::from_text(
        StatusCode::NOT_FOUND,
        "no trigger of this name: check the path",
    )
}

fn other_uid() -> RelayResponse {
    RelayResponse::from_text(
        StatusCode::BAD_REQUEST,
        "the trigger has another uid: it was made anew",
    )
}

/// An event for a Trigger, with the header fields that came beside it where they are passed on.
struct TriggerEvent {
    event: Event,
    headers: HeaderMap,
}

/// Takes the hops that the event has left; `None` if it has none that is an integer.
fn take_broker_ttl(event: &mut Event) -> Option<i32> {
    let ttl = event.get(knative::BROKER_TTL)?.parse().ok()?;
    event.remove(knative::BROKER_TTL);
    Some(ttl)
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

/// Decodes the event of a request, which is not validated (contract BF-6).
fn decode_event(received: ReceivedRequest) -> Result<Event, Box<RefusedEvent>> {
    let ReceivedRequest {
        headers,
        body,
        memory_share,
        attribute_limit,
        trace,
    } = received;
    let trace = trace.or_else(|| TraceContext::from_headers(&headers));
    let refused = |text: String| {
        let response = RelayResponse::from_text(StatusCode::BAD_REQUEST, text);
        RefusedEvent::invalid(response, Event::empty(SpecVersion::V1_0))
    };
    match binding::decode_reply(headers, &body, attribute_limit) {
        Ok(Some(event)) => Ok(event.with_guard(Arc::new(memory_share)).with_trace(trace)),
        Ok(None) => Err(refused(
            "not a CloudEvent: send ce-specversion or application/cloudevents+json".to_owned(),
        )),
        Err(error) => Err(refused(error.to_string())),
    }
}
