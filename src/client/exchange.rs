//! One client: requests and their answers over pooled connections that trust the same certificates.
//!
//! It repeats a request only where nobody began with it, or where a redirect asks for that. Then it is made anew: that is
//! rare, and a copy of each request would not be free.

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, HeaderValue, USER_AGENT};
use http::{Request, Response, Uri};

use super::answer::Body;
use super::connector::Connector;
use super::error::Failure;
use super::pool::{Connected, Pool};
use super::{Limits, TransportError, fields, redirect};
use crate::model::Endpoint;

const AGENT: HeaderValue = HeaderValue::from_static(concat!("sealpost/", env!("CARGO_PKG_VERSION")));
/// Whoever compresses without being asked to gets no further: an event that is compressed is not read.
const IDENTITY: HeaderValue = HeaderValue::from_static("identity");
/// A request that the peer did not begin with is repeated this often.
const REFUSALS: usize = 2;

/// Connections to destinations of the same trust.
pub struct Client(Pool);

/// Where a request goes.
struct Way<'a> {
    to: &'a Endpoint,
    /// Whether it has left the origin that its secrets are for.
    is_foreign: bool,
}

impl Way<'_> {
    /// The request as it sets out, to this address.
    fn begin(&self, mut request: Request<Bytes>, uri: &Uri) -> Request<Bytes> {
        *request.uri_mut() = uri.clone();
        fields::admit(&mut request);
        request.headers_mut().entry(USER_AGENT).or_insert(AGENT);
        request.headers_mut().entry(ACCEPT_ENCODING).or_insert(IDENTITY);
        if self.is_foreign {
            redirect::drop_secrets(request.headers_mut());
        }
        request
    }
}

impl Client {
    pub(super) fn new(connector: Connector, limits: &Limits) -> Self {
        Self(Pool::new(connector, limits))
    }

    /// Closes connections that are idle for too long, or that the peer has closed.
    pub(super) fn sweep(&self) {
        self.0.sweep();
    }

    /// Closes connections that nobody uses.
    pub(super) fn close_idle(&self) {
        self.0.close_idle();
    }

    /// The answer to the request that is made, after the redirects that are followed.
    pub(super) async fn send(
        &self,
        mut make: impl FnMut() -> Request<Bytes> + Send,
        to: &Endpoint,
    ) -> Result<Response<Body>, TransportError> {
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
        mut response: Response<Body>,
    ) -> Result<Response<Body>, TransportError> {
        let mut is_foreign = from.origin() != to.origin();
        let mut at = to;
        for _ in 0..redirect::MAX_REDIRECTS {
            drop(response);
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
    ) -> Result<Response<Body>, TransportError> {
        let found = way.to.uri().and_then(|uri| Some((uri, self.0.host(uri)?)));
        let Some((uri, host)) = found else {
            return Err(TransportError::Request("no request can carry this URL".to_owned()));
        };
        let mut refusals = 0;
        loop {
            let kept = host.take();
            let is_new = kept.is_none();
            let connected = match kept {
                Some(connected) => connected,
                None => Box::pin(self.0.connect(&host, uri)).await?,
            };
            let request = way.begin(make(), uri);
            let answer = match connected {
                Connected::Http1(connection) => {
                    let begun = connection.begin(request, &host);
                    begun.answer(&host).await.map(|answer| answer.map(Body::Http1))
                }
                Connected::Http2(connection) => match connection.begin(request).await {
                    Ok(begun) => begun.answer().await.map(|answer| answer.map(Body::Http2)),
                    Err(unsent) => Err(unsent),
                },
            };
            match answer {
                Err(Failure::NotBegun(_)) if !is_new => {}
                Err(Failure::WantsHttp1(_)) if host.turn_to_http1() => {}
                Err(Failure::NotBegun(_) | Failure::Refused(_)) if refusals < REFUSALS => refusals += 1,
                answer => return Ok(answer?),
            }
        }
    }
}
