//! Channels as a cluster's control plane has reconciled them: each stands for itself, with its subscribers in its own
//! spec (contract 2.6 to 2.18).
//!
//! An entry of `spec.subscribers` that is wrong in any way harms itself alone, unlike upstream, where it keeps the whole
//! channel as it was (contract 2.17): it keeps its own last good form, else it is not served, and the status says why.
//! What is wrong beside the entries keeps the channel as it was. A channel's form is remembered with the value that it
//! was made from: in a cluster of thousands, a change costs what has changed. `spec.delivery` is folded into the
//! subscribers already and means nothing here (contract 2.1).

mod entry;
mod subscribers;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use serde_json::Value;
use url::Url;

use super::authorization::SenderRules;
use super::backends::{self, BackendChoice, ImcBackendConfig};
use super::collect::CollectedObjects;
use super::destination::DestinationResolver;
use super::features;
use super::flags::FeatureSwitch;
use super::status;
use super::subscription::{SubscriptionResolver, subscriber_key};
use super::trust::DestinationTrust;
use crate::control::manifest::messaging::{ChannelManifest as Written, SubscriberSpec};
use crate::control::manifest::{self, ManifestDocument, UnknownFieldPolicy};
use crate::control::report::ObjectReport;
use crate::control::settings::{ChannelScope, ObjectSource};
use crate::control::{ControlSettings, ObjectName, Problem, RabbitmqAvailability, ServedChannelKind};
use crate::model::annotation::{BACKEND, SCOPE};
use crate::model::{
    Addressable, BackendKind, Channel, ChannelKey, ChannelKind, Inventory, InventoryObject, RoutingTable, Subscription,
    SubscriptionKey, TransportEncryption, TrustFingerprint,
};

/// Host names that a channel is known by, at most: the present one and those that senders may still hold.
const MAX_HOSTS: usize = 8;

/// Every channel of the cluster that is served here.
pub(crate) type ReconciledChannels = BTreeMap<ChannelKey, Arc<ReconciledChannel>>;

/// What a form depends on besides its own value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReconciledContext {
    /// What every https destination trusts.
    common_trust: TrustFingerprint,
    /// Whether its subscribers prove who sends.
    oidc: bool,
    /// Whether events are described.
    event_types: FeatureSwitch,
    /// What is to keep its events, unless it says so itself.
    backend: BackendChoice,
}

/// A channel's form, and what it was made from.
#[derive(Clone, Debug)]
pub(crate) struct ReconciledChannel {
    document: Arc<Value>,
    context: ReconciledContext,
    /// What is served; of an earlier value if this one has errors, `None` if there was none.
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
    /// What `status.subscribers` calls its subscriptions, in their order.
    subscriber_ids: Vec<String>,
    /// The last one is the present one.
    hosts: Vec<String>,
}

/// What the cluster should be told of a channel once it is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StatusUpdate {
    /// `status.subscribers` is not what it should be: this is, or null if there should be none (contract 2.9).
    Subscribers(Value),
    /// The spec, or an entry of it, is not applied, and why (contract 2.17).
    Warning(String),
}

impl ReconciledChannel {
    /// The value that this is the form of.
    pub(crate) fn document(&self) -> &Arc<Value> {
        &self.document
    }

    /// What is to be told, at most one of each kind.
    pub(crate) fn status_updates(&self) -> &[StatusUpdate] {
        &self.status_updates
    }
}

/// A document that a form was made from already.
#[derive(Debug)]
pub(super) struct UnchangedChannel<'r, 'd> {
    key: &'r ChannelKey,
    channel: &'r Arc<ReconciledChannel>,
    document: &'d ManifestDocument,
}

/// Sorts out the documents that a form of `last` was made from: there is nothing to find out about them.
pub(super) fn split_unchanged<'r, 'd>(
    documents: impl Iterator<Item = &'d ManifestDocument>,
    last: Option<&'r ReconciledChannels>,
) -> (Vec<UnchangedChannel<'r, 'd>>, Vec<&'d ManifestDocument>) {
    let place = |value: &Arc<Value>| Arc::as_ptr(value);
    let of = |(key, made): (&'r ChannelKey, &'r Arc<ReconciledChannel>)| (place(&made.document), (key, made));
    let by_place: HashMap<_, _> = last.into_iter().flatten().map(of).collect();
    let (mut known, mut others) = (Vec::with_capacity(by_place.len()), Vec::new());
    for document in documents {
        match by_place.get(&place(&document.value)) {
            Some((key, made)) => known.push(UnchangedChannel { key, channel: made, document }),
            None => others.push(document),
        }
    }
    (known, others)
}

