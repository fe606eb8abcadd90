//! The role `ingress`: events for Brokers go to the Brokers' channels (contract BI-1 to BI-10, A-20
//! to A-28).

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;

use super::RelayDependencies;
use super::broker_request::BrokerRequest;
use super::refused_event::RefusedEvent;
use super::relay_request::{RelayRequest, RelaySendError};
use super::response::RelayResponse;
use crate::auth::{AccessDenial, SenderIdentity};
use crate::client::HttpTransport;
use crate::event::{Event, SpecVersion, http as binding};
use crate::ingress::request_reader::ReceivedRequest;
use crate::model::{Addressable, BrokerRelay, DeliveryFormat, ServiceAccount};
use crate::observation::{EventArrival, ObservedEnd, ObservedFact, ObservedRefusal};
use crate::router::enter_broker;
use crate::server::{RequestBody, RequestContext, RequestHandler};
use crate::telemetry::series::ArrivalOutcome;

/// Takes events for Brokers, and sends them once to the Broker's channel.
pub struct BrokerIngress<T> {
    relay: RelayDependencies<T>,
    max_ttl: i32,
}

impl<T: HttpTransport> BrokerIngress<T> {
    /// Makes an ingress that lets events pass `max_ttl` brokers.
    #[must_use]
    pub fn new(relay: RelayDependencies<T>, max_ttl: i32) -> Self {
        Self { relay, max_ttl }
    }

    /// Takes the steps of contract BI-3, in that order, except that no large body is read of a
    /// sender who may not send.
    ///
    /// # Errors
    /// If the event is refused; the error is the response.
    async fn accept(
        &self,
        request: Request<RequestBody>,
        context: &mut RequestContext,
    ) -> Result<RelayResponse, RelayResponse> {
        match *request.method() {
            Method::POST => {}
            Method::OPTIONS => return Ok(RelayResponse::options()),
            _ => return Err(RelayResponse::method_not_allowed()),
        }
        let (via, peer) = (context.scheme.as_str(), context.peer);
        let mut arrival = EventArrival { via, by: "", peer };
        let observer = &self.relay.counters.observer;
        let unaddressed = |response| {
            RefusedEvent::unread(response, request.headers()).observe(observer, None, arrival)
        };
        let path = parse_broker_path(&request).map_err(unaddressed)?;
        // One table is used for the whole request, even if it is replaced meanwhile.
        let serving = self.relay.router.served_table();
        let call = BrokerRequest::look_up(&serving, &path, context.scheme);
        // Before the body is read, Broker and sender must be known.
        let access = call.broker.and_then(|broker| broker.authorization.as_ref());
        let identified = self.relay.identify_sender(access, request.headers()).await;
        let (broker, sender) = match (call.broker, identified) {
            (Some(broker), Ok(sender)) => (broker, sender),
            (known, identified) => {
                let denial = identified.err().filter(|_| known.is_some());
                let refused = self.refuse(request, context, denial).await;
                return Err(call.refuse(refused, observer, arrival));
            }
        };
        let event = self.read_event(request, context, broker, &sender).await;
        let event = event.map_err(|refused| call.refuse(refused, observer, arrival))?;
        arrival.by = sender.subject();
        self.observe(&event, call, &ObservedFact::Accepted(arrival));
        self.send_to_broker(&event, broker, call).await
    }

    /// Tells observers what has happened to an event.
    fn observe(&self, event: &Event, call: BrokerRequest<'_>, fact: &ObservedFact<'_>) {
        if let Some(broker) = call.observed() {
            self.relay.counters.observer.observe(event, broker, fact);
        }
    }

    /// Refuses a request for a Broker that is not known, or of a sender who may not send. Upstream
    /// reports what is wrong with an event first, whatever else is wrong.
    async fn refuse(
        &self,
        request: Request<RequestBody>,
        context: &mut RequestContext,
        denial: Option<AccessDenial>,
    ) -> Box<RefusedEvent> {
        let read = self.relay.read_refused(request, context, decode_event);
        let event = match read.await {
            Ok(event) => event,
            Err(malformed) => return malformed,
        };
        let response = match denial {
            Some(denial) => self.relay.refuse_sender(&denial),
            None => no_broker(),
        };
        RefusedEvent::denied(response, event)
    }

    /// Reads the event, which its sender may send, and counts its hop into the Broker.
    ///
    /// # Errors
    /// If the request holds no valid event, its sender may not send it, or it has no hop left.
    async fn read_event(
        &self,
        request: Request<RequestBody>,
        context: &mut RequestContext,
        broker: &BrokerRelay,
        sender: &SenderIdentity,
    ) -> Result<Event, Box<RefusedEvent>> {
        let message = self.relay.read_request(request, context).await?;
        let mut event = decode_event(message)?;
        // With the event at hand, the policies that filter events can decide.
        let access = broker.authorization.as_ref();
        if let Err(response) = self.relay.authorize(access, sender, &event) {
            return Err(RefusedEvent::denied(response, event));
        }
        self.relay
            .event_types
            .observe(broker.event_types.as_ref(), &event);
        // The hop is counted last, so that a refused event has the response of its own fault.
        match enter_broker(&mut event, self.max_ttl) {
            Ok(()) => Ok(event),
            Err(refusal) => {
                let response = RelayResponse::from_text(refusal.status(), &refusal);
                Err(RefusedEvent::new(refusal.arrival(), response, event))
            }
        }
    }

