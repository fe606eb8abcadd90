//! One client: requests and their answers over pooled connections that trust the same certificates.
//!
//! It repeats a request only where nobody began with it, or where a redirect asks for that. Then it is made anew: that is
//! rare, and a copy of each request would not be free.

use std::error::Error;

use bytes::Bytes;
use http::header::{HeaderValue, USER_AGENT};
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::connector::Connector;
use super::{KEEP_ALIVE, Limits, TransportError, redirect};
use crate::model::Endpoint;

const AGENT: HeaderValue = HeaderValue::from_static(concat!("sealpost/", env!("CARGO_PKG_VERSION")));
/// A request that the peer did not begin with is repeated this often.
const REFUSALS: usize = 2;

/// Connections to destinations of the same trust.
pub struct Client(legacy::Client<Connector, Full<Bytes>>);

/// Where a request goes.
struct Way<'a> {
    to: &'a Endpoint,
    /// Whether it has left the origin that its secrets are for.
    is_foreign: bool,
}

impl Way<'_> {
    /// The request as it sets out, to this address.
    fn begin(&self, mut request: Request<Bytes>, uri: &Uri) -> Request<Full<Bytes>> {
        *request.uri_mut() = uri.clone();
        request.headers_mut().entry(USER_AGENT).or_insert(AGENT);
        if self.is_foreign {
            redirect::drop_secrets(request.headers_mut());
        }
        request.map(Full::new)
    }
}

impl Client {
    pub(super) fn new(connector: Connector, limits: &Limits) -> Self {
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

    /// The answer to the request that is made, after the redirects that are followed.
    pub(super) async fn send(
        &self,
        mut make: impl FnMut() -> Request<Bytes> + Send,
        to: &Endpoint,
    ) -> Result<Response<Incoming>, TransportError> {
        let response = self.once(&mut make, Way { to, is_foreign: false }).await?;
        match redirect::target(to, &response) {
            Some(next) => Box::pin(self.follow(make, to, next.into(), response)).await,
            None => Ok(response),
        }
    }

    async fn follow(
        &self,
        mut make: impl FnMut() -> Request<Bytes> + Send,
        from: &Endpoint,
        to: Endpoint,
        mut response: Response<Incoming>,
    ) -> Result<Response<Incoming>, TransportError> {
        let mut is_foreign = from.origin() != to.origin();
        let mut at = to;
        for _ in 0..redirect::MAX_REDIRECTS {
            response = self.once(&mut make, Way { to: &at, is_foreign }).await?;
            let Some(next) = redirect::target(&at, &response) else { break };
            is_foreign |= at.origin() != next.origin();
            at = next.into();
        }
        Ok(response)
    }

    async fn once(
        &self,
        make: &mut (impl FnMut() -> Request<Bytes> + Send),
        way: Way<'_>,
    ) -> Result<Response<Incoming>, TransportError> {
        let Some(uri) = way.to.uri() else {
            return Err(TransportError::Request("no request can carry this URL".to_owned()));
        };
        let mut refusals = 0;
        loop {
            match self.0.request(way.begin(make(), uri)).await {
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
