//! The HTTP client side: one client for each set of trusted certificates, kept while it is used.
//!
//! Destinations that trust the same certificates share a client and its connections; destinations
//! that trust different ones never share a connection (contract G-59). This module knows
//! destinations and responses, not subscriptions.

mod bounded_body;
mod collector;
mod connection_permits;
mod connector;
mod counted_stream;
mod dns_resolver;
mod error;
mod grpc_answer;
mod header_fields;
mod http1;
mod http2;
mod http_client;
mod pool;
mod redirect;
mod request_deadline;
mod response;
mod response_progress;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use moka::future::Cache;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::event::{Event, TraceContext, http as binding};
use crate::model::{
    Addressable, DeliveryFormat, DestinationRoute, HttpVersions, TrustBundle, TrustFingerprint,
};
use crate::telemetry::series::ConnectionMetrics;
use crate::tls::{self, MinTlsVersion, SystemRoots};
pub(crate) use collector::CollectorClients;
use connection_permits::ConnectionPermits;
use connector::{ClientConnector, ConnectOverride, SharedResources};
use dns_resolver::DnsResolver;
pub use error::TransportError;
pub(crate) use header_fields::ForwardAllFields;
pub(crate) use http_client::HttpClient;
pub(crate) use request_deadline::RequestDeadline;
pub use response::ReplyError;

/// Interval of the `PING`s on a connection with requests in flight, and the time after which a peer
/// that does not answer one is given up.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Interval at which expired idle connections are looked for and closed.
const IDLE_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Sends requests to destinations: the seam behind which tests put a client of their own.
pub trait HttpTransport: Send + Sync + 'static {
    /// Posts header fields and body of the request that `request` makes to the URL of `to`;
    /// `request` is called again where the request has to be repeated. The whole attempt, from
    /// connecting to the end of the response, takes at most `timeout`. The meaning of a status does
    /// not depend on the body after it: where the body breaks off, the response is returned with
    /// what was received, and [`ReplyError::of_response`] tells whether an event is missing from
    /// it.
    fn send(
        &self,
        request: impl FnMut() -> Request<Bytes> + Send,
        to: &Addressable,
        timeout: Duration,
    ) -> impl Future<Output = Result<Response<Bytes>, TransportError>> + Send;

    /// The same; `when_slow` is called once if there is no response after a second.
    fn send_watched(
        &self,
        request: impl FnMut() -> Request<Bytes> + Send,
        to: &Addressable,
        timeout: Duration,
        when_slow: impl FnOnce() + Send,
    ) -> impl Future<Output = Result<Response<Bytes>, TransportError>> + Send {
        drop(when_slow);
        self.send(request, to, timeout)
    }
}

/// Makes the POST request for an event in this format, with the header fields that are forwarded
/// beside the event and this trace context. The method is set here; the URL is set when the request
/// is sent.
#[must_use]
pub(crate) fn event_request(
    event: &Event,
    format: DeliveryFormat,
    trace: Option<&TraceContext>,
) -> Request<Bytes> {
    let (mut headers, body) = match format {
        DeliveryFormat::Binary => (binding::binary_headers(event), event.data().clone()),
        DeliveryFormat::Json => binding::encode_structured(event),
    };
    for (name, value) in event.forwarded() {
        headers.append(name.clone(), value.clone());
    }
    if let Some(trace) = trace {
        trace.write_headers(&mut headers);
    }
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.headers_mut() = headers;
    request
}

/// The limits on what clients and the responses to their requests may cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientLimits {
    /// Longest time for opening a connection, from the lookup of its host to the end of the TLS
    /// handshake; 10 s by default.
    pub connect_timeout: Duration,
    /// Idle HTTP/1.1 connections that a client keeps for each host; 1024 by default.
    pub pool_idle_per_host: usize,
    /// Longest time for which a connection may be idle before it is closed; 90 s by default.
    pub pool_idle_timeout: Duration,
    /// Longest time for which a client may be unused before it is dropped; 10 minutes by default.
    pub client_idle_timeout: Duration,
    /// Clients that are kept at most, the least used ones are dropped first; 10,000 by default.
    pub max_clients: u64,
    /// Longest body of a response that carries an event, in bytes; 10 MiB by default.
    pub max_reply_bytes: usize,
    /// Connections of all clients that may be open at once; further ones wait. Unlimited by
    /// default.
    pub max_connections: usize,
    /// Host names that are looked up at once; further lookups wait. 768 by default.
    pub max_lookups: usize,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            pool_idle_per_host: 1024,
            pool_idle_timeout: Duration::from_secs(90),
            client_idle_timeout: Duration::from_secs(600),
            max_clients: 10_000,
            max_reply_bytes: 10 * 1024 * 1024,
            max_connections: usize::MAX,
            max_lookups: 768,
        }
    }
}

/// Everything by which one client differs from another; destinations with equal keys share a
/// client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ClientKey {
    trust: TrustFingerprint,
    connect_override: Option<ConnectOverride>,
    versions: HttpVersions,
}

/// The clients in use, by what they trust, where they connect to and which versions of HTTP they
/// speak.
pub struct ClientCache {
    clients: Cache<ClientKey, Arc<HttpClient>>,
    roots: SystemRoots,
    min_version: MinTlsVersion,
    limits: ClientLimits,
    shared: SharedResources,
}

