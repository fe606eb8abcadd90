//! Where requests leave: one HTTP client for each trust, kept while it is used.
//!
//! Destinations that trust the same certificates share a client and its connections; those that do not never do
//! (contract G-59). The client knows destinations and answers, not subscriptions.

mod collector;
mod connection_permits;
mod connector;
mod counted_stream;
mod dns_resolver;
mod error;
mod header_fields;
mod http1;
mod http2;
mod http_client;
mod pool;
mod redirect;
mod response;

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
use crate::model::{Addressable, DeliveryFormat, DestinationRoute, HttpVersions, TrustBundle, TrustFingerprint};
use crate::telemetry::series::ConnectionMetrics;
use crate::tls::{self, MinTlsVersion, SystemRoots};
pub use collector::CollectorClients;
use connection_permits::ConnectionPermits;
use connector::{ClientConnector, ConnectOverride};
use dns_resolver::DnsResolver;
pub use error::TransportError;
pub use header_fields::ForwardAllFields;
pub use http_client::HttpClient;
pub use response::ReplyError;

/// A connection with requests under way is asked this often whether its peer is there, and given up after as long.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// The end of an attempt without one: 30 years.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
/// Idle connections are looked after this often.
const TEND: Duration = Duration::from_secs(5);

/// Sends requests to destinations.
pub trait HttpTransport: Send + Sync + 'static {
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
pub fn event_request(event: &Event, format: DeliveryFormat) -> Request<Bytes> {
    let (mut headers, body) = match format {
        DeliveryFormat::Binary => (binding::binary_headers(event), event.data().clone()),
        DeliveryFormat::Json => binding::encode_structured(event),
    };
    for (name, value) in event.forwarded() {
        headers.append(name.clone(), value.clone());
    }
    if let Some(trace) = event.trace() {
        trace.write_headers(&mut headers);
    }
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.headers_mut() = headers;
    request
}

/// What clients and their answers may cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientLimits {
    /// From the start of an attempt to an open connection.
    pub connect_timeout: Duration,
    /// Idle connections kept for each host of a client.
    pub pool_idle_per_host: usize,
    /// How long a connection may be idle.
    pub pool_idle_timeout: Duration,
    /// How long a client may be idle.
    pub client_idle_timeout: Duration,
    /// Clients kept at most.
    pub max_clients: u64,
    /// Bytes of an answer that carries an event.
    pub max_reply_bytes: usize,
    /// Connections open at once, of all clients; further ones wait.
    pub max_connections: usize,
    /// Names that are looked up at once; further ones wait.
    pub max_lookups: usize,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            pool_idle_per_host: 256,
            pool_idle_timeout: Duration::from_secs(90),
            client_idle_timeout: Duration::from_secs(600),
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
    trust: TrustFingerprint,
    connect_override: Option<ConnectOverride>,
    versions: HttpVersions,
}

/// The clients in use, by what they trust.
pub struct ClientCache {
    clients: Cache<ClientKey, Arc<HttpClient>>,
    roots: SystemRoots,
    min_version: MinTlsVersion,
    limits: ClientLimits,
    resolver: DnsResolver,
    permits: ConnectionPermits,
    metrics: Arc<ConnectionMetrics>,
}

impl ClientCache {
    /// A cache without clients.
    #[must_use]
    pub fn new(roots: SystemRoots, min_version: MinTlsVersion, limits: ClientLimits) -> Self {
        let clients =
            Cache::builder().max_capacity(limits.max_clients).time_to_idle(limits.client_idle_timeout).build();
        let (resolver, permits) =
            (DnsResolver::new(limits.max_lookups), ConnectionPermits::new(limits.max_connections));
        Self { clients, roots, min_version, limits, resolver, permits, metrics: Arc::default() }
    }

    /// The same cache; connections and handshakes with destinations are counted here.
    #[must_use]
    pub fn with_metrics(self, traffic: Arc<ConnectionMetrics>) -> Self {
        Self { metrics: traffic, ..self }
    }

