//! Sorts documents by kind, namespace and name, and reports those that are not an object of ours, or one twice.

mod config_maps;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::others::{self, Others};
use crate::control::kind::{self, Kind, Recognized};
use crate::control::manifest::config::{ConfigMap, Pod, Secret, Service};
use crate::control::manifest::eventing::{Broker, EventPolicy, RequestReply, Trigger};
use crate::control::manifest::flows::{Parallel, Sequence};
use crate::control::manifest::messaging::{Channel, Subscription};
use crate::control::manifest::sources::PingSource;
use crate::control::manifest::{self, Document, Reading};
use crate::control::report::Report;
use crate::control::schema::{self, Keys, Strictness};
use crate::control::settings::Objects;
use crate::control::{ObjectName, Problem, Settings, Severity, meant};
use config_maps::{check_keys, tell_missing_namespace, tell_near_name};

/// Namespace and name.
pub(super) type Name = (String, String);
/// The objects of one kind.
pub(super) type Items<'d, T> = BTreeMap<Name, Item<'d, T>>;

/// One object.
#[derive(Debug)]
pub(super) struct Item<'d, T> {
    /// As decoded; `None` if it has the wrong shape, which is reported, or is not decoded yet.
    /// On the heap, since a map has room for nearly twice as many as are in it.
    pub(super) object: Option<Box<T>>,
    /// What there is of one of Kubernetes' own kinds that is not understood as a whole: it is looked at, so that every
    /// problem is told, and counts for nothing.
    pub(super) partly: Option<Box<T>>,
    pub(super) report: Report<'d>,
}

impl<'d, T> Item<'d, T> {
    fn unread(report: Report<'d>) -> Self {
        Self { object: None, partly: None, report }
    }
}

/// Every object that is read, by kind.
#[derive(Debug, Default)]
pub(super) struct Collected<'d> {
    pub(super) channels: Items<'d, Channel>,
    pub(super) in_memory_channels: Items<'d, Channel>,
    pub(super) rabbitmq_channels: Items<'d, Channel>,
    pub(super) brokers: Items<'d, Broker>,
    pub(super) subscriptions: Items<'d, Subscription>,
    pub(super) event_policies: Items<'d, EventPolicy>,
    pub(super) triggers: Items<'d, Trigger>,
    pub(super) request_replies: Items<'d, RequestReply>,
    pub(super) sequences: Items<'d, Sequence>,
    pub(super) parallels: Items<'d, Parallel>,
    pub(super) ping_sources: Items<'d, PingSource>,
    pub(super) config_maps: Items<'d, ConfigMap>,
    pub(super) secrets: Items<'d, Secret>,
    pub(super) services: Items<'d, Service>,
    pub(super) pods: Items<'d, Pod>,
    /// Objects of kinds that are not read, but for what references to them mean.
    pub(super) others: Others<'d>,
    /// Channels as a cluster has reconciled them. They are decoded where they have changed.
    pub(super) reconciled: BTreeMap<Name, Report<'d>>,
    /// Documents that are not understood well enough to know which object they are: flags and policies may be among them.
    pub(super) unidentified: Vec<&'d Document>,
    /// Texts of which nothing can be read: any object may be among them.
    pub(super) unread: Vec<&'d str>,
    /// Problems of documents that are none of the above.
    pub(super) problems: Vec<Problem>,
}

impl<'d> Collected<'d> {
    /// Sorts the documents.
    pub(super) fn of(documents: impl Iterator<Item = &'d Document>, settings: &Settings) -> Self {
        let mut collected = Self::default();
        for document in documents {
            let mut report = Report::new(document, name_of(document, &settings.default_namespace));
            let reading = Reading::of(settings);
            match header(document, &mut report, reading) {
                Header::Other => {
                    let left = others::insert(&mut collected.others, report, reading);
                    collected.problems.extend(left.into_iter().flat_map(Report::into_problems));
                }
                Header::Of(kind) if settings.objects != Objects::Written && kind == settings.channels.kind() => {
                    let ObjectName { namespace, name, .. } = report.object().clone();
                    collected.reconciled.insert((namespace, name), report);
                }
                Header::Of(kind @ (Kind::Broker | Kind::Trigger | Kind::Subscription))
                    if settings.objects != Objects::Written =>
                {
                    collected.remember(kind, report);
                }
                Header::Of(kind) => collected.insert(kind, report, settings),
                Header::Bad => {
                    tell_near_name(&mut report, settings);
                    collected.unidentified.extend(Some(document).filter(|_| report.is_bad()));
                    collected.problems.extend(report.into_problems());
                }
            }
        }
        collected
    }

