//! Every object by kind and name, each name once.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::Value;

use super::CHANNEL_KINDS;
use crate::control::read::Raw;
use crate::control::{ObjectName, Problem, Severity, typo};
use crate::model::{ChannelKey, ChannelKind};

/// The kinds that are read, with the API version that they must have.
const KINDS: [(&str, &str); 10] = [
    ("Broker", "eventing.knative.dev/v1"),
    ("Trigger", "eventing.knative.dev/v1"),
    ("Channel", "messaging.knative.dev/v1"),
    ("InMemoryChannel", "messaging.knative.dev/v1"),
    ("Subscription", "messaging.knative.dev/v1"),
    ("RabbitmqChannel", "messaging.knative.dev/v1alpha1"),
    ("ConfigMap", "v1"),
    ("Secret", "v1"),
    ("Service", "v1"),
    ("Pod", "v1"),
];
/// Kinds whose names are Knative's, so that a near miss is one of them.
const KNATIVE: [&str; 6] = ["Broker", "Trigger", "Channel", "InMemoryChannel", "Subscription", "RabbitmqChannel"];
/// Groups whose kinds we read: another kind's near miss is a typing error only in these.
const GROUPS: [&str; 2] = ["eventing.knative.dev/", "messaging.knative.dev/"];

/// Objects by kind, in the order of their names.
#[derive(Default)]
pub(super) struct Index {
    objects: BTreeMap<ObjectName, Arc<Raw>>,
    channels: HashMap<ChannelKey, Arc<Raw>>,
}

impl Index {
    /// Sorts the objects; reports kinds that are not read, and names that appear twice.
    pub(super) fn new(objects: &[Arc<Raw>], problems: &mut Vec<Problem>) -> Self {
        let mut index = Self::default();
        for raw in objects {
            if is_read(raw, problems) {
                index.insert(raw, problems);
            }
        }
        index.report_shared_names(problems);
        index
    }

    fn insert(&mut self, raw: &Arc<Raw>, problems: &mut Vec<Problem>) {
        let twin = match channel_key(&raw.name) {
            Some(key) => self.channels.get(&key),
            None => self.objects.get(&raw.name),
        };
        if let Some(first) = twin {
            let message = if first.name.kind == raw.name.kind {
                format!("is a second {} of this name, the first is at {}: remove one", raw.name.kind, first.place())
            } else {
                format!(
                    "is a second channel of this name, the {} at {} is one already (a Channel makes its InMemoryChannel itself): remove one",
                    first.name.kind,
                    first.place()
                )
            };
            problems.push(raw.problem(Severity::Error, "metadata.name", message));
            return;
        }
        if let Some(key) = channel_key(&raw.name) {
            self.channels.insert(key, Arc::clone(raw));
        }
        self.objects.insert(raw.name.clone(), Arc::clone(raw));
    }

    fn report_shared_names(&self, problems: &mut Vec<Problem>) {
        for (key, raw) in &self.channels {
            let twin = ChannelKey { kind: ChannelKind::Channel, ..key.clone() };
            if key.kind == ChannelKind::Broker && self.channels.contains_key(&twin) {
                let message = "a channel has the same name: the path alone does not say which is meant, so senders must use the host imc-dispatcher… or broker-ingress…, or rename one";
                problems.push(raw.problem(Severity::Warning, "metadata.name", message));
            }
        }
    }

    /// The objects of a kind, by namespace and name.
    pub(super) fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Arc<Raw>> {
        self.objects.values().filter(move |raw| raw.name.kind == kind)
    }

    /// The object of that name.
    pub(super) fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<&Arc<Raw>> {
        self.objects.get(&ObjectName { kind: kind.to_owned(), namespace: namespace.to_owned(), name: name.to_owned() })
    }

    /// The object that is the channel or broker of that name.
    pub(super) fn channel(&self, key: &ChannelKey) -> Option<&Arc<Raw>> {
        self.channels.get(key)
    }
}

/// The channel or broker that an object is.
pub(super) fn channel_key(name: &ObjectName) -> Option<ChannelKey> {
    let kind = match name.kind.as_str() {
        "Broker" => ChannelKind::Broker,
        kind if CHANNEL_KINDS.contains(&kind) => ChannelKind::Channel,
        _ => return None,
    };
    Some(ChannelKey { kind, namespace: name.namespace.clone(), name: name.name.clone() })
}

/// Whether an object's kind is one that is read; if not, or if its API version is another one, that is reported.
fn is_read(raw: &Raw, problems: &mut Vec<Problem>) -> bool {
    let kind = raw.name.kind.as_str();
    if let Some((_, api_version)) = KINDS.iter().find(|(known, _)| *known == kind) {
        if raw.api_version == *api_version {
            report_unknown_top_level(raw, problems);
            return true;
        }
        let ours = GROUPS.iter().any(|group| raw.api_version.starts_with(group)) || !raw.api_version.contains('.');
        let (severity, message) = if ours {
            (Severity::Error, format!("{:?} has no {kind} that is read: write {api_version}", raw.api_version))
        } else {
            (Severity::Note, format!("{kind} of {} is not read and left alone", raw.api_version))
        };
        problems.push(raw.problem(severity, "apiVersion", message));
        return false;
    }
    let ours = GROUPS.iter().any(|group| raw.api_version.starts_with(group));
    match typo::meant_of(kind, &KNATIVE).filter(|_| ours) {
        Some(meant) => {
            problems.push(raw.problem(Severity::Error, "kind", format!("{kind} is not a kind: did you mean {meant}?")));
        }
        None => problems.push(raw.problem(Severity::Note, "kind", format!("{kind} is not read and left alone"))),
    }
    false
}

fn report_unknown_top_level(raw: &Raw, problems: &mut Vec<Problem>) {
    let keys = raw.value.as_object().map(serde_json::Map::keys).into_iter().flatten();
    for key in keys {
        if let Some(meant) = typo::meant(key) {
            let message = format!("is not a known field and ignored: did you mean {meant}?");
            problems.push(raw.problem(Severity::Warning, key, message));
        }
    }
}

/// The text values of a map such as `data`; others are left out.
pub(super) fn text_map<'r>(raw: &'r Raw, field: &str) -> impl Iterator<Item = (&'r str, &'r str)> + use<'r> {
    let map = raw.value.get(field).and_then(Value::as_object);
    map.into_iter().flatten().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
}
