//! The trust of destinations: trust bundles of the system namespace, and each destination's CACerts
//! (contract TL-1, TL-4, 3.9, 3.10).
//!
//! Every distinct PEM text is read once, and equal sets of certificates are one shared value, since
//! thousands of destinations usually name the same few authorities.

pub(crate) mod diagnose;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};

use crate::control::read::manifest::core::ConfigMapManifest;
use crate::control::read::manifest::duck;
use crate::control::read::problem::Severity;
use crate::control::read::report::ObjectReport;
use crate::control::resolve::collect::CollectedItems;
use crate::control::resolve::config::system_namespace::astray;
use crate::control::settings::ControlSettings;
use crate::model::{NamespacedName, TrustBundle, TrustError, TrustFingerprint, TrustedCertificate};

pub(crate) const LABEL: &str = "networking.knative.dev/trust-bundle";
const LABEL_FIELD: &str = "metadata.labels.networking.knative.dev/trust-bundle";
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";

/// The certificates of each trust bundle, by the name of its ConfigMap.
pub(crate) type BundlesByName = BTreeMap<NamespacedName, Arc<TrustBundle>>;
/// Every set of certificates in use, once.
pub(crate) type SharedBundles = HashMap<TrustFingerprint, Arc<TrustBundle>>;

/// Makes the trust of destinations, and shares equal sets.
#[derive(Debug)]
pub(crate) struct DestinationTrust {
    /// The time against which validity is checked, in seconds since the epoch.
    now: i64,
    /// The certificates that every https destination trusts.
    common: Arc<TrustBundle>,
    /// The empty set, for destinations that are reached without TLS.
    none: Arc<TrustBundle>,
    /// The result of checking each text of CACerts, by its SHA-256.
    checked_texts: HashMap<[u8; 32], CheckedCaCerts>,
    /// The sets of the last resolution that are not used again yet.
    last_bundles: SharedBundles,
    /// The sets of this resolution, by fingerprint.
    pub(crate) shared_bundles: SharedBundles,
}

/// The result of checking a text of CACerts: its union with the common trust, unless it is
/// unusable; and the problems to report.
#[derive(Clone, Debug)]
struct CheckedCaCerts {
    /// The resulting trust; `None` if the text is unusable.
    trust: Option<Arc<TrustBundle>>,
    /// The problems to report, each with its severity.
    findings: Vec<(Severity, String)>,
}

impl DestinationTrust {
    /// `before` are the sets in use until now, which are kept if they are still in use.
    pub(crate) fn new(bundles: &BundlesByName, before: SharedBundles, now: i64) -> Self {
        let common = bundles
            .values()
            .flat_map(|bundle| bundle.certificates())
            .cloned()
            .collect();
        let none = Arc::new(TrustBundle::default());
        let mut trust = Self {
            now,
            common: Arc::clone(&none),
            none,
            checked_texts: HashMap::new(),
            last_bundles: before,
            shared_bundles: HashMap::new(),
        };
        trust.common = trust.share_bundle(TrustBundle::new(common));
        trust.none = trust.share_bundle(TrustBundle::default());
        trust
    }

    /// The trust of a destination that is reached without TLS.
    pub(crate) fn none(&self) -> Arc<TrustBundle> {
        Arc::clone(&self.none)
    }

    /// The trust of an https destination without CACerts of its own.
    pub(crate) fn common(&self) -> Arc<TrustBundle> {
        Arc::clone(&self.common)
    }

    /// The trust of an https destination with CACerts; `None` if they are unusable. Reports their
    /// problems.
    pub(crate) fn with_ca_certs(
        &mut self,
        text: &str,
        field: &str,
        report: &mut ObjectReport<'_>,
    ) -> Option<Arc<TrustBundle>> {
        let digest = Sha256::digest(text).into();
        if !self.checked_texts.contains_key(&digest) {
            let found = self.read_ca_certs(text);
            self.checked_texts.insert(digest, found);
        }
        let found = self.checked_texts.get(&digest)?;
        for (severity, message) in &found.findings {
            match severity {
                Severity::Error => report.error(field, message.as_str()),
                Severity::Warning => report.warning(field, message.as_str()),
                Severity::Note => report.note(field, message.as_str()),
            }
        }
        found.trust.clone()
    }

