//! Where requests leave: one HTTP client for each trust, kept while it is used.
//!
//! Destinations that trust the same certificates share a client and its connections; those that do not never do
//! (contract G-59). The client knows destinations and answers, not subscriptions.

mod answer;
mod collector;
mod connector;
mod counted;
mod descriptors;
mod error;
mod exchange;
mod fields;
mod http1;
mod http2;
mod lookup;
mod pool;
mod redirect;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use moka::future::Cache;
use time::OffsetDateTime;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::event::{Event, http as binding};
use crate::model::{Addressable, Fingerprint, Format, HttpVersions, Target, TrustBundle};
use crate::telemetry::series::Traffic;
use crate::tls::{self, MinVersion, SystemRoots};
pub use answer::ReplyError;
pub use collector::Collectors;
use connector::{Connector, Elsewhere};
use descriptors::Descriptors;
pub use error::TransportError;
pub use exchange::Client;
pub use fields::PassedOn;
use lookup::Lookup;

/// A connection with requests under way is asked this often whether its peer is there, and given up after as long.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// The end of an attempt without one: 30 years.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
/// Idle connections are looked after this often.
const TEND: Duration = Duration::from_secs(5);

/// Sends requests to destinations.
pub trait Transport: Send + Sync + 'static {
    /// Posts headers and body of what `request` makes to the destination's URL; makes it anew where it has to be repeated.
    /// The whole attempt, from connecting to the end of the answer, takes at most `timeout`. What a status says does not
    /// depend on the body after it: where that breaks off, the answer is what came of it, and [`ReplyError::of`] it tells
    /// whether an event is missing.
    fn send(
        &self,
        request: impl FnMut() -> Request<Bytes> + Send,
        to: &Addressable,
        timeout: Duration,
    ) -> impl Future<Output = Result<Response<Bytes>, TransportError>> + Send;
}

/// A request with an event in this format, what is forwarded beside it, and its trace.
#[must_use]
pub fn request(event: &Event, format: Format) -> Request<Bytes> {
    let (mut headers, body) = match format {
        Format::Binary => (binding::binary_headers(event), event.data().clone()),
        Format::Json => binding::structured(event),
    };
    for (name, value) in event.forwarded() {
        headers.append(name.clone(), value.clone());
    }
    if let Some(trace) = event.trace() {
        trace.write(&mut headers);
    }
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.headers_mut() = headers;
    request
}

/// What clients and their answers may cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From the start of an attempt to an open connection.
    pub connect_timeout: Duration,
    /// Idle connections kept for each host of a client.
    pub pool_idle_per_host: usize,
    /// How long a connection may be idle.
    pub pool_idle_timeout: Duration,
    /// How long a client may be idle.
    pub client_idle: Duration,
    /// Clients kept at most.
    pub max_clients: u64,
    /// Bytes of an answer that carries an event.
    pub max_reply_bytes: usize,
    /// Connections open at once, of all clients; further ones wait.
    pub max_connections: usize,
    /// Names that are looked up at once; further ones wait.
    pub max_lookups: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            pool_idle_per_host: 256,
            pool_idle_timeout: Duration::from_secs(90),
            client_idle: Duration::from_secs(600),
            max_clients: 10_000,
            max_reply_bytes: 10 * 1024 * 1024,
            max_connections: usize::MAX,
            max_lookups: 768,
        }
    }
}

/// Everything that makes one client differ from another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ClientKey {
    trust: Fingerprint,
    elsewhere: Option<Elsewhere>,
    versions: HttpVersions,
}

/// The clients in use, by what they trust.
pub struct ClientCache {
    clients: Cache<ClientKey, Arc<Client>>,
    roots: SystemRoots,
    min_version: MinVersion,
    limits: Limits,
    lookup: Lookup,
    descriptors: Descriptors,
    traffic: Arc<Traffic>,
}

impl ClientCache {
    /// A cache without clients.
    #[must_use]
    pub fn new(roots: SystemRoots, min_version: MinVersion, limits: Limits) -> Self {
        let clients = Cache::builder().max_capacity(limits.max_clients).time_to_idle(limits.client_idle).build();
        let (lookup, descriptors) = (Lookup::new(limits.max_lookups), Descriptors::new(limits.max_connections));
        Self { clients, roots, min_version, limits, lookup, descriptors, traffic: Arc::default() }
    }

    /// The same cache; connections and handshakes with destinations are counted here.
    #[must_use]
    pub fn counted(self, traffic: Arc<Traffic>) -> Self {
        Self { traffic, ..self }
    }

