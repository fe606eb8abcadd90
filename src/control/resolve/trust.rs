//! What destinations are verified against: trust bundles of the system namespace, and each destination's CACerts
//! (contract TL-1, TL-4, 3.9, 3.10).
//!
//! Every distinct PEM text is read once, and equal sets of certificates are one shared value, since thousands of
//! destinations usually name the same few authorities.

mod diagnose;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};

use super::collect::{Items, Name};
use crate::control::manifest::config::ConfigMap;
use crate::control::manifest::duck;
use crate::control::report::Report;
use crate::control::{Settings, Severity};
use crate::model::{Certificate, Fingerprint, TrustBundle, TrustError};

pub(super) use diagnose::day;

const LABEL: &str = "networking.knative.dev/trust-bundle";
const LABEL_FIELD: &str = "metadata.labels.networking.knative.dev/trust-bundle";
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";

/// The certificates of a trust-bundle ConfigMap, by its name.
pub(crate) type Bundles = BTreeMap<Name, Arc<TrustBundle>>;
/// Every set of certificates in use, once.
pub(crate) type Shared = HashMap<Fingerprint, Arc<TrustBundle>>;

/// Makes the trust of destinations.
#[derive(Debug)]
pub(super) struct Trust {
    now: i64,
    /// What every https destination trusts.
    common: Arc<TrustBundle>,
    none: Arc<TrustBundle>,
    /// What was found about a text of CACerts, by its SHA-256.
    texts: HashMap<[u8; 32], Found>,
    before: Shared,
    pub(super) shared: Shared,
}

/// What is known of a text of CACerts: its union with the common trust, unless it is unusable; and what to report.
#[derive(Clone, Debug)]
struct Found {
    trust: Option<Arc<TrustBundle>>,
    findings: Vec<(Severity, String)>,
}

impl Trust {
    /// `before` are the sets in use until now, which are kept where they are still in use.
    pub(super) fn new(bundles: &Bundles, before: Shared, now: i64) -> Self {
        let common = bundles.values().flat_map(|bundle| bundle.certificates()).cloned().collect();
        let none = Arc::new(TrustBundle::default());
        let mut trust =
            Self { now, common: Arc::clone(&none), none, texts: HashMap::new(), before, shared: HashMap::new() };
        trust.common = trust.share(TrustBundle::new(common));
        trust.none = trust.share(TrustBundle::default());
        trust
    }

    /// The trust of a destination that is reached without TLS.
    pub(super) fn none(&self) -> Arc<TrustBundle> {
        Arc::clone(&self.none)
    }

    /// The trust of an https destination without CACerts of its own.
    pub(super) fn common(&self) -> Arc<TrustBundle> {
        Arc::clone(&self.common)
    }

    /// The trust of an https destination with CACerts; `None` if they are unusable. Reports what is wrong with them.
    pub(super) fn with_ca_certs(
        &mut self,
        text: &str,
        field: &str,
        report: &mut Report<'_>,
    ) -> Option<Arc<TrustBundle>> {
        let digest = Sha256::digest(text).into();
        if !self.texts.contains_key(&digest) {
            let found = self.find(text);
            self.texts.insert(digest, found);
        }
        let found = self.texts.get(&digest)?;
        for (severity, message) in &found.findings {
            match severity {
                Severity::Error => report.error(field, message.as_str()),
                Severity::Warning => report.warning(field, message.as_str()),
                Severity::Note => report.note(field, message.as_str()),
            }
        }
        found.trust.clone()
    }

    /// The trust of an https destination with CACerts that nobody has checked: what of it can be read counts, and
    /// nothing readable means nobody, so that connections fail and not the channel (contract 3.10, 5.2).
    pub(super) fn as_reconciled(&mut self, text: &str) -> Arc<TrustBundle> {
        let digest = Sha256::digest(text).into();
        if let Some(found) = self.texts.get(&digest).and_then(|found| found.trust.clone()) {
            return found;
        }
        let trust = self.despite_all(text);
        self.texts.insert(digest, Found { trust: Some(Arc::clone(&trust)), findings: Vec::new() });
        trust
    }

    /// What can be read of CACerts that are unusable, so that what is sent fails for the reason that they have then: they
    /// may become valid, too.
    pub(super) fn despite_all(&mut self, text: &str) -> Arc<TrustBundle> {
        let trust = self.readable(text);
        self.share(trust)
    }

    /// Why nobody can be verified with CACerts of which nothing can be read; `None` if something can.
    pub(super) fn complaint(text: &str) -> Option<String> {
        let error = TrustBundle::from_pem(text).err()?;
        let is_useless = pieces(text).all(|piece| piece.is_err());
        is_useless.then(|| diagnose::unusable(text, &error))
    }

    fn readable(&self, text: &str) -> TrustBundle {
        let readable = TrustBundle::new(pieces(text).filter_map(Result::ok).flatten().collect());
        if readable.certificates().is_empty() { TrustBundle::nobody() } else { self.common.union(&readable) }
    }

    /// Remembers a value that is still in use.
    pub(super) fn keep(&mut self, used: &Arc<TrustBundle>) {
        if !Arc::ptr_eq(used, &self.none) && !Arc::ptr_eq(used, &self.common) {
            self.shared.entry(used.fingerprint()).or_insert_with(|| Arc::clone(used));
        }
    }

