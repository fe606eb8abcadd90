//! Resolves channels that a cluster's control plane has reconciled: each stands for itself, with
//! its subscribers in its own spec (contract 2.6 to 2.18).
//!
//! A wrong entry of `spec.subscribers` harms itself alone, unlike upstream, where it keeps the
//! whole channel as it was (contract 2.17): the entry keeps its own last good form, else it is not
//! served, and the status says why. A mistake beside the entries keeps the channel as it was. A
//! resolved channel is kept with the value that it was made from: in a cluster of thousands, a
//! change costs what has changed. `spec.delivery` is part of the subscribers already and has no
//! meaning here (contract 2.1).

mod entry;
mod subscribers;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use serde_json::Value;
use url::Url;

use super::collect::CollectedObjects;
use super::destination::DestinationResolver;
use super::status;
use super::subscription::{SubscriptionResolver, subscriber_key};
use crate::control::channel_kind::ServedChannelKind;
use crate::control::read::manifest::messaging::{ChannelManifest as Written, SubscriberSpec};
use crate::control::read::manifest::{self, ManifestDocument, UnknownFieldPolicy};
use crate::control::read::problem::{ObjectName, Problem};
use crate::control::read::report::ObjectReport;
use crate::control::resolve::config::backends::{self, BackendChoice, ImcBackendConfig};
use crate::control::resolve::config::features;
use crate::control::resolve::config::flags::FeatureSwitch;
use crate::control::resolve::config::trust::DestinationTrust;
use crate::control::resolve::senders::authorization::SenderRules;
use crate::control::settings::{ControlSettings, RabbitmqAvailability};
use crate::control::task::{ChannelScope, ControlTask};
use crate::model::annotation::{BACKEND, SCOPE};
use crate::model::{
    Addressable, BackendKind, Channel, ChannelKey, ChannelKind, Inventory, InventoryObject,
    RoutingTable, Subscription, SubscriptionKey, TrustFingerprint,
};

/// The largest number of host names that a channel is known by: the present one, and those that
/// senders may still hold.
const MAX_HOSTS: usize = 8;

/// Every channel of the cluster that is served here, by name.
pub(crate) type ReconciledChannels = BTreeMap<ChannelKey, Arc<ReconciledChannel>>;

/// The facts that a resolved channel depends on besides its own value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReconciledContext {
    /// The certificates that every https destination trusts.
    common_trust: TrustFingerprint,
    /// True if its subscribers must be sent tokens.
    oidc: bool,
    /// On if `EventType`s are created.
    event_types: FeatureSwitch,
    /// The kind of the channels.
    channel_kind: ServedChannelKind,
    /// The backend of the channel's namespace, unless an annotation names another one.
    backend: BackendChoice,
}

/// A resolved channel, and the value that it was made from.
#[derive(Clone, Debug)]
pub(crate) struct ReconciledChannel {
    document: Arc<Value>,
    context: ReconciledContext,
    /// The channel that is served: that of an earlier value if this one has errors; `None` if
    /// there was none.
    served: Option<ServedReconciledChannel>,
    problems: Vec<Problem>,
    object: Arc<InventoryObject>,
    status_updates: Vec<StatusUpdate>,
}

