//! A client connection that speaks HTTP/2 (RFC 9113), shared by all requests to a host.
//!
//! The protocol is that of the crate `h2`. hyper's client on top of it would hold 18 KiB more for
//! each connection, for a queue of requests that a connection of `h2` has anyway.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, Connection as Driver, ResponseFuture, SendRequest};
use h2::{Ping, PingPong, Reason, RecvStream, SendStream};
use http::header::{CONTENT_LENGTH, USER_AGENT};
use http::{HeaderMap, HeaderName, Request, Response};
use tokio::runtime::Handle;

use super::counted_stream::CountedStream;
use super::error::RequestFailure;
use super::{KEEP_ALIVE, TransportError};

/// The fields whose values are set by this process and are the same in each request.
const CONSTANT: [HeaderName; 3] = [
    USER_AGENT,
    HeaderName::from_static("prefer"),
    HeaderName::from_static("ce-specversion"),
];

/// Longest head of a response in bytes, where each field counts 32 more than it has (RFC 9113,
/// 6.5.2): a head that may come over HTTP/1.1 may come over HTTP/2, too.
const MAX_HEAD: u32 = 256 * 1024;
/// Bytes of responses that a peer may send ahead, on one stream and on all streams of a connection.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 5 << 20;
/// Number of streams that are opened at once before the peer has announced its limit (RFC 9113,
/// 6.5.2, recommends not less).
const FIRST_STREAMS: usize = 100;
/// Longest time for which a peer may take nothing more of a request body; after that the rest is
/// given up.
const STALL: Duration = Duration::from_secs(60);

/// The handle by which requests are sent. Clones share the connection, which ends after the last of
/// them is dropped.
#[derive(Clone)]
pub(super) struct Http2Connection {
    requests: SendRequest<Bytes>,
    state: Arc<Http2ConnectionState>,
}

/// The state of a connection that its driver and its requests share.
#[derive(Debug, Default)]
struct Http2ConnectionState {
    /// True if the connection takes no more requests.
    is_closed: AtomicBool,
    /// True if the peer did not answer a `PING` in time.
    is_silent: AtomicBool,
    /// Number of requests whose responses are not read to their end.
    requests_in_flight: AtomicUsize,
}

/// Counts a request as in flight until it is dropped.
struct Http2RequestGuard(Arc<Http2ConnectionState>);

impl Http2RequestGuard {
    fn new(state: &Arc<Http2ConnectionState>) -> Self {
        state.requests_in_flight.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(state))
    }
}

