//! Puts every subscription into its channel: the new form if it is in order, else the last good
//! form.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::flow::{ResolvedFlow, ResolvedFlows};
use crate::control::read::manifest::messaging::{ChannelManifest as Written, SubscriberSpec};
use crate::control::read::report::ObjectReport;
use crate::control::resolve::collect::{CollectedItem, CollectedObjects};
use crate::control::resolve::config::flags::FeatureSwitch;
use crate::control::resolve::destination::DestinationResolver;
use crate::control::resolve::destination::address::ChannelAddresses;
use crate::control::resolve::keys::channel_key;
use crate::control::resolve::parent::ResolvedParent;
use crate::control::resolve::parent::ResolvedParents;
use crate::control::resolve::senders::authorization::SenderRules;
use crate::control::resolve::subscription::subscriber::{SubscriberEntry, subscriber_key};
use crate::control::resolve::subscription::{ResolvedSubscription, SubscriptionResolver};
use crate::control::resolve::written::request_reply::trigger::replaces_upstream_trigger;
use crate::model::{
    Channel, ChannelKey, ChannelKind, NamespacedName, RoutingTable, Subscription, SubscriptionKey,
    SubscriptionKind, TransportEncryption,
};

type LastSubscription = (ChannelKey, Arc<Subscription>);

/// The form that is served instead of a subscription that could not be resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SubscriptionFallback {
    /// The last good form, since there are errors.
    LastForm,
    /// Nothing, since the object is not served on purpose.
    Nothing,
}

impl SubscriptionFallback {
    pub(crate) fn from_report(report: &ObjectReport<'_>) -> Self {
        if report.has_errors() || report.tolerated_errors().next().is_some() {
            Self::LastForm
        } else {
            Self::Nothing
        }
    }
}

/// Every subscription that is served, by its channel.
#[derive(Debug, Default)]
pub(crate) struct SubscriptionRoutes {
    by_channel: BTreeMap<ChannelKey, BTreeMap<SubscriptionKey, Arc<Subscription>>>,
    /// The channel of each served subscription.
    channel_of: HashMap<SubscriptionKey, ChannelKey>,
    /// The last form of every subscription, with its channel.
    last_subscriptions: HashMap<SubscriptionKey, LastSubscription>,
    /// The channels of the last table, which stay the same values if they are equal.
    last_channels: HashMap<ChannelKey, Arc<Channel>>,
    /// On if the last form may be of a channel or Broker of another namespace.
    cross_namespace: FeatureSwitch,
    /// The subscriptions that are served in their last good form, since a destination of the
    /// present one cannot work.
    kept: HashSet<SubscriptionKey>,
}

impl SubscriptionRoutes {
    /// Resolves the subscriptions of all collected objects, and adds those of flows. `last` is the
    /// table in use.
    pub(crate) fn build(
        collected: &mut CollectedObjects<'_>,
        resolver: &mut DestinationResolver<'_>,
        parents: &ResolvedParents,
        flows: &ResolvedFlows,
        last: Option<&RoutingTable>,
    ) -> Self {
        let mut routes = Self {
            cross_namespace: resolver.sender_rules.cross_namespace(),
            ..Self::default()
        };
        // The last forms come first, since every subscription is compared with its own.
        routes.remember_last_forms(last);
        let mut resolver = SubscriptionResolver { resolver, parents };
        routes.add_subscriptions(collected, &mut resolver);
        routes.add_triggers(collected, &mut resolver);
        for (channel, resolved) in flows.values().flat_map(ResolvedFlow::channel_subscriptions) {
            routes.place_subscription(
                resolved.key.clone(),
                Some(ResolvedSubscription {
                    channel: channel.clone(),
                    subscription: resolved.clone(),
                }),
                SubscriptionFallback::Nothing,
                parents,
            );
        }
        // Subscribers of channels come last, since those that were made of a Subscription are left
        // out.
        routes.add_subscribers(collected, &mut resolver);
        routes
    }

    fn remember_last_forms(&mut self, last: Option<&RoutingTable>) {
        for channel in last.into_iter().flat_map(RoutingTable::channels) {
            self.last_channels
                .insert(channel.key.clone(), Arc::clone(channel));
            let entries = channel
                .subscriptions
                .iter()
                .map(|s| (s.key.clone(), (channel.key.clone(), Arc::clone(s))));
            self.last_subscriptions.extend(entries);
        }
    }

    fn add_subscriptions(
        &mut self,
        collected: &mut CollectedObjects<'_>,
        resolver: &mut SubscriptionResolver<'_, '_>,
    ) {
        for (name, CollectedItem { object, report, .. }) in &mut collected.subscriptions {
            let resolved = object
                .as_ref()
                .and_then(|object| resolver.resolve_subscription(object.spec.as_ref(), report));
            self.place_subscription(
                subscription_key(SubscriptionKind::Subscription, name),
                resolved,
                SubscriptionFallback::from_report(report),
                resolver.parents,
            );
        }
    }

