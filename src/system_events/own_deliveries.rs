//! The deliveries of the operator's events themselves, about which nothing is told: each of their
//! failures would be an event that fails again.

use std::collections::{BTreeSet, HashSet};

use super::target::SystemEventTarget;
use crate::model::{ChannelKey, NamespacedName, RoutingTable, Subscription, SubscriptionKind};
use crate::telemetry::series::SeriesKey;

/// The objects by which events of the target pass.
#[derive(Debug, Default)]
pub(super) struct OwnDeliveries(BTreeSet<SeriesKey>);

impl OwnDeliveries {
    /// Follows what this process knows of the way of events from the target on: its subscriptions,
    /// and those of channels that they lead into.
    pub(super) fn find(
        table: &RoutingTable,
        name: &NamespacedName,
        target: &SystemEventTarget,
    ) -> Self {
        let mut own = Self::default();
        own.insert("broker", &name.namespace, &name.name);
        let (mut reached, mut ahead) = (HashSet::new(), Vec::from_iter(target.channel.clone()));
        while let Some(key) = ahead.pop() {
            if !reached.insert(key.clone()) {
                continue;
            }
            if let Some(request_reply) = table.request_reply(&key) {
                ahead.push(request_reply.broker.clone());
            }
            let Some((_, channel)) = table.channel(&key) else {
                continue;
            };
            own.insert(key.kind.as_str(), &key.namespace, &key.name);
            for subscription in &channel.subscriptions {
                let key = &subscription.key;
                own.insert(key.kind.as_str(), &key.namespace, &key.name);
                ahead.extend(local_channels(subscription).cloned());
            }
        }
        own.insert_triggers(table, name);
        own
    }

    /// Adds the Triggers of the target that the role `filter` serves.
    fn insert_triggers(&mut self, table: &RoutingTable, target: &NamespacedName) {
        let of_target = format!("/{target}");
        for (path, trigger) in &table.relays().triggers {
            let broker = trigger.broker.as_ref();
            let name = path.strip_prefix('/').and_then(|path| path.split_once('/'));
            if let Some((namespace, name)) = name
                && broker.is_some_and(|broker| broker.url.path() == of_target)
            {
                self.insert(SubscriptionKind::Trigger.as_str(), namespace, name);
            }
        }
    }

    fn insert(&mut self, kind: &'static str, namespace: &str, name: &str) {
        self.0.insert(SeriesKey {
            kind,
            namespace: namespace.into(),
            name: name.into(),
        });
    }

    /// True if events of the target pass by the object of these series.
    pub(super) fn has(&self, key: &SeriesKey) -> bool {
        self.0.contains(key)
    }
}

fn local_channels(subscription: &Subscription) -> impl Iterator<Item = &ChannelKey> {
    let destinations = [
        &subscription.subscriber,
        &subscription.reply,
        &subscription.dead_letter_sink,
    ];
    let destinations = destinations.into_iter().flatten();
    destinations.filter_map(|destination| destination.route.local_channel())
}
