//! The connections of one client: by host, those over HTTP/1.1 each for one request at a time, one over HTTP/2 for all.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::uri::{Authority, Scheme};
use http::{HeaderValue, Uri};
use tokio::time::Instant;

use super::connector::{AlpnOffer, ClientConnector};
use super::{ClientLimits, TransportError, http1, http2};

/// A connection that takes longer than this may be one too many.
const PATIENCE: Duration = Duration::from_millis(100);

/// Connections that can be used again.
pub(super) struct HttpConnectionPool {
    connector: ClientConnector,
    hosts: Mutex<HashMap<(Scheme, Authority), Arc<HostConnections>>>,
    limits: IdleLimits,
}

/// What is kept of idle connections to a host.
#[derive(Clone, Copy)]
struct IdleLimits {
    count: usize,
    timeout: Duration,
}

/// A host and port, and the connections to it that nobody uses.
pub(super) struct HostConnections {
    /// As requests name it.
    pub(super) host_field: HeaderValue,
    limits: IdleLimits,
    idle_connections: Mutex<IdleConnections>,
    /// Whether it has asked for HTTP/1.1, and gets nothing else from then on.
    only_http1: AtomicBool,
}

#[derive(Default)]
struct IdleConnections {
    /// Each with the time until which it can be used. The latest one is last, and used first.
    http1: Vec<(http1::Http1Connection, Instant)>,
    /// Shared by all requests.
    http2: Option<(http2::Http2Connection, Instant)>,
}

/// What a request goes out by.
pub(super) enum PooledConnection {
    /// A connection for this request alone.
    Http1(http1::Http1Connection),
    /// A connection that is shared.
    Http2(http2::Http2Connection),
}

impl HttpConnectionPool {
    pub(super) fn new(connector: ClientConnector, limits: &ClientLimits) -> Self {
        let limits = IdleLimits { count: limits.pool_idle_per_host, timeout: limits.pool_idle_timeout };
        Self { connector, hosts: Mutex::default(), limits }
    }

    /// The host that this URI names, if it does.
    pub(super) fn host(&self, uri: &Uri) -> Option<Arc<HostConnections>> {
        let key = (uri.scheme()?.clone(), uri.authority()?.clone());
        let mut hosts = lock(&self.hosts);
        if let Some(host) = hosts.get(&key) {
            return Some(Arc::clone(host));
        }
        let name = HeaderValue::from_str(key.1.as_str()).ok()?;
        let host = Arc::new(HostConnections {
            host_field: name,
            limits: self.limits,
            idle_connections: Mutex::default(),
            only_http1: AtomicBool::new(false),
        });
        hosts.insert(key, Arc::clone(&host));
        Some(host)
    }

    /// A new connection to the host of this URI. One that has become free is used instead if that takes long, or fails.
    pub(super) async fn connect(&self, host: &HostConnections, uri: &Uri) -> Result<PooledConnection, TransportError> {
        let mut new = pin!(self.open_connection(host, uri));
        loop {
            match tokio::time::timeout(PATIENCE, &mut new).await {
                Ok(Ok(connected)) => return Ok(connected),
                Ok(Err(error)) => return host.take_connection().ok_or(error),
                Err(_elapsed) => {
                    if let Some(connected) = host.take_connection() {
                        return Ok(connected);
                    }
                }
            }
        }
    }

    async fn open_connection(&self, host: &HostConnections, uri: &Uri) -> Result<PooledConnection, TransportError> {
        let connecting = self.connector.connect(uri.clone(), host.alpn_offer());
        let stream = connecting.await.map_err(|error| TransportError::connect_failed(&*error))?;
        if !stream.is_http2() {
            return Ok(PooledConnection::Http1(http1::Http1Connection::new(stream)));
        }
        // While this one was made, another may have been, which is for all.
        if let Some(http2) = lock(&host.idle_connections).open_http2() {
            return Ok(PooledConnection::Http2(http2));
        }
        let http2 = Box::pin(http2::handshake(stream)).await?;
        Ok(PooledConnection::Http2(lock(&host.idle_connections).share_http2(http2)))
    }

    /// Closes what nobody uses now.
    pub(super) fn close_idle(&self) {
        let hosts: Vec<_> = lock(&self.hosts).values().cloned().collect();
        for host in hosts {
            let unused = std::mem::take(&mut *lock(&host.idle_connections));
            drop(unused);
        }
    }

    /// Closes what nobody has used for long, or the peer has closed.
    pub(super) fn close_expired(&self) {
        let hosts: Vec<_> = lock(&self.hosts).values().cloned().collect();
        for host in hosts {
            host.close_expired();
        }
        lock(&self.hosts).retain(|_, host| Arc::strong_count(host) > 1 || !host.is_removable());
    }
}

impl HostConnections {
    /// A connection that can be used now; a shared one first.
    pub(super) fn take_connection(&self) -> Option<PooledConnection> {
        loop {
            let (mut connection, until) = {
                let mut kept = lock(&self.idle_connections);
                if let Some(http2) = kept.open_http2() {
                    return Some(PooledConnection::Http2(http2));
                }
                kept.http1.pop()?
            };
            if Instant::now() < until && connection.is_reusable() {
                return Some(PooledConnection::Http1(connection));
            }
        }
    }

    /// Keeps a connection for the next request, for as long as the peer waits for one at most.
    pub(super) fn keep_idle(&self, connection: http1::Http1Connection, patience: Duration) {
        let until = Instant::now() + patience.min(self.limits.timeout);
        let mut kept = lock(&self.idle_connections);
        if kept.http1.len() < self.limits.count {
            kept.http1.push((connection, until));
        }
    }

    /// Speaks HTTP/1.1 only from now on; whether that is a change.
    pub(super) fn switch_to_http1(&self) -> bool {
        let is_change = !self.only_http1.swap(true, Ordering::Relaxed);
        let http2 = lock(&self.idle_connections).http2.take();
        drop(http2);
        is_change
    }

    /// What new connections offer.
    fn alpn_offer(&self) -> AlpnOffer {
        if self.only_http1.load(Ordering::Relaxed) { AlpnOffer::Http1 } else { AlpnOffer::AsConfigured }
    }

    fn is_removable(&self) -> bool {
        lock(&self.idle_connections).is_empty() && !self.only_http1.load(Ordering::Relaxed)
    }

    fn close_expired(&self) {
        let mut kept = lock(&self.idle_connections);
        let now = Instant::now();
        let is_over =
            |(connection, until): &mut (http1::Http1Connection, Instant)| now >= *until || !connection.is_reusable();
        let over: Vec<_> = kept.http1.extract_if(.., is_over).collect();
        kept.http1.shrink_to_fit();
        kept.http2.take_if(|(http2, used)| used.elapsed() >= self.limits.timeout || http2.is_closed());
        drop(kept);
        // Which takes a system call each.
        drop(over);
    }
}

impl IdleConnections {
    fn is_empty(&self) -> bool {
        self.http1.is_empty() && self.http2.is_none()
    }

    /// Shares this connection, or the one that is shared already.
    fn share_http2(&mut self, http2: http2::Http2Connection) -> http2::Http2Connection {
        if let Some(shared) = self.open_http2() {
            return shared;
        }
        self.http2 = Some((http2.clone(), Instant::now()));
        http2
    }

    fn open_http2(&mut self) -> Option<http2::Http2Connection> {
        let (http2, used) = self.http2.as_mut().filter(|(http2, _)| !http2.is_closed())?;
        *used = Instant::now();
        Some(http2.clone())
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
