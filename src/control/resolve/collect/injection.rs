//! Brokers that upstream's sugar controller makes where somebody asks for it by
//! `eventing.knative.dev/injection: enabled`: on a Trigger the Broker that it names, on a Namespace
//! the Broker `default`. A Broker that is written is not made again, and none is made where
//! something that is written may be meant to be it.
//!
//! Upstream follows labels, as its `config-sugar` selects them, and followed annotations of
//! Triggers before; here both count, without `config-sugar`.

mod suspects;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde_json::json;

use crate::control::read::document::{DocumentOrigin, ManifestDocument};
use crate::control::read::header::{is_dns_name, object_name};
use crate::control::read::kind::{RecognizedKind, ResourceKind};
use crate::control::read::problem::Problem;
use crate::control::read::report::ObjectReport;
use crate::control::resolve::Resolution;
use crate::control::settings::ControlSettings;
use crate::model::{NamespacedName, ObjectKind};
use suspects::Suspects;
pub(super) use suspects::may_be_broker;

const INJECTION: &str = "eventing.knative.dev/injection";
/// The fields of `metadata` below which that may stand.
const INJECTION_FIELDS: [&str; 2] = ["labels", "annotations"];
/// The label of a Broker that was made.
const INJECTED: &str = "eventing.knative.dev/injected";
const DEFAULT_BROKER: &str = "default";

/// What comes of the documents that ask for Brokers.
#[derive(Debug, Default)]
pub(crate) struct InjectedBrokers {
    /// The Brokers that are made. Each has the place of the first document that asks for it.
    pub(crate) made: Vec<ManifestDocument>,
    /// Why others are not made, where they are asked for.
    pub(crate) problems: Vec<Problem>,
}

/// The Brokers that are to be made for these documents. `last` is the resolution in use: what was
/// made in it is made again.
pub(crate) fn injected_brokers<'d>(
    documents: &[&'d ManifestDocument],
    unparsed_texts: impl Iterator<Item = &'d str>,
    last: Option<&Resolution>,
    settings: &ControlSettings,
) -> InjectedBrokers {
    if !settings.task.serves_manifests() {
        return InjectedBrokers::default();
    }
    let mut wanted = wanted_brokers(documents.iter().copied(), settings);
    if wanted.is_empty() {
        return InjectedBrokers::default();
    }
    let brokers = documents
        .iter()
        .filter(|document| is_of_kind(document, ResourceKind::Broker));
    let written: HashSet<NamespacedName> = brokers
        .filter_map(|broker| {
            Some(NamespacedName::new(
                namespace_of(broker, settings),
                broker.text(&["metadata", "name"])?,
            ))
        })
        .collect();
    wanted.retain(|name, _| !written.contains(name));
    let suspects = Suspects::of(documents, unparsed_texts, settings);
    let mut injected = InjectedBrokers::default();
    for (name, document) in wanted {
        let Some(suspect) = suspects.meant_to_be(&name) else {
            injected.made.push(broker(&name, document));
            continue;
        };
        let called = format!("Broker {name}");
        let what = if last.is_some_and(|last| was_made(&name, last)) {
            injected.made.push(broker(&name, document));
            format!("the {called} that was made for it is served on")
        } else {
            format!("no {called} is made")
        };
        let remedy = format!("correct that one, or write the {called} yourself");
        let message = format!("{what}, since {suspect} may be meant to be it: {remedy}");
        injected
            .problems
            .extend(problem_where_asked(document, message, settings));
    }
    injected
}

/// The Brokers that these documents ask for, each with the first document that does.
pub(super) fn wanted_brokers<'d>(
    documents: impl Iterator<Item = &'d ManifestDocument>,
    settings: &ControlSettings,
) -> BTreeMap<NamespacedName, &'d ManifestDocument> {
    let mut wanted = BTreeMap::new();
    for document in documents.filter(|document| asks_for_injection(document)) {
        if let Some(name) =
            wanted_broker(document, settings).filter(|broker| is_dns_name(&broker.name, 253))
        {
            wanted.entry(name).or_insert(document);
        }
    }
    wanted
}

/// True if a Broker is served that was made for whoever asked for it.
fn was_made(broker: &NamespacedName, last: &Resolution) -> bool {
    last.inventory.objects.iter().any(|object| {
        object.kind == ObjectKind::Broker
            && object.conditions.served
            && object.namespace == broker.namespace
            && object.name == broker.name
            && object
                .manifest
                .pointer("/metadata/labels")
                .is_some_and(|labels| labels.get(INJECTED).is_some())
    })
}

/// An error of the field by which a document asks for a Broker.
fn problem_where_asked(
    document: &ManifestDocument,
    message: String,
    settings: &ControlSettings,
) -> Vec<Problem> {
    let place = INJECTION_FIELDS
        .iter()
        .find(|field| asks_below(document, field))
        .copied()
        .unwrap_or_default();
    let object = object_name(document, &settings.default_namespace);
    let mut report = ObjectReport::new(document, object);
    report.error(&format!("metadata.{place}.{INJECTION}"), message);
    report.into_problems()
}

/// True if a Namespace asks for its Broker.
pub(crate) fn is_injected_namespace(document: &ManifestDocument) -> bool {
    is_namespace(document) && asks_for_injection(document)
}

fn is_namespace(document: &ManifestDocument) -> bool {
    document.text(&["apiVersion"]) == Some("v1") && document.text(&["kind"]) == Some("Namespace")
}

fn asks_for_injection(document: &ManifestDocument) -> bool {
    INJECTION_FIELDS
        .iter()
        .any(|field| asks_below(document, field))
}

fn asks_below(document: &ManifestDocument, field: &str) -> bool {
    document.text(&["metadata", field, INJECTION]) == Some("enabled")
}

/// The Broker that a Trigger or a Namespace asks for; `None` for every other object.
fn wanted_broker(
    document: &ManifestDocument,
    settings: &ControlSettings,
) -> Option<NamespacedName> {
    if is_of_kind(document, ResourceKind::Trigger) {
        return Some(NamespacedName::new(
            namespace_of(document, settings),
            document.text(&["spec", "broker"])?,
        ));
    }
    let name = document
        .text(&["metadata", "name"])
        .filter(|_| is_namespace(document))?;
    Some(NamespacedName::new(name, DEFAULT_BROKER))
}

pub(super) fn is_of_kind(document: &ManifestDocument, kind: ResourceKind) -> bool {
    let [api_version, written] =
        ["apiVersion", "kind"].map(|field| document.text(&[field]).unwrap_or_default());
    ResourceKind::recognize(api_version, written) == RecognizedKind::Known(kind)
}

fn namespace_of(document: &ManifestDocument, settings: &ControlSettings) -> String {
    document
        .text(&["metadata", "namespace"])
        .unwrap_or(&settings.default_namespace)
        .to_owned()
}

/// The Broker as upstream's controller makes it.
fn broker(name: &NamespacedName, by: &ManifestDocument) -> ManifestDocument {
    let kind = ResourceKind::Broker;
    let labels = json!({ INJECTED: "true" });
    let value = json!({
        "apiVersion": kind.api_version(),
        "kind": kind.as_str(),
        "metadata": { "namespace": name.namespace, "name": name.name, "labels": labels },
    });
    let origin = by.origin.as_ref().map(|origin| DocumentOrigin {
        file: Arc::clone(&origin.file),
        lines: origin.lines.of_generated(&value),
    });
    ManifestDocument {
        value: Arc::new(value),
        origin,
    }
}