    /// The trust of an https destination with CACerts that nobody has checked: the certificates
    /// that can be read count. If there are none, nobody is trusted, so that connections fail and
    /// not the channel (contract 3.10, 5.2).
    pub(crate) fn with_unchecked_ca_certs(&mut self, text: &str) -> Arc<TrustBundle> {
        let digest = Sha256::digest(text).into();
        if let Some(found) = self
            .checked_texts
            .get(&digest)
            .and_then(|found| found.trust.clone())
        {
            return found;
        }
        let trust = self.with_unusable_ca_certs(text);
        self.checked_texts.insert(
            digest,
            CheckedCaCerts {
                trust: Some(Arc::clone(&trust)),
                findings: Vec::new(),
            },
        );
        trust
    }

    /// The readable part of CACerts that are unusable, so that requests fail for the reason that
    /// the certificates have at that time: they may become valid, too.
    pub(crate) fn with_unusable_ca_certs(&mut self, text: &str) -> Arc<TrustBundle> {
        let trust = self.readable_trust(text);
        self.share_bundle(trust)
    }

    /// The reason why nobody can be verified with CACerts of which nothing can be read; `None` if
    /// something can.
    pub(crate) fn unreadable_reason(text: &str) -> Option<String> {
        let error = TrustBundle::from_pem(text).err()?;
        let is_useless = certificate_blocks(text).all(|piece| piece.is_err());
        is_useless.then(|| diagnose::unusable_reason(text, &error))
    }

    fn readable_trust(&self, text: &str) -> TrustBundle {
        let readable = TrustBundle::new(
            certificate_blocks(text)
                .filter_map(Result::ok)
                .flatten()
                .collect(),
        );
        if readable.certificates().is_empty() {
            TrustBundle::trusting_nobody()
        } else {
            self.common.union(&readable)
        }
    }

    /// Keeps a set that is still in use, so that it stays one value.
    pub(crate) fn keep_bundle(&mut self, used: &Arc<TrustBundle>) {
        if !Arc::ptr_eq(used, &self.none) && !Arc::ptr_eq(used, &self.common) {
            self.shared_bundles
                .entry(used.fingerprint())
                .or_insert_with(|| Arc::clone(used));
        }
    }

    fn read_ca_certs(&mut self, text: &str) -> CheckedCaCerts {
        match TrustBundle::from_pem_with_others(text) {
            Ok((bundle, others)) => {
                let mut findings = diagnose::certificate_findings(&bundle, self.now);
                findings.extend(diagnose::skipped_certificate(text));
                findings.extend(diagnose::other_pem_items(&others));
                let usable = findings
                    .iter()
                    .all(|(severity, _)| *severity != Severity::Error);
                let trust = usable.then(|| self.share_bundle(self.common.union(&bundle)));
                CheckedCaCerts { trust, findings }
            }
            Err(error) => CheckedCaCerts {
                trust: None,
                findings: vec![(Severity::Error, diagnose::unusable_reason(text, &error))],
            },
        }
    }

    fn share_bundle(&mut self, bundle: TrustBundle) -> Arc<TrustBundle> {
        let before = self.last_bundles.remove(&bundle.fingerprint());
        let shared = self.shared_bundles.entry(bundle.fingerprint());
        Arc::clone(shared.or_insert_with(|| before.unwrap_or_else(|| Arc::new(bundle))))
    }
}

/// Reads every trust bundle of the system namespace. A ConfigMap with the wrong shape keeps its
/// last good form.
pub(crate) fn read_trust_bundles(
    config_maps: &mut CollectedItems<'_, ConfigMapManifest>,
    settings: &ControlSettings,
    last: Option<&BundlesByName>,
) -> BundlesByName {
    let mut bundles = BundlesByName::new();
    for (name, item) in config_maps {
        let Some(config_map) = &item.object else {
            let kept = last.and_then(|last| last.get(name));
            bundles.extend(kept.map(|kept| (name.clone(), Arc::clone(kept))));
            if let Some(config_map) = &item.partly {
                read_labelled_bundle(name, config_map, settings, &mut item.report);
            }
            continue;
        };
        let bundle = read_labelled_bundle(name, config_map, settings, &mut item.report);
        bundles.extend(bundle.map(|bundle| (name.clone(), Arc::new(bundle))));
    }
    bundles
}