    fn add_triggers(
        &mut self,
        collected: &mut CollectedObjects<'_>,
        resolver: &mut SubscriptionResolver<'_, '_>,
    ) {
        for (name, CollectedItem { object, report, .. }) in &mut collected.triggers {
            if replaces_upstream_trigger(report, &collected.request_replies) {
                continue;
            }
            let resolved = object
                .as_ref()
                .and_then(|object| resolver.resolve_trigger(object.spec.as_ref(), report));
            self.place_subscription(
                subscription_key(SubscriptionKind::Trigger, name),
                resolved,
                SubscriptionFallback::from_report(report),
                resolver.parents,
            );
        }
    }

    /// The channel of a subscription, and its form; `None` if it is not served.
    pub(crate) fn get(&self, key: &SubscriptionKey) -> Option<(&ChannelKey, &Arc<Subscription>)> {
        let channel = self.channel_of.get(key)?;
        Some((channel, self.by_channel.get(channel)?.get(key)?))
    }

    /// True if it is served in its last good form, though there is another one whose destination
    /// cannot work.
    pub(crate) fn is_kept(&self, key: &SubscriptionKey) -> bool {
        self.kept.contains(key)
    }

    /// The subscriptions of a channel, in the order of their names.
    pub(crate) fn of_channel(
        &self,
        channel: &ChannelKey,
    ) -> impl Iterator<Item = &Arc<Subscription>> {
        self.by_channel
            .get(channel)
            .into_iter()
            .flat_map(BTreeMap::values)
    }

    /// The routing table of these channels and Brokers; equal channels are those of the last table.
    pub(crate) fn routing_table(
        &self,
        parents: &ResolvedParents,
        addresses: &ChannelAddresses<'_>,
        rules: &SenderRules,
        mode: TransportEncryption,
    ) -> RoutingTable {
        let channel = |(key, parent): (&ChannelKey, &ResolvedParent)| {
            let subscriptions = self.of_channel(key).cloned().collect();
            let channel = Channel {
                key: key.clone(),
                backend: parent.backend,
                acknowledge: parent.acknowledge,
                retain: parent.retain,
                authorization: rules.authorization(key),
                event_types: rules.event_type_owner(key),
                subscriptions,
            };
            let before = self
                .last_channels
                .get(key)
                .filter(|before| ***before == channel);
            before.cloned().unwrap_or_else(|| Arc::new(channel))
        };
        let channels = parents.iter().map(channel).collect();
        let host_names = parents
            .keys()
            .filter_map(|key| Some((addresses.host_name(key)?, key.clone())));
        RoutingTable::new(mode, addresses.hosts.clone(), channels, host_names)
    }

    /// Puts a subscription into its channel. One that could not be resolved, or that has an
    /// unresolved destination, gets its fallback, if the channel exists.
    pub(crate) fn place_subscription(
        &mut self,
        key: SubscriptionKey,
        resolved: Option<ResolvedSubscription>,
        fallback: SubscriptionFallback,
        parents: &ResolvedParents,
    ) {
        // A subscription to another namespace ends when the flag is switched off, whatever else is
        // wrong.
        let is_allowed = |entry: &&LastSubscription| {
            self.cross_namespace == FeatureSwitch::On || entry.0.namespace == key.namespace
        };
        let before = self
            .last_subscriptions
            .get(&key)
            .filter(is_allowed)
            .cloned();
        let entry = match (resolved, before) {
            (Some(resolved), Some((_, before))) if *before == resolved.subscription => {
                Some((resolved.channel, before))
            }
            (Some(_), Some((channel, before)))
                if fallback == SubscriptionFallback::LastForm
                    && !before.has_unresolved_destination() =>
            {
                self.kept.insert(key.clone());
                Some((channel, before))
            }
            (Some(resolved), _) => Some((resolved.channel, Arc::new(resolved.subscription))),
            (None, before) => before.filter(|_| fallback == SubscriptionFallback::LastForm),
        };
        if let Some((channel, subscription)) =
            entry.filter(|(channel, _)| parents.contains_key(channel))
        {
            self.channel_of.insert(key.clone(), channel.clone());
            self.by_channel
                .entry(channel)
                .or_default()
                .insert(key, subscription);
        }
    }

