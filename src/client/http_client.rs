//! A client: requests and their responses over pooled connections that trust the same certificates.
//!
//! A client repeats a request only if the peer did not begin to process it, or if a redirect asks
//! for that. The request is made anew then: this is rare, and a copy of each request would not be
//! free.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, HeaderValue, USER_AGENT};
use http::{Request, Response, Uri};

use super::connector::ClientConnector;
use super::error::RequestFailure;
use super::pool::{HostConnections, HttpConnectionPool, PooledConnection};
use super::response::ResponseBody;
use super::{ClientLimits, TransportError, header_fields, redirect};
use crate::model::DestinationUrl;

const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("sealpost/", env!("CARGO_PKG_VERSION")));
/// Only identity is accepted: an event that comes compressed is not read.
const IDENTITY: HeaderValue = HeaderValue::from_static("identity");
/// A request that the peer did not begin to process is repeated so many times.
const MAX_REPEATS: usize = 2;

/// The connections to destinations that trust the same certificates.
pub struct HttpClient(HttpConnectionPool);

/// The URL that a request goes to, and whether it may carry credentials.
struct RequestRoute<'a> {
    to: &'a DestinationUrl,
    /// True if redirects have led the request away from the origin that its credentials are for.
    is_other_origin: bool,
}

impl RequestRoute<'_> {
    /// Completes the request for this URI: target, header fields that may leave, and those that the
    /// client adds.
    fn prepare_request(&self, mut request: Request<Bytes>, uri: &Uri) -> Request<Bytes> {
        *request.uri_mut() = uri.clone();
        header_fields::remove_unlisted_fields(&mut request);
        request.headers_mut().entry(USER_AGENT).or_insert(AGENT);
        request
            .headers_mut()
            .entry(ACCEPT_ENCODING)
            .or_insert(IDENTITY);
        if self.is_other_origin {
            redirect::remove_credentials(request.headers_mut());
        }
        request
    }
}

impl HttpClient {
    pub(super) fn new(connector: ClientConnector, limits: &ClientLimits) -> Self {
        Self(HttpConnectionPool::new(connector, limits))
    }

    /// Closes connections that are idle for too long, or that the peer has closed.
    pub(super) fn close_expired(&self) {
        self.0.close_expired();
    }

    /// Closes every connection that no request uses.
    pub(super) fn close_idle(&self) {
        self.0.close_idle();
    }

    /// Sends the request that `make` makes, follows redirects, and returns the last response.
    pub(super) async fn send(
        &self,
        mut make: impl FnMut() -> Request<Bytes> + Send,
        to: &DestinationUrl,
    ) -> Result<Response<ResponseBody>, TransportError> {
        let route = RequestRoute {
            to,
            is_other_origin: false,
        };
        let response = self.send_once(&mut make, route).await?;
        match redirect::redirect_target(to, &response) {
            Some(next) => Box::pin(self.follow_redirects(make, to, next.into(), response)).await,
            None => Ok(response),
        }
    }

    async fn follow_redirects(
        &self,
        mut make: impl FnMut() -> Request<Bytes> + Send,
        from: &DestinationUrl,
        to: DestinationUrl,
        mut response: Response<ResponseBody>,
    ) -> Result<Response<ResponseBody>, TransportError> {
        let mut is_other_origin = from.origin() != to.origin();
        let mut at = to;
        for _ in 0..redirect::MAX_REDIRECTS {
            drop(response);
            let route = RequestRoute {
                to: &at,
                is_other_origin,
            };
            response = self.send_once(&mut make, route).await?;
            let Some(next) = redirect::redirect_target(&at, &response) else {
                break;
            };
            is_other_origin |= at.origin() != next.origin();
            at = next.into();
        }
        Ok(response)
    }

    async fn send_once(
        &self,
        make: &mut (impl FnMut() -> Request<Bytes> + Send),
        route: RequestRoute<'_>,
    ) -> Result<Response<ResponseBody>, TransportError> {
        let unusable = || TransportError::Request("no request can carry this URL".to_owned());
        let uri = route.to.uri().ok_or_else(unusable)?;
        let host = self.0.host(uri).ok_or_else(unusable)?;
        let mut refusals = 0;
        // Each round takes one connection. An idle one may have been closed by the peer unseen:
        // then nothing was sent, and the next round costs no repetition.
        loop {
            let idle = host.take_connection();
            let is_new = idle.is_none();
            let connection = match idle {
                Some(connection) => connection,
                None => Box::pin(self.0.connect(&host, uri)).await?,
            };
            // The request is made after the connection, so that a repetition starts from the
            // untouched original.
            let request = route.prepare_request(make(), uri);
            match exchange(connection, request, &host).await {
                Err(RequestFailure::NotSent(_)) if !is_new => {}
                Err(RequestFailure::Http11Required(_)) if host.switch_to_http1() => {}
                Err(RequestFailure::NotSent(_) | RequestFailure::NotProcessed(_))
                    if refusals < MAX_REPEATS =>
                {
                    refusals += 1
                }
                answer => return Ok(answer?),
            }
        }
    }
}

/// Sends a request over this connection and waits for the head of the response, in the version of
/// HTTP that the connection speaks.
async fn exchange(
    connection: PooledConnection,
    request: Request<Bytes>,
    host: &Arc<HostConnections>,
) -> Result<Response<ResponseBody>, RequestFailure> {
    match connection {
        PooledConnection::Http1(connection) => {
            let exchange = connection.start_request(request, &host.host_field);
            let pool = Arc::<HostConnections>::clone(host);
            let response = exchange.read_response(pool).await?;
            Ok(response.map(ResponseBody::Http1))
        }
        PooledConnection::Http2(connection) => {
            let exchange = connection.start_request(request).await?;
            let response = exchange.read_response().await?;
            Ok(response.map(ResponseBody::Http2))
        }
    }
}