/// A channel as it is served.
#[derive(Clone, Debug)]
struct ServedReconciledChannel {
    uid: String,
    channel: Arc<Channel>,
    /// The ids of its subscriptions in `status.subscribers`, in their order.
    subscriber_ids: Vec<String>,
    /// The host names of the channel, the present one last.
    hosts: Vec<String>,
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

/// A document that a channel of the last resolution was resolved from.
#[derive(Debug)]
pub(super) struct UnchangedChannel<'r, 'd> {
    key: &'r ChannelKey,
    channel: &'r Arc<ReconciledChannel>,
    document: &'d ManifestDocument,
}

/// Separates the documents that a channel of `last` was resolved from, so that their results are
/// reused.
pub(super) fn split_unchanged<'r, 'd>(
    documents: impl Iterator<Item = &'d ManifestDocument>,
    last: Option<&'r ReconciledChannels>,
) -> (Vec<UnchangedChannel<'r, 'd>>, Vec<&'d ManifestDocument>) {
    let place = |value: &Arc<Value>| Arc::as_ptr(value);
    let of = |(key, resolved): (&'r ChannelKey, &'r Arc<ReconciledChannel>)| {
        (place(&resolved.document), (key, resolved))
    };
    let by_place: HashMap<_, _> = last.into_iter().flatten().map(of).collect();
    let (mut known, mut others) = (Vec::with_capacity(by_place.len()), Vec::new());
    for document in documents {
        match by_place.get(&place(&document.value)) {
            Some((key, resolved)) => known.push(UnchangedChannel {
                key,
                channel: resolved,
                document,
            }),
            None => others.push(document),
        }
    }
    (known, others)
}

/// Resolves all channels. Unchanged ones are only resolved again if what all depend on has changed.
pub(super) fn resolve(
    collected: &mut CollectedObjects<'_>,
    resolver: &mut DestinationResolver<'_>,
    known: Vec<UnchangedChannel<'_, '_>>,
    backends: &ImcBackendConfig,
    last: Option<&ReconciledChannels>,
) -> ReconciledChannels {
    let ControlTask::ServeChannels { kind, scope } = resolver.settings.task else {
        return ReconciledChannels::new();
    };
    let common = resolver.trust.common().fingerprint();
    let (oidc, event_types) = (
        resolver.sender_rules.oidc().is_some(),
        resolver.sender_rules.event_types(),
    );
    let mut reconciled = ReconciledChannels::new();
    let context = |key: &ChannelKey| ReconciledContext {
        common_trust: common,
        oidc,
        event_types,
        channel_kind: kind,
        backend: backends.of_namespace(&key.namespace),
    };
    // The sender rules read every channel before its authorization is asked for.
    for UnchangedChannel {
        key,
        channel: resolved,
        document,
    } in known
    {
        let context = context(key);
        let resolved = if resolved.context == context {
            keep_trust_bundles(resolved, &mut resolver.trust);
            Arc::clone(resolved)
        } else {
            let ChannelKey {
                namespace, name, ..
            } = key.clone();
            let kind = kind.resource_kind().as_str().to_owned();
            let report = ObjectReport::new(
                document,
                ObjectName {
                    kind,
                    namespace,
                    name,
                },
            );
            Arc::new(resolve_channel(
                key,
                report,
                resolved.served.as_ref(),
                resolver,
                context,
            ))
        };
        resolver.sender_rules.read_reconciled(key, document);
        reconciled.insert(
            key.clone(),
            with_authorization(resolved, key, &resolver.sender_rules),
        );
    }
    for ((namespace, name), report) in std::mem::take(&mut collected.reconciled) {
        if is_in_scope(&report, scope) {
            let key = ChannelKey {
                kind: ChannelKind::Channel,
                namespace,
                name,
            };
            let before = last.and_then(|last| last.get(&key)?.served.as_ref());
            resolver
                .sender_rules
                .read_reconciled(&key, report.document());
            let resolved = Arc::new(resolve_channel(
                &key,
                report,
                before,
                resolver,
                context(&key),
            ));
            let resolved = with_authorization(resolved, &key, &resolver.sender_rules);
            reconciled.insert(key, resolved);
        }
    }
    reconciled
}

/// The same channel with its demands on senders, which depend on other objects, too.
fn with_authorization(
    mut resolved: Arc<ReconciledChannel>,
    key: &ChannelKey,
    rules: &SenderRules,
) -> Arc<ReconciledChannel> {
    let (access, event_types) = (rules.authorization(key), rules.event_type_owner(key));
    let known = resolved
        .served
        .as_ref()
        .map(|served| (&served.channel.authorization, &served.channel.event_types));
    if known.is_some_and(|known| known != (&access, &event_types))
        && let Some(served) = &mut Arc::make_mut(&mut resolved).served
    {
        let channel = Arc::make_mut(&mut served.channel);
        (channel.authorization, channel.event_types) = (access, event_types);
    }
    resolved
}

/// The routing table of these channels.
pub(super) fn routing_table(
    reconciled: &ReconciledChannels,
    resolver: &DestinationResolver<'_>,
) -> RoutingTable {
    let forms = || {
        reconciled
            .values()
            .filter_map(|resolved| resolved.served.as_ref())
    };
    let channels = forms().map(|served| Arc::clone(&served.channel)).collect();
    // Host names of the past come first: if two channels claim a host, the one that has it now gets
    // it.
    let past = forms().flat_map(|served| {
        served
            .hosts
            .iter()
            .rev()
            .skip(1)
            .map(move |host| (host, served))
    });
    let present = forms().filter_map(|served| Some((served.hosts.last()?, served)));
    let names = past
        .chain(present)
        .map(|(host, served)| (host.clone(), served.channel.key.clone()));
    RoutingTable::new(
        resolver.mode,
        resolver.addresses.hosts.clone(),
        channels,
        names,
    )
}

/// The inventory of these channels.
pub(super) fn inventory(reconciled: &ReconciledChannels) -> Inventory {
    Inventory {
        objects: reconciled
            .values()
            .map(|resolved| Arc::clone(&resolved.object))
            .collect(),
    }
}

/// The problems of all channels.
pub(super) fn problems(reconciled: &ReconciledChannels) -> impl Iterator<Item = Problem> {
    reconciled
        .values()
        .flat_map(|resolved| resolved.problems.iter().cloned())
}

/// True if a channel is of the scope that is served (contract 2.6, 1.6).
fn is_in_scope(report: &ObjectReport<'_>, scope: ChannelScope) -> bool {
    let written = report.document().text(&["metadata", "annotations", SCOPE]);
    match scope {
        ChannelScope::Cluster => written != Some("namespace"),
        ChannelScope::Namespace => written == Some("namespace"),
    }
}

fn resolve_channel(
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
    let (kind, reading) = (
        context.channel_kind.resource_kind(),
        UnknownFieldPolicy::from_settings(resolver.settings),
    );
    let written: Option<Written> = manifest::decode(&mut report, kind, reading);
    // The backend comes before the channel, and is reported even if the channel cannot be read.
    let storage = resolve_backend(context, before, resolver.settings, &mut report);
    let channel = written
        .as_ref()
        .map(|written| build_channel((written, storage), key, before, resolver, &mut report));
    // Errors of single entries are tolerated only if the channel itself could be read.
    if channel.is_some() {
        report.tolerate_errors(|field| subscribers::entry_of(field).is_some());
    }
    let good = channel.filter(|_| !report.has_errors());
    // While the channel itself is wrong, its `status.subscribers` stays as it is.
    let list = if report.has_errors() {
        None
    } else {
        subscribers::changed_subscribers(&document, &subscribers::not_ready_entries(&report))
    };
    let warning = report
        .first_error()
        .map(|(_, message)| StatusUpdate::Warning(message));
    let duties = list
        .map(StatusUpdate::Subscribers)
        .into_iter()
        .chain(warning)
        .collect();
    let hosts = host_names(&document, before);
    let form = match good {
        Some((channel, shown)) => Some(ServedReconciledChannel {
            uid,
            channel: reuse_channel(channel, before),
            subscriber_ids: shown,
            hosts,
        }),
        None => before.map(|before| ServedReconciledChannel {
            hosts,
            ..before.clone()
        }),
    };
    let object = status::reconciled_object(
        key,
        &report,
        form.as_ref().map(|form| form.subscriber_ids.as_slice()),
    );
    ReconciledChannel {
        document,
        context,
        served: form,
        problems: report.into_problems(),
        object,
        status_updates: duties,
    }
}

/// The channel as written, and the ids of its subscriptions. Mistakes are reported.
fn build_channel(
    (written, storage): (&Written, BackendKind),
    key: &ChannelKey,
    before: Option<&ServedReconciledChannel>,
    resolver: &mut DestinationResolver<'_>,
    report: &mut ObjectReport<'_>,
) -> (Channel, Vec<String>) {
    let acknowledge = features::read_acknowledge_mode(&written.metadata, report);
    let entries: Vec<&SubscriberSpec> = written
        .spec
        .iter()
        .flat_map(|spec| spec.subscribers.iter().flatten())
        .collect();
    let names = entry::entry_ids(&entries);
    let parents = BTreeMap::new();
    let mut maker = SubscriptionResolver {
        resolver,
        parents: &parents,
    };
    let (mut ids, mut uids) = (HashSet::new(), HashSet::new());
    let mut subscriptions = Vec::new();
    for (index, (entry, id)) in entries.into_iter().zip(&names).enumerate() {
        let field = subscribers::entry_field(index);
        let is_misread = report.is_unreadable_inside(&field);
        let resolved = maker
            .resolve_subscriber((entry, id), key, &field, report)
            .filter(|_| !is_misread);
        let is_first = entry::entry_uid(entry).is_none_or(|uid| uids.insert(uid));
        if !is_first {
            let message = "is that of an entry before it: the first one counts, give this one a uid of \
                 its own";
            report.error(&format!("{field}.uid"), message);
        } else if entry::entry_uid(entry).is_none() {
            report.error(
                &format!("{field}.uid"),
                "is missing, so that nothing says whose entry this is: give it one",
            );
        }
        let resolved = resolved
            .filter(|_| is_first)
            .map(|(_, resolved)| reuse_subscription(resolved, before));
        let resolved = resolved
            .or_else(|| last_subscription(&subscriber_key(key, id), before))
            .filter(|_| ids.insert(id));
        subscriptions.extend(resolved.map(|resolved| (resolved, entry::status_id(entry, id))));
    }
    // The order in the spec means nothing, and concurrent writers change it (contract 2.20).
    subscriptions.sort_by(|(a, _), (b, _)| a.key.cmp(&b.key));
    let (subscriptions, shown) = subscriptions.into_iter().unzip();
    // The demands on senders are added by `with_authorization`.
    let (access, event_types) = before
        .map(|served| {
            (
                served.channel.authorization.clone(),
                served.channel.event_types.clone(),
            )
        })
        .unwrap_or_default();
    let channel = Channel {
        key: key.clone(),
        backend: storage,
        acknowledge,
        authorization: access,
        event_types,
        subscriptions,
    };
    (channel, shown)
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
    let by_kind = Some(Some(BackendKind::Rabbitmq))
        .filter(|_| context.channel_kind == ServedChannelKind::Rabbitmq);
    let annotated = by_kind.or_else(|| backends::annotated_backend(report.document(), report));
    let wanted = annotated.unwrap_or(context.backend);
    let storage = wanted
        .or_else(|| before.map(|served| served.channel.backend))
        .unwrap_or_default();
    if storage == BackendKind::Rabbitmq && settings.rabbitmq == RabbitmqAvailability::Missing {
        let by_annotation = format!("metadata.annotations.{}", BACKEND);
        let field = if annotated.is_some() && by_kind.is_none() {
            by_annotation
        } else {
            String::new()
        };
        let remedy = "give the process SEALPOST_RABBITMQ_URI, or choose memory";
        report.error(
            &field,
            format!("is to be kept on RabbitMQ, and there is none: {remedy}"),
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

/// The host names of the channel: those of its status as they stand there (contract 4.4, 4.5), and
/// earlier ones, which senders may hold while modes flip (contract 4.6). An address with a path
/// names the dispatcher, and no channel.
fn host_names(document: &Value, before: Option<&ServedReconciledChannel>) -> Vec<String> {
    let status = document.get("status");
    let others = status
        .and_then(|status| status.get("addresses")?.as_array())
        .into_iter()
        .flatten();
    let address = status.and_then(|status| status.get("address"));
    let written = others
        .chain(address)
        .filter_map(|address| host_of(address.get("url")?.as_str()?));
    let mut hosts: Vec<String> = before
        .map(|served| served.hosts.clone())
        .unwrap_or_default();
    for host in written {
        hosts.retain(|known| *known != host);
        hosts.push(host);
    }
    hosts.drain(..hosts.len().saturating_sub(MAX_HOSTS));
    hosts
}

fn host_of(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    url.host_str()
        .filter(|_| url.path() == "/")
        .map(str::to_owned)
}

/// Keeps the trust bundles in use, so that each set of certificates stays one value.
fn keep_trust_bundles(resolved: &ReconciledChannel, trust: &mut DestinationTrust) {
    let subscriptions = resolved
        .served
        .iter()
        .flat_map(|served| &served.channel.subscriptions);
    for subscription in subscriptions {
        let Subscription {
            subscriber,
            reply,
            dead_letter_sink,
            ..
        } = subscription.as_ref();
        for Addressable { trust: used, .. } in
            [subscriber, reply, dead_letter_sink].into_iter().flatten()
        {
            trust.keep_bundle(used);
        }
    }
}

#[cfg(test)]
mod tests;
