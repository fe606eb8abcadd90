//! Resolves the server certificate from TLS Secrets (contract 3.11 to 3.13). A Secret that is gone
//! or broken leaves the last certificate in place.

use std::fmt;

use super::trust;
use crate::control::read::manifest::core::SecretManifest;
use crate::control::read::manifest::duck;
use crate::control::read::report::ObjectReport;
use crate::control::resolve::collect::{CollectedItem, CollectedItems};
use crate::control::resolve::config::trust::diagnose::format_day;
use crate::control::settings::{AdvertisedCaCerts, ControlSettings};
use crate::model::{NamespacedName, TrustBundle};
use crate::tls::server_identity::{ServerIdentity, ServerIdentityError};

/// A server certificate with its private key.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerCertificate {
    /// The certificate of the server, then those of intermediate authorities, as PEM.
    pub certificate_chain_pem: String,
    /// The private key, as PEM of PKCS#1, PKCS#8 or SEC1.
    pub private_key_pem: String,
    /// The CA that senders verify the certificate with, as PEM; it is advertised with https
    /// addresses.
    pub ca_pem: Option<String>,
    /// The place where the certificate is from, for logs.
    pub origin: String,
}

impl fmt::Debug for ServerCertificate {
    /// Shows the origin, and never the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerCertificate")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

/// The CA (PEM) that https addresses advertise: a given one first, then that of a TLS Secret, then
/// the development CA.
pub(crate) fn advertised_ca_certs(
    given: &AdvertisedCaCerts,
    certificate: Option<&ServerCertificate>,
) -> Option<String> {
    match (given, certificate) {
        (AdvertisedCaCerts::Given(ca), _) => ca.clone(),
        (_, Some(certificate)) => certificate.ca_pem.clone(),
        (AdvertisedCaCerts::Development(ca), None) => Some(ca.clone()),
        (AdvertisedCaCerts::Unknown, None) => None,
    }
}

/// The certificate of the first Secret that is there and in order, or the last one.
pub(crate) fn resolve(
    secrets: &mut CollectedItems<'_, SecretManifest>,
    settings: &ControlSettings,
    last: Option<&ServerCertificate>,
) -> Option<ServerCertificate> {
    let mut chosen = None;
    for name in settings.task.tls_secrets() {
        let key = NamespacedName::new(&settings.system_namespace, *name);
        let Some(item) = secrets.get_mut(&key) else {
            continue;
        };
        let certificate = read_secret(item, settings.now);
        chosen = chosen.or(certificate);
    }
    chosen.or_else(|| last.cloned())
}

fn read_secret(
    item: &mut CollectedItem<'_, SecretManifest>,
    now: i64,
) -> Option<ServerCertificate> {
    let CollectedItem {
        object,
        partly,
        report,
    } = item;
    let secret = object.as_ref().or(partly.as_ref())?;
    // All three keys are read before any is judged, so that every problem is reported at once.
    let chain = secret_value(secret, "tls.crt", report);
    let key = secret_value(secret, "tls.key", report);
    let ca = secret_value(secret, "ca.crt", report).ok().flatten();
    let chain = require_secret_value(chain, "tls.crt", report);
    let key = require_secret_value(key, "tls.key", report);
    if let Some(chain) = &chain {
        check_certificates(chain, report);
    }
    if let Some(key) = &key {
        check_private_key(key, report);
    }
    if let Some(ca) = &ca {
        check_certificates(ca, report);
    }
    if report.has_errors() {
        return None;
    }
    // The certificate is judged as the listener will judge it.
    let (chain, key) = (chain?, key?);
    check_identity(&chain, &key, now, report)?;
    check_validity(&chain, now, report);
    let object = report.object();
    let origin = format!("Secret {}/{}", object.namespace, object.name);
    Some(ServerCertificate {
        certificate_chain_pem: chain.text,
        private_key_pem: key.text,
        ca_pem: ca.map(|ca| ca.text),
        origin,
    })
}

fn check_private_key(key: &SecretValue, report: &mut ObjectReport<'_>) {
    if !key.text.contains("PRIVATE KEY-----") {
        report.error(
            &key.field,
            "holds no PEM private key: it must contain a -----BEGIN PRIVATE KEY----- line",
        );
    }
}

/// Reports a chain and a key that no listener can use together; `None` if so.
fn check_identity(
    chain: &SecretValue,
    key: &SecretValue,
    now: i64,
    report: &mut ObjectReport<'_>,
) -> Option<()> {
    let Err(error) = ServerIdentity::default().replace(&chain.text, &key.text, now) else {
        return Some(());
    };
    let field = match error {
        ServerIdentityError::Key(_) | ServerIdentityError::Mismatch { .. } => &key.field,
        _ => &chain.field,
    };
    // The field in the report says already which of the two keys is meant.
    let message = error.to_string();
    let message = ["tls.crt: ", "tls.key: "]
        .iter()
        .find_map(|start| message.strip_prefix(start))
        .unwrap_or(&message);
    report.error(field, message);
    None
}

/// The value of a Secret's key, and the field that it is written at.
struct SecretValue {
    field: String,
    text: String,
}

/// The error for a value that exists and cannot be read, which is reported.
struct Unreadable;

/// The value of a key, from `stringData` or else `data`, as Kubernetes prefers them; `None` if
/// there is none.
fn secret_value(
    secret: &SecretManifest,
    key: &str,
    report: &mut ObjectReport<'_>,
) -> Result<Option<SecretValue>, Unreadable> {
    if let Some(text) = duck::text(&secret.string_data, key) {
        return Ok(Some(SecretValue {
            field: format!("stringData.{key}"),
            text: text.to_owned(),
        }));
    }
    let field = format!("data.{key}");
    let Some(encoded) = duck::text(&secret.data, key) else {
        return Ok(None);
    };
    let problem = match trust::decode_base64(encoded).map(String::from_utf8) {
        Some(Ok(text)) => return Ok(Some(SecretValue { field, text })),
        Some(Err(_)) => "is not PEM: encode the PEM text as base64, once",
        None => "is not base64: encode the PEM text, or write it as it is into stringData",
    };
    report.error(&field, problem);
    Err(Unreadable)
}

fn require_secret_value(
    value: Result<Option<SecretValue>, Unreadable>,
    key: &str,
    report: &mut ObjectReport<'_>,
) -> Option<SecretValue> {
    let value = value.ok()?;
    // A value that exists and is no text is reported already.
    let is_misread = ["data", "stringData"]
        .iter()
        .any(|part| report.is_unreadable(&format!("{part}.{key}")));
    if value.is_none() && !is_misread {
        report.error(
            "data",
            format!("has no key {key}: a TLS Secret has tls.crt, tls.key and ca.crt"),
        );
    }
    value
}

fn check_certificates(value: &SecretValue, report: &mut ObjectReport<'_>) {
    if let Err(error) = TrustBundle::from_pem(&value.text) {
        report.error(&value.field, error.to_string());
    }
}

/// Warns of each certificate of a chain that is readable, but not valid now.
fn check_validity(chain: &SecretValue, now: i64, report: &mut ObjectReport<'_>) {
    let bundle = TrustBundle::from_pem(&chain.text).unwrap_or_default();
    for certificate in bundle.invalid_at(now) {
        let (from, until) = (
            format_day(certificate.not_before),
            format_day(certificate.not_after),
        );
        let message = format!(
            "{} is valid from {from} until {until} only: renew it",
            certificate.subject
        );
        report.warning(&chain.field, message);
    }
}
