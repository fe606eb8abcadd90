//! One connection that speaks HTTP/2 (RFC 9113), for all requests to a host.

use std::error::Error;

use bytes::Bytes;
use http::header::USER_AGENT;
use http::{HeaderMap, HeaderName, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http2};
use hyper::rt::Executor;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use super::KEEP_ALIVE;
use super::counted::Counted;
use super::error::Failure;

/// Fields whose values are ours, the same in each request.
const CONSTANT: [HeaderName; 3] =
    [USER_AGENT, HeaderName::from_static("prefer"), HeaderName::from_static("ce-specversion")];

/// Where requests are handed in. Clones share the connection, which ends after the last of them.
pub(super) type Connection = http2::SendRequest<Full<Bytes>>;

/// Bytes of an answer's head at most, where each field counts 32 more than it has (RFC 9113, 6.5.2): what may come by
/// HTTP/1.1 may come here, too.
const MAX_HEAD: u32 = 256 * 1024;

type Unsent = TrySendError<Request<Full<Bytes>>>;

/// Agrees with the peer on how to speak.
pub(super) async fn handshake(stream: Counted) -> hyper::Result<Connection> {
    let executor = TokioExecutor::new();
    let mut builder = http2::Builder::new(executor.clone());
    builder.timer(TokioTimer::new()).keep_alive_interval(KEEP_ALIVE).keep_alive_timeout(KEEP_ALIVE);
    builder.max_header_list_size(MAX_HEAD);
    // What a peer would have remembered holds the buffer that it came in, for as long as the connection lives.
    builder.header_table_size(0);
    let (connection, driver) = builder.handshake(TokioIo::new(stream)).await?;
    // What ends the connection is told to its requests.
    executor.execute(async move { drop(driver.await) });
    Ok(connection)
}

/// Sends a request; the head of its answer is to be waited for.
pub(super) fn begin(
    mut connection: Connection,
    request: Request<Bytes>,
) -> impl Future<Output = Result<Response<Incoming>, Unsent>> {
    let mut request = request.map(Full::new);
    remember_constants_only(request.headers_mut());
    connection.try_send_request(request)
}

/// Keeps what differs from request to request out of the table of fields that a connection remembers (RFC 7541, 2.3.2). It
/// would drive out what does not, and each value would hold the buffer that its event was read into.
fn remember_constants_only(headers: &mut HeaderMap) {
    for (name, value) in headers.iter_mut() {
        if !CONSTANT.contains(name) {
            value.set_sensitive(true);
        }
    }
}

/// The head of the answer.
pub(super) async fn answer(
    begun: impl Future<Output = Result<Response<Incoming>, Unsent>>,
) -> Result<Response<Incoming>, Failure> {
    begun.await.map_err(|failed| {
        let is_unsent = failed.message().is_some();
        let error = failed.into_error();
        if is_unsent {
            Failure::NotBegun(error.into())
        } else if is_refusal(&error) {
            Failure::Refused(error.into())
        } else if wants_http1(&error) {
            Failure::WantsHttp1(error.into())
        } else {
            Failure::Begun(error.into())
        }
    })
}

/// Whether the peer wants this by HTTP/1.1, which it says of one stream or of all.
fn wants_http1(error: &hyper::Error) -> bool {
    let cause = cause(error);
    cause.is_some_and(|cause| cause.is_remote() && cause.reason() == Some(h2::Reason::HTTP_1_1_REQUIRED))
}

fn cause(error: &hyper::Error) -> Option<&h2::Error> {
    error.source().and_then(|cause| cause.downcast_ref())
}

/// Whether the peer says that it did not begin with the request: it is closing the connection, or has too many streams
/// (RFC 9113, 8.7).
fn is_refusal(error: &hyper::Error) -> bool {
    cause(error).is_some_and(|cause| {
        let closing = cause.is_go_away() && cause.reason() == Some(h2::Reason::NO_ERROR);
        let refused = cause.is_reset() && cause.reason() == Some(h2::Reason::REFUSED_STREAM);
        cause.is_remote() && (closing || refused)
    })
}