    /// What a cluster has reconciled is decoded where it has changed.
    fn remember(&mut self, kind: Kind, report: Report<'d>) {
        let ObjectName { namespace, name, .. } = report.object().clone();
        let name = (namespace, name);
        match kind {
            Kind::Broker => drop(self.brokers.insert(name, Item::unread(report))),
            Kind::Trigger => drop(self.triggers.insert(name, Item::unread(report))),
            Kind::Subscription => drop(self.subscriptions.insert(name, Item::unread(report))),
            _ => {}
        }
    }

    fn insert(&mut self, kind: Kind, report: Report<'d>, settings: &Settings) {
        let how = (kind, settings);
        // Whoever misspells `namespace` has named another object than this one. An API server knows its objects.
        let metadata = report.document().value.get("metadata").and_then(Value::as_object);
        let is_doubtful = metadata.is_some_and(|metadata| metadata.keys().any(|key| schema::is_unknown_metadata(key)));
        let is_doubtful = is_doubtful && settings.objects == Objects::Written;
        self.unidentified.extend(Some(report.document()).filter(|_| is_doubtful));
        let mut report = report;
        let is_astray = kind == Kind::ConfigMap && tell_missing_namespace(&mut report, settings);
        if is_astray || tell_near_name(&mut report, settings) == Some(Severity::Error) {
            self.unidentified.push(report.document());
        }
        let twice = match kind {
            Kind::Channel => insert(&mut self.channels, report, how),
            Kind::InMemoryChannel => insert(&mut self.in_memory_channels, report, how),
            Kind::RabbitmqChannel => insert(&mut self.rabbitmq_channels, report, how),
            Kind::Broker => insert(&mut self.brokers, report, how),
            Kind::Subscription => insert(&mut self.subscriptions, report, how),
            Kind::Trigger => insert(&mut self.triggers, report, how),
            Kind::RequestReply => insert(&mut self.request_replies, report, how),
            Kind::EventPolicy => insert(&mut self.event_policies, report, how),
            Kind::Sequence => insert(&mut self.sequences, report, how),
            Kind::Parallel => insert(&mut self.parallels, report, how),
            Kind::PingSource => insert(&mut self.ping_sources, report, how),
            Kind::ConfigMap => insert(&mut self.config_maps, report, how),
            Kind::Secret => insert(&mut self.secrets, report, how),
            Kind::Service => insert(&mut self.services, report, how),
            Kind::Pod => insert(&mut self.pods, report, how),
            Kind::EndpointSlice => None,
        };
        self.problems.extend(twice.into_iter().flat_map(Report::into_problems));
    }

    /// The documents of which nobody knows which object they are, and that hold this word where their kind or their name
    /// would stand.
    pub(super) fn suspects(&self, word: &str) -> Vec<&'d Document> {
        fn members(value: &Value) -> impl Iterator<Item = &Value> {
            value.as_object().into_iter().flat_map(serde_json::Map::values)
        }
        let is_word =
            |text: &str| text == word || meant(text, [word]) == Some(word) || Keys::named_nearly(text) == Some(word);
        let is_it = |member: &Value| member.as_str().is_some_and(is_word);
        let is_suspect = |value: &Value| members(value).any(|member| is_it(member) || members(member).any(is_it));
        let may_be_policy = |value: &Value| {
            word == Kind::EventPolicy.as_str() && (is_like_a_policy(value) || is_called_a_policy(value))
        };
        let is_suspect = |value: &Value| is_suspect(value) || may_be_policy(value);
        self.unidentified.iter().copied().filter(|document| is_suspect(&document.value)).collect()
    }

    /// Whether this word stands in a text of which nothing can be read.
    pub(super) fn is_in_the_unread(&self, word: &str) -> bool {
        self.unread.iter().any(|text| text.contains(word))
    }

    /// Takes every problem.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        fn all<T>(items: Items<'_, T>) -> impl Iterator<Item = Problem> {
            items.into_values().flat_map(|item| item.report.into_problems())
        }
        let mut problems = self.problems;
        problems.extend(self.others.into_values().flat_map(Report::into_problems));
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
    items: &mut Items<'d, T>,
    mut report: Report<'d>,
    (kind, settings): (Kind, &Settings),
) -> Option<Report<'d>> {
    let name = report.object();
    match items.entry((name.namespace.clone(), name.name.clone())) {
        Entry::Occupied(first) => {
            taken(&mut report, first.get().report.document());
            Some(report)
        }
        Entry::Vacant(entry) => {
            let read = read(&mut report, kind, settings);
            let counts = !(is_read_whole(kind) && report.is_bad());
            let (object, partly) = if counts { (read, None) } else { (None, read) };
            entry.insert(Item { object, partly, report });
            None
        }
    }
}

