//! The certificate that the HTTPS listener shows. It is replaced in memory, for new handshakes,
//! without a restart.
//!
//! A pair of certificate and key is validated whole before it replaces another one; a bad pair
//! never does.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{MinTlsVersion, PROTOCOLS, crypto_provider};
use crate::wire_text::WireText;

/// The reason for which a certificate and its key cannot be used. It never shows key material.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ServerIdentityError {
    /// The text of the chain holds no certificate, or one that does not decode.
    #[error("tls.crt: {0}")]
    Chain(String),
    /// The text of the key holds no private key that can be used.
    #[error("tls.key: {0}")]
    Key(String),
    /// The private key does not belong to the certificate.
    #[error("tls.key does not belong to the first certificate of tls.crt ({subject})")]
    Mismatch {
        /// The subject of the certificate.
        subject: String,
    },
    /// The certificate is no longer valid.
    #[error("tls.crt: the certificate of {subject} expired on {expired}")]
    Expired {
        /// The subject of the certificate.
        subject: String,
        /// The date on which it expired.
        expired: String,
    },
}

/// A certificate in use, with its key, subject and end of validity (seconds since the epoch).
struct CurrentCertificate {
    key: Arc<CertifiedKey>,
    subject: String,
    not_after: i64,
}

/// The certificate of the server: none at first, then the last good one. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct ServerIdentity(Arc<ArcSwapOption<CurrentCertificate>>);

impl fmt::Debug for ServerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerIdentity")
            .field("not_after", &self.not_after())
            .finish()
    }
}

/// The effect of offering a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CertificateReplacement {
    /// The certificate is the one in use.
    Unchanged,
    /// New handshakes use the certificate from now on.
    Changed {
        /// The subject of the certificate.
        subject: String,
        /// The end of its validity, in seconds since the epoch.
        not_after: i64,
    },
}

impl ServerIdentity {
    /// Uses this chain (leaf first) and key from now on, if they are good at `now` (seconds since
    /// the epoch). Keys may be PKCS#1, PKCS#8 or SEC1 (contract 3.11).
    ///
    /// # Errors
    /// Fails if they cannot be used; the ones in use stay.
    pub(crate) fn replace(
        &self,
        chain_pem: &str,
        key_pem: &str,
        now: i64,
    ) -> Result<CertificateReplacement, ServerIdentityError> {
        let chain = parse_chain(chain_pem)?;
        let key = parse_private_key(key_pem)?;
        let (subject, not_after) = read_subject_and_end(&chain)?;
        // An expired certificate is refused before it is compared: senders would not believe it.
        if not_after < now {
            let expired = format_date(not_after);
            return Err(ServerIdentityError::Expired { subject, expired });
        }
        if self.shows(&chain) {
            return Ok(CertificateReplacement::Unchanged);
        }
        // The key is checked against the certificate before anything is replaced.
        let certified = certified_key(chain, key, &subject)?;
        self.0.store(Some(Arc::new(CurrentCertificate {
            key: Arc::new(certified),
            subject: subject.clone(),
            not_after,
        })));
        Ok(CertificateReplacement::Changed { subject, not_after })
    }

    fn shows(&self, chain: &[CertificateDer<'_>]) -> bool {
        let held = self.0.load();
        held.as_ref().is_some_and(|held| held.key.cert == chain)
    }

    /// Returns the end of the validity of the certificate in use, in seconds since the epoch.
    #[must_use]
    pub(crate) fn not_after(&self) -> Option<i64> {
        self.0.load().as_ref().map(|held| held.not_after)
    }

    /// Returns the subject of the certificate in use.
    #[must_use]
    pub(crate) fn subject(&self) -> Option<String> {
        self.0.load().as_ref().map(|held| held.subject.clone())
    }

    /// Makes the configuration of a server that shows this identity whatever name is asked for,
    /// wants no client certificate, and offers HTTP/2 and HTTP/1.1 (contract 1.7a).
    ///
    /// # Errors
    /// Fails if the provider does not support the versions, which it does.
    pub(crate) fn server_config(
        &self,
        min_version: MinTlsVersion,
    ) -> Result<Arc<ServerConfig>, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(crypto_provider())
            .with_protocol_versions(min_version.protocol_versions())?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(self.clone()));
        config.alpn_protocols = PROTOCOLS.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for ServerIdentity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load().as_ref().map(|held| Arc::clone(&held.key))
    }
}

fn parse_chain(pem: &str) -> Result<Vec<CertificateDer<'static>>, ServerIdentityError> {
    rustls_pemfile::certs(&mut pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| ServerIdentityError::Chain(format!("does not decode: {error}")))
}

fn parse_private_key(pem: &str) -> Result<PrivateKeyDer<'static>, ServerIdentityError> {
    rustls_pemfile::private_key(&mut pem.as_bytes())
        .map_err(|error| ServerIdentityError::Key(format!("does not decode: {error}")))?
        .ok_or_else(|| {
            ServerIdentityError::Key(
                "holds no PKCS#1, PKCS#8 or SEC1 private key in PEM".to_owned(),
            )
        })
}

fn certified_key(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    subject: &str,
) -> Result<CertifiedKey, ServerIdentityError> {
    CertifiedKey::from_der(chain, key, &crypto_provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => ServerIdentityError::Mismatch {
            subject: subject.to_owned(),
        },
        error => ServerIdentityError::Key(error.to_string()),
    })
}

fn read_subject_and_end(
    chain: &[CertificateDer<'_>],
) -> Result<(String, i64), ServerIdentityError> {
    let leaf = chain
        .first()
        .ok_or_else(|| ServerIdentityError::Chain("holds no certificate".to_owned()))?;
    let (_, parsed) = X509Certificate::from_der(leaf)
        .map_err(|error| ServerIdentityError::Chain(error.to_string()))?;
    Ok((
        WireText::new(parsed.subject()).into(),
        parsed.validity().not_after.timestamp(),
    ))
}

fn format_date(timestamp: i64) -> String {
    time::OffsetDateTime::from_unix_timestamp(timestamp)
        .map_or_else(|_| timestamp.to_string(), |time| time.date().to_string())
}
