//! One channel that a cluster has reconciled: its backend, its subscribers, and what is written into
//! its status.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde_json::Value;

use super::entry;
use super::host_names::host_names;
use super::subscribers;
use crate::control::channel_kind::ServedChannelKind;
use crate::control::read::manifest::messaging::{ChannelManifest, SubscriberSpec};
use crate::control::read::manifest::{self, UnknownFieldPolicy};
use crate::control::read::problem::Problem;
use crate::control::read::report::ObjectReport;
use crate::control::resolve::config::backends::{self, BackendChoice};
use crate::control::resolve::config::features;
use crate::control::resolve::config::flags::FeatureSwitch;
use crate::control::resolve::destination::DestinationResolver;
use crate::control::resolve::status;
use crate::control::resolve::subscription::SubscriptionResolver;
use crate::control::resolve::subscription::subscriber::{SubscriberEntry, subscriber_key};
use crate::control::settings::{ControlSettings, DataDirectoryAvailability, RabbitmqAvailability};
use crate::model::annotation::BACKEND;
use crate::model::{
    BackendKind, Channel, ChannelKey, InventoryObject, Subscription, SubscriptionKey,
    TrustFingerprint,
};

/// The facts that a resolved channel depends on besides its own value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReconciledContext {
    /// The certificates that every https destination trusts.
    pub(super) common_trust: TrustFingerprint,
    /// True if its subscribers must be sent tokens.
    pub(super) oidc: bool,
    /// On if `EventType`s are created.
    pub(super) event_types: FeatureSwitch,
    /// The kind of the channels.
    pub(super) channel_kind: ServedChannelKind,
    /// The backend of the channel's namespace, unless an annotation names another one.
    pub(super) backend: BackendChoice,
}

/// A resolved channel, and the value that it was made from.
#[derive(Clone, Debug)]
pub(crate) struct ReconciledChannel {
    pub(super) document: Arc<Value>,
    pub(super) context: ReconciledContext,
    /// The channel that is served: that of an earlier value if this one has errors; `None` if
    /// there was none.
    pub(super) served: Option<ServedReconciledChannel>,
    pub(super) problems: Vec<Problem>,
    pub(super) object: Arc<InventoryObject>,
    status_updates: Vec<StatusUpdate>,
}

/// A channel as it is served.
#[derive(Clone, Debug)]
pub(super) struct ServedReconciledChannel {
    pub(super) uid: String,
    pub(super) channel: Arc<Channel>,
    /// The ids of its subscriptions in `status.subscribers`, in their order.
    pub(super) subscriber_ids: Vec<String>,
    /// The host names of the channel, the present one last.
    pub(super) hosts: Vec<String>,
}

/// The update of a channel that is written into the cluster once the channel is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StatusUpdate {
    /// `status.subscribers` differs from what it should be: this value, or null if there should be
    /// none (contract 2.9).
    Subscribers(Value),
    /// The spec, or an entry of it, is not applied, for this reason (contract 2.17).
    Warning(String),
}

impl ReconciledChannel {
    /// The value that the channel was resolved from.
    pub(crate) fn document(&self) -> &Arc<Value> {
        &self.document
    }

    /// The updates to be written, at most one of each kind.
    pub(crate) fn status_updates(&self) -> &[StatusUpdate] {
        &self.status_updates
    }
}

/// A channel that was read, and the ids of its subscriptions.
struct BuiltChannel {
    channel: Channel,
    subscriber_ids: Vec<String>,
}

/// Resolves one channel. `before` is what is served of it.
pub(super) fn resolve_channel(
    key: &ChannelKey,
    mut report: ObjectReport<'_>,
    before: Option<&ServedReconciledChannel>,
    resolver: &mut DestinationResolver<'_>,
    context: ReconciledContext,
) -> ReconciledChannel {
    let document = Arc::clone(&report.document().value);
    let uid = report
        .document()
        .text(&["metadata", "uid"])
        .unwrap_or_default()
        .to_owned();
    // A channel that was deleted and created again has nothing to do with the one before (contract
    // 2.15b).
    let before = before.filter(|form| form.uid == uid);
    let reading = UnknownFieldPolicy::from_settings(resolver.settings);
    let kind = context.channel_kind.resource_kind();
    let written: Option<ChannelManifest> = manifest::decode(&mut report, kind, reading);
    // The backend comes before the channel, and is reported even if the channel cannot be read.
    let backend = resolve_backend(context, before, resolver.settings, &mut report);
    let built = written.as_ref().map(|written| {
        let mut builder = ChannelBuilder {
            key,
            before,
            resolver,
            report: &mut report,
        };
        builder.build(written, backend)
    });
    // Errors of single entries are tolerated only if the channel itself could be read.
    if built.is_some() {
        report.tolerate_errors(|field| subscribers::entry_of(field).is_some());
    }
    let status_updates = status_updates(&document, &report);
    let built = built.filter(|_| !report.has_errors());
    let served = served_form(built, uid, &document, before);
    // The object that is shown is made last, of all problems.
    let subscriber_ids = served
        .as_ref()
        .map(|served| served.subscriber_ids.as_slice());
    let object = status::reconciled_object(key, &report, subscriber_ids);
    ReconciledChannel {
        document,
        context,
        served,
        problems: report.into_problems(),
        object,
        status_updates,
    }
}

