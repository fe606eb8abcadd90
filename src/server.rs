//! The listeners: one accept loop for plain and TLS connections, with limits, time limits and a
//! graceful close. They know no events.
//!
//! Both kinds of connection speak HTTP/1.1 and HTTP/2: by prior knowledge on a plain connection, by
//! ALPN under TLS.

pub mod body;
mod connection;
mod connection_activity;
mod handshake_log;
mod lingering_close;
mod request_body;
mod request_context;
mod request_target;
mod response_body;
pub(crate) mod socket;
mod watched_stream;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response};
use http_body_util::Full;
use hyper_util::rt::TokioExecutor;
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::model::UriScheme;
use crate::telemetry::series::ConnectionMetrics;
use connection::{http_builder, serve_connection};
use connection_activity::ConnectionActivity;
use handshake_log::HandshakeLog;
pub(crate) use request_body::RequestBody;
pub(crate) use request_context::RequestContext;
pub(crate) use response_body::BodyStream;

/// Pause before the next attempt to accept when the system refuses, for example since no file
/// descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Time for which a connection without a request in flight is kept when the listener stops: its
/// next request may be on the way already.
const STOP_GRACE: Duration = Duration::from_millis(400);

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
    pub(crate) max_connections: usize,
    /// Longest head of a request, in bytes; a longer one is answered 431. 64 KiB by default.
    pub(crate) max_header_bytes: usize,
    /// Longest time from the first byte of a request to the end of its head; 10 s by default.
    pub(crate) header_read_timeout: Duration,
    /// Longest time for which a connection may be open without a request; 5 minutes by default.
    pub(crate) idle_timeout: Duration,
    /// Longest time from accepting a connection to the end of its TLS handshake; 10 s by default.
    pub(crate) handshake_timeout: Duration,
    /// The series in which connections and handshakes are counted.
    pub(crate) metrics: Arc<ConnectionMetrics>,
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
    /// Returns true if each connection is given up after its response: when the listener stops, and
    /// while others wait for a connection, so that all have their turn.
    fn gives_up_connections(&self) -> bool {
        self.stop.is_cancelled() || self.is_full()
    }

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
    limits.metrics.set_limit(limits.max_connections);
    let shared = Arc::new(ListenerContext {
        handler,
        http: http_builder(&limits),
        limits,
        tls: tls.map(TlsAcceptor::from),
        handshake_log: HandshakeLog::default(),
        slots: Some(Arc::clone(&slots)),
        stop,
    });
    // Every connection is a task of this set, so that none outlives this future.
    let mut connections = JoinSet::new();
    accept_until_stop(&listener, &slots, &shared, &mut connections).await;
    for (stream, slot) in accept_backlog(&listener, &slots) {
        connections.spawn(accept_tls(stream, slot, Arc::clone(&shared)));
    }
    // From here on the system refuses new connections, while those that are open finish their
    // requests.
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Accepts connections until the stop, each as far as there are permits.
async fn accept_until_stop<H: RequestHandler>(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
    shared: &Arc<ListenerContext<H>>,
    connections: &mut JoinSet<()>,
) {
    while let Some((stream, slot)) = accept(listener, slots, &shared.stop).await {
        // Tasks that have ended are removed here; else the set would grow with each connection.
        while connections.try_join_next().is_some() {}
        if shared.is_full() {
            tracing::debug!(
                "As many connections are open as --max-connections allows, further ones wait"
            );
        }
        connections.spawn(accept_tls(stream, slot, Arc::clone(shared)));
    }
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

/// Accepts the connections that the system has made before now, as far as there are permits: their
/// peers may have sent a request already, and would be reset when the listener closes.
fn accept_backlog(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Vec<(TcpStream, OwnedSemaphorePermit)> {
    let mut accepted = Vec::new();
    while let Some(Ok((stream, _peer))) = listener.accept().now_or_never() {
        match Arc::clone(slots).try_acquire_owned() {
            Ok(slot) => accepted.push((stream, slot)),
            Err(_full) => break,
        }
    }
    accepted
}

/// Serves one connection, over TLS if the listener has it.
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
    // The address is asked for before the handshake, which consumes the stream and may fail.
    let peer = stream.peer_addr().ok();
    let Some(acceptor) = &listener.tls else {
        let activity = ConnectionActivity::new().with_peer(peer);
        return serve_connection(stream, UriScheme::Http, activity, listener).await;
    };
    let handshake = acceptor.accept(stream);
    serve_tls(handshake, peer, listener).await;
}

/// Serves one connection after its TLS handshake, which is counted, and logged if it fails.
async fn serve_tls<H: RequestHandler>(
    handshake: tokio_rustls::Accept<TcpStream>,
    peer: Option<SocketAddr>,
    listener: Arc<ListenerContext<H>>,
) {
    let metrics = Arc::clone(&listener.limits.metrics);
    let limit = listener.limits.handshake_timeout;
    match tokio::time::timeout(limit, handshake).await {
        Ok(Ok(stream)) => {
            metrics.handshakes.increment();
            let activity = ConnectionActivity::new().with_peer(peer);
            let activity = match stream.get_ref().1.alpn_protocol() {
                Some(b"h2") => activity.with_http2(),
                _ => activity,
            };
            serve_connection(stream, UriScheme::Https, activity, listener).await;
        }
        Ok(Err(error)) => {
            metrics.handshakes_failed.increment();
            listener.handshake_log.log_failure(peer, &error);
        }
        Err(_elapsed) => {
            metrics.handshakes_timed_out.increment();
            listener.handshake_log.log_timeout(peer, limit);
        }
    }
}
