//! Sorts documents by kind, namespace and name, and reports those that are no object of a known
//! kind, or one twice.

pub(super) mod claims;
mod config_maps;
pub(super) mod injection;
pub(super) mod owned;
mod unidentified;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::control::read::document::ManifestDocument;
use crate::control::read::header::{
    ObjectHeader, check_header, object_name, report_duplicate_name,
};
use crate::control::read::kind::ResourceKind;
use crate::control::read::manifest::core::{
    ConfigMapManifest, PodManifest, SecretManifest, ServiceManifest,
};
use crate::control::read::manifest::eventing::{
    BrokerManifest, EventPolicyManifest, RequestReplyManifest, TriggerManifest,
};
use crate::control::read::manifest::flows::{ParallelManifest, SequenceManifest};
use crate::control::read::manifest::messaging::{ChannelManifest, SubscriptionManifest};
use crate::control::read::manifest::sources::PingSourceManifest;
use crate::control::read::manifest::{self, UnknownFieldPolicy};
use crate::control::read::policy_body::report_policy_body;
use crate::control::read::problem::{ObjectName, Problem, Severity};
use crate::control::read::report::ObjectReport;
use crate::control::read::schema::annotations::examine_annotations;
use crate::control::read::schema::{self, UnknownFieldStrictness};
use crate::control::resolve::destination::other_kinds::{self, OtherObjects};
use crate::control::settings::ControlSettings;
pub(super) use crate::model::NamespacedName;
use config_maps::{check_keys, report_missing_namespace, report_near_name, report_other_features};

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
        Self {
            object: None,
            partly: None,
            report,
        }
    }
}

/// Every object that is read, by kind.
#[derive(Debug, Default)]
pub(crate) struct CollectedObjects<'d> {
    pub(super) channels: CollectedItems<'d, ChannelManifest>,
    pub(super) in_memory_channels: CollectedItems<'d, ChannelManifest>,
    pub(super) rabbitmq_channels: CollectedItems<'d, ChannelManifest>,
    pub(super) disk_channels: CollectedItems<'d, ChannelManifest>,
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
            collected.insert_document(document, settings);
        }
        owned::leave_out(&mut collected, settings);
        report_other_features(&mut collected, settings);
        collected
    }

    /// Adds a document. The kind and the name come first: they decide where the object is kept, and
    /// if at all.
    fn insert_document(&mut self, document: &'d ManifestDocument, settings: &ControlSettings) {
        let mut report =
            ObjectReport::new(document, object_name(document, &settings.default_namespace));
        let reading = UnknownFieldPolicy::from_settings(settings);
        match check_header(document, &mut report, reading) {
            ObjectHeader::OtherKind => {
                let left = other_kinds::insert_other(&mut self.others, report, reading);
                self.problems
                    .extend(left.into_iter().flat_map(ObjectReport::into_problems));
            }
            // Reconciled channels are only kept here; they are decoded by `reconciled`, if they
            // changed.
            ObjectHeader::Known(kind)
                if !settings.task.reads_written_objects()
                    && kind == settings.task.channel_kind().resource_kind() =>
            {
                let ObjectName {
                    namespace, name, ..
                } = report.object().clone();
                self.reconciled
                    .insert(NamespacedName { namespace, name }, report);
            }
            ObjectHeader::Known(
                kind @ (ResourceKind::Broker | ResourceKind::Trigger | ResourceKind::Subscription),
            ) if !settings.task.reads_written_objects() => self.insert_reconciled(kind, report),
            ObjectHeader::Known(kind) => self.insert_item(kind, report, settings),
            ObjectHeader::Invalid => {
                report_near_name(&mut report, settings);
                self.unidentified
                    .extend(Some(document).filter(|_| report.has_errors()));
                self.problems.extend(report.into_problems());
            }
        }
    }

    /// Keeps an object that a cluster has reconciled without decoding it, until it is needed.
    fn insert_reconciled(&mut self, kind: ResourceKind, report: ObjectReport<'d>) {
        let ObjectName {
            namespace, name, ..
        } = report.object().clone();
        let name = NamespacedName { namespace, name };
        match kind {
            ResourceKind::Broker => drop(self.brokers.insert(name, CollectedItem::unread(report))),
            ResourceKind::Trigger => {
                drop(self.triggers.insert(name, CollectedItem::unread(report)))
            }
            ResourceKind::Subscription => drop(
                self.subscriptions
                    .insert(name, CollectedItem::unread(report)),
            ),
            _ => {}
        }
    }

    fn insert_item(
        &mut self,
        kind: ResourceKind,
        report: ObjectReport<'d>,
        settings: &ControlSettings,
    ) {
        let mut report = report;
        if is_doubtful(kind, &mut report, settings) {
            self.unidentified.push(report.document());
        }
        let twice = match kind {
            ResourceKind::Channel => insert(&mut self.channels, report, kind, settings),
            ResourceKind::InMemoryChannel => {
                insert(&mut self.in_memory_channels, report, kind, settings)
            }
            ResourceKind::RabbitmqChannel => {
                insert(&mut self.rabbitmq_channels, report, kind, settings)
            }
            ResourceKind::DiskChannel => insert(&mut self.disk_channels, report, kind, settings),
            ResourceKind::Broker => insert(&mut self.brokers, report, kind, settings),
            ResourceKind::Subscription => insert(&mut self.subscriptions, report, kind, settings),
            ResourceKind::Trigger => insert(&mut self.triggers, report, kind, settings),
            ResourceKind::RequestReply => insert(&mut self.request_replies, report, kind, settings),
            ResourceKind::EventPolicy => insert(&mut self.event_policies, report, kind, settings),
            ResourceKind::Sequence => insert(&mut self.sequences, report, kind, settings),
            ResourceKind::Parallel => insert(&mut self.parallels, report, kind, settings),
            ResourceKind::PingSource => insert(&mut self.ping_sources, report, kind, settings),
            ResourceKind::ConfigMap => insert(&mut self.config_maps, report, kind, settings),
            ResourceKind::Secret => insert(&mut self.secrets, report, kind, settings),
            ResourceKind::Service => insert(&mut self.services, report, kind, settings),
            ResourceKind::Pod => insert(&mut self.pods, report, kind, settings),
            ResourceKind::EndpointSlice => None,
        };
        self.problems
            .extend(twice.into_iter().flat_map(ObjectReport::into_problems));
    }

    /// The channels of each kind, in the order in which they count where they share a name.
    pub(super) fn all_channels(&self) -> [&CollectedItems<'d, ChannelManifest>; 4] {
        [
            &self.channels,
            &self.in_memory_channels,
            &self.rabbitmq_channels,
            &self.disk_channels,
        ]
    }

    /// True if a physical channel has the name of one of another kind, which counts before it.
    pub(super) fn is_physical_shadowed(&self, kind: &str, name: &NamespacedName) -> bool {
        let (in_memory, rabbitmq) = (&self.in_memory_channels, &self.rabbitmq_channels);
        match kind {
            "RabbitmqChannel" => in_memory.contains_key(name),
            "DiskChannel" => in_memory.contains_key(name) || rabbitmq.contains_key(name),
            _ => false,
        }
    }

    /// Takes the problems of every object.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        fn all<T>(items: CollectedItems<'_, T>) -> impl Iterator<Item = Problem> {
            items
                .into_values()
                .flat_map(|item| item.report.into_problems())
        }
        let mut problems = self.problems;
        problems.extend(
            self.others
                .into_values()
                .flat_map(ObjectReport::into_problems),
        );
        problems.extend(all(self.channels));
        problems.extend(all(self.in_memory_channels));
        problems.extend(all(self.rabbitmq_channels));
        problems.extend(all(self.disk_channels));
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

