//! One accept loop for plain and TLS connections: limits, time limits, graceful close. It knows no events.
//!
//! HTTP/1.1 and HTTP/2 on both: by prior knowledge on a plain connection, by ALPN under TLS.

pub mod body;
mod connection_activity;
mod handshake_log;
mod lingering_close;
mod request_body;
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

/// How long accepting pauses when the system has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a connection that is asked to close may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);
/// How long a connection without a request under way is kept at a stop: its next one may be on the way already.
const STOP_GRACE: Duration = Duration::from_millis(400);
/// What is left of a body that nobody reads may be so long for its connection to be used again: it is likely to be there.
const LEFT_OVER: u64 = 64 * 1024;

/// Answers requests. It is called on the connection's task: when the peer hangs up, the future is dropped.
pub trait RequestHandler: Send + Sync + 'static {
    /// Answers one request that came by `scheme`.
    fn handle(
        &self,
        request: Request<RequestBody>,
        scheme: UriScheme,
    ) -> impl Future<Output = Response<Full<Bytes>>> + Send;
}

/// What a peer may cost, and where that is counted.
#[derive(Clone, Debug)]
pub struct ListenerLimits {
    /// Connections open at once on one listener; further ones wait in the system's backlog.
    pub max_connections: usize,
    /// Size of a request's head; more is answered 431.
    pub max_header_bytes: usize,
    /// From a request's first byte to the end of its head.
    pub header_read_timeout: Duration,
    /// How long a connection may be open without a request.
    pub idle_timeout: Duration,
    /// From accepting to the end of the TLS handshake.
    pub handshake_timeout: Duration,
    /// Where connections are counted.
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

/// What every connection of a listener shares.
struct ListenerContext<H> {
    handler: Arc<H>,
    limits: ListenerLimits,
    tls: Option<TlsAcceptor>,
    handshake_log: HandshakeLog,
    http: Builder<TokioExecutor>,
    /// What is left of the connections that may be open; `None` on a socket of the file system, which has no limit.
    slots: Option<Arc<Semaphore>>,
    stop: CancellationToken,
}

impl<H> ListenerContext<H> {
    /// Whether others may be waiting for a connection.
    fn is_full(&self) -> bool {
        self.slots.as_ref().is_some_and(|slots| slots.available_permits() == 0)
    }
}

/// Accepts connections until `stop`, then closes the listener, lets running requests finish and returns when the last
/// connection is closed. Dropping the future closes all connections at once.
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
    let mut connections = JoinSet::new();
    while let Some((stream, slot)) = accept(&listener, &slots, &shared.stop).await {
        while connections.try_join_next().is_some() {}
        if slots.available_permits() == 0 {
            tracing::debug!("As many connections are open as --max-connections allows, further ones wait");
        }
        connections.spawn(accept_tls(stream, slot, Arc::clone(&shared)));
    }
    // Whoever was connected by the system before now has sent a request, perhaps, and would be reset.
    while let Some(Ok((stream, _peer))) = listener.accept().now_or_never() {
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else { break };
        connections.spawn(accept_tls(stream, slot, Arc::clone(&shared)));
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

fn http_builder(limits: &ListenerLimits) -> Builder<TokioExecutor> {
    let mut http = Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(limits.max_header_bytes.max(8192));
    http.http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(256)
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .keep_alive_timeout(Duration::from_secs(20));
    http
}

/// The next connection and its slot; `None` at the stop.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let next = async {
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
    let traffic = Arc::clone(&listener.limits.metrics);
    traffic.opened.increment();
    let _open = traffic.open.enter();
    let Some(acceptor) = &listener.tls else {
        return serve_connection(stream, UriScheme::Http, ConnectionActivity::new(), listener).await;
    };
    let peer = stream.peer_addr().ok();
    match tokio::time::timeout(listener.limits.handshake_timeout, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            traffic.handshakes.increment();
            let activity = match stream.get_ref().1.alpn_protocol() {
                Some(b"h2") => ConnectionActivity::new().with_http2(),
                _ => ConnectionActivity::new(),
            };
            serve_connection(stream, UriScheme::Https, activity, listener).await;
        }
        Ok(Err(error)) => {
            traffic.handshakes_failed.increment();
            listener.handshake_log.log_failure(peer, &error);
        }
        Err(_elapsed) => {
            traffic.handshakes_timed_out.increment();
            listener.handshake_log.log_timeout(peer, listener.limits.handshake_timeout);
        }
    }
}

/// Serves one connection to its end.
async fn serve_connection<H: RequestHandler, S>(
    stream: S,
    scheme: UriScheme,
    activity: ConnectionActivity,
    listener: Arc<ListenerContext<H>>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (activity, left) = (Arc::new(activity), ReleasedStream::default());
    serve_requests(WatchedStream::new(stream, Arc::clone(&activity), Arc::clone(&left)), scheme, &activity, &listener)
        .await;
    if let Some(stream) = connection_activity::take_released(&left) {
        Box::pin(lingering_close::close_lingering(stream, &listener.stop)).await;
    }
}

/// Answers one request.
async fn handle_request<H: RequestHandler>(
    request: Request<hyper::body::Incoming>,
    scheme: UriScheme,
    activity: Arc<ConnectionActivity>,
    listener: Arc<ListenerContext<H>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let version = request.version();
    let busy = ConnectionActivity::start_request(&activity, version);
    let is_long = request.body().size_hint().exact().is_none_or(|bytes| bytes > LEFT_OVER);
    let request = request.map(|body| RequestBody::new(body, version, &activity));
    let mut response = match request_target::respond_without_handler(&request) {
        Some(response) => response,
        None => listener.handler.handle(request, scheme).await,
    };
    // Whoever keeps a connection while others wait for one gives it up with an answer, so that all have their turn.
    let is_last = listener.stop.is_cancelled() || listener.is_full() || (is_long && activity.is_body_unread());
    if version < Version::HTTP_2 && is_last {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    drop(busy);
    Ok(response)
}

/// Answers the requests of one connection.
async fn serve_requests<H: RequestHandler, S>(
    stream: WatchedStream<S>,
    scheme: UriScheme,
    activity: &Arc<ConnectionActivity>,
    listener: &Arc<ListenerContext<H>>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request| handle_request(request, scheme, Arc::clone(activity), Arc::clone(listener)));
    let mut connection = std::pin::pin!(listener.http.serve_connection(TokioIo::new(stream), service));
    let interruption = |stop| next_close_reason(stop, activity, &listener.limits);
    // Polled when it has woken, not whenever the connection has: what it waits for is shared by all connections.
    let mut interruptions = FuturesUnordered::from_iter([interruption(Some(&listener.stop))]);
    let (mut is_told, mut is_stopping) = (false, false);
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(error, "Connection ended");
                    if !activity.is_http2() {
                        // It may still be sending what was not understood.
                        activity.set_body_unread();
                    }
                }
                return;
            }
            Some(interrupted) = interruptions.next() => {
                match interrupted {
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
                        // Over HTTP/1.1 the next answer says so.
                        (is_told, is_stopping) = (is_told || activity.is_http2(), true);
                    }
                }
                if is_told {
                    connection.as_mut().graceful_shutdown();
                }
                interruptions.push(interruption((!is_stopping).then_some(&listener.stop)));
            }
        }
    }
}

/// Why a connection is closed from this side.
enum ConnectionCloseReason {
    /// The listener stops.
    Stop,
    /// A time limit has passed.
    TimedOut(ConnectionTimeout),
}

/// The next reason to close a connection. One that has been told of a stop does not ask for it again.
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
