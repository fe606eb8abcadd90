//! The listeners: one accept loop for plain and TLS connections, with limits, time limits and a
//! graceful close. They know no events.
//!
//! Both kinds of connection speak HTTP/1.1 and HTTP/2: by prior knowledge on a plain connection, by
//! ALPN under TLS.

pub mod body;
mod connection_activity;
mod handshake_log;
mod lingering_close;
mod request_body;
mod request_context;
mod request_target;
pub mod socket;

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, Version};
use http_body::Body;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::model::UriScheme;
use crate::telemetry::series::ConnectionMetrics;
use connection_activity::{ConnectionActivity, ConnectionTimeout, ReleasedStream, WatchedStream};
use handshake_log::HandshakeLog;
pub use request_body::RequestBody;
pub use request_context::RequestContext;

/// Pause before the next attempt to accept when the system refuses, for example since no file
/// descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Longest time for which a connection stays open after it was asked to close.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);
/// Time for which a connection without a request in flight is kept when the listener stops: its
/// next request may be on the way already.
const STOP_GRACE: Duration = Duration::from_millis(400);
/// Longest rest of a body that nobody reads, in bytes, with which an HTTP/1.1 connection can be
/// used again: so much is likely to be there already.
const LEFT_OVER: u64 = 64 * 1024;

/// Answers the requests of a listener. It runs in the task of the connection: when the peer hangs
/// up, the future is dropped.
pub trait RequestHandler: Send + Sync + 'static {
    /// Returns the response to one request.
    fn handle(
        &self,
        request: Request<RequestBody>,
        context: &mut RequestContext,
    ) -> impl Future<Output = Response<Full<Bytes>>> + Send;
}

/// The limits on what a peer may cost, and the metrics in which connections are counted.
#[derive(Clone, Debug)]
pub struct ListenerLimits {
    /// Connections that may be open at once on one listener; further ones wait in the backlog of
    /// the system. 10,000 by default.
    pub max_connections: usize,
    /// Longest head of a request, in bytes; a longer one is answered 431. 64 KiB by default.
    pub max_header_bytes: usize,
    /// Longest time from the first byte of a request to the end of its head; 10 s by default.
    pub header_read_timeout: Duration,
    /// Longest time for which a connection may be open without a request; 5 minutes by default.
    pub idle_timeout: Duration,
    /// Longest time from accepting a connection to the end of its TLS handshake; 10 s by default.
    pub handshake_timeout: Duration,
    /// The series in which connections and handshakes are counted.
    pub metrics: Arc<ConnectionMetrics>,
}

impl Default for ListenerLimits {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_header_bytes: 64 * 1024,
            header_read_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(300),
            handshake_timeout: Duration::from_secs(10),
            metrics: Arc::default(),
        }
    }
}

/// The parts that every connection of a listener shares.
struct ListenerContext<H> {
    handler: Arc<H>,
    limits: ListenerLimits,
    tls: Option<TlsAcceptor>,
    handshake_log: HandshakeLog,
    http: Builder<TokioExecutor>,
    /// The permits for open connections; `None` on a Unix socket, which has no limit.
    slots: Option<Arc<Semaphore>>,
    stop: CancellationToken,
}

impl<H> ListenerContext<H> {
    /// Returns true if no more connections may be open, so that others may be waiting.
    fn is_full(&self) -> bool {
        self.slots
            .as_ref()
            .is_some_and(|slots| slots.available_permits() == 0)
    }
}