    /// Closes connections that the peer has closed, or that are idle for too long, until told to stop.
    pub async fn close_unused_connections(self: Arc<Self>, stop: CancellationToken) {
        let mut often = tokio::time::interval(TEND);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = often.tick() => self.close_expired(),
                () = self.permits.wait_for_demand() => self.close_idle(),
            }
        }
    }

    fn close_idle(&self) {
        for (_, client) in &self.clients {
            client.close_idle();
        }
    }

    fn close_expired(&self) {
        for (_, client) in &self.clients {
            client.close_expired();
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
    pub async fn client(&self, to: &Addressable) -> Result<Arc<HttpClient>, TransportError> {
        let connect = match &to.route {
            DestinationRoute::Remote { connect } => *connect,
            DestinationRoute::Unresolved(reason) => return Err(TransportError::Unreachable(reason.to_string())),
            DestinationRoute::Local(_) | DestinationRoute::WaitingRequest(_) | DestinationRoute::EventDisplay => {
                return Err(TransportError::NotRemote);
            }
        };
        let trust = valid_trust(to)?;
        let authority = || to.url.uri()?.authority().cloned();
        let elsewhere = connect.and_then(|address| Some(ConnectOverride { authority: authority()?, address }));
        let key =
            ClientKey { trust: trust.fingerprint(), connect_override: elsewhere, versions: to.url.http_versions() };
        if let Some(client) = self.clients.get(&key).await {
            return Ok(client);
        }
        // On the heap, as is every future that is rare and large: a delivery's future is moved when its task is made.
        Box::pin(self.get_or_build(key, &trust)).await
    }

    async fn get_or_build(&self, key: ClientKey, trust: &TrustBundle) -> Result<Arc<HttpClient>, TransportError> {
        let of = key.clone();
        let client = self.clients.try_get_with(key, async { self.build(trust, of) });
        client.await.map_err(|error| TransportError::clone(&error))
    }

    /// A document by `GET`, of at most `max` bytes, in at most `timeout`. Redirects are followed as for events.
    ///
    /// # Errors
    /// If there is no answer, or one that is no success or too large.
    pub async fn get_document(
        &self,
        from: &Addressable,
        max: usize,
        timeout: Duration,
    ) -> Result<Bytes, TransportError> {
        let document = async {
            let client = self.client(from).await?;
            let response = client.send(Request::default, &from.url).await?;
            response::read_document(response, max).await
        };
        match tokio::time::timeout(timeout, document).await {
            Ok(document) => document,
            Err(_elapsed) => Err(TransportError::Timeout { after: timeout }),
        }
    }

    fn build(&self, trust: &TrustBundle, key: ClientKey) -> Result<Arc<HttpClient>, TransportError> {
        let mut tls = tls::client_config(trust, &self.roots, self.min_version)
            .map_err(|error| TransportError::Trust(format!("a certificate cannot be trusted: {error}")))?;
        if key.versions == HttpVersions::OnlyHttp1 {
            tls = tls::only_http1(&tls);
        }
        let shared = (&self.resolver, &self.permits, &self.metrics);
        let connector = ClientConnector::new(tls, key.connect_override, self.limits.connect_timeout, shared);
        Ok(Arc::new(HttpClient::new(connector, &self.limits)))
    }

    async fn post(
        &self,
        mut request: impl FnMut() -> Request<Bytes> + Send,
        to: &Addressable,
    ) -> Result<Response<response::ResponseBody>, TransportError> {
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
struct RequestDeadline {
    at: Instant,
    timeout: Duration,
}

impl RequestDeadline {
    fn within(timeout: Duration) -> Self {
        let now = Instant::now();
        Self { at: now.checked_add(timeout).unwrap_or(now + FAR), timeout }
    }

    fn timed_out(self) -> TransportError {
        TransportError::Timeout { after: self.timeout }
    }
}

impl HttpTransport for ClientCache {
    async fn send(
        &self,
        request: impl FnMut() -> Request<Bytes> + Send,
        to: &Addressable,
        timeout: Duration,
    ) -> Result<Response<Bytes>, TransportError> {
        let attempt = RequestDeadline::within(timeout);
        match tokio::time::timeout_at(attempt.at, self.post(request, to)).await {
            Ok(response) => response::read_response(response?, self.limits.max_reply_bytes, attempt).await,
            Err(_elapsed) => Err(attempt.timed_out()),
        }
    }
}

/// The destination's trust without what is not valid now. Where nothing is left of it, nothing is sent.
fn valid_trust(to: &Addressable) -> Result<Arc<TrustBundle>, TransportError> {
    if to.trust.trusts_nobody() {
        return Err(TransportError::Trust("CACerts hold no certificate that can be read".to_owned()));
    }
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let valid = to.trust.valid_at(now);
    match to.trust.invalid_at(now).next() {
        Some(invalid) if valid.certificates().is_empty() => Err(TransportError::Trust(format!(
            "no certificate of CACerts is valid now: {}",
            invalid.describe_validity()
        ))),
        _ => Ok(valid),
    }
}

#[cfg(test)]
mod tests;
