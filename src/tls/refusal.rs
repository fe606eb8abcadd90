//! Why a server certificate is refused, in the words of whoever has to replace it.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::{CertificateError, Error, ExtendedKeyPurpose, OtherError};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;

/// Bits of an RSA key at least.
const RSA_BITS: usize = 2048;
/// What certificates for servers have to be for, as webpki and Go want it.
const SERVER_AUTH: &str = "serverAuth";

/// What is told instead of a code.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Words(String);

/// An error that says this.
pub(super) fn says(words: impl Into<String>) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(Words(words.into())))))
}

/// The same refusal of these certificates, where there are better words for it.
pub(super) fn in_words(error: Error, chain: &[&CertificateDer<'_>]) -> Error {
    let Error::InvalidCertificate(refusal) = &error else { return error };
    let words = match refusal {
        CertificateError::BadSignature => weak_key(chain),
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            weak_key(chain).or_else(|| old_algorithm(chain))
        }
        CertificateError::InvalidPurpose => Some(purpose("something else")),
        CertificateError::InvalidPurposeContext { presented, .. } => Some(purpose(&purposes(presented))),
        CertificateError::Other(OtherError(other)) if other.to_string() == "CaUsedAsEndEntity" => Some(
            "the server shows the certificate of a CA, which counts only if CACerts holds that very certificate"
                .to_owned(),
        ),
        _ => None,
    };
    words.map_or(error, says)
}

/// A purpose that does not serve.
pub(super) fn purpose(presented: &str) -> String {
    format!(
        "the server's certificate is not for servers: its extended key usage must have {SERVER_AUTH}, and has {presented}"
    )
}

fn purposes(presented: &[ExtendedKeyPurpose]) -> String {
    let names: Vec<_> = presented.iter().map(name).collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

fn name(purpose: &ExtendedKeyPurpose) -> String {
    match purpose {
        ExtendedKeyPurpose::ClientAuth => "clientAuth".to_owned(),
        ExtendedKeyPurpose::ServerAuth => SERVER_AUTH.to_owned(),
        ExtendedKeyPurpose::Other(oid) => {
            let numbers: Vec<_> = oid.iter().map(ToString::to_string).collect();
            match numbers.join(".").as_str() {
                "2.5.29.37.0" => "anyExtendedKeyUsage".to_owned(),
                "1.3.6.1.5.5.7.3.3" => "codeSigning".to_owned(),
                "1.3.6.1.5.5.7.3.4" => "emailProtection".to_owned(),
                "1.3.6.1.5.5.7.3.8" => "timeStamping".to_owned(),
                "1.3.6.1.5.5.7.3.9" => "OCSPSigning".to_owned(),
                other => other.to_owned(),
            }
        }
    }
}

/// A key that is too short for its signatures to be believed.
fn weak_key(chain: &[&CertificateDer<'_>]) -> Option<String> {
    chain.iter().find_map(|der| {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let PublicKey::RSA(key) = certificate.public_key().parsed().ok()? else { return None };
        let bits = key.key_size();
        let subject = certificate.subject();
        (bits < RSA_BITS)
            .then(|| format!("the certificate {subject} has an RSA key of {bits} bits, and {RSA_BITS} is the least"))
    })
}

/// A signature that nobody should believe any more.
fn old_algorithm(chain: &[&CertificateDer<'_>]) -> Option<String> {
    chain.iter().find_map(|der| {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let algorithm = match certificate.signature_algorithm.algorithm.to_id_string().as_str() {
            "1.2.840.113549.1.1.4" => "MD5 with RSA",
            "1.2.840.113549.1.1.5" => "SHA-1 with RSA",
            "1.2.840.10040.4.3" => "SHA-1 with DSA",
            "1.2.840.10045.4.1" => "SHA-1 with ECDSA",
            _ => return None,
        };
        let subject = certificate.subject();
        Some(format!("the certificate {subject} is signed by {algorithm}, which is not believed: sign it with SHA-256"))
    })
}