    fn find(&mut self, text: &str) -> Found {
        match TrustBundle::read(text) {
            Ok((bundle, others)) => {
                let mut findings = diagnose::certificates(&bundle, self.now);
                findings.extend(diagnose::skipped(text));
                findings.extend(diagnose::beside(&others));
                let usable = findings.iter().all(|(severity, _)| *severity != Severity::Error);
                let trust = usable.then(|| self.share(self.common.union(&bundle)));
                Found { trust, findings }
            }
            Err(error) => Found { trust: None, findings: vec![(Severity::Error, diagnose::unusable(text, &error))] },
        }
    }

    fn share(&mut self, bundle: TrustBundle) -> Arc<TrustBundle> {
        let before = self.before.remove(&bundle.fingerprint());
        let shared = self.shared.entry(bundle.fingerprint());
        Arc::clone(shared.or_insert_with(|| before.unwrap_or_else(|| Arc::new(bundle))))
    }
}

/// The certificates of every trust-bundle ConfigMap of the system namespace. One with the wrong shape keeps its last
/// good form.
pub(super) fn bundles(config_maps: &mut Items<'_, ConfigMap>, settings: &Settings, last: Option<&Bundles>) -> Bundles {
    let mut bundles = Bundles::new();
    for (name, item) in config_maps {
        let Some(config_map) = &item.object else {
            let kept = last.and_then(|last| last.get(name));
            bundles.extend(kept.map(|kept| (name.clone(), Arc::clone(kept))));
            if let Some(config_map) = &item.partly {
                labelled(name, config_map, settings, &mut item.report);
            }
            continue;
        };
        let bundle = labelled(name, config_map, settings, &mut item.report);
        bundles.extend(bundle.map(|bundle| (name.clone(), Arc::new(bundle))));
    }
    bundles
}

/// What is in a ConfigMap that is labelled as a trust bundle.
fn labelled(
    (namespace, _): &Name,
    config_map: &ConfigMap,
    settings: &Settings,
    report: &mut Report<'_>,
) -> Option<TrustBundle> {
    match duck::text(&config_map.metadata.labels, LABEL)? {
        "true" if *namespace == settings.system_namespace => Some(bundle(config_map, settings.now, report)),
        "true" => {
            let namespace = &settings.system_namespace;
            report.note(LABEL_FIELD, format!("counts in the namespace {namespace} only: this trust bundle is ignored"));
            None
        }
        other if !other.eq_ignore_ascii_case("false") => {
            report.warning(LABEL_FIELD, "must be \"true\", in lower case: this trust bundle is ignored");
            None
        }
        _ => None,
    }
}

fn bundle(config_map: &ConfigMap, now: i64, report: &mut Report<'_>) -> TrustBundle {
    let mut certificates = Vec::new();
    for (key, value) in config_map.data.iter().flatten() {
        certificates.extend(readable(value.as_deref().unwrap_or_default(), &format!("data.{key}"), report));
    }
    for (key, value) in config_map.binary_data.iter().flatten() {
        // Keystores stand here too, so what is no text is skipped silently (contract 3.10).
        let decoded = decode_base64(value.as_deref().unwrap_or_default());
        if let Some(text) = decoded.and_then(|bytes| String::from_utf8(bytes).ok()) {
            certificates.extend(readable(&text, &format!("binaryData.{key}"), report));
        }
    }
    if certificates.is_empty()
        && let Some((field, value)) = first(config_map)
    {
        report.warning(&field, format!("{}; nothing more is trusted", diagnose::without_certificate(&value)));
    }
    let bundle = TrustBundle::new(certificates);
    for expired in bundle.invalid_at(now) {
        report.note("data", format!("{} in it and is not trusted: remove it", diagnose::validity(expired, now)));
    }
    bundle
}

/// The first value of a ConfigMap that holds anything, and where it stands.
fn first(config_map: &ConfigMap) -> Option<(String, Vec<u8>)> {
    let text = |(key, value): (&String, &Option<String>)| Some((format!("data.{key}"), value.clone()?.into_bytes()));
    let bytes = |(key, value): (&String, &Option<String>)| {
        Some((format!("binaryData.{key}"), decode_base64(value.as_deref()?)?))
    };
    let texts = config_map.data.iter().flatten().filter_map(text);
    let mut values = texts.chain(config_map.binary_data.iter().flatten().filter_map(bytes));
    values.find(|(_, value)| !value.trim_ascii().is_empty())
}

/// The certificates of a text that can be read; the others are skipped with a warning, and a text without any silently.
fn readable(text: &str, field: &str, report: &mut Report<'_>) -> Vec<Certificate> {
    if !text.contains(BEGIN) {
        return Vec::new();
    }
    if let Ok((bundle, others)) = TrustBundle::read(text) {
        if let Some((_, message)) = diagnose::beside(&others) {
            report.warning(field, message);
        }
        return bundle.certificates().to_vec();
    }
    let mut certificates = Vec::new();
    for (index, piece) in pieces(text).enumerate() {
        match piece {
            Ok(readable) => certificates.extend(readable),
            Err(error) => report.warning(field, format!("certificate {} is skipped: {error}", index + 1)),
        }
    }
    certificates
}

/// The certificates of a text one by one, or why one cannot be read.
fn pieces(text: &str) -> impl Iterator<Item = Result<Vec<Certificate>, TrustError>> {
    let piece = |body: &str| Ok(TrustBundle::from_pem(&format!("{BEGIN}{body}"))?.certificates().to_vec());
    text.split(BEGIN).skip(1).map(piece)
}

/// Decodes base64 in one piece or in lines.
pub(super) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let joined: String = text.split_ascii_whitespace().collect();
    BASE64_STANDARD.decode(joined).ok()
}
