//! Resolves channels that a cluster's control plane has reconciled: each stands for itself, with
//! its subscribers in its own spec (contract 2.6 to 2.18).
//!
//! A wrong entry of `spec.subscribers` harms itself alone, unlike upstream, where it keeps the
//! whole channel as it was (contract 2.17): the entry keeps its own last good form, else it is not
//! served, and the status says why. A mistake beside the entries keeps the channel as it was. A
//! resolved channel is kept with the value that it was made from: in a cluster of thousands, a
//! change costs what has changed. `spec.delivery` is part of the subscribers already and has no
//! meaning here (contract 2.1).

pub(crate) mod channel;
mod entry;
mod host_names;
mod subscribers;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::Value;

use super::collect::CollectedObjects;
use super::config::backends::ImcBackendConfig;
use super::config::trust::DestinationTrust;
use super::destination::DestinationResolver;
use super::senders::authorization::SenderRules;
use crate::control::read::document::ManifestDocument;
use crate::control::read::problem::{ObjectName, Problem};
use crate::control::read::report::ObjectReport;
use crate::control::resolve::keys::channel_key;
use crate::control::task::{ChannelScope, ControlTask};
use crate::model::annotation::SCOPE;
use crate::model::{
    Addressable, ChannelKey, ChannelKind, Inventory, NamespacedName, RoutingTable, Subscription,
};
use channel::{ReconciledChannel, ReconciledContext};

/// Every channel of the cluster that is served here, by name.
pub(crate) type ReconciledChannels = BTreeMap<ChannelKey, Arc<ReconciledChannel>>;

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
    unchanged: Vec<UnchangedChannel<'_, '_>>,
    backends: &ImcBackendConfig,
    last: Option<&ReconciledChannels>,
) -> ReconciledChannels {
    let ControlTask::ServeChannels { kind, scope } = resolver.settings.task else {
        return ReconciledChannels::new();
    };
    let common_trust = resolver.trust.common().fingerprint();
    let oidc = resolver.sender_rules.oidc().is_some();
    let event_types = resolver.sender_rules.event_types();
    let context = |key: &ChannelKey| ReconciledContext {
        common_trust,
        oidc,
        event_types,
        channel_kind: kind,
        backend: backends.of_namespace(&key.namespace),
    };
    let mut reconciled = ReconciledChannels::new();
    // The sender rules read every channel before its authorization is asked for.
    for unchanged in unchanged {
        let key = unchanged.key;
        let resolved = keep_or_resolve(&unchanged, resolver, context(key));
        resolver
            .sender_rules
            .read_reconciled(key, unchanged.document);
        let resolved = with_authorization(resolved, key, &resolver.sender_rules);
        reconciled.insert(key.clone(), resolved);
    }
    for (NamespacedName { namespace, name }, report) in std::mem::take(&mut collected.reconciled) {
        if !is_in_scope(&report, scope) {
            continue;
        }
        let key = channel_key(ChannelKind::Channel, namespace, name);
        let before = last.and_then(|last| last.get(&key)?.served.as_ref());
        resolver
            .sender_rules
            .read_reconciled(&key, report.document());
        let resolved = channel::resolve_channel(&key, report, before, resolver, context(&key));
        let resolved = with_authorization(Arc::new(resolved), &key, &resolver.sender_rules);
        reconciled.insert(key, resolved);
    }
    reconciled
}

/// The last result for a document that has not changed; a new one if what it depends on beside its
/// document has.
fn keep_or_resolve(
    unchanged: &UnchangedChannel<'_, '_>,
    resolver: &mut DestinationResolver<'_>,
    context: ReconciledContext,
) -> Arc<ReconciledChannel> {
    let UnchangedChannel {
        key,
        channel: resolved,
        document,
    } = unchanged;
    if resolved.context == context {
        keep_trust_bundles(resolved, &mut resolver.trust);
        return Arc::clone(resolved);
    }
    let object = ObjectName {
        kind: context.channel_kind.resource_kind().as_str().to_owned(),
        namespace: key.namespace.clone(),
        name: key.name.clone(),
    };
    let report = ObjectReport::new(document, object);
    let before = resolved.served.as_ref();
    Arc::new(channel::resolve_channel(
        key, report, before, resolver, context,
    ))
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
