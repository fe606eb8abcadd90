//! Sorts documents by kind, namespace and name, and reports those that are no object of a known
//! kind, or one twice.

mod config_maps;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::other_kinds::{self, OtherObjects};
use super::owned;
use crate::control::kind::{self, RecognizedKind, ResourceKind};
use crate::control::manifest::core::{ConfigMapManifest, PodManifest, SecretManifest, ServiceManifest};
use crate::control::manifest::eventing::{BrokerManifest, EventPolicyManifest, RequestReplyManifest, TriggerManifest};
use crate::control::manifest::flows::{ParallelManifest, SequenceManifest};
use crate::control::manifest::messaging::{ChannelManifest, SubscriptionManifest};
use crate::control::manifest::sources::PingSourceManifest;
use crate::control::manifest::{self, ManifestDocument, UnknownFieldPolicy};
use crate::control::report::ObjectReport;
use crate::control::schema::{self, CONFIG_FEATURES, ConfigMapKeys, UnknownFieldStrictness};
use crate::control::settings::ObjectSource;
use crate::control::{ControlSettings, ObjectName, Problem, Severity, suggest_word};
pub(super) use crate::model::NamespacedName;
use config_maps::{check_keys, has_closing_flag, report_missing_namespace, report_near_name, report_other_features};

/// The objects of one kind, by name.
pub(super) type CollectedItems<'d, T> = BTreeMap<NamespacedName, CollectedItem<'d, T>>;

/// One object with its report.
#[derive(Debug)]
pub(super) struct CollectedItem<'d, T> {
    /// The object as decoded; `None` if it has the wrong shape, which is reported, or is not
    /// decoded yet. It is on the heap, since a map has room for nearly twice as many as are in it.
    pub(super) object: Option<Box<T>>,
    /// The readable part of an object of Kubernetes' own kinds that is not understood as a whole:
    /// it is checked, so that every problem is reported, and has no effect.
    pub(super) partly: Option<Box<T>>,
    pub(super) report: ObjectReport<'d>,
}

impl<'d, T> CollectedItem<'d, T> {
    fn unread(report: ObjectReport<'d>) -> Self {
        Self { object: None, partly: None, report }
    }
}

/// Every object that is read, by kind.
#[derive(Debug, Default)]
pub(super) struct CollectedObjects<'d> {
    pub(super) channels: CollectedItems<'d, ChannelManifest>,
    pub(super) in_memory_channels: CollectedItems<'d, ChannelManifest>,
    pub(super) rabbitmq_channels: CollectedItems<'d, ChannelManifest>,
    pub(super) brokers: CollectedItems<'d, BrokerManifest>,
    pub(super) subscriptions: CollectedItems<'d, SubscriptionManifest>,
    pub(super) event_policies: CollectedItems<'d, EventPolicyManifest>,
    pub(super) triggers: CollectedItems<'d, TriggerManifest>,
    pub(super) request_replies: CollectedItems<'d, RequestReplyManifest>,
    pub(super) sequences: CollectedItems<'d, SequenceManifest>,
    pub(super) parallels: CollectedItems<'d, ParallelManifest>,
    pub(super) ping_sources: CollectedItems<'d, PingSourceManifest>,
    pub(super) config_maps: CollectedItems<'d, ConfigMapManifest>,
    pub(super) secrets: CollectedItems<'d, SecretManifest>,
    pub(super) services: CollectedItems<'d, ServiceManifest>,
    pub(super) pods: CollectedItems<'d, PodManifest>,
    /// Objects of kinds that are not served, which only references read.
    pub(super) others: OtherObjects<'d>,
    /// Channels that a cluster has reconciled. They are decoded only if they have changed.
    pub(super) reconciled: BTreeMap<NamespacedName, ObjectReport<'d>>,
    /// Documents that could be any object, since their kind or name is not understood: flags and
    /// policies may be among them.
    pub(super) unidentified: Vec<&'d ManifestDocument>,
    /// Texts that cannot be parsed: any object may be among them.
    pub(super) unparsed_texts: Vec<&'d str>,
    /// Problems of documents that are in no other field.
    pub(super) problems: Vec<Problem>,
}