    /// Sends the event to the Broker's channel, and counts what became of it.
    ///
    /// # Errors
    /// If the channel is not known, or does not take the event; the error is the response.
    async fn send_to_broker(
        &self,
        event: &Event,
        broker: &BrokerRelay,
        call: BrokerRequest<'_>,
    ) -> Result<RelayResponse, RelayResponse> {
        let Some(channel) = &broker.channel else {
            call.count_arrival(ArrivalOutcome::Unavailable);
            let text = "the channel of this broker is not known yet: see the broker's status";
            self.observe(event, call, &refused_by_channel(text));
            return Err(RelayResponse::from_text(
                StatusCode::INTERNAL_SERVER_ERROR,
                text,
            ));
        };
        let request = RelayRequest::new(&self.relay.tracer, event, DeliveryFormat::Binary);
        let start = request.start();
        let answer = self
            .send_to_channel(request, broker.sender.as_ref(), channel)
            .await;
        call.record_forwarded(&answer, channel, &start);
        let observed = match &answer {
            Ok(_) => ObservedFact::Ended(ObservedEnd::Delivered, "to the channel of the broker"),
            Err(why) => refused_by_channel(why),
        };
        self.observe(event, call, &observed);
        answer.map_err(|why| {
            let text =
                format!("the channel of this broker did not take the event ({why}): send it again");
            RelayResponse::from_text(StatusCode::INTERNAL_SERVER_ERROR, text)
        })
    }

    /// Sends the request to the Broker's channel in one attempt (contract BI-8, BI-9); gives the
    /// status of a success.
    ///
    /// # Errors
    /// If there is no success, in words.
    async fn send_to_channel(
        &self,
        request: RelayRequest,
        sender: Option<&Arc<ServiceAccount>>,
        channel: &Addressable,
    ) -> Result<RelayResponse, String> {
        match self.relay.send(request, sender, channel).await {
            Ok(answer) if answer.status().is_success() => {
                self.relay.counters.accepted.increment();
                Ok(RelayResponse::from_status(answer.status()))
            }
            Ok(answer) => Err(format!("it answered {}", answer.status())),
            Err(RelaySendError::Transport(error)) => Err(error.reason().to_owned()),
            Err(RelaySendError::Token(error)) => Err(error.to_string()),
        }
    }
}

impl<T: HttpTransport> RequestHandler for BrokerIngress<T> {
    async fn handle(
        &self,
        request: Request<RequestBody>,
        context: &mut RequestContext,
    ) -> Response<Full<Bytes>> {
        let scheme = context.scheme;
        self.relay
            .respond(scheme, "POST, OPTIONS", self.accept(request, context))
            .await
    }
}

/// The refusal of an event that came, as the channel of the Broker did not take it.
fn refused_by_channel(why: &str) -> ObservedFact<'_> {
    ObservedFact::Refused(ObservedRefusal {
        status: Some(StatusCode::INTERNAL_SERVER_ERROR.as_u16()),
        reason: why,
        ..ObservedRefusal::default()
    })
}

fn no_broker() -> RelayResponse {
    RelayResponse::from_text(
        StatusCode::NOT_FOUND,
        "no broker at this address: check /NAMESPACE/NAME",
    )
}

/// Takes `/namespace/name` from a request target, which must be just that; a query belongs to the
/// name (contract BI-2).
///
/// # Errors
/// If the target is something else; the error is the response.
fn parse_broker_path(request: &Request<RequestBody>) -> Result<String, RelayResponse> {
    let target = request
        .uri()
        .path_and_query()
        .map_or("/", http::uri::PathAndQuery::as_str);
    if target == "/" {
        return Err(no_broker());
    }
    let target = target.strip_suffix('/').unwrap_or(target);
    if target.split('/').count() == 3 {
        return Ok(target.to_owned());
    }
    Err(RelayResponse::from_text(
        StatusCode::BAD_REQUEST,
        "the path must be /NAMESPACE/NAME of a broker",
    ))
}

/// Decodes the valid event of a request; a batch has to be taken apart by its sender.
fn decode_event(received: ReceivedRequest) -> Result<Event, Box<RefusedEvent>> {
    let refused = |error| RelayResponse::from_text(StatusCode::BAD_REQUEST, error);
    let ReceivedRequest {
        headers,
        body,
        memory_share,
        attribute_limit,
        trace,
    } = received;
    let first = |events: Vec<Event>| events.into_iter().next();
    let unknown = || Event::empty(SpecVersion::V1_0);
    let events =
        binding::decode_in_trace(headers, body, attribute_limit, trace).map_err(|undecoded| {
            let event = first(undecoded.events).unwrap_or_else(unknown);
            RefusedEvent::invalid(refused(undecoded.error.to_string()), event)
        })?;
    let [event] = <[Event; 1]>::try_from(events).map_err(|batch| {
        let text = "a batch is not taken here: send events one by one".to_owned();
        RefusedEvent::invalid(refused(text), first(batch).unwrap_or_else(unknown))
    })?;
    Ok(event.with_guard(Arc::new(memory_share)))
}
