//! Brokers that upstream's sugar controller makes where somebody asks for it by `eventing.knative.dev/injection: enabled`:
//! on a Trigger the Broker that it names, on a Namespace the Broker `default`. A Broker that is written is not made again.
//!
//! Upstream follows labels, as its `config-sugar` selects them, and followed annotations of Triggers before; here both
//! count, without `config-sugar`.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde_json::json;

use super::collect::is_dns_name;
use crate::control::ControlSettings;
use crate::control::kind::{RecognizedKind, ResourceKind};
use crate::control::manifest::{DocumentOrigin, ManifestDocument};
use crate::control::settings::ObjectSource;
use crate::model::{NamespacedName, ProcessRole};

const INJECTION: &str = "eventing.knative.dev/injection";
const DEFAULT_BROKER: &str = "default";

/// The Brokers that are to be made for these documents. Each has the place of the first document that asks for it.
pub(super) fn injected_brokers(documents: &[&ManifestDocument], settings: &ControlSettings) -> Vec<ManifestDocument> {
    if settings.object_source != ObjectSource::Written || settings.role != ProcessRole::Channel {
        return Vec::new();
    }
    let mut wanted: BTreeMap<NamespacedName, &ManifestDocument> = BTreeMap::new();
    for document in documents.iter().filter(|document| asks_for_injection(document)) {
        if let Some(name) = wanted_broker(document, settings).filter(|(_, name)| is_dns_name(name, 253)) {
            wanted.entry(name).or_insert(document);
        }
    }
    if wanted.is_empty() {
        return Vec::new();
    }
    let brokers = documents.iter().filter(|document| is_of_kind(document, ResourceKind::Broker));
    let written: HashSet<NamespacedName> = brokers
        .filter_map(|broker| Some((namespace_of(broker, settings), broker.text(&["metadata", "name"])?.to_owned())))
        .collect();
    let missing = wanted.into_iter().filter(|(name, _)| !written.contains(name));
    missing.map(|(name, document)| broker(name, document)).collect()
}

/// True if a Namespace asks for its Broker.
pub(super) fn is_injected_namespace(document: &ManifestDocument) -> bool {
    is_namespace(document) && asks_for_injection(document)
}

fn is_namespace(document: &ManifestDocument) -> bool {
    document.text(&["apiVersion"]) == Some("v1") && document.text(&["kind"]) == Some("Namespace")
}

fn asks_for_injection(document: &ManifestDocument) -> bool {
    ["labels", "annotations"].iter().any(|field| document.text(&["metadata", field, INJECTION]) == Some("enabled"))
}

/// The Broker that a Trigger or a Namespace asks for; `None` for every other object.
fn wanted_broker(document: &ManifestDocument, settings: &ControlSettings) -> Option<NamespacedName> {
    if is_of_kind(document, ResourceKind::Trigger) {
        return Some((namespace_of(document, settings), document.text(&["spec", "broker"])?.to_owned()));
    }
    let name = document.text(&["metadata", "name"]).filter(|_| is_namespace(document))?;
    Some((name.to_owned(), DEFAULT_BROKER.to_owned()))
}

fn is_of_kind(document: &ManifestDocument, kind: ResourceKind) -> bool {
    let [api_version, written] = ["apiVersion", "kind"].map(|field| document.text(&[field]).unwrap_or_default());
    ResourceKind::recognize(api_version, written) == RecognizedKind::Known(kind)
}

fn namespace_of(document: &ManifestDocument, settings: &ControlSettings) -> String {
    document.text(&["metadata", "namespace"]).unwrap_or(&settings.default_namespace).to_owned()
}

/// The Broker as upstream's controller makes it.
fn broker((namespace, name): NamespacedName, by: &ManifestDocument) -> ManifestDocument {
    let kind = ResourceKind::Broker;
    let labels = json!({ "eventing.knative.dev/injected": "true" });
    let value = json!({
        "apiVersion": kind.api_version(),
        "kind": kind.as_str(),
        "metadata": { "namespace": namespace, "name": name, "labels": labels },
    });
    let origin = by
        .origin
        .as_ref()
        .map(|origin| DocumentOrigin { file: Arc::clone(&origin.file), lines: origin.lines.of_generated(&value) });
    ManifestDocument { value: Arc::new(value), origin }
}