/// The form that is served: the new one if it is good, else the last one. Its host names are those
/// of the present status in any case.
fn served_form(
    built: Option<BuiltChannel>,
    uid: String,
    document: &Value,
    before: Option<&ServedReconciledChannel>,
) -> Option<ServedReconciledChannel> {
    let hosts = host_names(
        document,
        before.map_or(&[], |before| before.hosts.as_slice()),
    );
    match built {
        Some(built) => Some(ServedReconciledChannel {
            uid,
            channel: reuse_channel(built.channel, before),
            subscriber_ids: built.subscriber_ids,
            hosts,
        }),
        None => before.map(|before| ServedReconciledChannel {
            hosts,
            ..before.clone()
        }),
    }
}

/// The updates that the cluster needs to know of a channel. While the channel itself is wrong, its
/// `status.subscribers` stays as it is.
fn status_updates(document: &Value, report: &ObjectReport<'_>) -> Vec<StatusUpdate> {
    let list = if report.has_errors() {
        None
    } else {
        subscribers::changed_subscribers(document, &subscribers::not_ready_entries(report))
    };
    let warning = report
        .first_error()
        .map(|error| StatusUpdate::Warning(error.message));
    list.map(StatusUpdate::Subscribers)
        .into_iter()
        .chain(warning)
        .collect()
}

/// Builds a channel of its manifest; mistakes are reported.
struct ChannelBuilder<'b, 'd, 's> {
    key: &'b ChannelKey,
    before: Option<&'b ServedReconciledChannel>,
    resolver: &'b mut DestinationResolver<'s>,
    report: &'b mut ObjectReport<'d>,
}

impl ChannelBuilder<'_, '_, '_> {
    fn build(&mut self, written: &ChannelManifest, backend: BackendKind) -> BuiltChannel {
        let acknowledge = features::read_acknowledge_mode(&written.metadata, self.report);
        let retain = features::read_retention(&written.metadata, backend, self.report);
        let entries: Vec<&SubscriberSpec> = written
            .spec
            .iter()
            .flat_map(|spec| spec.subscribers.iter().flatten())
            .collect();
        let mut subscriptions = self.build_subscriptions(&entries);
        // The order in the spec means nothing, and concurrent writers change it (contract 2.20).
        subscriptions.sort_by(|(a, _), (b, _)| a.key.cmp(&b.key));
        let (subscriptions, subscriber_ids) = subscriptions.into_iter().unzip();
        // The demands on senders are added by `with_authorization`.
        let (authorization, event_types) = self
            .before
            .map(|served| {
                (
                    served.channel.authorization.clone(),
                    served.channel.event_types.clone(),
                )
            })
            .unwrap_or_default();
        BuiltChannel {
            channel: Channel {
                key: self.key.clone(),
                backend,
                acknowledge,
                retain,
                authorization,
                event_types,
                subscriptions,
            },
            subscriber_ids,
        }
    }

    /// The subscriptions of the entries, each with its id in `status.subscribers`.
    fn build_subscriptions(
        &mut self,
        entries: &[&SubscriberSpec],
    ) -> Vec<(Arc<Subscription>, String)> {
        let names = entry::entry_ids(entries);
        let (mut ids, mut uids) = (HashSet::new(), HashSet::new());
        let mut subscriptions = Vec::new();
        for (index, (entry, id)) in entries.iter().copied().zip(&names).enumerate() {
            let field = subscribers::entry_field(index);
            let is_first = entry::entry_uid(entry).is_none_or(|uid| uids.insert(uid));
            let resolved = self
                .resolve_entry(SubscriberEntry {
                    spec: entry,
                    id,
                    field: &field,
                })
                .filter(|_| is_first);
            if is_first {
                self.report_missing_uid(entry, &field);
            } else {
                self.report_repeated_uid(&field);
            }
            // A wrong entry keeps its own last good form, once.
            let resolved = resolved
                .map(|resolved| reuse_subscription(resolved, self.before))
                .or_else(|| last_subscription(&subscriber_key(self.key, id), self.before))
                .filter(|_| ids.insert(id));
            subscriptions.extend(resolved.map(|resolved| (resolved, entry::status_id(entry, id))));
        }
        subscriptions
    }

    /// The subscription of an entry; `None` if it is wrong, or could not be read whole.
    fn resolve_entry(&mut self, entry: SubscriberEntry<'_>) -> Option<Subscription> {
        let is_misread = self.report.is_unreadable_inside(entry.field);
        let parents = BTreeMap::new();
        let mut resolver = SubscriptionResolver {
            resolver: self.resolver,
            parents: &parents,
        };
        let resolved = resolver.resolve_subscriber(entry, self.key, self.report)?;
        Some(resolved.subscription).filter(|_| !is_misread)
    }

    fn report_missing_uid(&mut self, entry: &SubscriberSpec, field: &str) {
        if entry::entry_uid(entry).is_none() {
            let message = "is missing, so that nothing says whose entry this is: give it one";
            self.report.error(&format!("{field}.uid"), message);
        }
    }

    fn report_repeated_uid(&mut self, field: &str) {
        let message = "is that of an entry before it: the first one counts, give this one a uid of \
             its own";
        self.report.error(&format!("{field}.uid"), message);
    }
}

