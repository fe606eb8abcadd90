//! The roles `ingress` and `filter`: one request in, one request out, one answer back. What upstream's mt-broker-ingress
//! and mt-broker-filter are on the wire (data-plane.md §6), so that either can stand beside its Go neighbours.
//!
//! Nothing is kept here: the sender waits, and tries again if it must.

mod answer;
mod broker;
mod trigger;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use http_body_util::Full;

use crate::client::{Transport, TransportError};
use crate::event::{Event, http as binding, knative};
use crate::ingress::entrance::Entrance;
use crate::model::{Addressable, Format, Scheme};
use crate::router::Router;
use crate::telemetry::counters::Counters;

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
    /// Bounds the way there and back. Upstream knows no limit but the sender's patience (BI-8, BF-9).
    pub timeout: Duration,
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
        let answer = if self.entrance.admits(mode, scheme) { accepted.await } else { Err(Answer::wrong_scheme(mode)) };
        answer
            .unwrap_or_else(|refused| {
                self.counters.refused.increment();
                refused
            })
            .into_response(allow)
    }

    /// Sends an event once.
    async fn send(&self, request: Request<Bytes>, to: &Addressable) -> Result<Response<Bytes>, TransportError> {
        self.transport.send(request, to, self.timeout).await
    }
}

/// A request with this event, what is forwarded beside it, and `Prefer: reply`.
fn request(event: &Event, format: Format) -> Request<Bytes> {
    let (mut headers, body) = match format {
        Format::Binary => (binding::binary_headers(event), event.data().clone()),
        Format::Json => binding::structured(event),
    };
    for (name, value) in event.forwarded() {
        headers.append(name.clone(), value.clone());
    }
    headers.insert(knative::PREFER_HEADER, HeaderValue::from_static("reply"));
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.headers_mut() = headers;
    request
}

/// The headers of an answer that are passed on: those that are forwarded with an event, too (CR-29).
fn passed_through(headers: HeaderMap) -> HeaderMap {
    let mut last: Option<HeaderName> = None;
    let mut kept = HeaderMap::new();
    for (name, value) in headers {
        last = name.or(last);
        if let Some(name) = last.as_ref().filter(|name| knative::is_forwarded(name)) {
            kept.append(name.clone(), value);
        }
    }
    kept
}
