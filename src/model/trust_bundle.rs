//! The certificates that a destination's server certificate is verified against, and their
//! fingerprint.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls_pemfile::Item;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};

use crate::wire_text::WireText;

/// SHA-256 over the set of DER certificates of a [`TrustBundle`]: the order and the formatting of
/// the PEM do not matter. Equal fingerprints mean equal trust.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustFingerprint([u8; 32]);

impl fmt::Debug for TrustFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Display for TrustFingerprint {
    /// The first eight bytes in hexadecimal: enough to tell bundles apart in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .take(8)
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The fingerprint of a bundle that nothing can be verified with; no hash has this value.
const NOBODY: TrustFingerprint = TrustFingerprint([0; 32]);

/// One certificate of a trust bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedCertificate {
    /// The certificate itself, as DER.
    pub der: CertificateDer<'static>,
    /// The subject of the certificate, for messages.
    pub subject: String,
    /// The start of its validity, in seconds since the epoch.
    pub not_before: i64,
    /// The end of its validity, in seconds since the epoch.
    pub not_after: i64,
    /// True if it may sign the certificates of others. Any other certificate vouches for itself
    /// alone.
    pub is_ca: bool,
}

/// The reason why a PEM text holds no usable trust.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// The text holds no PEM item at all.
    #[error(
        "holds no PEM certificate; it must contain -----BEGIN CERTIFICATE----- lines, \
         indented evenly below the YAML key"
    )]
    NoCertificate,
    /// The text holds PEM items, but none of them is a certificate; the first one is named here.
    #[error(
        "holds a {0} instead of a certificate; give the CA's certificate, and never a private key"
    )]
    NotACertificate(&'static str),
    /// An item between BEGIN and END does not decode.
    #[error(
        "certificate {index} does not decode: {reason}; check that it is complete and its \
         lines are indented evenly"
    )]
    Malformed {
        /// The position of the item in the text, from 1.
        index: usize,
        /// The parser's message about the item.
        reason: String,
    },
}

/// The certificates trusted for a destination, besides the roots of the system; possibly none.
#[derive(Clone, PartialEq, Eq)]
pub struct TrustBundle {
    certificates: Vec<TrustedCertificate>,
    fingerprint: TrustFingerprint,
}

impl fmt::Debug for TrustBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "TrustBundle({} certificates, {})",
            self.certificates.len(),
            self.fingerprint
        )
    }
}

impl Default for TrustBundle {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl TrustBundle {
    /// A bundle of these certificates, each kept once.
    #[must_use]
    pub(crate) fn new(mut certificates: Vec<TrustedCertificate>) -> Self {
        certificates.sort_by(|a, b| a.der.as_ref().cmp(b.der.as_ref()));
        certificates.dedup_by(|a, b| a.der == b.der);
        let mut digest = Sha256::new();
        for certificate in &certificates {
            digest.update(Sha256::digest(&certificate.der));
        }
        Self {
            certificates,
            fingerprint: TrustFingerprint(digest.finalize().into()),
        }
    }

    /// Reads every certificate of a PEM text. PEM items of other types are ignored, as by Go's
    /// `x509.CertPool`.
    ///
    /// # Errors
    /// Fails if there is no certificate, or one does not decode.
    pub fn from_pem(pem: &str) -> Result<Self, TrustError> {
        Self::from_pem_with_others(pem).map(|(bundle, _others)| bundle)
    }

    /// The same bundle, with the names of the PEM items that are no certificates, each kind once:
    /// `private key`, `public key` and so on.
    ///
    /// # Errors
    /// Fails if there is no certificate, or one does not decode.
    pub(crate) fn from_pem_with_others(
        pem: &str,
    ) -> Result<(Self, BTreeSet<&'static str>), TrustError> {
        let (mut certificates, mut first, mut others) = (Vec::new(), None, BTreeSet::new());
        for (index, item) in rustls_pemfile::read_all(&mut pem.as_bytes()).enumerate() {
            let malformed = |reason: String| TrustError::Malformed {
                index: index + 1,
                reason,
            };
            match item.map_err(|error| malformed(error.to_string()))? {
                Item::X509Certificate(der) => {
                    certificates.push(TrustedCertificate::parse(der).map_err(malformed)?)
                }
                item => {
                    let called = pem_item_name(&item);
                    first.get_or_insert(called);
                    others.insert(called);
                }
            }
        }
        if certificates.is_empty() {
            return Err(first.map_or(TrustError::NoCertificate, TrustError::NotACertificate));
        }
        Ok((Self::new(certificates), others))
    }

