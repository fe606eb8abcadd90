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

use super::counted::Counted;
use super::descriptors::Descriptors;
use super::error;
use super::lookup::Lookup;
use crate::telemetry::series::Traffic;
use crate::tls;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A silent peer is asked this often whether it is there, and given up after so many questions.
const PROBE: Duration = Duration::from_secs(15);
const PROBES: u32 = 3;

/// Where a destination really is, whatever DNS says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Elsewhere {
    /// Host and port as its URL names them.
    pub(super) authority: Authority,
    /// The place.
    pub(super) address: SocketAddr,
}

impl Elsewhere {
    /// The place as a URI. A redirect may name another port of the host, which counts then.
    fn place(&self, uri: Uri) -> Result<Uri, http::Error> {
        let port = if uri.authority() == Some(&self.authority) { None } else { uri.port_u16() };
        let address = SocketAddr::new(self.address.ip(), port.unwrap_or(self.address.port()));
        let mut parts = uri.into_parts();
        parts.authority = Some(Authority::try_from(address.to_string())?);
        Ok(Uri::from_parts(parts)?)
    }
}

/// TLS verifies the host of the URL, wherever it is.
struct Known(Uri);

impl ResolveServerName for Known {
    fn resolve(&self, _place: &Uri) -> Result<ServerName<'static>, BoxError> {
        DefaultServerNameResolver::default().resolve(&self.0)
    }
}

/// What a connection offers by ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocols {
    /// What the client's configuration offers.
    Both,
    /// HTTP/1.1.
    Http1,
}

/// Makes the connections of one client.
pub(super) struct Connector {
    https: HttpsConnector<HttpConnector<Lookup>>,
    /// How connections come about that offer HTTP/1.1 only; made when it is asked for.
    http1: OnceLock<HttpsConnector<HttpConnector<Lookup>>>,
    make: Make,
    elsewhere: Option<Elsewhere>,
    limit: Duration,
    descriptors: Descriptors,
    traffic: Arc<Traffic>,
}

/// What connections are made of.
struct Make {
    tcp: HttpConnector<Lookup>,
    tls: Arc<ClientConfig>,
    name: Arc<dyn ResolveServerName + Send + Sync>,
}

impl Make {
    fn https(&self, tls: Arc<ClientConfig>) -> HttpsConnector<HttpConnector<Lookup>> {
        HttpsConnector::new(self.tcp.clone(), tls, false, Arc::clone(&self.name))
    }

    fn http1(&self) -> HttpsConnector<HttpConnector<Lookup>> {
        self.https(Arc::new(tls::only_http1(&self.tls)))
    }
}

impl Connector {
    /// Connections by this configuration, which offers its protocols by ALPN, each within `limit`, to where `lookup` finds
    /// hosts, while there are `descriptors`; counted in `traffic`.
    pub(super) fn new(
        tls: ClientConfig,
        elsewhere: Option<Elsewhere>,
        limit: Duration,
        (lookup, descriptors, traffic): (&Lookup, &Descriptors, &Arc<Traffic>),
    ) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(lookup.clone());
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(PROBE));
        tcp.set_keepalive_interval(Some(PROBE));
        tcp.set_keepalive_retries(Some(PROBES));
        let name: Arc<dyn ResolveServerName + Send + Sync> = match &elsewhere {
            Some(Elsewhere { authority, .. }) => Arc::new(Known(Uri::from(authority.clone()))),
            None => Arc::new(DefaultServerNameResolver::default()),
        };
        let make = Make { tcp, tls: Arc::new(tls), name };
        let https = make.https(Arc::clone(&make.tls));
        Self {
            https,
            http1: OnceLock::new(),
            make,
            elsewhere,
            limit,
            descriptors: descriptors.clone(),
            traffic: Arc::clone(traffic),
        }
    }

    fn offering(&self, protocols: Protocols) -> HttpsConnector<HttpConnector<Lookup>> {
        match protocols {
            Protocols::Both => self.https.clone(),
            Protocols::Http1 => self.http1.get_or_init(|| self.make.http1()).clone(),
        }
    }

    /// A connection to the host of this URI.
    pub(super) async fn connect(&self, uri: Uri, protocols: Protocols) -> Result<Counted, BoxError> {
        let traffic = &self.traffic;
        let place = match &self.elsewhere {
            Some(elsewhere) => elsewhere.place(uri)?,
            None => uri,
        };
        let descriptor = self.descriptors.take().await;
        let connecting = self.offering(protocols).call(place);
        match tokio::time::timeout(self.limit, connecting).await {
            Ok(Ok(stream)) => Ok(Counted::new(stream, descriptor, traffic)),
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
            let elsewhere = Elsewhere { authority, address: address.parse().expect("an address") };
            assert_eq!(elsewhere.place(uri.parse().expect("a URI")).expect("a place"), place);
        }
    }
}
