//! One connection that speaks HTTP/2 (RFC 9113), for all requests to a host.
//!
//! The protocol is that of the crate `h2`. hyper's client above it would hold 18 KiB more for each connection: a queue of
//! requests, which a connection has anyway.

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

/// Fields whose values are ours, the same in each request.
const CONSTANT: [HeaderName; 3] =
    [USER_AGENT, HeaderName::from_static("prefer"), HeaderName::from_static("ce-specversion")];

/// Bytes of an answer's head at most, where each field counts 32 more than it has (RFC 9113, 6.5.2): what may come by
/// HTTP/1.1 may come here, too.
const MAX_HEAD: u32 = 256 * 1024;
/// Bytes of answers that a peer may send ahead, on one stream and on all of a connection.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 5 << 20;
/// Streams at once before the peer has said how many it takes (RFC 9113, 6.5.2, recommends not less).
const FIRST_STREAMS: usize = 100;
/// How long a peer may take nothing more of a body before the rest is given up.
const STALL: Duration = Duration::from_secs(60);

/// Where requests are handed in. Clones share the connection, which ends after the last of them.
#[derive(Clone)]
pub(super) struct Http2Connection {
    requests: SendRequest<Bytes>,
    state: Arc<Http2ConnectionState>,
}

/// What is known of a connection.
#[derive(Debug, Default)]
struct Http2ConnectionState {
    /// It takes no more requests.
    is_closed: AtomicBool,
    /// The peer did not answer a `PING`.
    is_silent: AtomicBool,
    /// Requests whose answers are not read to their ends.
    requests_in_flight: AtomicUsize,
}

/// A request that is under way, until this is dropped.
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

/// The body of an answer.
pub(super) struct Http2Body {
    stream: RecvStream,
    /// Bytes that are still to come, if the peer has said how many there are.
    remaining_bytes: Option<usize>,
    request_guard: Http2RequestGuard,
}

/// A request that is handed in; its answer is to be waited for.
pub(super) struct Http2Exchange {
    response: ResponseFuture,
    request_guard: Http2RequestGuard,
}

/// Agrees with the peer on how to speak.
///
/// # Errors
/// If the connection breaks before that.
pub(super) async fn handshake(stream: CountedStream) -> Result<Http2Connection, TransportError> {
    let mut builder = Builder::new();
    builder.enable_push(false).initial_max_send_streams(FIRST_STREAMS).max_header_list_size(MAX_HEAD);
    builder.initial_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
    // What a peer would have remembered holds the buffer that it came in, for as long as the connection lives.
    builder.header_table_size(0);
    let state = Arc::new(Http2ConnectionState::default());
    let (requests, mut driver) = builder.handshake(stream).await.map_err(|error| transport_error(&error, &state))?;
    let pings = driver.ping_pong();
    // It ends soon after the last clone of the connection is dropped.
    Handle::current().spawn(drive_connection(driver, pings, Arc::clone(&state)));
    Ok(Http2Connection { requests, state })
}

/// Moves frames until the connection ends, or the peer is silent. What ends it is told to its requests.
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

/// Returns when the peer has not answered a `PING` in time. It is asked only while answers are waited for.
async fn wait_for_ping_timeout(pings: Option<PingPong>, state: &Http2ConnectionState) {
    let Some(mut pings) = pings else { return std::future::pending().await };
    loop {
        tokio::time::sleep(KEEP_ALIVE).await;
        if state.requests_in_flight.load(Ordering::Acquire) == 0 {
            continue;
        }
        match tokio::time::timeout(KEEP_ALIVE, pings.ping(Ping::opaque())).await {
            Ok(Ok(_pong)) => {}
            // The connection ends by itself.
            Ok(Err(_)) => std::future::pending().await,
            Err(_elapsed) => return,
        }
    }
}

impl Http2Connection {
    /// Whether it takes no more requests.
    pub(super) fn is_closed(&self) -> bool {
        self.state.is_closed.load(Ordering::Acquire)
    }