/// The forms of all channels. Those that are known are not made again, unless what all depend on has changed.
pub(super) fn resolve(
    collected: &mut CollectedObjects<'_>,
    resolver: &mut DestinationResolver<'_>,
    known: Vec<UnchangedChannel<'_, '_>>,
    backends: &ImcBackendConfig,
    last: Option<&ReconciledChannels>,
) -> ReconciledChannels {
    let common = resolver.trust.common().fingerprint();
    let (oidc, event_types) = (resolver.sender_rules.oidc().is_some(), resolver.sender_rules.event_types());
    let mut reconciled = ReconciledChannels::new();
    let context = |key: &ChannelKey| ReconciledContext {
        common_trust: common,
        oidc,
        event_types,
        backend: backends.of_namespace(&key.namespace),
    };
    for UnchangedChannel { key, channel: made, document } in known {
        let context = context(key);
        let made = if made.context == context {
            keep_trust_bundles(made, &mut resolver.trust);
            Arc::clone(made)
        } else {
            let ChannelKey { namespace, name, .. } = key.clone();
            let kind = resolver.settings.channel_kind.resource_kind().as_str().to_owned();
            let report = ObjectReport::new(document, ObjectName { kind, namespace, name });
            Arc::new(resolve_channel(key, report, made.served.as_ref(), resolver, context))
        };
        resolver.sender_rules.read_reconciled(key, document);
        reconciled.insert(key.clone(), with_authorization(made, key, &resolver.sender_rules));
    }
    for ((namespace, name), report) in std::mem::take(&mut collected.reconciled) {
        if is_in_scope(&report, resolver.settings.object_source) {
            let key = ChannelKey { kind: ChannelKind::Channel, namespace, name };
            let before = last.and_then(|last| last.get(&key)?.served.as_ref());
            resolver.sender_rules.read_reconciled(&key, report.document());
            let made = Arc::new(resolve_channel(&key, report, before, resolver, context(&key)));
            let made = with_authorization(made, &key, &resolver.sender_rules);
            reconciled.insert(key, made);
        }
    }
    reconciled
}

/// The same form with what its channel asks of senders, which depends on other objects, too.
fn with_authorization(
    mut made: Arc<ReconciledChannel>,
    key: &ChannelKey,
    rules: &SenderRules,
) -> Arc<ReconciledChannel> {
    let (access, event_types) = (rules.authorization(key), rules.event_type_owner(key));
    let known = made.served.as_ref().map(|form| (&form.channel.authorization, &form.channel.event_types));
    if known.is_some_and(|known| known != (&access, &event_types))
        && let Some(form) = &mut Arc::make_mut(&mut made).served
    {
        let channel = Arc::make_mut(&mut form.channel);
        (channel.authorization, channel.event_types) = (access, event_types);
    }
    made
}

/// The routing table of these channels.
pub(super) fn routing_table(
    reconciled: &ReconciledChannels,
    resolver: &DestinationResolver<'_>,
    mode: TransportEncryption,
) -> RoutingTable {
    let forms = || reconciled.values().filter_map(|made| made.served.as_ref());
    let channels = forms().map(|form| Arc::clone(&form.channel)).collect();
    // Those of the past first: where two channels claim a host, the one that has it now gets it.
    let past = forms().flat_map(|form| form.hosts.iter().rev().skip(1).map(move |host| (host, form)));
    let present = forms().filter_map(|form| Some((form.hosts.last()?, form)));
    let names = past.chain(present).map(|(host, form)| (host.clone(), form.channel.key.clone()));
    RoutingTable::new(mode, resolver.addresses.hosts.clone(), channels, names)
}

/// What `get` shows.
pub(super) fn inventory(reconciled: &ReconciledChannels) -> Inventory {
    Inventory { objects: reconciled.values().map(|made| Arc::clone(&made.object)).collect() }
}

/// What is wrong.
pub(super) fn problems(reconciled: &ReconciledChannels) -> impl Iterator<Item = Problem> {
    reconciled.values().flat_map(|made| made.problems.iter().cloned())
}

