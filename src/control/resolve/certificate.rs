//! The server certificate from TLS Secrets (contract 3.11 to 3.13). A Secret that is gone or broken leaves the
//! last certificate in place.

use std::fmt;

use super::collect::{Item, Items};
use super::trust::{self, day};
use crate::control::manifest::config::Secret;
use crate::control::manifest::duck;
use crate::control::report::Report;
use crate::control::{Channels, Settings};
use crate::model::{Role, TrustBundle};
use crate::tls::server::{IdentityError, ServerIdentity};

/// The Secrets that are looked for in the system namespace, the first one first.
fn names(settings: &Settings) -> &'static [&'static str] {
    match settings.role {
        Role::Channel => match settings.channels {
            Channels::InMemory => &["imc-dispatcher-server-tls", "mt-broker-ingress-server-tls"],
            Channels::Rabbitmq => &["sealpost-rabbitmq-dispatcher-server-tls"],
        },
        Role::Ingress => &["mt-broker-ingress-server-tls"],
        Role::Filter => &["mt-broker-filter-server-tls"],
    }
}

/// A server certificate with its key.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerCertificate {
    /// PEM: the certificate of the server, then those of intermediate authorities.
    pub certificate_chain_pem: String,
    /// PEM: PKCS#1, PKCS#8 or SEC1.
    pub private_key_pem: String,
    /// PEM: what senders verify the certificate with; advertised with https addresses.
    pub ca_pem: Option<String>,
    /// Where it is from, for logs.
    pub origin: String,
}

impl fmt::Debug for ServerCertificate {
    /// Shows where it is from, and never the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerCertificate").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// The certificate of the first Secret that is there, or the last one.
pub(super) fn resolve(
    secrets: &mut Items<'_, Secret>,
    settings: &Settings,
    last: Option<&ServerCertificate>,
) -> Option<ServerCertificate> {
    let mut chosen = None;
    for name in names(settings) {
        let key = (settings.system_namespace.clone(), (*name).to_owned());
        let Some(item) = secrets.get_mut(&key) else {
            continue;
        };
        let certificate = read(item, settings.now);
        chosen = chosen.or(certificate);
    }
    chosen.or_else(|| last.cloned())
}

fn read(item: &mut Item<'_, Secret>, now: i64) -> Option<ServerCertificate> {
    let Item { object, partly, report } = item;
    let secret = object.as_ref().or(partly.as_ref())?;
    let chain = value(secret, "tls.crt", report);
    let key = value(secret, "tls.key", report);
    let ca = value(secret, "ca.crt", report).ok().flatten();
    let chain = required(chain, "tls.crt", report);
    let key = required(key, "tls.key", report);
    if let Some((field, chain)) = &chain {
        check_chain(chain, field, report);
    }
    if let Some((field, _)) = key.as_ref().filter(|(_, key)| !key.contains("PRIVATE KEY-----")) {
        report.error(field, "holds no PEM private key: it must contain a -----BEGIN PRIVATE KEY----- line");
    }
    if let Some((field, text)) = &ca
        && let Err(error) = TrustBundle::from_pem(text)
    {
        report.error(field, error.to_string());
    }
    if report.is_bad() {
        return None;
    }
    // As the listener will judge it.
    if let (Some((chain_field, chain)), Some((key_field, key))) = (&chain, &key)
        && let Err(error) = ServerIdentity::default().replace(chain, key, now)
    {
        let field = if matches!(error, IdentityError::Key(_) | IdentityError::Mismatch { .. }) {
            key_field
        } else {
            chain_field
        };
        // The field says already which of the two it is.
        let message = error.to_string();
        let message =
            ["tls.crt: ", "tls.key: "].iter().find_map(|start| message.strip_prefix(start)).unwrap_or(&message);
        report.error(field, message);
        return None;
    }
    if let Some((field, chain)) = &chain {
        check_validity(chain, field, now, report);
    }
    let object = report.object();
    let origin = format!("Secret {}/{}", object.namespace, object.name);
    let ca_pem = ca.map(|(_, text)| text);
    Some(ServerCertificate { certificate_chain_pem: chain?.1, private_key_pem: key?.1, ca_pem, origin })
}

/// The field and the text of a key.
type Value = (String, String);

/// A value that is there and cannot be read, which is reported.
struct Unreadable;

/// That of a key, from `stringData` or else `data`, as Kubernetes prefers them.
fn value(secret: &Secret, key: &str, report: &mut Report<'_>) -> Result<Option<Value>, Unreadable> {
    if let Some(text) = duck::text(&secret.string_data, key) {
        return Ok(Some((format!("stringData.{key}"), text.to_owned())));
    }
    let field = format!("data.{key}");
    let Some(encoded) = duck::text(&secret.data, key) else { return Ok(None) };
    let problem = match trust::decode_base64(encoded).map(String::from_utf8) {
        Some(Ok(text)) => return Ok(Some((field, text))),
        Some(Err(_)) => "is not PEM: encode the PEM text as base64, once",
        None => "is not base64: encode the PEM text, or write it as it is into stringData",
    };
    report.error(&field, problem);
    Err(Unreadable)
}

fn required(value: Result<Option<Value>, Unreadable>, key: &str, report: &mut Report<'_>) -> Option<Value> {
    let value = value.ok()?;
    // One that is there and no text is told already.
    let is_misread = ["data", "stringData"].iter().any(|part| report.is_misread(&format!("{part}.{key}")));
    if value.is_none() && !is_misread {
        report.error("data", format!("has no key {key}: a TLS Secret has tls.crt, tls.key and ca.crt"));
    }
    value
}

fn check_chain(chain: &str, field: &str, report: &mut Report<'_>) {
    if let Err(error) = TrustBundle::from_pem(chain) {
        report.error(field, error.to_string());
    }
}

/// Warns of certificates of a chain that can be shown, and that are not valid.
fn check_validity(chain: &str, field: &str, now: i64, report: &mut Report<'_>) {
    let bundle = TrustBundle::from_pem(chain).unwrap_or_default();
    for certificate in bundle.invalid_at(now) {
        let (from, until) = (day(certificate.not_before), day(certificate.not_after));
        let message = format!("{} is valid from {from} until {until} only: renew it", certificate.subject);
        report.warning(field, message);
    }
}
