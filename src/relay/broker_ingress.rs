//! The role `ingress`: events for Brokers go to the Brokers' channels (contract BI-1 to BI-10, A-20
//! to A-28).

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;

use super::RelayDependencies;
use super::broker_request::BrokerRequest;
use super::relay_request::{RelayRequest, RelaySendError};
use super::response::RelayResponse;
use crate::auth::{AccessDenial, SenderIdentity};
use crate::client::HttpTransport;
use crate::event::{Event, http as binding};
use crate::ingress::request_reader::ReceivedRequest;
use crate::model::{Addressable, BrokerRelay, DeliveryFormat, ServiceAccount};
use crate::observation::{EventArrival, ObservedEnd, ObservedFact};
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
        let path = parse_broker_path(&request)?;
        // One table is used for the whole request, even if it is replaced meanwhile.
        let serving = self.relay.router.served_table();
        let call = BrokerRequest::look_up(&serving, &path, context.scheme);
        let (via, peer) = (context.scheme.as_str(), context.peer);
        // Before the body is read, Broker and sender must be known.
        let access = call.broker.and_then(|broker| broker.authorization.as_ref());
        let identified = self.relay.identify_sender(access, request.headers()).await;
        let (broker, sender) = match (call.broker, identified) {
            (Some(broker), Ok(sender)) => (broker, sender),
            (known, identified) => {
                let denial = identified.err().filter(|_| known.is_some());
                return Err(self.refuse(request, context, call, denial).await);
            }
        };
        let event = self.read_event(request, context, broker, &sender).await;
        let event = event.map_err(|refusal| {
            if let Some(arrival) = refusal.arrival {
                call.count_arrival(arrival);
            }
            refusal.response
        })?;
        let arrival = EventArrival {
            via,
            by: sender.subject(),
            peer,
        };
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
        call: BrokerRequest<'_>,
        denial: Option<AccessDenial>,
    ) -> RelayResponse {
        let malformed = self
            .relay
            .decode_error_response(request, context, decode_event)
            .await;
        if let Some(malformed) = malformed {
            call.count_arrival(ArrivalOutcome::Invalid);
            return malformed;
        }
        call.count_arrival(ArrivalOutcome::Denied);
        match denial {
            Some(denial) => self.relay.refuse_sender(&denial),
            None => no_broker(),
        }
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
    ) -> Result<Event, RefusedEvent> {
        let message = self
            .relay
            .request_reader
            .read_request(request, context)
            .await
            .map_err(|error| RefusedEvent::uncounted(RelayResponse::from_body_error(&error)))?;
        let mut event = decode_event(message)
            .map_err(|response| RefusedEvent::new(ArrivalOutcome::Invalid, response))?;
        // With the event at hand, the policies that filter events can decide.
        self.relay
            .authorize(broker.authorization.as_ref(), sender, &event)
            .map_err(|response| RefusedEvent::new(ArrivalOutcome::Denied, response))?;
        self.relay
            .event_types
            .observe(broker.event_types.as_ref(), &event);
        // The hop is counted last, so that a refused event has the response of its own fault.
        enter_broker(&mut event, self.max_ttl).map_err(|refusal| {
            let response = RelayResponse::from_text(refusal.status(), &refusal);
            RefusedEvent::new(refusal.arrival(), response)
        })?;
        Ok(event)
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
            self.observe(event, call, &ObservedFact::Refused(text));
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
            Err(why) => ObservedFact::Refused(why),
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

/// An event that is refused: the response, and as what its arrival is counted.
struct RefusedEvent {
    arrival: Option<ArrivalOutcome>,
    response: RelayResponse,
}

impl RefusedEvent {
    fn new(arrival: ArrivalOutcome, response: RelayResponse) -> Self {
        Self {
            arrival: Some(arrival),
            response,
        }
    }

    /// A request that was not read, so that no event has arrived.
    fn uncounted(response: RelayResponse) -> Self {
        Self {
            arrival: None,
            response,
        }
    }
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
fn decode_event(received: ReceivedRequest) -> Result<Event, RelayResponse> {
    let refused = |error| RelayResponse::from_text(StatusCode::BAD_REQUEST, error);
    let ReceivedRequest {
        headers,
        body,
        memory_share,
        attribute_limit,
        trace,
    } = received;
    let events = binding::decode_in_trace(headers, body, attribute_limit, trace)
        .map_err(|error| refused(error.to_string()))?;
    let [event] = <[Event; 1]>::try_from(events).map_err(|_batch| {
        refused("a batch is not taken here: send events one by one".to_owned())
    })?;
    Ok(event.with_guard(Arc::new(memory_share)))
}
