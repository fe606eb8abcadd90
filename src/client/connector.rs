//! How connections come about: TCP to where a host is, TLS if the scheme wants it, both within one limit.
//!
//! It knows addresses and a TLS configuration, not requests.

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

/// A silent peer is asked this often whether it is there, and given up after so many questions.
const PROBE: Duration = Duration::from_secs(15);
const PROBES: u32 = 3;

/// Where a destination really is, whatever DNS says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ConnectOverride {
    /// Host and port as its URL names them.
    pub(super) authority: Authority,
    /// The place.
    pub(super) address: SocketAddr,
}

impl ConnectOverride {
    /// The place as a URI. A redirect may name another port of the host, which counts then.
    fn connect_uri(&self, uri: Uri) -> Result<Uri, http::Error> {
        let port = if uri.authority() == Some(&self.authority) { None } else { uri.port_u16() };
        let address = SocketAddr::new(self.address.ip(), port.unwrap_or(self.address.port()));
        let mut parts = uri.into_parts();
        parts.authority = Some(Authority::try_from(address.to_string())?);
        Ok(Uri::from_parts(parts)?)
    }
}

/// TLS verifies the host of the URL, wherever it is.
struct FixedServerName(Uri);

impl ResolveServerName for FixedServerName {
    fn resolve(&self, _place: &Uri) -> Result<ServerName<'static>, BoxError> {
        DefaultServerNameResolver::default().resolve(&self.0)
    }
}

/// What a connection offers by ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AlpnOffer {
    /// What the client's configuration offers.
    AsConfigured,
    /// HTTP/1.1.
    Http1,
}

/// Makes the connections of one client.
pub(super) struct ClientConnector {
    https: HttpsConnector<HttpConnector<DnsResolver>>,
    /// How connections come about that offer HTTP/1.1 only; made when it is asked for.
    http1: OnceLock<HttpsConnector<HttpConnector<DnsResolver>>>,
    parts: ConnectorParts,
    connect_override: Option<ConnectOverride>,
    connect_timeout: Duration,
    permits: ConnectionPermits,
    metrics: Arc<ConnectionMetrics>,
}

/// What connections are made of.
struct ConnectorParts {
    tcp: HttpConnector<DnsResolver>,
    tls: Arc<ClientConfig>,
    server_name: Arc<dyn ResolveServerName + Send + Sync>,
}

impl ConnectorParts {
    fn https_connector(&self, tls: Arc<ClientConfig>) -> HttpsConnector<HttpConnector<DnsResolver>> {
        HttpsConnector::new(self.tcp.clone(), tls, false, Arc::clone(&self.server_name))
    }

    fn http1_connector(&self) -> HttpsConnector<HttpConnector<DnsResolver>> {
        self.https_connector(Arc::new(tls::only_http1(&self.tls)))
    }
}

impl ClientConnector {
    /// Connections by this configuration, which offers its protocols by ALPN, each within `limit`, to where `lookup` finds
    /// hosts, while there are `descriptors`; counted in `traffic`.
    pub(super) fn new(
        tls: ClientConfig,
        connect_override: Option<ConnectOverride>,
        connect_timeout: Duration,
        (lookup, descriptors, traffic): (&DnsResolver, &ConnectionPermits, &Arc<ConnectionMetrics>),
    ) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(lookup.clone());
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(PROBE));
        tcp.set_keepalive_interval(Some(PROBE));
        tcp.set_keepalive_retries(Some(PROBES));
        let name: Arc<dyn ResolveServerName + Send + Sync> = match &connect_override {
            Some(ConnectOverride { authority, .. }) => Arc::new(FixedServerName(Uri::from(authority.clone()))),
            None => Arc::new(DefaultServerNameResolver::default()),
        };
        let parts = ConnectorParts { tcp, tls: Arc::new(tls), server_name: name };
        let https = parts.https_connector(Arc::clone(&parts.tls));
        Self {
            https,
            http1: OnceLock::new(),
            parts,
            connect_override,
            connect_timeout,
            permits: descriptors.clone(),
            metrics: Arc::clone(traffic),
        }
    }

    fn https_connector(&self, protocols: AlpnOffer) -> HttpsConnector<HttpConnector<DnsResolver>> {
        match protocols {
            AlpnOffer::AsConfigured => self.https.clone(),
            AlpnOffer::Http1 => self.http1.get_or_init(|| self.parts.http1_connector()).clone(),
        }
    }

    /// A connection to the host of this URI.
    pub(super) async fn connect(&self, uri: Uri, protocols: AlpnOffer) -> Result<CountedStream, BoxError> {
        let traffic = &self.metrics;
        let place = match &self.connect_override {
            Some(elsewhere) => elsewhere.connect_uri(uri)?,
            None => uri,
        };
        let descriptor = self.permits.acquire().await;
        let connecting = self.https_connector(protocols).call(place);
        match tokio::time::timeout(self.connect_timeout, connecting).await {
            Ok(Ok(stream)) => Ok(CountedStream::new(stream, descriptor, traffic)),
            Ok(Err(error)) => {
                if error::is_tls(&*error) {
                    traffic.handshakes_failed.increment();
                }
                Err(error)
            }
            Err(_elapsed) => Err(io::Error::new(io::ErrorKind::TimedOut, "operation timed out").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_is_elsewhere_is_found_there_at_every_port() {
        for (authority, address, uri, place) in [
            ("sink.ns:8080", "127.0.0.1:1", "http://sink.ns:8080/", "http://127.0.0.1:1/"),
            ("sink.ns", "127.0.0.1:1", "https://sink.ns/", "https://127.0.0.1:1/"),
            ("sink.ns", "[::1]:1", "http://sink.ns/", "http://[::1]:1/"),
            ("sink.ns:8080", "127.0.0.1:1", "https://sink.ns:8443/", "https://127.0.0.1:8443/"),
        ] {
            let authority = authority.parse().expect("an authority");
            let elsewhere = ConnectOverride { authority, address: address.parse().expect("an address") };
            assert_eq!(elsewhere.connect_uri(uri.parse().expect("a URI")).expect("a place"), place);
        }
    }
}
