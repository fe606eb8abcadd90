//! OIDC discovery: fetches `/.well-known/openid-configuration` of an issuer, and the keys at the
//! address in it (contract 7.5). Documents come by HTTP, or from the API server in a cluster.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::Deserialize;
use url::Url;

use super::issuer_keys::{IssuerKeySource, PublishedKeys};
use crate::client::ClientCache;
use crate::model::{Addressable, DestinationRoute, OidcAuthentication, OidcDiscovery, TrustBundle};
use crate::scrub;

/// Path of an issuer's configuration, below its base URL.
pub(super) const WELL_KNOWN: &str = "/.well-known/openid-configuration";
/// Path of the keys at the API server.
const CLUSTER_KEYS: &str = "/openid/v1/jwks";
/// Longest document in bytes.
const MAX_DOCUMENT: usize = 1024 * 1024;
/// Longest time for fetching one document.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Gets documents of the API server, which is asked as the ServiceAccount of this process.
pub trait ApiServerDocuments: Send + Sync + 'static {
    /// Returns the document at a path, or an error for the log.
    fn get<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Bytes, String>>;
}

/// The fields of an issuer's configuration that are read.
#[derive(Deserialize)]
struct OpenIdConfiguration {
    issuer: String,
    jwks_uri: String,
}

/// Fetches the name and the keys of an issuer.
pub struct IssuerFetcher {
    clients: Arc<ClientCache>,
    /// The API server; `None` if this process runs without a cluster.
    api_server: Option<Arc<dyn ApiServerDocuments>>,
}

impl IssuerFetcher {
    /// Makes a fetcher for issuers by HTTP, and for the issuer of the cluster if there is an
    /// `api_server`.
    #[must_use]
    pub fn new(clients: Arc<ClientCache>, api_server: Option<Arc<dyn ApiServerDocuments>>) -> Self {
        Self {
            clients,
            api_server,
        }
    }

    async fn fetch_keys(&self, oidc: &OidcAuthentication) -> Result<PublishedKeys, String> {
        match &oidc.discovery {
            OidcDiscovery::Unavailable => Err("oidc-discovery-base-url is no URL".to_owned()),
            OidcDiscovery::Cluster(trust) => self.fetch_keys_of_cluster(trust).await,
            OidcDiscovery::BaseUrl(base) => {
                let OpenIdConfiguration { issuer, jwks_uri } =
                    parse_document(&self.fetch_document(&configuration_address(base)).await?)?;
                Ok(PublishedKeys {
                    issuer,
                    keys: parse_document(
                        &self.fetch_document(&jwks_address(base, &jwks_uri)?).await?,
                    )?,
                })
            }
        }
    }

    /// Fetches the keys of the cluster's issuer. If the path of the keys is the API server's own,
    /// the API server is asked, whatever host it names. Keys elsewhere are fetched by https and
    /// without credentials.
    async fn fetch_keys_of_cluster(
        &self,
        trust: &Arc<TrustBundle>,
    ) -> Result<PublishedKeys, String> {
        let Some(cluster) = &self.api_server else {
            return Err("there is no API server to ask".to_owned());
        };
        let OpenIdConfiguration { issuer, jwks_uri } =
            parse_document(&cluster.get(WELL_KNOWN).await?)?;
        let url = parse_url(&jwks_uri)?;
        let keys = if url.path() == CLUSTER_KEYS {
            cluster.get(CLUSTER_KEYS).await?
        } else {
            self.fetch_keys_elsewhere(url, trust).await?
        };
        Ok(PublishedKeys {
            issuer,
            keys: parse_document(&keys)?,
        })
    }

    async fn fetch_keys_elsewhere(
        &self,
        url: Url,
        trust: &Arc<TrustBundle>,
    ) -> Result<Bytes, String> {
        if url.scheme() != "https" {
            return Err(format!(
                "the API server names keys that are not to be had by https: {url}"
            ));
        }
        let address = Addressable {
            url: url.into(),
            route: DestinationRoute::Remote { connect: None },
            trust: Arc::clone(trust),
            audience: None,
        };
        self.fetch_document(&address).await
    }

