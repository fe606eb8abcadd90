//! The connections of one client: by host, those over HTTP/1.1 each for one request at a time, one over HTTP/2 for all.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::uri::{Authority, Scheme};
use http::{HeaderValue, Uri};
use tokio::time::Instant;

use super::connector::{Connector, Protocols};
use super::{Limits, TransportError, http1, http2};

/// A connection that takes longer than this may be one too many.
const PATIENCE: Duration = Duration::from_millis(100);

/// Connections that can be used again.
pub(super) struct Pool {
    connector: Connector,
    hosts: Mutex<HashMap<(Scheme, Authority), Arc<Host>>>,
    limits: IdleLimits,
}

/// What is kept of idle connections to a host.
#[derive(Clone, Copy)]
struct IdleLimits {
    count: usize,
    timeout: Duration,
}

/// A host and port, and the connections to it that nobody uses.
pub(super) struct Host {
    /// As requests name it.
    pub(super) name: HeaderValue,
    limits: IdleLimits,
    kept: Mutex<Kept>,
    /// Whether it has asked for HTTP/1.1, and gets nothing else from then on.
    only_http1: AtomicBool,
}

#[derive(Default)]
struct Kept {
    /// Each with the time until which it can be used. The latest one is last, and used first.
    idle: Vec<(http1::Connection, Instant)>,
    /// Shared by all requests.
    http2: Option<(http2::Connection, Instant)>,
}

/// What a request goes out by.
pub(super) enum Connected {
    /// A connection for this request alone.
    Http1(http1::Connection),
    /// A connection that is shared.
    Http2(http2::Connection),
}

impl Pool {
    pub(super) fn new(connector: Connector, limits: &Limits) -> Self {
        let limits = IdleLimits { count: limits.pool_idle_per_host, timeout: limits.pool_idle_timeout };
        Self { connector, hosts: Mutex::default(), limits }
    }

    /// The host that this URI names, if it does.
    pub(super) fn host(&self, uri: &Uri) -> Option<Arc<Host>> {
        let key = (uri.scheme()?.clone(), uri.authority()?.clone());
        let mut hosts = lock(&self.hosts);
        if let Some(host) = hosts.get(&key) {
            return Some(Arc::clone(host));
        }
        let name = HeaderValue::from_str(key.1.as_str()).ok()?;
        let host =
            Arc::new(Host { name, limits: self.limits, kept: Mutex::default(), only_http1: AtomicBool::new(false) });
        hosts.insert(key, Arc::clone(&host));
        Some(host)
    }

    /// A new connection to the host of this URI. One that has become free is used instead if that takes long, or fails.
    pub(super) async fn connect(&self, host: &Host, uri: &Uri) -> Result<Connected, TransportError> {
        let mut new = pin!(self.connect_anew(host, uri));
        loop {
            match tokio::time::timeout(PATIENCE, &mut new).await {
                Ok(Ok(connected)) => return Ok(connected),
                Ok(Err(error)) => return host.take().ok_or(error),
                Err(_elapsed) => {
                    if let Some(connected) = host.take() {
                        return Ok(connected);
                    }
                }
            }
        }
    }

    async fn connect_anew(&self, host: &Host, uri: &Uri) -> Result<Connected, TransportError> {
        let connecting = self.connector.connect(uri.clone(), host.protocols());
        let stream = connecting.await.map_err(|error| TransportError::connect(&*error))?;
        if !stream.is_http2() {
            return Ok(Connected::Http1(http1::Connection::new(stream)));
        }
        // While this one was made, another may have been, which is for all.
        if let Some(http2) = lock(&host.kept).http2() {
            return Ok(Connected::Http2(http2));
        }
        let http2 = Box::pin(http2::handshake(stream)).await?;
        Ok(Connected::Http2(lock(&host.kept).share(http2)))
    }

    /// Closes what nobody uses now.
    pub(super) fn close_idle(&self) {
        let hosts: Vec<_> = lock(&self.hosts).values().cloned().collect();
        for host in hosts {
            let unused = std::mem::take(&mut *lock(&host.kept));
            drop(unused);
        }
    }

    /// Closes what nobody has used for long, or the peer has closed.
    pub(super) fn sweep(&self) {
        let hosts: Vec<_> = lock(&self.hosts).values().cloned().collect();
        for host in hosts {
            host.sweep();
        }
        lock(&self.hosts).retain(|_, host| Arc::strong_count(host) > 1 || !host.is_forgettable());
    }
}

impl Host {
    /// A connection that can be used now; a shared one first.
    pub(super) fn take(&self) -> Option<Connected> {
        loop {
            let (mut connection, until) = {
                let mut kept = lock(&self.kept);
                if let Some(http2) = kept.http2() {
                    return Some(Connected::Http2(http2));
                }
                kept.idle.pop()?
            };
            if Instant::now() < until && connection.is_silent() {
                return Some(Connected::Http1(connection));
            }
        }
    }

    /// Keeps a connection for the next request, for as long as the peer waits for one at most.
    pub(super) fn keep(&self, connection: http1::Connection, patience: Duration) {
        let until = Instant::now() + patience.min(self.limits.timeout);
        let mut kept = lock(&self.kept);
        if kept.idle.len() < self.limits.count {
            kept.idle.push((connection, until));
        }
    }

    /// Speaks HTTP/1.1 only from now on; whether that is a change.
    pub(super) fn turn_to_http1(&self) -> bool {
        let is_change = !self.only_http1.swap(true, Ordering::Relaxed);
        let http2 = lock(&self.kept).http2.take();
        drop(http2);
        is_change
    }

    /// What new connections offer.
    fn protocols(&self) -> Protocols {
        if self.only_http1.load(Ordering::Relaxed) { Protocols::Http1 } else { Protocols::Both }
    }

    fn is_forgettable(&self) -> bool {
        lock(&self.kept).is_empty() && !self.only_http1.load(Ordering::Relaxed)
    }

    fn sweep(&self) {
        let mut kept = lock(&self.kept);
        let now = Instant::now();
        let is_over = |(connection, until): &mut (http1::Connection, Instant)| now >= *until || !connection.is_silent();
        let over: Vec<_> = kept.idle.extract_if(.., is_over).collect();
        kept.idle.shrink_to_fit();
        kept.http2.take_if(|(http2, used)| used.elapsed() >= self.limits.timeout || http2.is_closed());
        drop(kept);
        // Which takes a system call each.
        drop(over);
    }
}

impl Kept {
    fn is_empty(&self) -> bool {
        self.idle.is_empty() && self.http2.is_none()
    }

    /// Shares this connection, or the one that is shared already.
    fn share(&mut self, http2: http2::Connection) -> http2::Connection {
        if let Some(shared) = self.http2() {
            return shared;
        }
        self.http2 = Some((http2.clone(), Instant::now()));
        http2
    }

    fn http2(&mut self) -> Option<http2::Connection> {
        let (http2, used) = self.http2.as_mut().filter(|(http2, _)| !http2.is_closed())?;
        *used = Instant::now();
        Some(http2.clone())
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