/// True if another object than was meant may have this name. The objects of an API server are right.
fn is_doubtful(
    kind: ResourceKind,
    report: &mut ObjectReport<'_>,
    settings: &ControlSettings,
) -> bool {
    // A misspelled `namespace` names another object than was meant.
    let metadata = report
        .document()
        .value
        .get("metadata")
        .and_then(Value::as_object);
    let is_misspelt = settings.task.reads_written_objects()
        && metadata
            .is_some_and(|metadata| metadata.keys().any(|key| schema::is_unknown_metadata(key)));
    let is_astray = kind == ResourceKind::ConfigMap && report_missing_namespace(report, settings);
    let is_policy = kind != ResourceKind::EventPolicy
        && settings.task.reads_written_objects()
        && report_policy_body(report);
    // Whether the name is nearly one that counts is reported in any case but these.
    let is_near =
        !is_astray && !is_policy && report_near_name(report, settings) == Some(Severity::Error);
    is_misspelt || is_astray || is_policy || is_near
}

/// Adds an object; gives its report back if there is one of its name already.
fn insert<'d, T: DeserializeOwned>(
    items: &mut CollectedItems<'d, T>,
    mut report: ObjectReport<'d>,
    kind: ResourceKind,
    settings: &ControlSettings,
) -> Option<ObjectReport<'d>> {
    let name = report.object();
    match items.entry(NamespacedName::new(&name.namespace, &name.name)) {
        Entry::Occupied(first) => {
            report_duplicate_name(&mut report, first.get().report.document());
            Some(report)
        }
        Entry::Vacant(entry) => {
            let read = decode_object(&mut report, kind, settings);
            let counts = !(is_read_whole(kind) && report.has_errors());
            let (object, partly) = if counts { (read, None) } else { (None, read) };
            entry.insert(CollectedItem {
                object,
                partly,
                report,
            });
            None
        }
    }
}

/// True for Kubernetes' own kinds, whose objects have no effect unless they are understood as a
/// whole: nothing says what is missing, and the rest might mean something else without it.
fn is_read_whole(kind: ResourceKind) -> bool {
    matches!(
        kind,
        ResourceKind::ConfigMap | ResourceKind::Secret | ResourceKind::Service | ResourceKind::Pod
    )
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
    for (field, message) in examine_annotations(&document.value) {
        manifest::report_unknown_field(
            report,
            &field,
            &message,
            UnknownFieldStrictness::MayBeIgnored,
            reading,
        );
    }
    if kind == ResourceKind::ConfigMap {
        check_keys(report, settings);
    }
    object
}