    /// A bundle that trusts nobody, not even the roots of the system: it stands for CACerts without
    /// one certificate (contract 3.10).
    #[must_use]
    pub(crate) fn trusting_nobody() -> Self {
        Self {
            certificates: Vec::new(),
            fingerprint: NOBODY,
        }
    }

    /// True if this bundle is [`TrustBundle::trusting_nobody`].
    #[must_use]
    pub(crate) fn trusts_nobody(&self) -> bool {
        self.fingerprint == NOBODY
    }

    /// A bundle of the certificates of both.
    #[must_use]
    pub(crate) fn union(&self, other: &Self) -> Self {
        Self::new(
            self.certificates
                .iter()
                .chain(&other.certificates)
                .cloned()
                .collect(),
        )
    }

    /// The certificates, each once, in the order of their bytes.
    #[must_use]
    pub fn certificates(&self) -> &[TrustedCertificate] {
        &self.certificates
    }

    /// The hash that identifies the set of certificates.
    #[must_use]
    pub fn fingerprint(&self) -> TrustFingerprint {
        self.fingerprint
    }

    /// The certificates that are not valid at `now` (seconds since the epoch).
    pub(crate) fn invalid_at(&self, now: i64) -> impl Iterator<Item = &TrustedCertificate> {
        self.certificates
            .iter()
            .filter(move |certificate| !certificate.is_valid_at(now))
    }

    /// The same bundle without the certificates that are not valid at `now`; shared if there are
    /// none.
    #[must_use]
    pub(crate) fn valid_at(self: &Arc<Self>, now: i64) -> Arc<Self> {
        if self.invalid_at(now).next().is_none() {
            return Arc::clone(self);
        }
        Arc::new(Self::new(
            self.certificates
                .iter()
                .filter(|certificate| certificate.is_valid_at(now))
                .cloned()
                .collect(),
        ))
    }
}

/// The name of a PEM item's type, for messages.
fn pem_item_name(item: &Item) -> &'static str {
    match item {
        Item::X509Certificate(_) => "certificate",
        Item::SubjectPublicKeyInfo(_) => "public key",
        Item::Crl(_) => "revocation list",
        Item::Csr(_) => "certificate request",
        _ => "private key",
    }
}

impl TrustedCertificate {
    fn parse(der: CertificateDer<'static>) -> Result<Self, String> {
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|error| error.to_string())?;
        let validity = parsed.validity();
        Ok(Self {
            subject: WireText::new(parsed.subject()).into(),
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
            is_ca: is_ca_certificate(&parsed),
            der,
        })
    }

    /// The certificate's subject and the times between which it is valid, for messages.
    #[must_use]
    pub(crate) fn describe_validity(&self) -> String {
        format!(
            "{} is valid from {} to {}",
            self.subject,
            format_time(self.not_before),
            format_time(self.not_after)
        )
    }

    /// True if `now` (seconds since the epoch) lies in its validity.
    #[must_use]
    pub(crate) fn is_valid_at(&self, now: i64) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }
}

/// True if the owner of this certificate is a certification authority, as Go sees it: the
/// certificate says so, and its key is not kept from signing certificates. A certificate of version
/// 1 could not say so; one that is signed by its own name counts as an authority.
fn is_ca_certificate(certificate: &X509Certificate<'_>) -> bool {
    if certificate.version() == X509Version::V1 {
        return certificate.subject() == certificate.issuer();
    }
    let may_sign = match certificate.key_usage() {
        Ok(usage) => usage.is_none_or(|usage| usage.value.key_cert_sign()),
        Err(_unreadable) => false,
    };
    certificate.is_ca() && may_sign
}

/// A time in seconds since the epoch by RFC 3339, for messages.
fn format_time(timestamp: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(timestamp)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok());
    time.unwrap_or_else(|| timestamp.to_string())
}

#[cfg(test)]
mod tests;
