//! Opens connections: TCP to the address of a host, TLS if the scheme is https, both within one
//! time limit.
//!
//! The connector knows addresses and a TLS configuration, not requests.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::Uri;
use http::uri::Authority;
use hyper_rustls::{DefaultServerNameResolver, HttpsConnector, ResolveServerName};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tower_service::Service;

use super::connection_permits::ConnectionPermits;
use super::counted_stream::CountedStream;
use super::dns_resolver::DnsResolver;
use super::error;
use crate::telemetry::series::ConnectionMetrics;
use crate::tls;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Interval of TCP keep-alive probes to a silent peer, and the number of unanswered ones after
/// which the connection is given up.
const PROBE: Duration = Duration::from_secs(15);
const PROBES: u32 = 3;

/// The address at which a destination is reached, whatever DNS says about its host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ConnectOverride {
    /// Host and port as the URL of the destination names them.
    pub(super) authority: Authority,
    /// The address that is connected to instead.
    pub(super) address: SocketAddr,
}

impl ConnectOverride {
    /// Returns the URI with this address instead of its host. A redirect may lead to another port
    /// of the host; that port is kept then.
    fn connect_uri(&self, uri: Uri) -> Result<Uri, http::Error> {
        let port = if uri.authority() == Some(&self.authority) {
            None
        } else {
            uri.port_u16()
        };
        let address = SocketAddr::new(self.address.ip(), port.unwrap_or(self.address.port()));
        let mut parts = uri.into_parts();
        parts.authority = Some(Authority::try_from(address.to_string())?);
        Ok(Uri::from_parts(parts)?)
    }
}

/// Makes TLS verify the host of the URL although another address is connected to.
struct FixedServerName(Uri);

impl ResolveServerName for FixedServerName {
    fn resolve(&self, _place: &Uri) -> Result<ServerName<'static>, BoxError> {
        DefaultServerNameResolver::default().resolve(&self.0)
    }
}

/// The protocols that a new connection offers by ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AlpnOffer {
    /// The protocols of the client's TLS configuration.
    AsConfigured,
    /// HTTP/1.1 only, for hosts that have asked for it.
    Http1,
}

/// What the connectors of all clients share.
pub(super) struct SharedResources {
    pub(super) resolver: DnsResolver,
    pub(super) permits: ConnectionPermits,
    /// The metrics in which connections and handshakes are counted.
    pub(super) metrics: Arc<ConnectionMetrics>,
}

/// Opens the connections of one client.
pub(super) struct ClientConnector {
    https: HttpsConnector<HttpConnector<DnsResolver>>,
    /// The connector that offers HTTP/1.1 only; built when it is first asked for.
    http1: OnceLock<HttpsConnector<HttpConnector<DnsResolver>>>,
    parts: ConnectorParts,
    connect_override: Option<ConnectOverride>,
    connect_timeout: Duration,
    resolver: DnsResolver,
    permits: ConnectionPermits,
    metrics: Arc<ConnectionMetrics>,
}

/// The parts that both connectors of a client are built from.
struct ConnectorParts {
    tcp: HttpConnector<DnsResolver>,
    tls: Arc<ClientConfig>,
    server_name: Arc<dyn ResolveServerName + Send + Sync>,
}

impl ConnectorParts {
    fn https_connector(
        &self,
        tls: Arc<ClientConfig>,
    ) -> HttpsConnector<HttpConnector<DnsResolver>> {
        HttpsConnector::new(self.tcp.clone(), tls, false, Arc::clone(&self.server_name))
    }

    fn http1_connector(&self) -> HttpsConnector<HttpConnector<DnsResolver>> {
        self.https_connector(Arc::new(tls::only_http1(&self.tls)))
    }
}

fn timed_out(words: impl Into<BoxError>) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, words)
}

fn server_name_resolver(
    connect_override: Option<&ConnectOverride>,
) -> Arc<dyn ResolveServerName + Send + Sync> {
    match connect_override {
        Some(ConnectOverride { authority, .. }) => {
            Arc::new(FixedServerName(Uri::from(authority.clone())))
        }
        None => Arc::new(DefaultServerNameResolver::default()),
    }
}

fn tcp_connector(resolver: DnsResolver) -> HttpConnector<DnsResolver> {
    let mut tcp = HttpConnector::new_with_resolver(resolver);
    // Https URLs pass through this connector, too, before TLS is added.
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(PROBE));
    tcp.set_keepalive_interval(Some(PROBE));
    tcp.set_keepalive_retries(Some(PROBES));
    tcp
}

