//! What may be meant to be a Broker that is asked for and not written: a Broker with a mistake in
//! its kind, name or namespace. Made beside it, a Broker would have neither its labels, which
//! policies select, nor its delivery.

use std::collections::HashSet;

use serde_json::Value;

use super::{is_of_kind, namespace_of};
use crate::control::read::document::ManifestDocument;
use crate::control::read::header::{is_dns_name, object_name, of_a_tool};
use crate::control::read::kind::{RecognizedKind, ResourceKind, group_of};
use crate::control::read::schema;
use crate::control::read::spelling::suggest_word;
use crate::control::settings::ControlSettings;
use crate::model::NamespacedName;

/// Kinds of the group of Brokers that are not read here.
const OTHER_KINDS: [&str; 2] = ["EventType", "RabbitmqBrokerConfig"];

/// The documents that may be Brokers, among all.
pub(super) struct Suspects<'s> {
    suspects: Vec<&'s ManifestDocument>,
    usage: BrokerUsage<'s>,
    /// True if a text that cannot be parsed speaks of a Broker.
    is_in_unparsed_text: bool,
    settings: &'s ControlSettings,
}

impl<'s> Suspects<'s> {
    pub(super) fn of<'d>(
        documents: &[&'d ManifestDocument],
        mut unparsed_texts: impl Iterator<Item = &'d str>,
        settings: &'s ControlSettings,
    ) -> Self
    where
        'd: 's,
    {
        let documents = documents.iter().copied();
        let (suspects, others) = documents.partition(|document| may_be_broker(document));
        Self {
            suspects,
            usage: BrokerUsage::of(others, settings),
            is_in_unparsed_text: unparsed_texts
                .any(|text| text.contains(ResourceKind::Broker.as_str())),
            settings,
        }
    }

    /// What may be meant to be this Broker, which is not written, for a message.
    pub(super) fn meant_to_be(&self, broker: &NamespacedName) -> Option<String> {
        if self.is_in_unparsed_text {
            return Some("a Broker of a file that cannot be read".to_owned());
        }
        let suspect = self
            .suspects
            .iter()
            .find(|suspect| self.is_meant(suspect, broker))?;
        let what = if suspect.value.is_object() {
            object_name(suspect, &self.settings.default_namespace).to_string()
        } else {
            "what is no object".to_owned()
        };
        Some(what + &suspect.location_suffix())
    }

    fn is_meant(&self, suspect: &ManifestDocument, broker: &NamespacedName) -> bool {
        if !suspect.value.is_object() {
            return true;
        }
        let [_, in_namespace, called] = suspect.identity();
        let NamespacedName { namespace, name } = broker;
        let is_it = called == Some(name) && namespace_of(suspect, self.settings) == *namespace;
        let is_unexplained = is_it || has_odd_head(suspect) || !self.is_used(suspect, namespace);
        is_unexplained
            && called.is_none_or(|called| may_be_word(called, name, |text| is_dns_name(text, 253)))
            && in_namespace
                .is_none_or(|of| may_be_word(of, namespace, |text| is_dns_name(text, 63)))
    }

    /// True if a Broker is what its author meant it to be: others refer to it, or stand in its
    /// namespace where that is another one than `asked`.
    fn is_used(&self, broker: &ManifestDocument, asked: &str) -> bool {
        let written = broker.text(&["metadata", "namespace"]);
        let name = broker.text(&["metadata", "name"]).unwrap_or_default();
        written.is_some_and(|written| written != asked && self.usage.namespaces.contains(written))
            || self
                .usage
                .brokers
                .contains(&(namespace_of(broker, self.settings), name))
    }
}

/// What the documents that are no Brokers say of Brokers. It is read once: there may be many
/// Brokers, and many more documents.
struct BrokerUsage<'s> {
    /// The namespaces that something stands in, or that are objects themselves.
    namespaces: HashSet<&'s str>,
    /// The Brokers that are referred to, by the namespace of who refers to them and their name.
    brokers: HashSet<NamespacedReference<'s>>,
}

/// A namespace, and a name that is referred to in it.
type NamespacedReference<'s> = (String, &'s str);

