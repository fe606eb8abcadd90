//! Objects that an edit has displaced: what is served is gone from its file, and another object of
//! its name has come into that file, of another kind or group, or in nearly the same namespace.
//! That is how a mistake in the head of an object looks, so that what was served is served on.
//! Whoever means it takes the old object out in an edit of its own. A Broker that would be made in
//! place of the one that is gone is displaced by whatever may be a Broker.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::Value;

use super::{Identity, LastServed, identity};
use crate::control::read::document::{ManifestDocument, ManifestFile, ManifestSet};
use crate::control::read::header::object_name;
use crate::control::read::kind::ResourceKind;
use crate::control::read::problem::{ObjectName, Problem};
use crate::control::read::report::ObjectReport;
use crate::control::read::schema::config_maps::{ConfigMapKeys, ConfigMapPlace};
use crate::control::read::spelling::suggest_word;
use crate::control::resolve::collect::injection::{is_of_kind, may_be_broker, wanted_brokers};
use crate::control::resolve::config::trust;
use crate::control::settings::ControlSettings;
use crate::model::{NamespacedName, ObjectKind, SubscriptionKey};

/// What is served on, and what has taken its place.
#[derive(Clone, Debug)]
pub(super) struct Displaced {
    /// What is served on, without its place, since that is where another one stands.
    pub(super) document: ManifestDocument,
    file: Arc<str>,
    /// The identity of what has taken its place, and the number of objects of the file that have
    /// it.
    by: ([String; 4], usize),
    /// The value of what has taken its place, unless there are several, of which it is told that
    /// they are.
    value: Option<Arc<Value>>,
}

impl Displaced {
    /// True if this document has taken the place.
    pub(super) fn is_displaced_by(&self, document: &ManifestDocument) -> bool {
        let value = self.value.as_ref();
        value.is_some_and(|value| Arc::ptr_eq(value, &document.value))
            && document.file() == Some(&*self.file)
    }

    /// The problems of the document that has taken the place.
    pub(super) fn problems(
        &self,
        document: &ManifestDocument,
        settings: &ControlSettings,
    ) -> Vec<Problem> {
        let [name, by] = [&self.document, document]
            .map(|document| object_name(document, &settings.default_namespace));
        let api_version = self.document.text(&["apiVersion"]).unwrap_or_default();
        let (field, was) = if by.kind != name.kind {
            ("kind", name.kind.as_str())
        } else if by.namespace != name.namespace {
            ("metadata.namespace", name.namespace.as_str())
        } else if by.name != name.name {
            ("metadata.name", name.name.as_str())
        } else {
            ("apiVersion", api_version)
        };
        let remedy = format!(
            "write {was}; if that is to go, remove this object, save, and add it again then"
        );
        let mut report = ObjectReport::new(document, by);
        report.error(
            field,
            format!("was {was}, and the {name} is served on: {remedy}"),
        );
        report.into_problems()
    }
}

/// The objects that are displaced in these files. `last` is the resolution before the last change.
pub(super) fn find(
    manifests: &ManifestSet,
    last: &LastServed<'_>,
    settings: &ControlSettings,
) -> Vec<Displaced> {
    let claims = last.claims;
    let known: HashMap<&str, &Arc<ManifestFile>> = claims
        .manifests
        .files
        .iter()
        .map(|file| (&*file.name, file))
        .collect();
    let is_kept = |file: &ManifestFile| {
        claims
            .displaced
            .iter()
            .any(|displaced| displaced.file == file.name)
    };
    let changed = manifests.files.iter().filter_map(|file| {
        let before = known.get(&*file.name)?;
        (!Arc::ptr_eq(before, file) || is_kept(file)).then_some((*before, file))
    });
    let changed: Vec<_> = changed.collect();
    if changed.is_empty() {
        return Vec::new();
    }
    let of = |document| identity(document, &settings.default_namespace);
    let present: HashSet<Identity<'_>> = manifests.documents().filter_map(of).collect();
    let namespaces = claims
        .manifests
        .documents()
        .filter_map(|document| document.text(&["metadata", "namespace"]));
    let namespaces: HashSet<&str> = namespaces.collect();
    let injected = wanted_brokers(manifests.documents(), settings);
    let injected: HashSet<NamespacedName> = injected.into_keys().collect();
    let mut found = Vec::new();
    for (before, file) in changed {
        let edit = FileEdit::new(before, file, &namespaces, &injected, settings);
        let kept = claims
            .displaced
            .iter()
            .filter(|displaced| displaced.file == file.name);
        let gone = before.documents.iter().map(|document| (document, None));
        let gone = kept.map(|kept| (&kept.document, Some(kept))).chain(gone);
        let gone = gone.filter(|(document, _)| {
            of(document).is_some_and(|identity| !present.contains(&identity))
        });
        let displaced =
            gone.filter_map(|(document, kept)| edit.displacement(document, kept, settings));
        found.extend(displaced.filter(|displaced| is_served(&displaced.document, last, settings)));
    }
    found
}