/// Accepts connections until `stop`, then closes the listener, lets running requests finish and
/// returns when the last connection is closed. Dropping the future closes all connections at once.
pub async fn serve<H: RequestHandler>(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    limits: ListenerLimits,
    handler: Arc<H>,
    stop: CancellationToken,
) {
    let slots = Arc::new(Semaphore::new(limits.max_connections));
    let http = http_builder(&limits);
    let tls = tls.map(TlsAcceptor::from);
    let shared = Arc::new(ListenerContext {
        handler,
        limits,
        tls,
        handshake_log: HandshakeLog::default(),
        http,
        slots: Some(Arc::clone(&slots)),
        stop,
    });
    // Every connection is a task of this set, so that none outlives this future.
    let mut connections = JoinSet::new();
    while let Some((stream, slot)) = accept(&listener, &slots, &shared.stop).await {
        // Tasks that have ended are removed here; else the set would grow with each connection.
        while connections.try_join_next().is_some() {}
        if slots.available_permits() == 0 {
            tracing::debug!(
                "As many connections are open as --max-connections allows, further ones wait"
            );
        }
        connections.spawn(accept_tls(stream, slot, Arc::clone(&shared)));
    }
    // A peer that the system has connected before now may have sent a request already, and would be
    // reset when the listener closes. So these connections are accepted, too, as far as there are
    // permits.
    while let Some(Ok((stream, _peer))) = listener.accept().now_or_never() {
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            break;
        };
        connections.spawn(accept_tls(stream, slot, Arc::clone(&shared)));
    }
    // From here on the system refuses new connections, while those that are open finish their
    // requests.
    drop(listener);
    while connections.join_next().await.is_some() {}
}

fn http_builder(limits: &ListenerLimits) -> Builder<TokioExecutor> {
    let mut http = Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(limits.max_header_bytes.max(8192));
    http.http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(256)
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .keep_alive_timeout(Duration::from_secs(20));
    http
}

/// Waits for a permit and the next connection; `None` when the listener stops.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let next = async {
        // The permit comes first: a connection without one waits in the backlog of the system.
        let slot = Arc::clone(slots).acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, _peer)) => return Some((stream, slot)),
                Err(error) => {
                    tracing::warn!(%error, "Could not accept a connection, trying again");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    // The stop is asked first, so that no connection is accepted once it is there.
    tokio::select! {
        biased;
        () = stop.cancelled() => None,
        accepted = next => accepted,
    }
}

async fn accept_tls<H: RequestHandler>(
    stream: TcpStream,
    _slot: OwnedSemaphorePermit,
    listener: Arc<ListenerContext<H>>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "Could not set TCP_NODELAY");
    }
    let metrics = Arc::clone(&listener.limits.metrics);
    // A connection counts from here on, whether or not its handshake succeeds.
    metrics.opened.increment();
    let _open = metrics.open.enter();
    let Some(acceptor) = &listener.tls else {
        return serve_connection(stream, UriScheme::Http, ConnectionActivity::new(), listener)
            .await;
    };
    // The address is asked for before the handshake, which consumes the stream and may fail.
    let peer = stream.peer_addr().ok();
    match tokio::time::timeout(listener.limits.handshake_timeout, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            metrics.handshakes.increment();
            let activity = match stream.get_ref().1.alpn_protocol() {
                Some(b"h2") => ConnectionActivity::new().with_http2(),
                _ => ConnectionActivity::new(),
            };
            serve_connection(stream, UriScheme::Https, activity, listener).await;
        }
        Ok(Err(error)) => {
            metrics.handshakes_failed.increment();
            listener.handshake_log.log_failure(peer, &error);
        }
        Err(_elapsed) => {
            metrics.handshakes_timed_out.increment();
            listener
                .handshake_log
                .log_timeout(peer, listener.limits.handshake_timeout);
        }
    }
}

/// Serves one connection to its end: its requests first, then a lingering close if the peer may
/// still be sending.
async fn serve_connection<H: RequestHandler, S>(
    stream: S,
    scheme: UriScheme,
    activity: ConnectionActivity,
    listener: Arc<ListenerContext<H>>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (activity, released) = (Arc::new(activity), ReleasedStream::default());
    serve_requests(
        WatchedStream::new(stream, Arc::clone(&activity), Arc::clone(&released)),
        scheme,
        &activity,
        &listener,
    )
    .await;
    if let Some(stream) = connection_activity::take_released(&released) {
        Box::pin(lingering_close::close_lingering(stream, &listener.stop)).await;
    }
}