/// Serves channels of the cluster's scope, or of its namespace's (contract 2.6, 1.6).
fn is_in_scope(report: &ObjectReport<'_>, objects: ObjectSource) -> bool {
    let written = report.document().text(&["metadata", "annotations", SCOPE]);
    match objects {
        ObjectSource::Written => false,
        ObjectSource::Reconciled(ChannelScope::Cluster) => written != Some("namespace"),
        ObjectSource::Reconciled(ChannelScope::Namespace) => written == Some("namespace"),
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
    let uid = report.document().text(&["metadata", "uid"]).unwrap_or_default().to_owned();
    // One that was deleted and made again has nothing to do with the one before (contract 2.15b).
    let before = before.filter(|form| form.uid == uid);
    let (kind, reading) =
        (resolver.settings.channel_kind.resource_kind(), UnknownFieldPolicy::from_settings(resolver.settings));
    let written: Option<Written> = manifest::decode(&mut report, kind, reading);
    let storage = resolve_backend(context.backend, before, resolver.settings, &mut report);
    let channel = written.as_ref().map(|written| build_channel((written, storage), key, before, resolver, &mut report));
    if channel.is_some() {
        report.tolerate_errors(|field| subscribers::entry_of(field).is_some());
    }
    let good = channel.filter(|_| !report.has_errors());
    let list = if report.has_errors() {
        None
    } else {
        subscribers::changed_subscribers(&document, &subscribers::not_ready_entries(&report))
    };
    let warning = report.first_error().map(|(_, message)| StatusUpdate::Warning(message));
    let duties = list.map(StatusUpdate::Subscribers).into_iter().chain(warning).collect();
    let hosts = host_names(&document, before);
    let form = match good {
        Some((channel, shown)) => {
            Some(ServedReconciledChannel { uid, channel: reuse_channel(channel, before), subscriber_ids: shown, hosts })
        }
        None => before.map(|before| ServedReconciledChannel { hosts, ..before.clone() }),
    };
    let object = status::reconciled_object(key, &report, form.as_ref().map(|form| form.subscriber_ids.as_slice()));
    ReconciledChannel {
        document,
        context,
        served: form,
        problems: report.into_problems(),
        object,
        status_updates: duties,
    }
}

/// The channel as written, and what its subscriptions are shown as. What is wrong is reported.
fn build_channel(
    (written, storage): (&Written, BackendKind),
    key: &ChannelKey,
    before: Option<&ServedReconciledChannel>,
    resolver: &mut DestinationResolver<'_>,
    report: &mut ObjectReport<'_>,
) -> (Channel, Vec<String>) {
    let acknowledge = features::read_acknowledge_mode(&written.metadata, report);
    let entries: Vec<&SubscriberSpec> =
        written.spec.iter().flat_map(|spec| spec.subscribers.iter().flatten()).collect();
    let names = entry::entry_ids(&entries);
    let parents = BTreeMap::new();
    let mut maker = SubscriptionResolver { resolver, parents: &parents };
    let (mut ids, mut uids) = (HashSet::new(), HashSet::new());
    let mut subscriptions = Vec::new();
    for (index, (entry, id)) in entries.into_iter().zip(&names).enumerate() {
        let field = subscribers::entry_field(index);
        let is_misread = report.is_unreadable_inside(&field);
        let made = maker.resolve_subscriber((entry, id), key, &field, report).filter(|_| !is_misread);
        let is_first = entry::entry_uid(entry).is_none_or(|uid| uids.insert(uid));
        if !is_first {
            let message = "is that of an entry before it: the first one counts, give this one a uid of its own";
            report.error(&format!("{field}.uid"), message);
        } else if entry::entry_uid(entry).is_none() {
            report.error(&format!("{field}.uid"), "is missing, so that nothing says whose entry this is: give it one");
        }
        let made = made.filter(|_| is_first).map(|(_, made)| reuse_subscription(made, before));
        let made = made.or_else(|| last_subscription(&subscriber_key(key, id), before)).filter(|_| ids.insert(id));
        subscriptions.extend(made.map(|made| (made, entry::status_id(entry, id))));
    }
    // The order in the spec means nothing, and concurrent writers change it (contract 2.20).
    subscriptions.sort_by(|(a, _), (b, _)| a.key.cmp(&b.key));
    let (subscriptions, shown) = subscriptions.into_iter().unzip();
    // What it asks of senders is added later.
    let (access, event_types) =
        before.map(|form| (form.channel.authorization.clone(), form.channel.event_types.clone())).unwrap_or_default();
    let channel =
        Channel { key: key.clone(), backend: storage, acknowledge, authorization: access, event_types, subscriptions };
    (channel, shown)
}

/// What keeps the events of a channel: what its annotation says, else what is configured for its namespace (contract
/// 11.4). Where that is no backend, it stays what it was. Without a RabbitMQ, a channel that is to be on it is not
/// served: what was promised to be durable is not kept in memory by mistake.
fn resolve_backend(
    configured: BackendChoice,
    before: Option<&ServedReconciledChannel>,
    settings: &ControlSettings,
    report: &mut ObjectReport<'_>,
) -> BackendKind {
    let by_kind = Some(Some(BackendKind::Rabbitmq)).filter(|_| settings.channel_kind == ServedChannelKind::Rabbitmq);
    let annotated = by_kind.or_else(|| backends::annotated_backend(report.document(), report));
    let wanted = annotated.unwrap_or(configured);
    let storage = wanted.or_else(|| before.map(|form| form.channel.backend)).unwrap_or_default();
    if storage == BackendKind::Rabbitmq && settings.rabbitmq == RabbitmqAvailability::Missing {
        let by_annotation = format!("metadata.annotations.{}", BACKEND);
        let field = if annotated.is_some() && by_kind.is_none() { by_annotation } else { String::new() };
        let remedy = "give the process SEALPOST_RABBITMQ_URI, or choose memory";
        report.error(&field, format!("is to be kept on RabbitMQ, and there is none: {remedy}"));
    }
    storage
}

/// What an entry was before it became wrong. What is named by its place may have been another one.
fn last_subscription(key: &SubscriptionKey, before: Option<&ServedReconciledChannel>) -> Option<Arc<Subscription>> {
    let mut known = before.iter().flat_map(|form| &form.channel.subscriptions);
    known.find(|known| known.key == *key && !entry::is_index_key(key)).cloned()
}

/// The same value as before, if it is equal.
fn reuse_subscription(made: Subscription, before: Option<&ServedReconciledChannel>) -> Arc<Subscription> {
    let mut known = before.iter().flat_map(|form| &form.channel.subscriptions);
    known.find(|known| ***known == made).cloned().unwrap_or_else(|| Arc::new(made))
}

fn reuse_channel(channel: Channel, before: Option<&ServedReconciledChannel>) -> Arc<Channel> {
    let same = before.filter(|form| *form.channel == channel);
    same.map_or_else(|| Arc::new(channel), |form| Arc::clone(&form.channel))
}

/// The host names of the channel: those of its status as they stand there (contract 4.4, 4.5), and those before it,
/// which senders may hold while modes flip (contract 4.6). An address with a path names the dispatcher, and no channel.
fn host_names(document: &Value, before: Option<&ServedReconciledChannel>) -> Vec<String> {
    let status = document.get("status");
    let others = status.and_then(|status| status.get("addresses")?.as_array()).into_iter().flatten();
    let address = status.and_then(|status| status.get("address"));
    let written = others.chain(address).filter_map(|address| host_of(address.get("url")?.as_str()?));
    let mut hosts: Vec<String> = before.map(|form| form.hosts.clone()).unwrap_or_default();
    for host in written {
        hosts.retain(|known| *known != host);
        hosts.push(host);
    }
    hosts.drain(..hosts.len().saturating_sub(MAX_HOSTS));
    hosts
}

fn host_of(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    url.host_str().filter(|_| url.path() == "/").map(str::to_owned)
}

/// Trust that is in use stays the one value of its kind.
fn keep_trust_bundles(made: &ReconciledChannel, trust: &mut DestinationTrust) {
    let subscriptions = made.served.iter().flat_map(|form| &form.channel.subscriptions);
    for subscription in subscriptions {
        let Subscription { subscriber, reply, dead_letter_sink, .. } = subscription.as_ref();
        for Addressable { trust: used, .. } in [subscriber, reply, dead_letter_sink].into_iter().flatten() {
            trust.keep_bundle(used);
        }
    }
}

#[cfg(test)]
mod tests;