    /// Closes connections that the peer has closed, or that are idle for too long, until told to stop.
    pub async fn tend(self: Arc<Self>, stop: CancellationToken) {
        let mut often = tokio::time::interval(TEND);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = often.tick() => self.sweep(),
                () = self.descriptors.wanted() => self.close_idle(),
            }
        }
    }

    fn close_idle(&self) {
        for (_, client) in &self.clients {
            client.close_idle();
        }
    }

    fn sweep(&self) {
        for (_, client) in &self.clients {
            client.sweep();
        }
    }

    /// Clients kept now; expired ones are dropped first.
    pub async fn client_count(&self) -> u64 {
        self.clients.run_pending_tasks().await;
        self.clients.entry_count()
    }

    /// The client that trusts what the destination's certificates allow at this time.
    ///
    /// # Errors
    /// If the destination is not reached by HTTP, or none of its certificates can be used.
    pub async fn client(&self, to: &Addressable) -> Result<Arc<Client>, TransportError> {
        let connect = match &to.target {
            Target::Remote { connect } => *connect,
            Target::Nowhere(reason) => return Err(TransportError::Unreachable(reason.to_string())),
            Target::Local(_) | Target::Waiting(_) | Target::Display => return Err(TransportError::NotRemote),
        };
        let trust = valid_trust(to)?;
        let authority = || to.url.uri()?.authority().cloned();
        let elsewhere = connect.and_then(|address| Some(Elsewhere { authority: authority()?, address }));
        let key = ClientKey { trust: trust.fingerprint(), elsewhere, versions: to.url.versions() };
        if let Some(client) = self.clients.get(&key).await {
            return Ok(client);
        }
        // On the heap, as is every future that is rare and large: a delivery's future is moved when its task is made.
        Box::pin(self.make(key, &trust)).await
    }

    async fn make(&self, key: ClientKey, trust: &TrustBundle) -> Result<Arc<Client>, TransportError> {
        let of = key.clone();
        let client = self.clients.try_get_with(key, async { self.build(trust, of) });
        client.await.map_err(|error| TransportError::clone(&error))
    }

    /// A document by `GET`, of at most `max` bytes, in at most `timeout`. Redirects are followed as for events.
    ///
    /// # Errors
    /// If there is no answer, or one that is no success or too large.
    pub async fn get(&self, from: &Addressable, max: usize, timeout: Duration) -> Result<Bytes, TransportError> {
        let document = async {
            let client = self.client(from).await?;
            let response = client.send(Request::default, &from.url).await?;
            answer::document(response, max).await
        };
        match tokio::time::timeout(timeout, document).await {
            Ok(document) => document,
            Err(_elapsed) => Err(TransportError::Timeout { after: timeout }),
        }
    }

    fn build(&self, trust: &TrustBundle, key: ClientKey) -> Result<Arc<Client>, TransportError> {
        let mut tls = tls::client_config(trust, &self.roots, self.min_version)
            .map_err(|error| TransportError::Trust(format!("a certificate cannot be trusted: {error}")))?;
        if key.versions == HttpVersions::OnlyHttp1 {
            tls = tls::only_http1(&tls);
        }
        let shared = (&self.lookup, &self.descriptors, &self.traffic);
        let connector = Connector::new(tls, key.elsewhere, self.limits.connect_timeout, shared);
        Ok(Arc::new(Client::new(connector, &self.limits)))
    }

    async fn post(
        &self,
        mut request: impl FnMut() -> Request<Bytes> + Send,
        to: &Addressable,
    ) -> Result<Response<answer::Body>, TransportError> {
        let client = self.client(to).await?;
        let post = || {
            let mut request = request();
            *request.method_mut() = Method::POST;
            request
        };
        client.send(post, &to.url).await
    }
}

/// How long an exchange may take.
#[derive(Clone, Copy)]
struct Attempt {
    end: Instant,
    timeout: Duration,
}

impl Attempt {
    fn within(timeout: Duration) -> Self {
        let now = Instant::now();
        Self { end: now.checked_add(timeout).unwrap_or(now + FAR), timeout }
    }

    fn timed_out(self) -> TransportError {
        TransportError::Timeout { after: self.timeout }
    }
}

impl Transport for ClientCache {
    async fn send(
        &self,
        request: impl FnMut() -> Request<Bytes> + Send,
        to: &Addressable,
        timeout: Duration,
    ) -> Result<Response<Bytes>, TransportError> {
        let attempt = Attempt::within(timeout);
        match tokio::time::timeout_at(attempt.end, self.post(request, to)).await {
            Ok(response) => answer::read(response?, self.limits.max_reply_bytes, attempt).await,
            Err(_elapsed) => Err(attempt.timed_out()),
        }
    }
}

/// The destination's trust without what is not valid now. Where nothing is left of it, nothing is sent.
fn valid_trust(to: &Addressable) -> Result<Arc<TrustBundle>, TransportError> {
    if to.trust.is_nobody() {
        return Err(TransportError::Trust("CACerts hold no certificate that can be read".to_owned()));
    }
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let valid = to.trust.valid_at(now);
    match to.trust.invalid_at(now).next() {
        Some(invalid) if valid.certificates().is_empty() => {
            Err(TransportError::Trust(format!("no certificate of CACerts is valid now: {}", invalid.validity())))
        }
        _ => Ok(valid),
    }
}

#[cfg(test)]
mod tests;