impl Drop for Http2RequestGuard {
    fn drop(&mut self) {
        self.0.requests_in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The body of a response over HTTP/2.
pub(super) struct Http2Body {
    stream: RecvStream,
    /// Bytes that are still to come, if the peer has sent a `Content-Length`.
    remaining_bytes: Option<usize>,
    request_guard: Http2RequestGuard,
}

/// A request that was sent, whose response is to be waited for.
pub(super) struct Http2Exchange {
    response: ResponseFuture,
    request_guard: Http2RequestGuard,
}

/// Does the handshake of HTTP/2 on this stream, and starts the task that drives the connection.
///
/// # Errors
/// Fails if the connection breaks before the handshake is done.
pub(super) async fn handshake(stream: CountedStream) -> Result<Http2Connection, TransportError> {
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_max_send_streams(FIRST_STREAMS)
        .max_header_list_size(MAX_HEAD);
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    // A field that the peer puts into the header table holds the buffer that it came in, for as
    // long as the connection lives; so the table has no room.
    builder.header_table_size(0);
    let state = Arc::new(Http2ConnectionState::default());
    let (requests, mut driver) = builder
        .handshake(stream)
        .await
        .map_err(|error| transport_error(&error, &state))?;
    let pings = driver.ping_pong();
    // The task ends soon after the last clone of the connection is dropped.
    Handle::current().spawn(drive_connection(driver, pings, Arc::clone(&state)));
    Ok(Http2Connection { requests, state })
}

/// Moves frames until the connection ends or the peer is silent. `h2` tells its requests why it
/// ended.
async fn drive_connection(
    driver: Driver<CountedStream, Bytes>,
    pings: Option<PingPong>,
    state: Arc<Http2ConnectionState>,
) {
    tokio::select! {
        ended = driver => {
            if let Err(error) = ended {
                tracing::trace!(%error, "A connection over HTTP/2 has ended");
            }
        }
        () = wait_for_ping_timeout(pings, &state) => state.is_silent.store(true, Ordering::Release),
    }
    state.is_closed.store(true, Ordering::Release);
}

/// Returns when the peer has not answered a `PING` in time. Pings are sent only while responses are
/// waited for.
async fn wait_for_ping_timeout(pings: Option<PingPong>, state: &Http2ConnectionState) {
    let Some(mut pings) = pings else {
        return std::future::pending().await;
    };
    loop {
        tokio::time::sleep(KEEP_ALIVE).await;
        if state.requests_in_flight.load(Ordering::Acquire) == 0 {
            continue;
        }
        match tokio::time::timeout(KEEP_ALIVE, pings.ping(Ping::opaque())).await {
            Ok(Ok(_pong)) => {}
            // The connection has ended, which the driver notices by itself.
            Ok(Err(_)) => std::future::pending().await,
            Err(_elapsed) => return,
        }
    }
}

impl Http2Connection {
    /// Returns true if the connection takes no more requests.
    pub(super) fn is_closed(&self) -> bool {
        self.state.is_closed.load(Ordering::Acquire)
    }

    /// Sends the head of a request and starts to send its body.
    ///
    /// # Errors
    /// Fails if the connection takes no more requests; then nothing of this request was sent.
    pub(super) async fn start_request(
        self,
        request: Request<Bytes>,
    ) -> Result<Http2Exchange, RequestFailure> {
        let Self { requests, state } = self;
        let unsent = |error: h2::Error| {
            // A peer that goes away finishes the requests that it has begun, which may take long;
            // later requests use another connection.
            state.is_closed.store(true, Ordering::Release);
            RequestFailure::NotSent(transport_error(&error, &state))
        };
        let mut requests = requests.ready().await.map_err(unsent)?;
        let (mut head, body) = request.into_parts();
        index_constant_fields_only(&mut head.headers);
        head.headers.insert(CONTENT_LENGTH, body.len().into());
        let head = Request::from_parts(head, ());
        let sent = requests.send_request(head, body.is_empty());
        let (response, stream) = sent.map_err(unsent)?;
        if !body.is_empty() {
            send_body(stream, body);
        }
        let request_guard = Http2RequestGuard::new(&state);
        Ok(Http2Exchange {
            response,
            request_guard,
        })
    }
}

/// Sends a body at once if the peer's window has room for all of it, else in the background as the
/// window grows. A peer that has answered early is still to get the rest of it.
fn send_body(mut stream: SendStream<Bytes>, body: Bytes) {
    stream.reserve_capacity(body.len());
    if stream.capacity() < body.len() {
        // The task ends with the connection, or when the peer takes nothing for too long.
        Handle::current().spawn(send_body_as_window_allows(stream, body));
    } else if let Err(error) = stream.send_data(body, true) {
        tracing::trace!(%error, "A body was not sent");
    }
}

async fn send_body_as_window_allows(mut stream: SendStream<Bytes>, mut body: Bytes) {
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let mut capacity = stream.capacity();
        while capacity == 0 {
            match tokio::time::timeout(STALL, poll_fn(|context| stream.poll_capacity(context)))
                .await
            {
                Ok(Some(Ok(granted))) => capacity = granted,
                // The peer wants no more of the body, or is gone.
                Ok(Some(Err(_)) | None) => return,
                Err(_elapsed) => return stream.send_reset(Reason::CANCEL),
            }
        }
        let piece = body.split_to(capacity.min(body.len()));
        if stream.send_data(piece, body.is_empty()).is_err() {
            return;
        }
    }
}

/// Keeps fields that differ from request to request out of the table of fields that both sides
/// remember (RFC 7541, 2.3.2). They would drive the constant ones out of it, and each value would
/// hold the buffer that its event was read into.
fn index_constant_fields_only(headers: &mut HeaderMap) {
    for (name, value) in headers.iter_mut() {
        if !CONSTANT.contains(name) {
            value.set_sensitive(true);
        }
    }
}

impl Http2Exchange {
    /// Waits for the head of the response, and returns it with a body that is still to be read.
    ///
    /// # Errors
    /// Fails if the stream or the connection ends before the head; the error tells whether the
    /// request may be sent again.
    pub(super) async fn read_response(self) -> Result<Response<Http2Body>, RequestFailure> {
        let Self {
            response,
            request_guard,
        } = self;
        let response = match response.await {
            Ok(response) => response,
            Err(error) => return Err(response_failure(&error, &request_guard.0)),
        };
        let length = response.headers().get(CONTENT_LENGTH);
        let remaining_bytes = length.and_then(|length| length.to_str().ok()?.parse().ok());
        Ok(response.map(|stream| Http2Body {
            stream,
            remaining_bytes,
            request_guard,
        }))
    }
}

/// Returns the failure of a request whose stream or connection has ended before the response.
fn response_failure(error: &h2::Error, state: &Http2ConnectionState) -> RequestFailure {
    let failed = transport_error(error, state);
    if is_not_processed(error) {
        RequestFailure::NotProcessed(failed)
    } else if error.is_remote() && error.reason() == Some(Reason::HTTP_1_1_REQUIRED) {
        // The peer says this of one stream or of the whole connection.
        RequestFailure::Http11Required(failed)
    } else {
        RequestFailure::MaybeProcessed(failed)
    }
}

impl Http2Body {
    /// Returns the next piece of the body; `None` after the last one. Trailers are ignored.
    ///
    /// # Errors
    /// Fails if the body breaks off.
    pub(super) async fn next_data(&mut self) -> Result<Option<Bytes>, TransportError> {
        match self.stream.data().await {
            None => Ok(None),
            Some(Ok(piece)) => {
                self.remaining_bytes = self
                    .remaining_bytes
                    .map(|left| left.saturating_sub(piece.len()));
                // A stream that has ended does not need its window back, so that an error here
                // means nothing.
                drop(self.stream.flow_control().release_capacity(piece.len()));
                Ok(Some(piece))
            }
            Some(Err(error)) if self.is_complete(&error) => Ok(None),
            Some(Err(error)) => Err(transport_error(&error, &self.request_guard.0)),
        }
    }