impl<'d> CollectedObjects<'d> {
    /// Sorts the documents by kind and name, and reports those that cannot be sorted.
    pub(super) fn from_documents(
        documents: impl Iterator<Item = &'d ManifestDocument>,
        settings: &ControlSettings,
    ) -> Self {
        let mut collected = Self::default();
        for document in documents {
            let mut report = ObjectReport::new(document, object_name(document, &settings.default_namespace));
            let reading = UnknownFieldPolicy::from_settings(settings);
            // The kind and the name come first: they decide where the object is kept, and if at
            // all.
            match check_header(document, &mut report, reading) {
                ObjectHeader::OtherKind => {
                    let left = other_kinds::insert_other(&mut collected.others, report, reading);
                    collected.problems.extend(left.into_iter().flat_map(ObjectReport::into_problems));
                }
                // Reconciled channels are only kept here; they are decoded by `reconciled`, if they
                // changed.
                ObjectHeader::Known(kind)
                    if settings.object_source != ObjectSource::Written
                        && kind == settings.channel_kind.resource_kind() =>
                {
                    let ObjectName { namespace, name, .. } = report.object().clone();
                    collected.reconciled.insert((namespace, name), report);
                }
                ObjectHeader::Known(
                    kind @ (ResourceKind::Broker | ResourceKind::Trigger | ResourceKind::Subscription),
                ) if settings.object_source != ObjectSource::Written => {
                    collected.insert_reconciled(kind, report);
                }
                ObjectHeader::Known(kind) => collected.insert_item(kind, report, settings),
                ObjectHeader::Invalid => {
                    report_near_name(&mut report, settings);
                    collected.unidentified.extend(Some(document).filter(|_| report.has_errors()));
                    collected.problems.extend(report.into_problems());
                }
            }
        }
        owned::leave_out(&mut collected, settings);
        report_other_features(&mut collected, settings);
        collected
    }

    /// Keeps an object that a cluster has reconciled without decoding it, until it is needed.
    fn insert_reconciled(&mut self, kind: ResourceKind, report: ObjectReport<'d>) {
        let ObjectName { namespace, name, .. } = report.object().clone();
        let name = (namespace, name);
        match kind {
            ResourceKind::Broker => drop(self.brokers.insert(name, CollectedItem::unread(report))),
            ResourceKind::Trigger => drop(self.triggers.insert(name, CollectedItem::unread(report))),
            ResourceKind::Subscription => drop(self.subscriptions.insert(name, CollectedItem::unread(report))),
            _ => {}
        }
    }

    fn insert_item(&mut self, kind: ResourceKind, report: ObjectReport<'d>, settings: &ControlSettings) {
        let how = (kind, settings);
        // A misspelled `namespace` names another object than was meant. The objects of an API
        // server are right.
        let metadata = report.document().value.get("metadata").and_then(Value::as_object);
        let is_doubtful = metadata.is_some_and(|metadata| metadata.keys().any(|key| schema::is_unknown_metadata(key)));
        let is_doubtful = is_doubtful && settings.object_source == ObjectSource::Written;
        self.unidentified.extend(Some(report.document()).filter(|_| is_doubtful));
        let mut report = report;
        let is_astray = kind == ResourceKind::ConfigMap && report_missing_namespace(&mut report, settings);
        if is_astray || report_near_name(&mut report, settings) == Some(Severity::Error) {
            self.unidentified.push(report.document());
        }
        let twice = match kind {
            ResourceKind::Channel => insert(&mut self.channels, report, how),
            ResourceKind::InMemoryChannel => insert(&mut self.in_memory_channels, report, how),
            ResourceKind::RabbitmqChannel => insert(&mut self.rabbitmq_channels, report, how),
            ResourceKind::Broker => insert(&mut self.brokers, report, how),
            ResourceKind::Subscription => insert(&mut self.subscriptions, report, how),
            ResourceKind::Trigger => insert(&mut self.triggers, report, how),
            ResourceKind::RequestReply => insert(&mut self.request_replies, report, how),
            ResourceKind::EventPolicy => insert(&mut self.event_policies, report, how),
            ResourceKind::Sequence => insert(&mut self.sequences, report, how),
            ResourceKind::Parallel => insert(&mut self.parallels, report, how),
            ResourceKind::PingSource => insert(&mut self.ping_sources, report, how),
            ResourceKind::ConfigMap => insert(&mut self.config_maps, report, how),
            ResourceKind::Secret => insert(&mut self.secrets, report, how),
            ResourceKind::Service => insert(&mut self.services, report, how),
            ResourceKind::Pod => insert(&mut self.pods, report, how),
            ResourceKind::EndpointSlice => None,
        };
        self.problems.extend(twice.into_iter().flat_map(ObjectReport::into_problems));
    }

