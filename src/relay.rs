//! The roles `ingress` and `filter`: one request in, one request out, one response back. They are
//! what upstream's mt-broker-ingress and mt-broker-filter are on the wire (contract BI-1 to BI-11,
//! BF-1 to BF-16), so that either can stand beside its Go neighbours.
//!
//! No event is kept here: the sender waits, and tries again if it must.

mod broker_filter;
mod broker_ingress;
mod response;
mod trace;
mod trigger_request;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use tokio::time::Instant;

use crate::auth::token_cache::TokenError;
use crate::auth::{AccessDenial, RequestCredentials, SenderAuthorizer, SenderIdentity, TokenCache};
use crate::channel;
use crate::client::{self, HttpTransport, TransportError};
use crate::event::{Event, knative};
use crate::event_type::EventTypeObserver;
use crate::ingress::request_reader::{ReceivedRequest, RequestReader};
use crate::model::{Addressable, DeliveryFormat, SenderAuthorization, ServiceAccount, UriScheme};
use crate::router::Router;
use crate::server::RequestBody;
use crate::telemetry::counters::ProcessCounters;
use crate::telemetry::series::{RelayDurations, SchemeDurations};
use crate::telemetry::span_attributes;

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

    /// Response that says what is wrong with a request that is refused anyway, if its body is small
    /// and there.
    async fn decode_error_response(
        &self,
        request: Request<RequestBody>,
        decode: EventDecoder,
    ) -> Option<RelayResponse> {
        decode(Box::pin(self.request_reader.read_refused(request)).await?).err()
    }

    /// Sends an event once, with a token if the destination wants one.
    ///
    /// # Errors
    /// If no token is to be had, so that nothing is sent; or if no response comes.
    async fn send(
        &self,
        mut request: Request<Bytes>,
        sender: Option<&Arc<ServiceAccount>>,
        to: &Addressable,
    ) -> Result<Response<Bytes>, RelaySendError> {
        let mut span = trace::start_client_span(self.router.tracer(), request.headers_mut());
        if let Some(proof) = self.tokens.authorization_for(sender, to).await? {
            request.headers_mut().insert(AUTHORIZATION, proof);
        }
        // The duration counts from here: waiting for a token is not the destination's time.
        let started = Instant::now();
        let sent = self
            .transport
            .send(|| request.clone(), to, self.timeout)
            .await;
        let bytes = request.body().len();
        let result = sent
            .as_ref()
            .map(|answer| answer.status().as_u16())
            .map_err(TransportError::reason);
        self.counters
            .series
            .record_sent(result.ok(), started.elapsed(), bytes, span.recorded());
        span_attributes::set_response_attributes(&mut span, result);
        Ok(sent?)
    }
}

/// Function that decodes the event of a request, in the way of its role.
type EventDecoder = fn(ReceivedRequest) -> Result<Event, RelayResponse>;

/// Durations of the events that came by this scheme.
fn scheme_series(relayed: &RelayDurations, scheme: UriScheme) -> &SchemeDurations {
    match scheme {
        UriScheme::Http => &relayed.http,
        UriScheme::Https => &relayed.https,
    }
}

/// Reason for which an event has no response.
#[derive(Debug, thiserror::Error)]
enum RelaySendError {
    /// There was no token to prove who sends, so nothing was sent.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The event was sent, and there was no response.
    #[error(transparent)]
    Transport(#[from] TransportError),
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

/// Builds a request with this event, its forwarded fields, and `Prefer: reply`.
fn build_request(event: &Event, format: DeliveryFormat) -> Request<Bytes> {
    let mut request = client::event_request(event, format);
    request
        .headers_mut()
        .insert(knative::PREFER_HEADER, HeaderValue::from_static("reply"));
    request
}

/// Header fields of a response that are passed on: those that are forwarded with an event, too
/// (contract CR-29).
fn forwarded_headers(headers: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for (name, value) in headers
        .iter()
        .filter(|(name, _)| knative::is_forwarded(name))
    {
        kept.append(name.clone(), value.clone());
    }
    kept
}