/// The certificates of a ConfigMap that is labelled as a trust bundle; `None` if it is not one that
/// counts.
fn read_labelled_bundle(
    name: &NamespacedName,
    config_map: &ConfigMapManifest,
    settings: &ControlSettings,
    report: &mut ObjectReport<'_>,
) -> Option<TrustBundle> {
    match duck::text(&config_map.metadata.labels, LABEL)? {
        "true" if name.namespace == settings.system_namespace => {
            Some(read_trust_bundle(config_map, settings.now, report))
        }
        "true" => {
            let namespace = &settings.system_namespace;
            if let Some(what) = astray(report.document(), settings) {
                let rule = format!("a trust bundle counts in {namespace} only; write that");
                report.warning("metadata.namespace", format!("{what}: {rule}"));
                return None;
            }
            report.note(
                LABEL_FIELD,
                format!("counts in the namespace {namespace} only: this trust bundle is ignored"),
            );
            None
        }
        other if !other.eq_ignore_ascii_case("false") => {
            report.warning(
                LABEL_FIELD,
                "must be \"true\", in lower case: this trust bundle is ignored",
            );
            None
        }
        _ => None,
    }
}

fn read_trust_bundle(
    config_map: &ConfigMapManifest,
    now: i64,
    report: &mut ObjectReport<'_>,
) -> TrustBundle {
    let certificates = bundle_certificates(config_map, report);
    if certificates.is_empty()
        && let Some((field, value)) = first_value(config_map)
    {
        report.warning(
            &field,
            format!(
                "{}; nothing more is trusted",
                diagnose::no_certificate_reason(&value)
            ),
        );
    }
    let bundle = TrustBundle::new(certificates);
    for expired in bundle.invalid_at(now) {
        report.note(
            "data",
            format!(
                "{} in it and is not trusted: remove it",
                diagnose::describe_invalidity(expired, now)
            ),
        );
    }
    bundle
}

/// The certificates of all keys of a bundle.
fn bundle_certificates(
    config_map: &ConfigMapManifest,
    report: &mut ObjectReport<'_>,
) -> Vec<TrustedCertificate> {
    let mut certificates = Vec::new();
    for (key, value) in config_map.data.iter().flatten() {
        let text = value.as_deref().unwrap_or_default();
        certificates.extend(readable_certificates(text, &format!("data.{key}"), report));
    }
    for (key, value) in config_map.binary_data.iter().flatten() {
        // Keystores stand here, too, so that a value that is no text is skipped silently (contract
        // 3.10).
        let decoded = decode_base64(value.as_deref().unwrap_or_default());
        if let Some(text) = decoded.and_then(|bytes| String::from_utf8(bytes).ok()) {
            let field = format!("binaryData.{key}");
            certificates.extend(readable_certificates(&text, &field, report));
        }
    }
    certificates
}

/// The first value of a ConfigMap that is not empty, and its field.
fn first_value(config_map: &ConfigMapManifest) -> Option<(String, Vec<u8>)> {
    let text = |(key, value): (&String, &Option<String>)| {
        Some((format!("data.{key}"), value.clone()?.into_bytes()))
    };
    let bytes = |(key, value): (&String, &Option<String>)| {
        Some((
            format!("binaryData.{key}"),
            decode_base64(value.as_deref()?)?,
        ))
    };
    let texts = config_map.data.iter().flatten().filter_map(text);
    let mut values = texts.chain(config_map.binary_data.iter().flatten().filter_map(bytes));
    values.find(|(_, value)| !value.trim_ascii().is_empty())
}

/// The certificates of a text that can be read; others are skipped with a warning, and a text
/// without any silently.
fn readable_certificates(
    text: &str,
    field: &str,
    report: &mut ObjectReport<'_>,
) -> Vec<TrustedCertificate> {
    if !text.contains(BEGIN) {
        return Vec::new();
    }
    if let Ok((bundle, others)) = TrustBundle::from_pem_with_others(text) {
        if let Some((_, message)) = diagnose::other_pem_items(&others) {
            report.warning(field, message);
        }
        return bundle.certificates().to_vec();
    }
    let mut certificates = Vec::new();
    for (index, piece) in certificate_blocks(text).enumerate() {
        match piece {
            Ok(readable) => certificates.extend(readable),
            Err(error) => report.warning(
                field,
                format!("certificate {} is skipped: {error}", index + 1),
            ),
        }
    }
    certificates
}

/// The certificates of a text one by one, or the reasons why they cannot be read.
fn certificate_blocks(
    text: &str,
) -> impl Iterator<Item = Result<Vec<TrustedCertificate>, TrustError>> {
    let piece = |body: &str| {
        Ok(TrustBundle::from_pem(&format!("{BEGIN}{body}"))?
            .certificates()
            .to_vec())
    };
    text.split(BEGIN).skip(1).map(piece)
}

/// Decodes base64 in one piece or in lines; `None` if the text is none.
pub(crate) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let joined: String = text.split_ascii_whitespace().collect();
    BASE64_STANDARD.decode(joined).ok()
}
