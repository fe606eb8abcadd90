//! What the system namespace says: `config-features`, and the TLS Secret.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::index::{Index, text_map};
use super::{Resolution, ServerCertificate};
use crate::control::read::Raw;
use crate::control::{CaCerts, Problem, Settings, Severity};
use crate::model::TransportEncryption;

const CONFIG_MAP: &str = "config-features";
const TRANSPORT_ENCRYPTION: &str = "transport-encryption";
/// The Secrets that may hold the server's certificate, the first one found counts (data-plane.md TL-11).
const SECRETS: [&str; 2] = ["imc-dispatcher-server-tls", "mt-broker-ingress-server-tls"];

/// The feature flags that matter here.
pub(super) struct Features {
    pub(super) transport_encryption: TransportEncryption,
}

impl Features {
    /// Reads the flags: the command line, else the ConfigMap, else the default (control-plane.md 3.2).
    pub(super) fn read(index: &Index, settings: &Settings, problems: &mut Vec<Problem>) -> Self {
        for raw in index.of_kind("ConfigMap") {
            if raw.name.name == CONFIG_MAP && raw.name.namespace != settings.system_namespace {
                let message = format!("is not in the system namespace {} and left alone", settings.system_namespace);
                problems.push(raw.problem(Severity::Note, "metadata.namespace", message));
            }
        }
        let written = index
            .get("ConfigMap", &settings.system_namespace, CONFIG_MAP)
            .map(|raw| transport_encryption(raw, problems))
            .unwrap_or_default();
        Self { transport_encryption: settings.transport_encryption.unwrap_or(written) }
    }
}

/// An unknown mode serves both listeners, as upstream, and is an error (control-plane.md 3.3).
fn transport_encryption(raw: &Raw, problems: &mut Vec<Problem>) -> TransportEncryption {
    let written = text_map(raw, "data").find(|(key, _)| key.trim() == TRANSPORT_ENCRYPTION);
    let Some((key, value)) = written else { return TransportEncryption::default() };
    TransportEncryption::parse(value).unwrap_or_else(|| {
        let message = format!("{value:?} is not a mode: write disabled, permissive or strict; until then both listeners take events, as in permissive");
        problems.push(raw.problem(Severity::Error, &format!("data.{key}"), message));
        TransportEncryption::Permissive
    })
}

/// The certificate of the TLS Secret. A Secret that cannot be read, or is gone, leaves the last one in use
/// (control-plane.md 3.12).
pub(super) fn certificate(
    index: &Index,
    settings: &Settings,
    last: Option<&Resolution>,
    problems: &mut Vec<Problem>,
) -> Option<ServerCertificate> {
    if matches!(settings.ca_certs, CaCerts::Given(_)) {
        return None;
    }
    let secret = SECRETS.iter().find_map(|name| index.get("Secret", &settings.system_namespace, name));
    let read = secret.and_then(|raw| match secret_certificate(raw) {
        Ok(certificate) => Some(certificate),
        Err((field, message)) => {
            problems.push(raw.problem(Severity::Error, &field, message));
            None
        }
    });
    read.or_else(|| last.and_then(|last| last.certificate.clone()))
}

fn secret_certificate(raw: &Raw) -> Result<ServerCertificate, (String, String)> {
    let required = |key: &str| {
        let missing = || (format!("data.{key}"), "is missing: a TLS Secret needs tls.crt and tls.key".to_owned());
        secret_value(raw, key)?.ok_or_else(missing)
    };
    Ok(ServerCertificate {
        chain_pem: required("tls.crt")?,
        key_pem: required("tls.key")?,
        ca_pem: secret_value(raw, "ca.crt")?,
        origin: format!("Secret {}/{}", raw.name.namespace, raw.name.name),
    })
}

/// A value of a Secret: `stringData` as it stands, `data` from base64.
fn secret_value(raw: &Raw, key: &str) -> Result<Option<String>, (String, String)> {
    if let Some((_, value)) = text_map(raw, "stringData").find(|(known, _)| *known == key) {
        return Ok(Some(value.to_owned()));
    }
    let Some((_, encoded)) = text_map(raw, "data").find(|(known, _)| *known == key) else { return Ok(None) };
    let compact: String = encoded.split_whitespace().collect();
    let decoded = STANDARD.decode(compact).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    decoded.map(Some).ok_or_else(|| (format!("data.{key}"), "is not base64 of PEM text".to_owned()))
}
