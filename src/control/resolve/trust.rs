//! Trust of destinations: trust bundles of the system namespace and the destination's own CACerts. Equal trust is one
//! shared value.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Findings;
use super::index::{Index, text_map};
use crate::control::{Problem, Settings, Severity};
use crate::model::{Fingerprint, TrustBundle, TrustError};

const LABEL: &str = "networking.knative.dev/trust-bundle";

/// Makes the trust of destinations.
pub(super) struct Trust {
    bundles: Arc<TrustBundle>,
    by_text: HashMap<String, Result<Arc<TrustBundle>, TrustError>>,
    shared: HashMap<Fingerprint, Arc<TrustBundle>>,
    none: Arc<TrustBundle>,
    now: i64,
}

impl Trust {
    /// Reads the trust bundles. Values that are not PEM are skipped silently (control-plane.md 3.9, 3.10).
    pub(super) fn new(index: &Index, settings: &Settings, now: i64, problems: &mut Vec<Problem>) -> Self {
        let mut bundles = TrustBundle::default();
        for raw in index.of_kind("ConfigMap").filter(|raw| raw.label(LABEL).as_deref() == Some("true")) {
            if raw.name.namespace != settings.system_namespace {
                let message = format!(
                    "trust bundles count in the system namespace {} only: left alone",
                    settings.system_namespace
                );
                problems.push(raw.problem(Severity::Note, "metadata.namespace", message));
                continue;
            }
            let texts = text_map(raw, "data").map(|(_, text)| text.to_owned());
            let binary = text_map(raw, "binaryData").filter_map(|(_, text)| decoded(text));
            for bundle in texts.chain(binary).filter_map(|text| TrustBundle::from_pem(&text).ok()) {
                bundles = bundles.union(&bundle);
            }
        }
        Self { bundles: Arc::new(bundles), by_text: HashMap::new(), shared: HashMap::new(), none: Arc::default(), now }
    }

    /// No trust: for destinations that are not reached over TLS.
    pub(super) fn none(&self) -> Arc<TrustBundle> {
        Arc::clone(&self.none)
    }

    /// The trust of an https destination; its CACerts, if any, are at `field`. CACerts that cannot be used are
    /// reported.
    pub(super) fn of(&mut self, ca_certs: Option<&str>, field: &str, findings: &mut Findings<'_>) -> Arc<TrustBundle> {
        let Some(pem) = ca_certs else { return Arc::clone(&self.bundles) };
        let bundles = &self.bundles;
        let shared = &mut self.shared;
        let trust = self.by_text.entry(pem.to_owned()).or_insert_with(|| {
            let own = TrustBundle::from_pem(pem)?;
            let both = own.union(bundles);
            Ok(Arc::clone(shared.entry(both.fingerprint()).or_insert_with(|| Arc::new(both))))
        });
        match trust {
            Ok(trust) => {
                let trust = Arc::clone(trust);
                self.judge(pem, field, findings);
                trust
            }
            Err(error) => {
                findings.error(field, explain(error, pem));
                Arc::clone(&self.bundles)
            }
        }
    }

    /// Reports certificates that are not valid now, or are no certification authorities.
    fn judge(&self, pem: &str, field: &str, findings: &mut Findings<'_>) {
        let Ok(own) = TrustBundle::from_pem(pem) else { return };
        let invalid: Vec<String> = own.invalid_at(self.now).map(crate::model::Certificate::validity).collect();
        if !invalid.is_empty() && invalid.len() == own.certificates().len() {
            findings.error(
                field,
                format!("no certificate in it is valid now ({}): give the current one", invalid.join("; ")),
            );
        } else if !invalid.is_empty() {
            findings.warning(
                field,
                format!("holds a certificate that is not valid now and is left out: {}", invalid.join("; ")),
            );
        }
        for certificate in own.certificates().iter().filter(|certificate| !certificate.is_ca) {
            let message = format!(
                "the certificate of {} is not a certification authority: it trusts only a server that shows this very certificate",
                certificate.subject
            );
            findings.warning(field, message);
        }
    }
}

/// Says what the text looks like, where the error alone would not help.
fn explain(error: &TrustError, pem: &str) -> String {
    let folded = pem.lines().any(|line| line.contains("-----BEGIN CERTIFICATE-----") && line.contains("-----END"));
    let indents = pem.lines().filter(|line| !line.trim().is_empty()).any(|line| line.starts_with([' ', '\t']));
    if folded {
        format!("{error}; its lines were folded into one: use the block style | instead of > or quotes")
    } else if indents && pem.contains("-----BEGIN") {
        format!("{error}; its lines are indented unevenly")
    } else {
        error.to_string()
    }
}

fn decoded(text: &str) -> Option<String> {
    let compact: String = text.split_whitespace().collect();
    String::from_utf8(STANDARD.decode(compact).ok()?).ok()
}