    /// Hands in a request.
    ///
    /// # Errors
    /// If the connection takes no more: nothing of it was sent.
    pub(super) async fn start_request(self, request: Request<Bytes>) -> Result<Http2Exchange, RequestFailure> {
        let Self { requests, state } = self;
        let unsent = |error: h2::Error| {
            // A peer that goes away finishes what it has begun with, which may take long; whoever comes next goes elsewhere.
            state.is_closed.store(true, Ordering::Release);
            RequestFailure::NotSent(transport_error(&error, &state))
        };
        let mut requests = requests.ready().await.map_err(unsent)?;
        let (mut head, body) = request.into_parts();
        index_constant_fields_only(&mut head.headers);
        head.headers.insert(CONTENT_LENGTH, body.len().into());
        let (answer, stream) = requests.send_request(Request::from_parts(head, ()), body.is_empty()).map_err(unsent)?;
        if !body.is_empty() {
            send_body(stream, body);
        }
        Ok(Http2Exchange { response: answer, request_guard: Http2RequestGuard::new(&state) })
    }
}

/// Sends a body: now, if the peer takes all of it, else as it does, in the background. Whoever has accepted a request is
/// still to get the rest of it.
fn send_body(mut stream: SendStream<Bytes>, body: Bytes) {
    stream.reserve_capacity(body.len());
    if stream.capacity() < body.len() {
        // It ends with the connection, or when the peer stalls.
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
            match tokio::time::timeout(STALL, poll_fn(|context| stream.poll_capacity(context))).await {
                Ok(Some(Ok(granted))) => capacity = granted,
                // The peer wants no more of it, or is gone.
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

/// Keeps what differs from request to request out of the table of fields that a connection remembers (RFC 7541, 2.3.2). It
/// would drive out what does not, and each value would hold the buffer that its event was read into.
fn index_constant_fields_only(headers: &mut HeaderMap) {
    for (name, value) in headers.iter_mut() {
        if !CONSTANT.contains(name) {
            value.set_sensitive(true);
        }
    }
}

impl Http2Exchange {
    /// The head of the answer.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn read_response(self) -> Result<Response<Http2Body>, RequestFailure> {
        let Self { response: answer, request_guard: under_way } = self;
        match answer.await {
            Ok(answer) => {
                let length = answer.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
                Ok(answer.map(|stream| Http2Body { stream, remaining_bytes: length, request_guard: under_way }))
            }
            Err(error) => {
                let failed = transport_error(&error, &under_way.0);
                Err(if is_not_processed(&error) {
                    RequestFailure::NotProcessed(failed)
                } else if error.is_remote() && error.reason() == Some(Reason::HTTP_1_1_REQUIRED) {
                    // Which the peer says of one stream or of all.
                    RequestFailure::Http11Required(failed)
                } else {
                    RequestFailure::MaybeProcessed(failed)
                })
            }
        }
    }
}

impl Http2Body {
    /// The next piece; `None` after the last one. Trailers are nothing.
    ///
    /// # Errors
    /// If it breaks off.
    pub(super) async fn next_data(&mut self) -> Result<Option<Bytes>, TransportError> {
        match self.stream.data().await {
            None => Ok(None),
            Some(Ok(piece)) => {
                self.remaining_bytes = self.remaining_bytes.map(|left| left.saturating_sub(piece.len()));
                // Of a stream that has ended, nothing needs to be released.
                drop(self.stream.flow_control().release_capacity(piece.len()));
                Ok(Some(piece))
            }
            Some(Err(error)) if self.is_complete(&error) => Ok(None),
            Some(Err(error)) => Err(transport_error(&error, &self.request_guard.0)),
        }
    }

    /// Whether the answer is whole although its stream was reset: the peer does not want the rest of the request, which it
    /// says by `NO_ERROR` after its answer only (RFC 9113, 8.1), and some by `CANCEL`.
    fn is_complete(&self, error: &h2::Error) -> bool {
        match error.reason().filter(|_| error.is_reset() && error.is_remote()) {
            Some(Reason::NO_ERROR) => true,
            Some(Reason::CANCEL) => self.remaining_bytes == Some(0),
            _ => false,
        }
    }
}

/// Whether the peer says that it did not begin with the request: it is closing the connection, or has too many streams
/// (RFC 9113, 8.7).
fn is_not_processed(error: &h2::Error) -> bool {
    let closing = error.is_go_away() && error.reason() == Some(Reason::NO_ERROR);
    let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    error.is_remote() && (closing || refused)
}

/// What has happened.
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
