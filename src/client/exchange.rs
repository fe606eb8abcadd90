//! One client: requests and their answers over pooled connections that trust the same certificates.
//!
//! It repeats a request only where nobody began with it, or where a redirect asks for that.

use std::error::Error;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{HeaderValue, USER_AGENT};
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;

use super::connector::{Connector, Elsewhere};
use super::{KEEP_ALIVE, Limits, TransportError, redirect};
use crate::model::Endpoint;
use crate::telemetry::series::Traffic;

const AGENT: HeaderValue = HeaderValue::from_static(concat!("sealpost/", env!("CARGO_PKG_VERSION")));
/// A request that the peer did not begin with is repeated this often.
const REFUSALS: usize = 2;

/// Connections to destinations of the same trust.
pub struct Client(legacy::Client<Connector, Full<Bytes>>);

/// What is sent, as often as it takes.
struct Outgoing {
    method: Method,
    headers: HeaderMap,
    body: Bytes,
}

impl Outgoing {
    fn to(&self, uri: &Uri) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

impl Client {
    pub(super) fn new(tls: ClientConfig, elsewhere: Option<Elsewhere>, limits: &Limits, traffic: Arc<Traffic>) -> Self {
        let connector = Connector::new(tls, elsewhere, limits.connect_timeout, traffic);
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(limits.pool_idle_timeout)
            .pool_max_idle_per_host(limits.pool_idle_per_host)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .http2_keep_alive_timeout(KEEP_ALIVE);
        Self(builder.build(connector))
    }

    /// The answer to a request, after the redirects that are followed.
    pub(super) async fn send(
        &self,
        request: Request<Bytes>,
        to: &Endpoint,
    ) -> Result<Response<Incoming>, TransportError> {
        let (parts, body) = request.into_parts();
        let mut outgoing = Outgoing { method: parts.method, headers: parts.headers, body };
        outgoing.headers.entry(USER_AGENT).or_insert(AGENT);
        let response = self.once(&outgoing, to).await?;
        match redirect::target(to, &response) {
            Some(next) => Box::pin(self.follow(outgoing, to, next.into(), response)).await,
            None => Ok(response),
        }
    }

    async fn follow(
        &self,
        mut outgoing: Outgoing,
        from: &Endpoint,
        to: Endpoint,
        mut response: Response<Incoming>,
    ) -> Result<Response<Incoming>, TransportError> {
        redirect::keep_secrets(&mut outgoing.headers, from, &to);
        let mut at = to;
        for _ in 0..redirect::MAX_REDIRECTS {
            response = self.once(&outgoing, &at).await?;
            let Some(next) = redirect::target(&at, &response) else { break };
            redirect::keep_secrets(&mut outgoing.headers, &at, &next);
            at = next.into();
        }
        Ok(response)
    }

    async fn once(&self, outgoing: &Outgoing, to: &Endpoint) -> Result<Response<Incoming>, TransportError> {
        let Some(uri) = to.uri() else {
            return Err(TransportError::Request("no request can carry this URL".to_owned()));
        };
        let mut refusals = 0;
        loop {
            match self.0.request(outgoing.to(uri)).await {
                Err(error) if refusals < REFUSALS && is_refusal(&error) => refusals += 1,
                answer => return Ok(answer?),
            }
        }
    }
}

/// Whether the peer says that it did not begin with the request: it is closing the connection, or has too many streams
/// (RFC 9113, 8.7). A pooled connection that turns out to be closed is dealt with by the pool.
fn is_refusal(error: &legacy::Error) -> bool {
    let cause = error.source().and_then(Error::source).and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| {
        let closing = cause.is_go_away() && cause.reason() == Some(h2::Reason::NO_ERROR);
        let refused = cause.is_reset() && cause.reason() == Some(h2::Reason::REFUSED_STREAM);
        cause.is_remote() && (closing || refused)
    })
}