    /// The unidentified documents that hold this word where their kind or their name would stand.
    pub(super) fn unidentified_with_word(&self, word: &str) -> Vec<&'d ManifestDocument> {
        fn members(value: &Value) -> impl Iterator<Item = &Value> {
            value.as_object().into_iter().flat_map(serde_json::Map::values)
        }
        let is_word = |text: &str| {
            text == word || suggest_word(text, [word]) == Some(word) || ConfigMapKeys::named_nearly(text) == Some(word)
        };
        let is_it = |member: &Value| member.as_str().is_some_and(is_word);
        let is_suspect = |value: &Value| members(value).any(|member| is_it(member) || members(member).any(is_it));
        let resembles_policy = |value: &Value| {
            word == ResourceKind::EventPolicy.as_str() && (resembles_event_policy(value) || is_called_a_policy(value))
        };
        let holds_flags = |value: &Value| word == CONFIG_FEATURES && has_closing_flag(value);
        let is_like_it = |value: &Value| resembles_policy(value) || holds_flags(value);
        // A list or a text that stands where an object should may hold any object.
        let is_suspect = |value: &Value| match value {
            Value::Array(items) => items.iter().any(|item| is_suspect(item) || is_like_it(item)),
            Value::String(text) => text.contains(word),
            value => is_suspect(value) || is_like_it(value),
        };
        self.unidentified.iter().copied().filter(|document| is_suspect(&document.value)).collect()
    }

    /// True if this word stands in a text that cannot be parsed.
    pub(super) fn is_in_unparsed_text(&self, word: &str) -> bool {
        self.unparsed_texts.iter().any(|text| text.contains(word))
    }

    /// Takes the problems of every object.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        fn all<T>(items: CollectedItems<'_, T>) -> impl Iterator<Item = Problem> {
            items.into_values().flat_map(|item| item.report.into_problems())
        }
        let mut problems = self.problems;
        problems.extend(self.others.into_values().flat_map(ObjectReport::into_problems));
        problems.extend(all(self.channels));
        problems.extend(all(self.in_memory_channels));
        problems.extend(all(self.rabbitmq_channels));
        problems.extend(all(self.brokers));
        problems.extend(all(self.subscriptions));
        problems.extend(all(self.triggers));
        problems.extend(all(self.request_replies));
        problems.extend(all(self.event_policies));
        problems.extend(all(self.sequences));
        problems.extend(all(self.parallels));
        problems.extend(all(self.ping_sources));
        problems.extend(all(self.config_maps));
        problems.extend(all(self.secrets));
        problems.extend(all(self.services));
        problems.extend(all(self.pods));
        problems
    }
}

/// Adds an object; gives its report back if there is one of its name already.
fn insert<'d, T: DeserializeOwned>(
    items: &mut CollectedItems<'d, T>,
    mut report: ObjectReport<'d>,
    (kind, settings): (ResourceKind, &ControlSettings),
) -> Option<ObjectReport<'d>> {
    let name = report.object();
    match items.entry((name.namespace.clone(), name.name.clone())) {
        Entry::Occupied(first) => {
            report_duplicate_name(&mut report, first.get().report.document());
            Some(report)
        }
        Entry::Vacant(entry) => {
            let read = decode_object(&mut report, kind, settings);
            let counts = !(is_read_whole(kind) && report.has_errors());
            let (object, partly) = if counts { (read, None) } else { (None, read) };
            entry.insert(CollectedItem { object, partly, report });
            None
        }
    }
}

/// Reports that an object has the name of another one, which stays.
pub(super) fn report_duplicate_name(report: &mut ObjectReport<'_>, by: &ManifestDocument) {
    let message = match by.location() {
        Some(place) => format!("is taken at {place}, which stays: rename or remove one of the two"),
        None => {
            "is that of several, none of which is what was served, which stays: rename or remove all but one".into()
        }
    };
    report.error("metadata.name", message);
}

/// True for Kubernetes' own kinds, whose objects have no effect unless they are understood as a
/// whole: nothing says what is missing, and the rest might mean something else without it.
fn is_read_whole(kind: ResourceKind) -> bool {
    matches!(kind, ResourceKind::ConfigMap | ResourceKind::Secret | ResourceKind::Service | ResourceKind::Pod)
}

/// Decodes an object, and checks its annotations and keys.
fn decode_object<T: DeserializeOwned>(
    report: &mut ObjectReport<'_>,
    kind: ResourceKind,
    settings: &ControlSettings,
) -> Option<Box<T>> {
    let reading = UnknownFieldPolicy::from_settings(settings);
    let object = manifest::decode(report, kind, reading);
    let document = report.document();
    for (field, message) in schema::examine_annotations(&document.value) {
        manifest::report_unknown_field(report, &field, &message, UnknownFieldStrictness::MayBeIgnored, reading);
    }
    if kind == ResourceKind::ConfigMap {
        check_keys(report, settings);
    }
    object
}

/// True if the kind of an object is named like a policy.
fn is_called_a_policy(value: &Value) -> bool {
    value.get("kind").and_then(Value::as_str).is_some_and(kind::is_like_policy)
}