    /// Adds the `spec.subscribers` of channels. An entry that was made from a Subscription which is
    /// configured, too, is left out, so that nobody gets an event twice.
    fn add_subscribers(
        &mut self,
        collected: &mut CollectedObjects<'_>,
        resolver: &mut SubscriptionResolver<'_, '_>,
    ) {
        let made_from = self.subscription_ids(collected);
        let CollectedObjects {
            channels,
            in_memory_channels,
            rabbitmq_channels,
            disk_channels,
            ..
        } = collected;
        let shadowed: HashSet<NamespacedName> = channels.keys().cloned().collect();
        let in_memory: HashSet<NamespacedName> = in_memory_channels.keys().cloned().collect();
        let rabbitmq: HashSet<NamespacedName> = rabbitmq_channels.keys().cloned().collect();
        let in_memory_channels = in_memory_channels
            .iter_mut()
            .filter(|(name, _)| !shadowed.contains(*name));
        let rabbitmq_channels = rabbitmq_channels
            .iter_mut()
            .filter(|(name, _)| !shadowed.contains(*name) && !in_memory.contains(*name));
        let disk_channels = disk_channels.iter_mut().filter(|(name, _)| {
            ![&shadowed, &in_memory, &rabbitmq]
                .iter()
                .any(|names| names.contains(*name))
        });
        for (NamespacedName { namespace, name }, item) in channels
            .iter_mut()
            .chain(in_memory_channels)
            .chain(rabbitmq_channels)
            .chain(disk_channels)
        {
            let kind = ChannelKind::Channel;
            let channel = channel_key(kind, namespace.clone(), name.clone());
            if resolver.parents.contains_key(&channel) {
                self.add_subscribers_of_channel(item, &channel, &made_from, resolver);
            }
        }
    }

    fn add_subscribers_of_channel(
        &mut self,
        item: &mut CollectedItem<'_, Written>,
        channel: &ChannelKey,
        made_from: &HashSet<(ChannelKey, String)>,
        resolver: &mut SubscriptionResolver<'_, '_>,
    ) {
        let CollectedItem { object, report, .. } = item;
        let Some(written) = object
            .as_ref()
            .filter(|_| !report.is_unreadable("spec.subscribers"))
        else {
            self.keep_subscribers(channel);
            return;
        };
        let entries = written
            .spec
            .iter()
            .flat_map(|spec| spec.subscribers.iter().flatten());
        let mut ids = HashSet::new();
        for (index, entry) in entries.enumerate() {
            let field = format!("spec.subscribers[{index}]");
            let is_misread = report.is_unreadable_inside(&field);
            let Some(id) = subscriber_id(entry) else {
                report.error(&field, "has neither uid nor name: give it a uid");
                continue;
            };
            if made_from.contains(&(channel.clone(), id.to_owned())) {
                report.note(
                    &field,
                    format!("is made from the Subscription {id}, which is served instead"),
                );
            } else if ids.insert(id.to_owned()) {
                let excused = report.tolerated_errors().count();
                let entry = SubscriberEntry {
                    spec: entry,
                    id,
                    field: &field,
                };
                let resolved = resolver
                    .resolve_subscriber(entry, channel, report)
                    .filter(|_| !is_misread);
                let is_whole = resolved.is_some() && report.tolerated_errors().count() == excused;
                let key = subscriber_key(channel, id);
                let fallback = if is_whole {
                    SubscriptionFallback::Nothing
                } else {
                    SubscriptionFallback::LastForm
                };
                self.place_subscription(key, resolved, fallback, resolver.parents);
            } else {
                report.error(
                    &format!("{field}.uid"),
                    format!("{id} is there twice: give each subscriber its own uid"),
                );
            }
        }
    }

    /// Keeps the last subscribers of a channel that cannot be decoded.
    fn keep_subscribers(&mut self, channel: &ChannelKey) {
        let kept: Vec<_> = self
            .last_subscriptions
            .iter()
            .filter(|(key, (of, _))| key.kind == SubscriptionKind::Subscriber && of == channel)
            .map(|(key, (_, subscription))| (key.clone(), Arc::clone(subscription)))
            .collect();
        for (key, subscription) in kept {
            self.channel_of.insert(key.clone(), channel.clone());
            self.by_channel
                .entry(channel.clone())
                .or_default()
                .insert(key, subscription);
        }
    }

    /// The ids of entries of `spec.subscribers` that are made from Subscriptions which are served:
    /// their uid, or their name if they are written without one.
    fn subscription_ids(&self, collected: &CollectedObjects<'_>) -> HashSet<(ChannelKey, String)> {
        let mut names = HashSet::new();
        for (name, item) in &collected.subscriptions {
            if let Some(channel) = self
                .channel_of
                .get(&subscription_key(SubscriptionKind::Subscription, name))
            {
                let uid = item
                    .object
                    .as_ref()
                    .and_then(|object| object.metadata.uid.clone());
                names.insert((channel.clone(), uid.unwrap_or_else(|| name.name.clone())));
            }
        }
        names
    }
}

fn subscription_key(kind: SubscriptionKind, name: &NamespacedName) -> SubscriptionKey {
    SubscriptionKey {
        kind,
        namespace: name.namespace.clone(),
        name: name.name.clone(),
    }
}

fn subscriber_id(entry: &SubscriberSpec) -> Option<&str> {
    let uid = entry.uid.as_deref().filter(|uid| !uid.is_empty());
    uid.or_else(|| entry.name.as_deref().filter(|name| !name.is_empty()))
}