impl<'s> BrokerUsage<'s> {
    fn of(documents: Vec<&'s ManifestDocument>, settings: &ControlSettings) -> Self {
        let (mut namespaces, mut brokers) = (HashSet::new(), HashSet::new());
        for document in documents {
            // A policy may be for the Broker that is missing.
            if is_of_kind(document, ResourceKind::EventPolicy) {
                continue;
            }
            let [kind, in_namespace, called] = document.identity();
            namespaces.extend(in_namespace);
            namespaces.extend(called.filter(|_| kind == Some("Namespace")));
            let namespace = namespace_of(document, settings);
            let mut names = Vec::from_iter(document.text(&["spec", "broker"]));
            find_broker_names(&document.value, &mut names);
            brokers.extend(names.into_iter().map(|name| (namespace.clone(), name)));
        }
        Self {
            namespaces,
            brokers,
        }
    }
}

/// Finds the names of Brokers in the references of an object.
fn find_broker_names<'v>(value: &'v Value, names: &mut Vec<&'v str>) {
    match value {
        Value::Object(fields) => {
            let is_broker = fields
                .get("kind")
                .is_some_and(|kind| kind == ResourceKind::Broker.as_str());
            let name = fields.get("name").and_then(Value::as_str);
            names.extend(name.filter(|_| is_broker));
            fields
                .values()
                .for_each(|value| find_broker_names(value, names));
        }
        Value::Array(items) => items.iter().for_each(|item| find_broker_names(item, names)),
        _ => {}
    }
}

/// True if a word is the meant one, nearly so, or none that could stand there. Words that differ in
/// their digits only are two of a series.
fn may_be_word(word: &str, meant: &str, is_valid: impl Fn(&str) -> bool) -> bool {
    let letters = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "");
    word == meant
        || !is_valid(word)
        || suggest_word(word, [meant]).is_some() && letters(word) != letters(meant)
}

/// True if an object is no right Broker by its head.
fn has_odd_head(document: &ManifestDocument) -> bool {
    let metadata = document.value.get("metadata").and_then(Value::as_object);
    !is_of_kind(document, ResourceKind::Broker)
        || document
            .text(&["metadata", "name"])
            .is_none_or(|name| !is_dns_name(name, 253))
        || metadata
            .is_none_or(|metadata| metadata.keys().any(|key| schema::is_unknown_metadata(key)))
}

/// True if an object is a Broker, or may be one with a mistake in its kind or group.
pub(in crate::control::resolve::collect) fn may_be_broker(document: &ManifestDocument) -> bool {
    let broker = ResourceKind::Broker;
    let value = &document.value;
    if !value.is_object() {
        return value.to_string().contains(broker.as_str());
    }
    let Some(kind) = document.text(&["kind"]) else {
        return of_a_tool(document).is_none();
    };
    if kind == broker.as_str() || suggest_word(kind, [broker.as_str()]).is_some() {
        return true;
    }
    if OTHER_KINDS.contains(&kind) {
        return false;
    }
    let api_version = document.text(&["apiVersion"]).unwrap_or_default();
    let (group, eventing) = (group_of(api_version), group_of(broker.api_version()));
    let is_eventing = group == eventing || suggest_word(group, [eventing]).is_some();
    let is_called_so = kind.to_lowercase().contains("broker");
    match ResourceKind::recognize(api_version, kind) {
        // A Trigger has these.
        RecognizedKind::Known(ResourceKind::Trigger) => ["broker", "brokerRef", "subscriber"]
            .iter()
            .all(|field| value.pointer(&format!("/spec/{field}")).is_none()),
        RecognizedKind::Known(_) => false,
        RecognizedKind::Mistaken { .. } => is_eventing && (is_called_so || is_of_other_group(kind)),
        RecognizedKind::Foreign => {
            (is_eventing || group.is_empty()) && is_called_so || group == eventing
        }
    }
}

/// True if a kind is one that is read, and of another group than Brokers.
fn is_of_other_group(kind: &str) -> bool {
    let eventing = group_of(ResourceKind::Broker.api_version());
    ResourceKind::ALL
        .iter()
        .any(|known| known.as_str() == kind && group_of(known.api_version()) != eventing)
}