/// An object of a file, and who it is.
type IdentifiedObject<'m> = (&'m ManifestDocument, Identity<'m>);

/// The objects of a file of which it is known who they are.
struct FileObjects<'m> {
    /// The objects in their order.
    all: Vec<IdentifiedObject<'m>>,
    /// The places in `all` of the objects of a name: there may be thousands of objects, and each is
    /// compared with those of its own name only.
    places: HashMap<&'m str, Vec<usize>>,
    /// The number of objects that have an identity.
    numbers: HashMap<Identity<'m>, usize>,
}

impl<'m> FileObjects<'m> {
    fn of(file: &'m ManifestFile, settings: &'m ControlSettings) -> Self {
        let documents = file.documents.iter();
        let all: Vec<IdentifiedObject<'m>> = documents
            .filter_map(|document| {
                Some((document, identity(document, &settings.default_namespace)?))
            })
            .collect();
        let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
        let mut numbers: HashMap<Identity<'m>, usize> = HashMap::new();
        for (place, (_, identity)) in all.iter().enumerate() {
            places.entry(identity[3]).or_default().push(place);
            *numbers.entry(*identity).or_default() += 1;
        }
        Self {
            all,
            places,
            numbers,
        }
    }

    fn of_name(&self, name: &str) -> impl Iterator<Item = &IdentifiedObject<'m>> {
        let places = self.places.get(name).into_iter().flatten();
        places.filter_map(|place| self.all.get(*place))
    }

    fn number(&self, identity: &Identity<'_>) -> usize {
        self.numbers.get(identity).copied().unwrap_or_default()
    }
}

/// The content of a file before and after a change.
struct FileEdit<'m> {
    file: &'m Arc<ManifestFile>,
    before: FileObjects<'m>,
    after: FileObjects<'m>,
    /// The pairs of namespaces between which several objects have moved, of which none is left
    /// where it was.
    moves: HashSet<(&'m str, &'m str)>,
    /// The namespaces in which something stood before.
    namespaces: &'m HashSet<&'m str>,
    /// The Brokers that are made if they are not written.
    injected: &'m HashSet<NamespacedName>,
}

impl<'m> FileEdit<'m> {
    fn new(
        before: &'m Arc<ManifestFile>,
        file: &'m Arc<ManifestFile>,
        namespaces: &'m HashSet<&'m str>,
        injected: &'m HashSet<NamespacedName>,
        settings: &'m ControlSettings,
    ) -> Self {
        let [before, after] = [before, file].map(|file| FileObjects::of(file, settings));
        let gone = before.numbers.keys();
        let gone = gone.filter(|identity| after.number(identity) == 0);
        let gone: HashMap<_, _> = gone
            .map(|[group, kind, from, name]| ((group, kind, name), *from))
            .collect();
        let mut moved: HashMap<(&str, &str), usize> = HashMap::new();
        let come = after.numbers.keys();
        for [group, kind, namespace, name] in come.filter(|come| before.number(come) == 0) {
            if let Some(from) = gone.get(&(group, kind, name)) {
                *moved.entry((from, namespace)).or_default() += 1;
            }
        }
        let is_left = |from: &str| {
            after
                .numbers
                .keys()
                .any(|[_, _, namespace, _]| *namespace == from)
        };
        let moves = moved
            .into_iter()
            .filter(|((from, _), count)| *count > 1 && !is_left(from));
        let moves = moves.map(|(namespaces, _)| namespaces).collect();
        Self {
            file,
            before,
            after,
            moves,
            namespaces,
            injected,
        }
    }

    /// What has taken the place of an object that is gone; `kept` is what had it already.
    fn displacement(
        &self,
        gone: &ManifestDocument,
        kept: Option<&Displaced>,
        settings: &ControlSettings,
    ) -> Option<Displaced> {
        let was = identity(gone, &settings.default_namespace)?;
        let number = |identity: &Identity<'_>| self.after.number(identity);
        let is_new = |identity: &Identity<'_>| {
            number(identity) > self.before.number(identity)
                || kept.is_some_and(|kept| {
                    kept.by.0 == identity.map(str::to_owned) && kept.by.1 <= number(identity)
                })
        };
        let is_made_again = is_of_kind(gone, ResourceKind::Broker)
            && self.injected.contains(&NamespacedName::new(was[2], was[3]));
        let takes_place = |(document, by): &&IdentifiedObject<'m>| {
            let is_move = by[2] != was[2] && kept.is_none() && self.namespaces.contains(by[2]);
            let is_move = is_move || self.moves.contains(&(was[2], by[2]));
            let is_meant = is_misread(was, *by, gone, document) && !is_move
                || is_made_again && may_be_broker(document);
            is_new(by) && is_meant
        };
        let &(document, by) = if is_made_again {
            self.after.all.iter().find(takes_place)
        } else {
            self.after.of_name(was[3]).find(takes_place)
        }?;
        let value = Some(&document.value).filter(|_| number(&by) == 1).cloned();
        Some(Displaced {
            document: ManifestDocument {
                value: Arc::clone(&gone.value),
                origin: None,
            },
            file: Arc::clone(&self.file.name),
            by: (by.map(str::to_owned), number(&by)),
            value,
        })
    }
}

