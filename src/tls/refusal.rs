//! Describes why a server certificate is refused, in words for whoever has to replace it.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::{AlertDescription, CertificateError, Error, ExtendedKeyPurpose, OtherError};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;

use crate::wire_text::WireText;

/// Least number of bits of an RSA key.
const RSA_BITS: usize = 2048;
/// The extended key usage that certificates of servers need, as webpki and Go require it.
const SERVER_AUTH: &str = "serverAuth";

/// A text that is shown instead of the code of an error.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct RefusalText(String);

/// Describes the error of the TLS library in this chain of errors; `None` if TLS is not what
/// failed. Errors of TLS travel inside I/O errors, which may be nested.
#[must_use]
pub(crate) fn describe_tls_error(error: &(dyn StdError + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(refused) = error.downcast_ref::<Error>() {
            return Some(describe_error(refused));
        }
        let wrapped = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// Returns true if this text says that the issuer of the server's certificate is not trusted, which
/// more trust would mend.
#[must_use]
pub(crate) fn is_unknown_issuer(words: &str) -> bool {
    words.contains(UNKNOWN_ISSUER)
}

/// Formats a time, in seconds since the epoch, by RFC 3339.
#[must_use]
pub(crate) fn rfc3339(timestamp: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(timestamp)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok());
    time.unwrap_or_else(|| "a time beyond the year 9999".to_owned())
}

/// The TLS library's own word for it, so that it can be searched for.
const UNKNOWN_ISSUER: &str = "UnknownIssuer";

fn describe_error(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(refusal) => describe_certificate_error(refusal),
        Error::InvalidMessage(_) => {
            "what the other side sends is not TLS: is this its port for plain HTTP?".to_owned()
        }
        Error::AlertReceived(
            alert @ (AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::UnsupportedCertificate),
        ) => format!(
            "the other side does not accept the certificate that it was shown ({alert:?}): \
             does it trust the CA?"
        ),
        Error::AlertReceived(AlertDescription::ProtocolVersion) => {
            "the other side speaks no TLS version that is allowed here (ProtocolVersion)".to_owned()
        }
        Error::AlertReceived(alert) => format!("the other side ended the handshake ({alert:?})"),
        other => WireText::new(other).into(),
    }
}

fn describe_certificate_error(refusal: &CertificateError) -> String {
    let seconds =
        |time: &rustls::pki_types::UnixTime| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    match refusal {
        CertificateError::UnknownIssuer => format!(
            "the server's certificate was issued by nobody who is trusted here ({UNKNOWN_ISSUER})"
        ),
        CertificateError::ExpiredContext { time, not_after } => {
            let ago = Duration::from_secs(time.as_secs().saturating_sub(not_after.as_secs()));
            let (until, ago) = (rfc3339(seconds(not_after)), format_duration(ago));
            format!("certificate expired: it was valid until {until}, {ago} ago")
        }
        CertificateError::NotValidYetContext { not_before, time } => {
            let (from, now) = (rfc3339(seconds(not_before)), rfc3339(seconds(time)));
            format!(
                "certificate not valid yet: it is valid from {from}, and it is {now}: is a \
                 clock wrong?"
            )
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => WireText::new(wrong_name_text(&expected.to_str(), presented)).into(),
        other => refusal_text(other),
    }
}

/// Returns the text for a certificate of other names.
fn wrong_name_text(expected: &str, presented: &[String]) -> String {
    let names: Vec<_> = presented.iter().map(|name| plain_name(name)).collect();
    let valid_for = if names.is_empty() {
        "it names no host in its subjectAltName".to_owned()
    } else {
        format!("it is only valid for {}", names.join(", "))
    };
    format!("certificate not valid for name {expected}: {valid_for}")
}

/// Returns a name of a certificate without the kind that the TLS library writes around it, as in
/// `DnsName("example.com")`.
fn plain_name(presented: &str) -> &str {
    const KINDS: [(&str, &str); 3] = [
        ("DnsName(\"", "\")"),
        ("IpAddress(", ")"),
        ("UniformResourceIdentifier(\"", "\")"),
    ];
    let plain = KINDS
        .iter()
        .find_map(|(before, after)| presented.strip_prefix(before)?.strip_suffix(after));
    plain.unwrap_or(presented)
}

/// Returns our own texts as they are; other texts may repeat names from a certificate and are
/// escaped and cut.
fn refusal_text(refusal: &CertificateError) -> String {
    let words = Error::InvalidCertificate(refusal.clone()).to_string();
    match refusal {
        CertificateError::Other(OtherError(other)) if other.is::<RefusalText>() => words,
        _ => WireText::new(words).into(),
    }
}

/// Formats a time span in its largest whole unit.
fn format_duration(span: Duration) -> String {
    let seconds = span.as_secs();
    let (count, unit) = match seconds {
        0..60 => (seconds, "s"),
        60..3600 => (seconds / 60, "min"),
        3600..86_400 => (seconds / 3600, "h"),
        _ => (seconds / 86_400, "days"),
    };
    format!("{count} {unit}")
}

/// Makes a certificate error with this text.
pub(super) fn refusal_error(words: impl Into<String>) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(RefusalText(
        words.into(),
    )))))
}