impl ClientCache {
    /// Makes a cache without clients. TLS trusts `roots` besides the certificates of each
    /// destination, and refuses versions before `min_version`.
    #[must_use]
    pub fn new(roots: SystemRoots, min_version: MinTlsVersion, limits: ClientLimits) -> Self {
        let clients = Cache::builder()
            .max_capacity(limits.max_clients)
            .time_to_idle(limits.client_idle_timeout)
            .build();
        let metrics = Arc::default();
        let shared = SharedResources {
            resolver: DnsResolver::new(limits.max_lookups, Arc::clone(&metrics)),
            permits: ConnectionPermits::new(limits.max_connections),
            metrics,
        };
        Self {
            clients,
            roots,
            min_version,
            limits,
            shared,
        }
    }

    /// Returns the same cache, which counts connections and handshakes with destinations, and
    /// lookups of their names that fail, in these series.
    #[must_use]
    pub(crate) fn with_metrics(mut self, metrics: Arc<ConnectionMetrics>) -> Self {
        metrics.set_limit(self.limits.max_connections);
        self.shared.resolver = DnsResolver::new(self.limits.max_lookups, Arc::clone(&metrics));
        self.shared.metrics = metrics;
        self
    }

    /// Closes connections that the peer has closed or that are idle for too long, and every idle
    /// connection when a new one waits for a permit; returns when `stop` is cancelled.
    pub(crate) async fn close_unused_connections(self: Arc<Self>, stop: CancellationToken) {
        let mut often = tokio::time::interval(IDLE_CHECK_INTERVAL);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = often.tick() => self.close_expired(),
                () = self.shared.permits.wait_for_demand() => self.close_idle(),
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

    #[cfg(test)]
    /// Returns the number of clients that are kept now; expired ones are dropped first.
    pub(crate) async fn client_count(&self) -> u64 {
        self.clients.run_pending_tasks().await;
        self.clients.entry_count()
    }

    /// Returns the client that trusts the certificates of this destination that are valid now; a
    /// client is built if there is none.
    ///
    /// # Errors
    /// Fails if the destination is not reached by HTTP, or if none of its certificates can be used.
    pub async fn client(&self, to: &Addressable) -> Result<Arc<HttpClient>, TransportError> {
        let connect_override = connect_override(to)?;
        let trust = valid_trust(to)?;
        let key = ClientKey {
            trust: trust.fingerprint(),
            connect_override,
            versions: to.url.http_versions(),
        };
        if let Some(client) = self.clients.get(&key).await {
            return Ok(client);
        }
        // The future is on the heap, as is every one that is rare and large: the future of a
        // delivery is moved when its task is made.
        Box::pin(self.get_or_build(key, &trust)).await
    }

    async fn get_or_build(
        &self,
        key: ClientKey,
        trust: &TrustBundle,
    ) -> Result<Arc<HttpClient>, TransportError> {
        let of = key.clone();
        let client = self
            .clients
            .try_get_with(key, async { self.build(trust, of) });
        client.await.map_err(|error| TransportError::clone(&error))
    }

    /// Gets a document of at most `max` bytes by `GET`, within `timeout`. Redirects are followed as
    /// for events.
    ///
    /// # Errors
    /// Fails if there is no response in time, or one that is no success, compressed or too large.
    pub(crate) async fn get_document(
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

    fn build(
        &self,
        trust: &TrustBundle,
        key: ClientKey,
    ) -> Result<Arc<HttpClient>, TransportError> {
        let mut tls =
            tls::client_config(trust, &self.roots, self.min_version).map_err(|error| {
                TransportError::Trust(format!("a certificate cannot be trusted: {error}"))
            })?;
        if key.versions == HttpVersions::OnlyHttp1 {
            tls = tls::only_http1(&tls);
        }
        let connector = ClientConnector::new(
            tls,
            key.connect_override,
            self.limits.connect_timeout,
            &self.shared,
        );
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

impl HttpTransport for ClientCache {
    async fn send(
        &self,
        request: impl FnMut() -> Request<Bytes> + Send,
        to: &Addressable,
        timeout: Duration,
    ) -> Result<Response<Bytes>, TransportError> {
        self.send_watched(request, to, timeout, || ()).await
    }

    async fn send_watched(
        &self,
        request: impl FnMut() -> Request<Bytes> + Send,
        to: &Addressable,
        timeout: Duration,
        when_slow: impl FnOnce() + Send,
    ) -> Result<Response<Bytes>, TransportError> {
        let attempt = RequestDeadline::within(timeout);
        // Its future has ended before the response is read, and its place is used again.
        let response = {
            let post = pin!(self.post(request, to));
            attempt.watch(post, when_slow).await??
        };
        response::read_response(response, self.limits.max_reply_bytes, attempt).await
    }
}

/// Returns the address at which this destination is reached instead of the host of its URL, if
/// there is one.
fn connect_override(to: &Addressable) -> Result<Option<ConnectOverride>, TransportError> {
    let address = match &to.route {
        DestinationRoute::Remote { connect } => *connect,
        DestinationRoute::Unresolved(reason) => {
            return Err(TransportError::Unreachable(reason.to_string()));
        }
        DestinationRoute::Local(_)
        | DestinationRoute::WaitingRequest(_)
        | DestinationRoute::EventDisplay => return Err(TransportError::NotRemote),
    };
    let authority = || to.url.uri()?.authority().cloned();
    Ok(address.and_then(|address| {
        Some(ConnectOverride {
            authority: authority()?,
            address,
        })
    }))
}

/// Returns the trust of the destination without the certificates that are not valid now. If nothing
/// is left of it, this is an error and nothing is sent.
fn valid_trust(to: &Addressable) -> Result<Arc<TrustBundle>, TransportError> {
    if to.trust.trusts_nobody() {
        return Err(TransportError::Trust(
            "CACerts hold no certificate that can be read".to_owned(),
        ));
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
