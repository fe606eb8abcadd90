//! The connections of one client, by host: an HTTP/1.1 connection serves one request at a time, one
//! HTTP/2 connection serves all.

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

/// After this long, an idle connection that has become free is taken instead of waiting for the new
/// one.
const PATIENCE: Duration = Duration::from_millis(100);

/// The connections of one client that can be used again.
pub(super) struct HttpConnectionPool {
    connector: ClientConnector,
    hosts: Mutex<HashMap<(Scheme, Authority), Arc<HostConnections>>>,
    limits: IdleLimits,
}

/// The limits on idle connections to one host: how many, and for how long each.
#[derive(Clone, Copy)]
struct IdleLimits {
    count: usize,
    timeout: Duration,
}

/// A host and port, and the connections to it that no request uses.
pub(super) struct HostConnections {
    /// The value of the `Host` field of requests to this host.
    pub(super) host_field: HeaderValue,
    limits: IdleLimits,
    idle_connections: Mutex<IdleConnections>,
    /// True if the host has asked for HTTP/1.1; new connections offer nothing else from then on.
    only_http1: AtomicBool,
}

#[derive(Default)]
struct IdleConnections {
    /// Each connection with the time until which it can be used. The one that was used last stands
    /// last, and is taken first.
    http1: Vec<(http1::Http1Connection, Instant)>,
    /// The HTTP/2 connection that all requests share, with the time of its last use.
    http2: Option<(http2::Http2Connection, Instant)>,
}

/// The connection that a request is sent on.
pub(super) enum PooledConnection {
    /// An HTTP/1.1 connection for this request alone.
    Http1(http1::Http1Connection),
    /// An HTTP/2 connection that is shared with other requests.
    Http2(http2::Http2Connection),
}

impl HttpConnectionPool {
    pub(super) fn new(connector: ClientConnector, limits: &ClientLimits) -> Self {
        let limits = IdleLimits {
            count: limits.pool_idle_per_host,
            timeout: limits.pool_idle_timeout,
        };
        Self {
            connector,
            hosts: Mutex::default(),
            limits,
        }
    }

    /// Returns the connections of the host that this URI names; `None` if it has no scheme or no
    /// host.
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

    /// Opens a new connection to the host of this URI. If that fails, or takes longer than 100 ms,
    /// a connection that has become idle meanwhile is used instead.
    pub(super) async fn connect(
        &self,
        host: &HostConnections,
        uri: &Uri,
    ) -> Result<PooledConnection, TransportError> {
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

    async fn open_connection(
        &self,
        host: &HostConnections,
        uri: &Uri,
    ) -> Result<PooledConnection, TransportError> {
        let connecting = self.connector.connect(uri.clone(), host.alpn_offer());
        let stream = connecting
            .await
            .map_err(|error| TransportError::connect_failed(&*error))?;
        if !stream.is_http2() {
            return Ok(PooledConnection::Http1(http1::Http1Connection::new(stream)));
        }
        // While this connection was opened, another task may have opened an HTTP/2 connection,
        // which serves all requests.
        if let Some(http2) = lock(&host.idle_connections).open_http2() {
            return Ok(PooledConnection::Http2(http2));
        }
        let http2 = Box::pin(http2::handshake(stream)).await?;
        Ok(PooledConnection::Http2(
            lock(&host.idle_connections).share_http2(http2),
        ))
    }

    /// Closes every connection that no request uses now.
    pub(super) fn close_idle(&self) {
        let hosts: Vec<_> = lock(&self.hosts).values().cloned().collect();
        for host in hosts {
            let unused = std::mem::take(&mut *lock(&host.idle_connections));
            drop(unused);
        }
    }

    /// Closes connections that were idle for too long or that the peer has closed, and forgets
    /// hosts without connections.
    pub(super) fn close_expired(&self) {
        let hosts: Vec<_> = lock(&self.hosts).values().cloned().collect();
        for host in hosts {
            host.close_expired();
        }
        lock(&self.hosts).retain(|_, host| Arc::strong_count(host) > 1 || !host.is_removable());
    }
}

impl HostConnections {
    /// Takes a connection that can be used now, an HTTP/2 connection first; idle ones that cannot
    /// be used are closed.
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

    /// Makes new connections to this host speak HTTP/1.1 only; returns true if that is a change.
    pub(super) fn switch_to_http1(&self) -> bool {
        let is_change = !self.only_http1.swap(true, Ordering::Relaxed);
        let http2 = lock(&self.idle_connections).http2.take();
        drop(http2);
        is_change
    }

    /// Returns the protocols that new connections to this host offer.
    fn alpn_offer(&self) -> AlpnOffer {
        if self.only_http1.load(Ordering::Relaxed) {
            AlpnOffer::Http1
        } else {
            AlpnOffer::AsConfigured
        }
    }

    fn is_removable(&self) -> bool {
        lock(&self.idle_connections).is_empty() && !self.only_http1.load(Ordering::Relaxed)
    }

    fn close_expired(&self) {
        let mut kept = lock(&self.idle_connections);
        let now = Instant::now();
        let is_over = |(connection, until): &mut (http1::Http1Connection, Instant)| {
            now >= *until || !connection.is_reusable()
        };
        let over: Vec<_> = kept.http1.extract_if(.., is_over).collect();
        kept.http1.shrink_to_fit();
        kept.http2
            .take_if(|(http2, used)| used.elapsed() >= self.limits.timeout || http2.is_closed());
        drop(kept);
        // The connections are closed after the lock is released, since that takes a system call for
        // each.
        drop(over);
    }
}

impl http1::Http1ConnectionPool for HostConnections {
    fn keep_idle(&self, connection: http1::Http1Connection, keep_alive_timeout: Duration) {
        let until = Instant::now() + keep_alive_timeout.min(self.limits.timeout);
        let mut kept = lock(&self.idle_connections);
        if kept.http1.len() < self.limits.count {
            kept.http1.push((connection, until));
        }
    }
}

impl IdleConnections {
    fn is_empty(&self) -> bool {
        self.http1.is_empty() && self.http2.is_none()
    }

    /// Shares this connection with later requests, unless one is shared already; returns the shared
    /// one.
    fn share_http2(&mut self, http2: http2::Http2Connection) -> http2::Http2Connection {
        if let Some(shared) = self.open_http2() {
            return shared;
        }
        self.http2 = Some((http2.clone(), Instant::now()));
        http2
    }

    fn open_http2(&mut self) -> Option<http2::Http2Connection> {
        let (http2, used) = self
            .http2
            .as_mut()
            .filter(|(http2, _)| !http2.is_closed())?;
        *used = Instant::now();
        Some(http2.clone())
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