/// Returns the same refusal of these certificates, with a better text if there is one.
pub(super) fn explain_refusal(error: Error, chain: &[&CertificateDer<'_>]) -> Error {
    let Error::InvalidCertificate(refusal) = &error else {
        return error;
    };
    let words = match refusal {
        CertificateError::BadSignature => find_weak_key(chain),
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            find_weak_key(chain).or_else(|| find_old_algorithm(chain))
        }
        CertificateError::InvalidPurpose => Some(wrong_purpose_text("something else")),
        CertificateError::InvalidPurposeContext { presented, .. } => {
            Some(wrong_purpose_text(&list_purposes(presented)))
        }
        CertificateError::Other(OtherError(other)) if other.to_string() == "CaUsedAsEndEntity" => {
            Some(
                "the server shows the certificate of a CA, which counts only if CACerts holds \
             that very certificate"
                    .to_owned(),
            )
        }
        _ => None,
    };
    words.map_or(error, refusal_error)
}

/// Returns the text for a certificate that is not for servers.
pub(super) fn wrong_purpose_text(presented: &str) -> String {
    format!(
        "the server's certificate is not for servers: its extended key usage must have \
         {SERVER_AUTH}, and has {presented}"
    )
}

fn list_purposes(presented: &[ExtendedKeyPurpose]) -> String {
    let names: Vec<_> = presented.iter().map(purpose_name).collect();
    if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.join(", ")
    }
}

fn purpose_name(purpose: &ExtendedKeyPurpose) -> String {
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

/// Returns a text about the first certificate whose RSA key is too short.
fn find_weak_key(chain: &[&CertificateDer<'_>]) -> Option<String> {
    chain.iter().find_map(|der| {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let PublicKey::RSA(key) = certificate.public_key().parsed().ok()? else {
            return None;
        };
        let bits = key.key_size();
        let subject = WireText::new(certificate.subject());
        (bits < RSA_BITS).then(|| {
            format!(
                "the certificate {subject} has an RSA key of {bits} bits, and {RSA_BITS} is \
                 the least"
            )
        })
    })
}

/// Returns a text about the first certificate that is signed by an algorithm that is no longer
/// believed.
fn find_old_algorithm(chain: &[&CertificateDer<'_>]) -> Option<String> {
    chain.iter().find_map(|der| {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let algorithm = match certificate
            .signature_algorithm
            .algorithm
            .to_id_string()
            .as_str()
        {
            "1.2.840.113549.1.1.4" => "MD5 with RSA",
            "1.2.840.113549.1.1.5" => "SHA-1 with RSA",
            "1.2.840.10040.4.3" => "SHA-1 with DSA",
            "1.2.840.10045.4.1" => "SHA-1 with ECDSA",
            _ => return None,
        };
        let subject = WireText::new(certificate.subject());
        Some(format!(
            "the certificate {subject} is signed by {algorithm}, which is not believed: sign \
             it with SHA-256"
        ))
    })
}

#[cfg(test)]
mod tests {
    use rustls::InvalidMessage;
    use rustls::pki_types::UnixTime;

    use super::*;

    #[test]
    fn times_are_times_and_causes_are_words() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let expired = CertificateError::ExpiredContext {
            time: at(1_795_954_451),
            not_after: at(1_795_950_000),
        };
        let early = CertificateError::NotValidYetContext {
            time: at(0),
            not_before: at(1_795_950_000),
        };
        let of_others = |presented: &[&str]| CertificateError::NotValidForNameContext {
            expected: "localhost".try_into().expect("a name"),
            presented: presented.iter().map(|name| (*name).to_owned()).collect(),
        };
        for (error, expected) in [
            (
                expired.into(),
                "it was valid until 2026-11-29T11:00:00Z, 1 h ago",
            ),
            (
                early.into(),
                "valid from 2026-11-29T11:00:00Z, and it is 1970-01-01T00:00:00Z",
            ),
            (
                CertificateError::UnknownIssuer.into(),
                "nobody who is trusted here (UnknownIssuer)",
            ),
            (
                of_others(&["DnsName(\"other.example\")", "IpAddress(10.0.0.1)"]).into(),
                "not valid for name localhost: it is only valid for other.example, 10.0.0.1",
            ),
            (
                of_others(&[]).into(),
                "not valid for name localhost: it names no host in its subjectAltName",
            ),
            (
                Error::InvalidMessage(InvalidMessage::InvalidContentType),
                "is this its port for plain HTTP?",
            ),
            (
                Error::AlertReceived(AlertDescription::UnknownCA),
                "does it trust the CA?",
            ),
        ] {
            let wrapped = std::io::Error::other(std::io::Error::other(error));
            let told = describe_tls_error(&wrapped).expect("TLS");
            assert!(told.contains(expected) && !told.contains("UNIX"), "{told}");
        }
        assert_eq!(describe_tls_error(&std::io::Error::other("x")), None);
    }
}
