//! The roles `ingress` and `filter`: one request in, one request out, one answer back. What upstream's mt-broker-ingress
//! and mt-broker-filter are on the wire (contract BI-1 to BI-11, BF-1 to BF-16), so that either can stand beside its Go
//! neighbours.
//!
//! Nothing is kept here: the sender waits, and tries again if it must.

mod answer;
mod broker;
mod call;
mod trace;
mod trigger;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use tokio::time::Instant;

use crate::auth::token::TokenError;
use crate::auth::{Credentials, Denial, Gate, Sender, Tokens};
use crate::channel;
use crate::client::{self, Transport, TransportError};
use crate::event::{Event, knative};
use crate::event_type::EventTypes;
use crate::ingress::entrance::{Entrance, Message};
use crate::model::{Access, Addressable, Format, Scheme, ServiceAccount};
use crate::router::Router;
use crate::server::Incoming;
use crate::telemetry::counters::Counters;
use crate::telemetry::series::{OfScheme, Relayed};
use crate::telemetry::traced;

use answer::Answer;

pub use broker::BrokerIngress;
pub use trigger::TriggerFilter;

/// What both roles work with.
pub struct Relay<T> {
    /// Sends.
    pub transport: Arc<T>,
    /// Knows the table.
    pub router: Arc<Router>,
    /// Reads requests.
    pub entrance: Entrance,
    /// Bounds the way there and back. Upstream knows no limit but the sender's patience (contract BI-8, BF-9).
    pub timeout: Duration,
    /// Knows who sends.
    pub gate: Arc<Gate>,
    /// Proves who sends.
    pub tokens: Arc<Tokens>,
    /// Sees events.
    pub event_types: EventTypes,
    /// Counts.
    pub counters: Arc<Counters>,
}

impl<T: Transport> Relay<T> {
    /// The response to a request, which is accepted only if the mode takes events by its scheme. `allow` are the methods
    /// of the endpoint.
    async fn respond(
        &self,
        scheme: Scheme,
        allow: &'static str,
        accepted: impl Future<Output = Result<Answer, Answer>>,
    ) -> Response<Full<Bytes>> {
        let mode = self.router.serving().table.transport_encryption();
        let answer = match self.entrance.admit(mode, scheme) {
            Ok(()) => accepted.await,
            Err(wrong) => Err(Answer::text(StatusCode::NOT_FOUND, wrong)),
        };
        answer
            .unwrap_or_else(|refused| {
                self.counters.refused.increment();
                refused
            })
            .into_response(allow)
    }

    /// Who sends, if there is anything that they may send. It is asked before a request is read.
    async fn identify(&self, access: Option<&Access>, headers: &HeaderMap) -> Result<Sender, Denial> {
        let credentials = Credentials::of(headers, access);
        self.gate.identify(access, &credentials).await
    }

    /// Refuses who may not send.
    fn refuse(&self, denial: &Denial) -> Answer {
        self.gate.count(denial);
        denied(denial)
    }

    /// Lets in an event whose sender may send it.
    fn authorize(&self, access: Option<&Access>, sender: &Sender, event: &Event) -> Result<(), Answer> {
        let authorized = self.gate.authorize(access, sender, std::slice::from_ref(event));
        authorized.map_err(|denial| denied(&denial))
    }

    /// What is wrong with a request that is refused anyway, if that can be told at no cost.
    async fn malformed(&self, request: Request<Incoming>, decode: Decode) -> Option<Answer> {
        decode(Box::pin(self.entrance.glance(request)).await?).err()
    }

    /// Sends an event once, with a token if the destination wants one. Without one that is to be had, it is not sent.
    async fn send(
        &self,
        mut request: Request<Bytes>,
        sender: Option<&Arc<ServiceAccount>>,
        to: &Addressable,
    ) -> Result<Response<Bytes>, Unsent> {
        let mut span = trace::begin(self.router.tracer(), request.headers_mut());
        if let Some(proof) = self.tokens.proof(sender, to).await? {
            request.headers_mut().insert(AUTHORIZATION, proof);
        }
        let started = Instant::now();
        let sent = self.transport.send(|| request.clone(), to, self.timeout).await;
        let bytes = request.body().len();
        let result = sent.as_ref().map(|answer| answer.status().as_u16()).map_err(TransportError::reason);
        self.counters.series.sent(result.ok(), started.elapsed(), bytes);
        traced::answered(&mut span, result);
        Ok(sent?)
    }
}

/// How a request is read as an event.
type Decode = fn(Message) -> Result<Event, Answer>;

/// What is counted of the events that came by this scheme.
fn of_scheme(relayed: &Relayed, scheme: Scheme) -> &OfScheme {
    match scheme {
        Scheme::Http => &relayed.http,
        Scheme::Https => &relayed.https,
    }
}

/// Why an event has no answer.
#[derive(Debug, thiserror::Error)]
enum Unsent {
    /// It could not be proved who sends.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// It was sent in vain.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

fn denied(denial: &Denial) -> Answer {
    let answer = Answer::text(denial.status(), denial);
    match denial {
        Denial::Unavailable(_) => {
            let seconds = HeaderValue::from(channel::RETRY_AFTER.as_secs());
            answer.with_headers(HeaderMap::from_iter([(RETRY_AFTER, seconds)]))
        }
        _ => answer,
    }
}

/// A request with this event, what is forwarded beside it, and `Prefer: reply`.
fn request(event: &Event, format: Format) -> Request<Bytes> {
    let mut request = client::request(event, format);
    request.headers_mut().insert(knative::PREFER_HEADER, HeaderValue::from_static("reply"));
    request
}

/// The headers of an answer that are passed on: those that are forwarded with an event, too (contract CR-29).
fn passed_through(headers: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for (name, value) in headers.iter().filter(|(name, _)| knative::is_forwarded(name)) {
        kept.append(name.clone(), value.clone());
    }
    kept
}