/// True if an object without a kind has the fields of an EventPolicy.
fn resembles_event_policy(value: &Value) -> bool {
    let spec = value.get("spec").and_then(Value::as_object);
    let has = |name: &str| spec.is_some_and(|spec| spec.contains_key(name));
    value.get("kind").and_then(Value::as_str).is_none_or(str::is_empty) && (has("from") || has("to"))
}

pub(super) fn object_name(document: &ManifestDocument, default_namespace: &str) -> ObjectName {
    let text = |path: &[&str]| document.text(path).unwrap_or_default().to_owned();
    let namespace = document.text(&["metadata", "namespace"]).unwrap_or(default_namespace).to_owned();
    ObjectName { kind: text(&["kind"]), namespace, name: text(&["metadata", "name"]) }
}

/// The result of reading an object's `apiVersion`, `kind` and `metadata`.
enum ObjectHeader {
    /// They are in order, and of this kind.
    Known(ResourceKind),
    /// They are of a kind that is not read.
    OtherKind,
    /// They have a mistake, which is reported.
    Invalid,
}

/// Reads the kind of an object whose `apiVersion`, `kind` and `metadata` are in order; else reports
/// their mistakes, and those in the rest of the object.
fn check_header(
    document: &ManifestDocument,
    report: &mut ObjectReport<'_>,
    reading: UnknownFieldPolicy,
) -> ObjectHeader {
    if !document.value.is_object() {
        report.error("", other_kinds::of_no_object(&document.value));
        return ObjectHeader::Invalid;
    }
    let Some(kind) = document.text(&["kind"]) else {
        if let Some(remedy) = other_kinds::of_a_tool(document) {
            report.note("", remedy);
            return ObjectHeader::Invalid;
        }
        report.error("kind", missing_field_message(document, "kind", "Broker"));
        return ObjectHeader::Invalid;
    };
    let Some(api_version) = document.text(&["apiVersion"]) else {
        report.error("apiVersion", missing_field_message(document, "apiVersion", "eventing.knative.dev/v1"));
        return ObjectHeader::Invalid;
    };
    match ResourceKind::recognize(api_version, kind) {
        RecognizedKind::Known(kind) if check_names(report) => ObjectHeader::Known(kind),
        RecognizedKind::Known(kind) => {
            manifest::validate_fields(report, schema::schema_of(kind), "", reading, &document.value);
            ObjectHeader::Invalid
        }
        RecognizedKind::Foreign => ObjectHeader::OtherKind,
        RecognizedKind::Mistaken { field, message } => {
            report.error(field, message);
            ObjectHeader::Invalid
        }
    }
}

/// True if a document says which object it is, as far as its kind needs that.
pub(in crate::control) fn is_identified(document: &ManifestDocument) -> bool {
    let namespace = ControlSettings::default().default_namespace;
    let mut report = ObjectReport::new(document, object_name(document, &namespace));
    !matches!(check_header(document, &mut report, UnknownFieldPolicy::Admitted), ObjectHeader::Invalid)
}

fn missing_field_message(document: &ManifestDocument, field: &str, example: &str) -> String {
    match document.value.get(field) {
        Some(value) if !value.is_null() && value != "" => format!("is no text: write for example {example}"),
        _ => format!("is missing: write for example {example}"),
    }
}

/// True if the object has a name and a namespace. A value that is no text is reported by its
/// schema.
pub(super) fn check_names(report: &mut ObjectReport<'_>) -> bool {
    let object = report.object().clone();
    let metadata = report.document().value.get("metadata");
    let is_misread = |field: &str| {
        let written = metadata.and_then(|metadata| metadata.get(field));
        metadata.is_some_and(|metadata| !metadata.is_object() && !metadata.is_null())
            || written.is_some_and(|written| !written.is_string() && !written.is_null())
    };
    let (name, namespace) = (is_misread("name"), is_misread("namespace"));
    if !name && object.name.is_empty() {
        report.error("metadata.name", "is missing: give the object a name");
    } else if !name && !is_dns_name(&object.name, 253) {
        let rule =
            "is not a name of Kubernetes: use a-z, 0-9, '-' and '.', beginning and ending with a letter or digit";
        report.error("metadata.name", format!("{:?} {rule}", object.name));
    }
    if !namespace && (!is_dns_name(&object.namespace, 63) || object.namespace.contains('.')) {
        let rule = "is not a namespace of Kubernetes: use at most 63 of a-z, 0-9 and '-'";
        report.error("metadata.namespace", format!("{:?} {rule}", object.namespace));
    }
    !(name || namespace || report.has_errors())
}

/// True if a text is a DNS name in lower case (RFC 1123), so that it fits into host names and
/// paths.
pub(super) fn is_dns_name(text: &str, longest: usize) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    text.len() <= longest && text.split('.').all(label)
}