/// True if one object may be the other one with a mistake in its kind, group or namespace.
fn is_misread(
    was: Identity<'_>,
    by: Identity<'_>,
    gone: &ManifestDocument,
    document: &ManifestDocument,
) -> bool {
    let is_channel = |kind: &str| kind.ends_with("Channel");
    // A channel of another kind has the same address and the same Subscriptions.
    let is_same_channel = is_channel(was[1]) && is_channel(by[1]) && was[0] == by[0];
    let named = |document: &ManifestDocument| document.text(&["metadata", "namespace"]).is_some();
    let is_near = was[2] == by[2]
        || suggest_word(by[2], [was[2]]).is_some()
        || named(gone) && !named(document);
    was[3] == by[3] && is_near && (was[2] != by[2] || !is_same_channel)
}

/// True if an object is served, or counts, in a resolution.
fn is_served(
    document: &ManifestDocument,
    last: &LastServed<'_>,
    settings: &ControlSettings,
) -> bool {
    let object = object_name(document, &settings.default_namespace);
    let is_shown = |kind| {
        let mut shown = last
            .inventory
            .objects
            .iter()
            .filter(|shown| shown.kind == kind && shown.conditions.served);
        shown.any(|shown| shown.namespace == object.namespace && shown.name == object.name)
    };
    let api_version = document.text(&["apiVersion"]).unwrap_or_default();
    let known = ResourceKind::ALL
        .into_iter()
        .find(|kind| kind.as_str() == object.kind);
    match known.filter(|kind| kind.api_versions().contains(&api_version)) {
        Some(ResourceKind::Broker) => is_shown(ObjectKind::Broker),
        Some(ResourceKind::Trigger) => is_shown(ObjectKind::Trigger),
        Some(ResourceKind::Subscription) => is_shown(ObjectKind::Subscription),
        Some(ResourceKind::Sequence) => is_shown(ObjectKind::Sequence),
        Some(ResourceKind::Parallel) => is_shown(ObjectKind::Parallel),
        Some(ResourceKind::RequestReply) => is_shown(ObjectKind::RequestReply),
        Some(
            ResourceKind::Channel
            | ResourceKind::InMemoryChannel
            | ResourceKind::RabbitmqChannel
            | ResourceKind::DiskChannel,
        ) => is_shown(ObjectKind::Channel),
        Some(ResourceKind::PingSource) => {
            let is_it = |source: &SubscriptionKey| {
                source.namespace == object.namespace && source.name == object.name
            };
            last.table
                .sources()
                .iter()
                .any(|source| is_it(&source.subscription.key))
        }
        Some(ResourceKind::EventPolicy) => !has_doubts(&object, last),
        Some(ResourceKind::ConfigMap) => {
            is_read_config_map(document, &object, settings) && !has_doubts(&object, last)
        }
        Some(ResourceKind::Secret) => {
            object.namespace == settings.system_namespace && !has_doubts(&object, last)
        }
        // Without one, those who refer to it keep their last good form, which is told.
        Some(ResourceKind::Service | ResourceKind::Pod | ResourceKind::EndpointSlice) | None => {
            false
        }
    }
}

/// True if something was wrong with an object, or doubtful in its head, so that another one may be
/// its correction.
fn has_doubts(object: &ObjectName, last: &LastServed<'_>) -> bool {
    let mut problems = last
        .problems
        .iter()
        .filter(|problem| problem.object.as_ref() == Some(object));
    problems.any(|problem| problem.is_error() || problem.field.starts_with("metadata.n"))
}

/// True if a ConfigMap is one of those that mean something here.
fn is_read_config_map(
    document: &ManifestDocument,
    object: &ObjectName,
    settings: &ControlSettings,
) -> bool {
    let place = if object.namespace == settings.system_namespace {
        ConfigMapPlace::SystemNamespace
    } else {
        ConfigMapPlace::OtherNamespace
    };
    let has = |key: &str| document.text(&["data", key]).is_some();
    let is_bundle = document
        .text(&["metadata", "labels", trust::LABEL])
        .is_some();
    is_bundle || ConfigMapKeys::for_config_map(&object.name, place, has).is_some()
}