    /// Returns true if the response is whole although its stream was reset: the peer does not want
    /// the rest of the request, which it says by `NO_ERROR` after its response only (RFC 9113,
    /// 8.1), and some peers by `CANCEL`.
    fn is_complete(&self, error: &h2::Error) -> bool {
        match error
            .reason()
            .filter(|_| error.is_reset() && error.is_remote())
        {
            Some(Reason::NO_ERROR) => true,
            Some(Reason::CANCEL) => self.remaining_bytes == Some(0),
            _ => false,
        }
    }
}

/// Returns true if the peer says that it did not begin to process the request: it is closing the
/// connection, or has too many streams (RFC 9113, 8.7).
fn is_not_processed(error: &h2::Error) -> bool {
    let closing = error.is_go_away() && error.reason() == Some(Reason::NO_ERROR);
    let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    error.is_remote() && (closing || refused)
}

/// Returns the error of a stream or connection: a peer that left a `PING` unanswered, a broken
/// connection, or an error of the protocol.
fn transport_error(error: &h2::Error, state: &Http2ConnectionState) -> TransportError {
    if state.is_silent.load(Ordering::Acquire) {
        let reason = format!("no answer to a PING within {} s", KEEP_ALIVE.as_secs());
        return TransportError::connection_lost(&io::Error::new(io::ErrorKind::TimedOut, reason));
    }
    match error.get_io() {
        Some(error) => TransportError::connection_lost(error),
        None => TransportError::from_http2(error),
    }
}