    async fn fetch_document(&self, from: &Addressable) -> Result<Bytes, String> {
        let document = self.clients.get_document(from, MAX_DOCUMENT, TIMEOUT).await;
        document.map_err(|error| format!("{}: {error}", from.url))
    }
}

impl IssuerKeySource for IssuerFetcher {
    fn fetch<'a>(
        &'a self,
        oidc: &'a OidcAuthentication,
    ) -> BoxFuture<'a, Result<PublishedKeys, String>> {
        async move {
            // Enough for two documents, and a little for the work between them.
            let limit = TIMEOUT * 3;
            match tokio::time::timeout(limit, self.fetch_keys(oidc)).await {
                Ok(published) => published.map_err(scrub::string),
                Err(_elapsed) => Err(format!("no answer within {} s", limit.as_secs())),
            }
        }
        .boxed()
    }
}

/// Returns the address of the configuration below a base URL.
fn configuration_address(base: &Addressable) -> Addressable {
    let mut url = Url::clone(&base.url);
    let path = format!("{}{WELL_KNOWN}", url.path().trim_end_matches('/'));
    url.set_path(&path);
    Addressable {
        url: url.into(),
        ..base.clone()
    }
}

/// Returns the address of the keys that a configuration names. If the configuration was fetched by
/// https, the keys have to be, too. A connect override of the base URL is used for the keys if they
/// have the same origin.
fn jwks_address(base: &Addressable, jwks_uri: &str) -> Result<Addressable, String> {
    let url = parse_url(jwks_uri)?;
    if url.scheme() != "https" && url.scheme() != base.url.scheme() {
        return Err(format!(
            "the issuer names keys that are not to be had by https: {url}"
        ));
    }
    let same = url.origin() == base.url.origin();
    let target = if same {
        base.route.clone()
    } else {
        DestinationRoute::Remote { connect: None }
    };
    Ok(Addressable {
        url: url.into(),
        route: target,
        ..base.clone()
    })
}

fn parse_url(url: &str) -> Result<Url, String> {
    Url::parse(url).map_err(|error| format!("jwks_uri of the issuer is no URL: {error}"))
}

fn parse_document<'d, T: Deserialize<'d>>(document: &'d [u8]) -> Result<T, String> {
    serde_json::from_slice(document)
        .map_err(|error| format!("the issuer tells something else than expected: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(url: &str) -> Addressable {
        let target = DestinationRoute::Remote {
            connect: Some(([127, 0, 0, 1], 1).into()),
        };
        Addressable {
            url: url.parse().expect("a URL"),
            route: target,
            trust: Arc::default(),
            audience: None,
        }
    }

    #[test]
    fn descriptions_stand_below_the_base() {
        for (base, url) in [
            (
                "https://issuer",
                "https://issuer/.well-known/openid-configuration",
            ),
            (
                "https://issuer/",
                "https://issuer/.well-known/openid-configuration",
            ),
            (
                "https://issuer/id/EKS/",
                "https://issuer/id/EKS/.well-known/openid-configuration",
            ),
        ] {
            assert_eq!(configuration_address(&at(base)).url.as_str(), url);
        }
    }

    /// Keys decide who is believed: nobody on the way may change them where the description was
    /// safe.
    #[test]
    fn keys_are_had_as_safely_as_their_description() {
        let keys = |base: &str, uri: &str| jwks_address(&at(base), uri).map(|keys| keys.route);
        let (there, anywhere) = (
            at("https://issuer").route,
            DestinationRoute::Remote { connect: None },
        );
        assert_eq!(
            keys("https://issuer", "https://issuer/keys"),
            Ok(there.clone())
        );
        assert_eq!(keys("https://issuer", "https://other/keys"), Ok(anywhere));
        assert_eq!(keys("http://issuer", "http://issuer/keys"), Ok(there));
        for uri in ["http://issuer/keys", "file:///keys", "/keys", ""] {
            assert!(keys("https://issuer", uri).is_err(), "{uri}");
        }
    }
}