/// Reports an object that has the name of another one.
pub(super) fn taken(report: &mut Report<'_>, by: &Document) {
    let place = by.at();
    report.error("metadata.name", format!("is taken{place}, which stays: rename or remove one of the two"));
}

/// Whether an object that is not understood as a whole counts for nothing, as those of Kubernetes' own kinds: nothing says
/// what is missing then, and what is there might mean something else without it.
fn is_read_whole(kind: Kind) -> bool {
    matches!(kind, Kind::ConfigMap | Kind::Secret | Kind::Service | Kind::Pod)
}

/// Reads an object.
fn read<T: DeserializeOwned>(report: &mut Report<'_>, kind: Kind, settings: &Settings) -> Option<Box<T>> {
    let reading = Reading::of(settings);
    let object = manifest::decode(report, kind, reading);
    let document = report.document();
    for (field, message) in schema::examine_annotations(&document.value) {
        manifest::unknown(report, &field, &message, Strictness::Usual, reading);
    }
    if kind == Kind::ConfigMap {
        check_keys(report, settings);
    }
    object
}

/// Whether the kind of an object sounds as if it was an EventPolicy.
fn is_called_a_policy(value: &Value) -> bool {
    value.get("kind").and_then(Value::as_str).is_some_and(kind::is_like_policy)
}

/// Whether an object that does not say its kind has the fields of an EventPolicy.
fn is_like_a_policy(value: &Value) -> bool {
    let spec = value.get("spec").and_then(Value::as_object);
    let has = |name: &str| spec.is_some_and(|spec| spec.contains_key(name));
    value.get("kind").and_then(Value::as_str).is_none_or(str::is_empty) && (has("from") || has("to"))
}

fn name_of(document: &Document, default_namespace: &str) -> ObjectName {
    let text = |path: &[&str]| document.text(path).unwrap_or_default().to_owned();
    let namespace = document.text(&["metadata", "namespace"]).unwrap_or(default_namespace).to_owned();
    ObjectName { kind: text(&["kind"]), namespace, name: text(&["metadata", "name"]) }
}

/// What the `apiVersion`, `kind` and `metadata` of an object say.
enum Header {
    /// They are in order, and of this kind.
    Of(Kind),
    /// It is of a kind that is not read.
    Other,
    /// What is wrong is reported.
    Bad,
}

/// The kind of an object whose `apiVersion`, `kind` and `metadata` are in order; else reports why they are not, and what
/// else is wrong with it.
fn header(document: &Document, report: &mut Report<'_>, reading: Reading) -> Header {
    if !document.value.is_object() {
        report.error("", "is not an object: write apiVersion, kind, metadata and spec");
        return Header::Bad;
    }
    let Some(kind) = document.text(&["kind"]) else {
        report.error("kind", missing(document, "kind", "Broker"));
        return Header::Bad;
    };
    let Some(api_version) = document.text(&["apiVersion"]) else {
        report.error("apiVersion", missing(document, "apiVersion", "eventing.knative.dev/v1"));
        return Header::Bad;
    };
    match Kind::recognize(api_version, kind) {
        Recognized::Known(kind) if names_are_valid(report) => Header::Of(kind),
        Recognized::Known(kind) => {
            manifest::understood(report, schema::of(kind), "", reading, &document.value);
            Header::Bad
        }
        Recognized::Foreign => Header::Other,
        Recognized::Mistaken { field, message } => {
            report.error(field, message);
            Header::Bad
        }
    }
}

/// Whether a document says which object it is, as far as that is asked of its kind.
pub(in crate::control) fn is_identified(document: &Document) -> bool {
    let namespace = Settings::default().default_namespace;
    let mut report = Report::new(document, name_of(document, &namespace));
    !matches!(header(document, &mut report, Reading::Admitted), Header::Bad)
}

fn missing(document: &Document, field: &str, example: &str) -> String {
    match document.value.get(field) {
        Some(value) if !value.is_null() && value != "" => format!("is no text: write for example {example}"),
        _ => format!("is missing: write for example {example}"),
    }
}

/// Whether the object has a name and a namespace. What is there and no text is reported by its schema.
pub(super) fn names_are_valid(report: &mut Report<'_>) -> bool {
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
    !(name || namespace || report.is_bad())
}

/// Whether a text is a DNS name in lower case (RFC 1123), so that it fits into host names and paths.
pub(super) fn is_dns_name(text: &str, longest: usize) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    text.len() <= longest && text.split('.').all(label)
}