/// Answers one request, by the handler unless the listener answers it by itself.
async fn handle_request<H: RequestHandler>(
    request: Request<hyper::body::Incoming>,
    scheme: UriScheme,
    activity: Arc<ConnectionActivity>,
    listener: Arc<ListenerContext<H>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let version = request.version();
    // The request counts as in flight from here to its response, so that the connection is not idle
    // meanwhile.
    let busy = ConnectionActivity::start_request(&activity, version);
    let is_long = request
        .body()
        .size_hint()
        .exact()
        .is_none_or(|bytes| bytes > LEFT_OVER);
    let request = request.map(|body| RequestBody::new(body, version, &activity));
    let mut response = match request_target::respond_without_handler(&request) {
        Some(response) => response,
        None => {
            let mut context = RequestContext::new(scheme);
            listener.handler.handle(request, &mut context).await
        }
    };
    // While others wait for a connection, each connection is given up after its response, so that
    // all have their turn. A body that is long and was not read costs more than a new connection.
    let is_last = listener.stop.is_cancelled()
        || listener.is_full()
        || (is_long && activity.is_body_unread());
    if version < Version::HTTP_2 && is_last {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    drop(busy);
    Ok(response)
}

/// Answers the requests of one connection until it ends, or a time limit or the stop ends it.
async fn serve_requests<H: RequestHandler, S>(
    stream: WatchedStream<S>,
    scheme: UriScheme,
    activity: &Arc<ConnectionActivity>,
    listener: &Arc<ListenerContext<H>>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request| {
        handle_request(request, scheme, Arc::clone(activity), Arc::clone(listener))
    });
    let mut connection = std::pin::pin!(
        listener
            .http
            .serve_connection(TokioIo::new(stream), service)
    );
    let interruption = |stop| next_close_reason(stop, activity, &listener.limits);
    // The interruptions are polled when they have woken, not whenever the connection has: the stop
    // that they wait for is shared by all connections.
    let mut interruptions = FuturesUnordered::from_iter([interruption(Some(&listener.stop))]);
    let (mut is_told, mut is_stopping) = (false, false);
    // A round ends when a limit has passed or the listener stops. The connection is polled first,
    // so that a response that is ready still goes out.
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(error, "Connection ended");
                    if !activity.is_http2() {
                        // The peer may still be sending what was not understood, so that the close
                        // has to linger.
                        activity.set_body_unread();
                    }
                }
                return;
            }
            Some(interrupted) = interruptions.next() => {
                match interrupted {
                    // A slow head is cut off at once. An idle connection is asked to close, and cut
                    // off if it does not.
                    ConnectionCloseReason::TimedOut(ConnectionTimeout::HeaderRead) => return,
                    ConnectionCloseReason::TimedOut(ConnectionTimeout::Idle) if is_told => return,
                    ConnectionCloseReason::TimedOut(ConnectionTimeout::Idle) => {
                        activity.close_by(if is_stopping { STOP_GRACE } else { CLOSE_LIMIT });
                        is_told = true;
                    }
                    ConnectionCloseReason::Stop => {
                        activity.start_stopping();
                        if is_told {
                            activity.close_by(STOP_GRACE);
                        }
                        // Over HTTP/1.1 the next response asks the peer to close.
                        (is_told, is_stopping) = (is_told || activity.is_http2(), true);
                    }
                }
                if is_told {
                    connection.as_mut().graceful_shutdown();
                }
                // The stop is waited for only once; later interruptions are time limits.
                interruptions.push(interruption((!is_stopping).then_some(&listener.stop)));
            }
        }
    }
}

/// The reasons for which this side closes a connection.
enum ConnectionCloseReason {
    /// The listener stops.
    Stop,
    /// The connection has passed a time limit.
    TimedOut(ConnectionTimeout),
}

/// Waits for the next reason to close a connection. `stop` is `None` for a connection that was told
/// of the stop already.
async fn next_close_reason(
    stop: Option<&CancellationToken>,
    activity: &ConnectionActivity,
    limits: &ListenerLimits,
) -> ConnectionCloseReason {
    let stopped = async {
        match stop {
            Some(stop) => stop.cancelled().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = stopped => ConnectionCloseReason::Stop,
        expired = activity.wait_for_timeout(limits) => ConnectionCloseReason::TimedOut(expired),
    }
}
