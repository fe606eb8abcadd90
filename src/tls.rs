//! TLS for both directions: one provider of cryptography, one set of versions, the roots of the
//! system.
//!
//! This module makes rustls configurations out of trust and identities; it opens no connection.

mod certificate_verifier;
pub(crate) mod development_ca;
pub(crate) mod refusal;
pub(crate) mod server_identity;
mod session_cache;

use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

use self::certificate_verifier::ServerCertificateVerifier;
use self::session_cache::TlsSessionCache;
use crate::model::TrustBundle;

/// The protocols that are offered by ALPN, the preferred one first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", HTTP_1];
const HTTP_1: &[u8] = b"http/1.1";
/// The versions of TLS, the newest first, which is the preferred one.
const TLS_1_2_AND_1_3: &[&SupportedProtocolVersion] =
    &[&rustls::version::TLS13, &rustls::version::TLS12];
const TLS_1_3: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// The lowest TLS version that is spoken, in both directions (`TLS_MIN_VERSION`, contract TL-5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MinTlsVersion {
    /// TLS 1.2 and TLS 1.3 are spoken; this is the default without a cluster.
    #[default]
    Tls12,
    /// Only TLS 1.3 is spoken.
    Tls13,
}

impl MinTlsVersion {
    fn protocol_versions(self) -> &'static [&'static SupportedProtocolVersion] {
        match self {
            Self::Tls12 => TLS_1_2_AND_1_3,
            Self::Tls13 => TLS_1_3,
        }
    }
}

impl FromStr for MinTlsVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "1.2" => Ok(Self::Tls12),
            "1.3" => Ok(Self::Tls13),
            _ => Err(format!("{text:?} is not a TLS version: use 1.2 or 1.3")),
        }
    }
}

static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));

/// Returns the provider of cryptography that the whole process uses.
#[must_use]
pub(crate) fn crypto_provider() -> Arc<CryptoProvider> {
    Arc::clone(&PROVIDER)
}

/// The verifier for the certification authorities that the system trusts, made once and shared by
/// all clients; `None` if there are no such authorities.
#[derive(Clone, Debug)]
pub struct SystemRoots(Option<Arc<WebPkiServerVerifier>>);

impl SystemRoots {
    /// Reads the roots of the system. A root that cannot be read is left out with a warning:
    /// destinations with their own CACerts need none.
    #[must_use]
    pub fn load() -> Self {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "Could not read a trusted root of the system");
        }
        let mut roots = RootCertStore::empty();
        let (_taken, ignored) = roots.add_parsable_certificates(found.certs);
        if ignored > 0 {
            tracing::debug!(ignored, "Some roots of the system do not parse");
        }
        if roots.is_empty() {
            tracing::warn!("The system trusts no root: only CACerts and trust bundles are");
        }
        Self(certificate_verifier::root_verifier(roots))
    }
}

/// Returns the same configuration, which offers HTTP/1.1 only.
#[must_use]
pub(crate) fn only_http1(config: &ClientConfig) -> ClientConfig {
    let mut config = config.clone();
    config.alpn_protocols = vec![HTTP_1.to_vec()];
    config
}

/// Makes the configuration of a client that trusts the roots of the system and this bundle
/// (contract TL-1), sends SNI, verifies host names, shows no certificate of its own (contract
/// TL-6), and offers HTTP/2 and HTTP/1.1. A certificate of the bundle is believed by itself, and as
/// the issuer of others if it may sign certificates.
///
/// # Errors
/// Fails if a certificate of the bundle cannot be a trust anchor.
pub(crate) fn client_config(
    trust: &TrustBundle,
    roots: &SystemRoots,
    min_version: MinTlsVersion,
) -> Result<ClientConfig, rustls::Error> {
    let mut own = RootCertStore::empty();
    for certificate in trust
        .certificates()
        .iter()
        .filter(|certificate| certificate.is_ca)
    {
        own.add(certificate.der.clone())?;
    }
    let sessions = Arc::new(TlsSessionCache::new());
    let verifier = ServerCertificateVerifier::new(own, roots.0.clone())
        .with_bundle(trust, Arc::clone(&sessions));
    let mut config = ClientConfig::builder_with_provider(crypto_provider())
        .with_protocol_versions(min_version.protocol_versions())?
        .dangerous() // as is every verifier that is not rustls' own; this one asks two of those
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.resumption = Resumption::store(sessions);
    config.alpn_protocols = PROTOCOLS.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}

#[cfg(test)]
mod tests;