/// The backend of a channel: that of its annotation, else that of its namespace (contract 11.4). If
/// that is no backend, the last one stays. Without RabbitMQ, a channel that is to be kept there is
/// not served: durable events are not kept in memory by mistake.
fn resolve_backend(
    context: ReconciledContext,
    before: Option<&ServedReconciledChannel>,
    settings: &ControlSettings,
    report: &mut ObjectReport<'_>,
) -> BackendKind {
    let by_kind = match context.channel_kind {
        ServedChannelKind::InMemory => None,
        ServedChannelKind::Rabbitmq => Some(Some(BackendKind::Rabbitmq)),
        ServedChannelKind::Disk => Some(Some(BackendKind::Disk)),
    };
    let annotated = by_kind.or_else(|| backends::annotated_backend(report.document(), report));
    let wanted = annotated.unwrap_or(context.backend);
    let storage = wanted
        .or_else(|| before.map(|served| served.channel.backend))
        .unwrap_or_default();
    let missing = match storage {
        BackendKind::Rabbitmq if settings.rabbitmq == RabbitmqAvailability::Missing => {
            Some("RabbitMQ, and there is none: give the process SEALPOST_RABBITMQ_URI")
        }
        BackendKind::Disk if settings.data_directory == DataDirectoryAvailability::Missing => {
            Some("disk, and there is no directory: give the process SEALPOST_DATA_DIR")
        }
        BackendKind::Memory | BackendKind::Rabbitmq | BackendKind::Disk => None,
    };
    if let Some(missing) = missing {
        let by_annotation = format!("metadata.annotations.{}", BACKEND);
        let field = if annotated.is_some() && by_kind.is_none() {
            by_annotation
        } else {
            String::new()
        };
        report.error(
            &field,
            format!("is to be kept on {missing}, or choose memory"),
        );
    }
    storage
}

/// The last good form of a wrong entry. An entry that is named by its index may have been another
/// one.
fn last_subscription(
    key: &SubscriptionKey,
    before: Option<&ServedReconciledChannel>,
) -> Option<Arc<Subscription>> {
    let mut known = before
        .iter()
        .flat_map(|served| &served.channel.subscriptions);
    known
        .find(|known| known.key == *key && !entry::is_index_key(key))
        .cloned()
}

/// The same value as before, if it is equal.
fn reuse_subscription(
    resolved: Subscription,
    before: Option<&ServedReconciledChannel>,
) -> Arc<Subscription> {
    let mut known = before
        .iter()
        .flat_map(|served| &served.channel.subscriptions);
    known
        .find(|known| ***known == resolved)
        .cloned()
        .unwrap_or_else(|| Arc::new(resolved))
}

fn reuse_channel(channel: Channel, before: Option<&ServedReconciledChannel>) -> Arc<Channel> {
    let same = before.filter(|served| *served.channel == channel);
    same.map_or_else(|| Arc::new(channel), |served| Arc::clone(&served.channel))
}