impl ClientConnector {
    /// Makes the connector of one client. `tls` offers its protocols by ALPN; each connection is
    /// opened within `connect_timeout`.
    pub(super) fn new(
        tls: ClientConfig,
        connect_override: Option<ConnectOverride>,
        connect_timeout: Duration,
        shared: &SharedResources,
    ) -> Self {
        let parts = ConnectorParts {
            tcp: tcp_connector(shared.resolver.clone()),
            tls: Arc::new(tls),
            server_name: server_name_resolver(connect_override.as_ref()),
        };
        let https = parts.https_connector(Arc::clone(&parts.tls));
        Self {
            https,
            http1: OnceLock::new(),
            parts,
            connect_override,
            connect_timeout,
            resolver: shared.resolver.clone(),
            permits: shared.permits.clone(),
            metrics: Arc::clone(&shared.metrics),
        }
    }

    fn https_connector(&self, protocols: AlpnOffer) -> HttpsConnector<HttpConnector<DnsResolver>> {
        match protocols {
            AlpnOffer::AsConfigured => self.https.clone(),
            AlpnOffer::Http1 => self
                .http1
                .get_or_init(|| self.parts.http1_connector())
                .clone(),
        }
    }

    /// Opens a connection to the host of this URI, or to the address of the connect override.
    pub(super) async fn connect(
        &self,
        uri: Uri,
        protocols: AlpnOffer,
    ) -> Result<CountedStream, BoxError> {
        let metrics = &self.metrics;
        let place = match &self.connect_override {
            Some(elsewhere) => elsewhere.connect_uri(uri)?,
            None => uri,
        };
        // The permit comes first: opening a socket without one could take the last descriptor of
        // the process. Waiting for it is not part of the connect timeout.
        let descriptor = self.permits.acquire().await;
        let connecting = self.https_connector(protocols).call(place.clone());
        match tokio::time::timeout(self.connect_timeout, connecting).await {
            Ok(Ok(stream)) => Ok(CountedStream::new(stream, descriptor, metrics)),
            Ok(Err(error)) => {
                if error::is_tls(&*error) {
                    metrics.handshakes_failed.increment();
                }
                Err(error)
            }
            Err(_elapsed) => Err(self.not_in_time(&place).into()),
        }
    }

    /// Makes the error of a connection that was not open in time.
    fn not_in_time(&self, place: &Uri) -> io::Error {
        match place.host() {
            Some(host) if self.resolver.is_waited_for(host) => timed_out(format!(
                "the name {host} could not be looked up within {} s",
                self.connect_timeout.as_secs_f64()
            )),
            _ => timed_out("operation timed out"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TrustBundle;

    #[test]
    fn a_host_that_is_elsewhere_is_found_there_at_every_port() {
        for (authority, address, uri, place) in [
            (
                "sink.ns:8080",
                "127.0.0.1:1",
                "http://sink.ns:8080/",
                "http://127.0.0.1:1/",
            ),
            (
                "sink.ns",
                "127.0.0.1:1",
                "https://sink.ns/",
                "https://127.0.0.1:1/",
            ),
            ("sink.ns", "[::1]:1", "http://sink.ns/", "http://[::1]:1/"),
            (
                "sink.ns:8080",
                "127.0.0.1:1",
                "https://sink.ns:8443/",
                "https://127.0.0.1:8443/",
            ),
        ] {
            let authority = authority.parse().expect("an authority");
            let elsewhere = ConnectOverride {
                authority,
                address: address.parse().expect("an address"),
            };
            assert_eq!(
                elsewhere
                    .connect_uri(uri.parse().expect("a URI"))
                    .expect("a place"),
                place
            );
        }
    }

    /// A name server that does not answer is told from a host that does not.
    #[tokio::test]
    async fn a_lookup_that_hangs_is_named() {
        let (release, hold) = std::sync::mpsc::channel::<()>();
        let hold = std::sync::Mutex::new(hold);
        let resolve = move |_: &str| {
            hold.lock().expect("a lock").recv().ok();
            Ok(Vec::new())
        };
        let metrics: Arc<ConnectionMetrics> = Arc::default();
        let shared = SharedResources {
            resolver: DnsResolver::with_resolve_function(resolve, 8, Arc::clone(&metrics)),
            permits: ConnectionPermits::new(8),
            metrics,
        };
        let tls = tls::client_config(
            &TrustBundle::default(),
            &tls::SystemRoots::load(),
            tls::MinTlsVersion::Tls12,
        );
        let tls = tls.expect("a configuration");
        let limit = Duration::from_millis(100);
        let connector = ClientConnector::new(tls, None, limit, &shared);
        let uri = Uri::from_static("http://sink.example:8080/");
        let connecting = connector.connect(uri, AlpnOffer::AsConfigured).await;
        let error = connecting.err().expect("no connection");
        assert_eq!(
            error::TransportError::connect_failed(&*error).to_string(),
            "could not connect: the name sink.example could not be looked up within 0.1 s"
        );
        let elsewhere = connector.not_in_time(&Uri::from_static("http://10.0.0.1/"));
        assert_eq!(elsewhere.to_string(), "operation timed out");
        drop(release);
    }
}
