//! The roles `ingress` and `filter`: one request in, one request out, one response back. They are
//! what upstream's mt-broker-ingress and mt-broker-filter are on the wire (contract BI-1 to BI-11,
//! BF-1 to BF-16), so that either can stand beside its Go neighbours.
//!
//! No event is kept here: the sender waits, and tries again if it must.

mod broker_filter;
mod broker_ingress;
mod broker_request;
mod destination_response;
mod refused_event;
mod relay_request;
mod response;
mod trigger_request;
mod trigger_target;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;

use crate::auth::{AccessDenial, RequestCredentials, SenderAuthorizer, SenderIdentity, TokenCache};
use crate::channel;
use crate::client::HttpTransport;
use crate::event::{Event, announced_event};
use crate::event_type::EventTypeObserver;
use crate::ingress::request_reader::{ReceivedRequest, RequestReader};
use crate::model::{SenderAuthorization, UriScheme};
use crate::router::Router;
use crate::server::{RequestBody, RequestContext};
use crate::telemetry::counters::ProcessCounters;
use crate::telemetry::series::{RelayDurations, SchemeDurations};
use crate::telemetry::tracer::Tracer;
use refused_event::RefusedEvent;
use response::RelayResponse;

pub use broker_filter::BrokerFilter;
pub use broker_ingress::BrokerIngress;

/// Dependencies that both roles share.
pub struct RelayDependencies<T> {
    /// Sends the requests to destinations.
    pub transport: Arc<T>,
    /// Holds the served table, with Brokers, Triggers and their counters.
    pub router: Arc<Router>,
    /// Reads the requests within their limits.
    pub request_reader: RequestReader,
    /// Timeout from sending a request to its response. Upstream knows no limit but the sender's
    /// patience (contract BI-8, BF-9).
    pub timeout: Duration,
    /// Authenticates and authorizes senders.
    pub sender_authorizer: Arc<SenderAuthorizer>,
    /// Tokens by which this process proves who sends.
    pub tokens: Arc<TokenCache>,
    /// Observes events, of which `EventType`s are made.
    pub event_types: EventTypeObserver,
    /// Counters of the process.
    pub counters: Arc<ProcessCounters>,
    /// Starts the spans of requests that go out.
    pub tracer: Tracer,
}

impl<T: HttpTransport> RelayDependencies<T> {
    /// Gives the response to a request, which is accepted only if the mode takes events by its
    /// scheme. `allow` are the methods of the endpoint.
    async fn respond(
        &self,
        scheme: UriScheme,
        allow: &'static str,
        accepted: impl Future<Output = Result<RelayResponse, RelayResponse>>,
    ) -> Response<Full<Bytes>> {
        let mode = self.router.served_table().table.transport_encryption();
        let answer = match self.request_reader.check_scheme(mode, scheme) {
            Ok(()) => accepted.await,
            Err(wrong) => Err(RelayResponse::from_text(StatusCode::NOT_FOUND, wrong)),
        };
        answer
            .unwrap_or_else(|refused| {
                self.counters.refused.increment();
                refused
            })
            .into_response(allow)
    }

    /// Authenticates the sender, before the request's body is read.
    ///
    /// # Errors
    /// If the sender is not known, or may send nothing here.
    async fn identify_sender(
        &self,
        access: Option<&SenderAuthorization>,
        headers: &HeaderMap,
    ) -> Result<SenderIdentity, AccessDenial> {
        let credentials = RequestCredentials::of_headers(headers, access);
        self.sender_authorizer
            .authenticate(access, &credentials)
            .await
    }

    /// Counts a sender that may not send, and gives the response.
    fn refuse_sender(&self, denial: &AccessDenial) -> RelayResponse {
        self.sender_authorizer.count_denial(denial);
        denied_response(denial)
    }

    /// Checks that the sender may send this event.
    ///
    /// # Errors
    /// If it may not; the error is the response.
    fn authorize(
        &self,
        access: Option<&SenderAuthorization>,
        sender: &SenderIdentity,
        event: &Event,
    ) -> Result<(), RelayResponse> {
        let authorized =
            self.sender_authorizer
                .authorize(access, sender, std::slice::from_ref(event));
        authorized.map_err(|denial| denied_response(&denial))
    }

    /// Reads the event of a request that is refused anyway, if its body is small and there; what
    /// its header fields announce if it is not.
    ///
    /// # Errors
    /// If there is something wrong with the event, too.
    async fn read_refused(
        &self,
        request: Request<RequestBody>,
        context: &mut RequestContext,
        decode: EventDecoder,
    ) -> Result<Event, Box<RefusedEvent>> {
        let announced = announced_event(request.headers());
        match Box::pin(self.request_reader.read_refused(request, context)).await {
            Some(received) => decode(received),
            None => Ok(announced),
        }
    }

    /// Reads a request as a whole.
    ///
    /// # Errors
    /// If that is not possible.
    async fn read_request(
        &self,
        request: Request<RequestBody>,
        context: &mut RequestContext,
    ) -> Result<ReceivedRequest, Box<RefusedEvent>> {
        let read = self.request_reader.read_request(request, context).await;
        read.map_err(|unread| {
            let response = RelayResponse::from_body_error(&unread.error);
            RefusedEvent::unread(response, &unread.headers)
        })
    }
}

/// Function that decodes the event of a request, in the way of its role.
type EventDecoder = fn(ReceivedRequest) -> Result<Event, Box<RefusedEvent>>;

/// Durations of the events that came by this scheme.
fn scheme_series(relayed: &RelayDurations, scheme: UriScheme) -> &SchemeDurations {
    match scheme {
        UriScheme::Http => &relayed.http,
        UriScheme::Https => &relayed.https,
    }
}

fn denied_response(denial: &AccessDenial) -> RelayResponse {
    let answer = RelayResponse::from_text(denial.status(), denial);
    match denial {
        AccessDenial::KeysUnavailable(_) => {
            let seconds = HeaderValue::from(channel::RETRY_AFTER.as_secs());
            answer.with_headers(HeaderMap::from_iter([(RETRY_AFTER, seconds)]))
        }
        _ => answer,
    }
}
