//! Counters of the Brokers and Triggers that the roles `ingress` and `filter` serve.

use std::collections::HashMap;
use std::sync::Arc;

use crate::channel::metrics;
use crate::model::{
    ChannelKey, ChannelKind, NamespacedName, RelayTable, SubscriptionKey, SubscriptionKind,
};
use crate::telemetry::counters::ProcessCounters;
use crate::telemetry::series::{ChannelSeries, SubscriptionSeries};

/// Counters of relayed Brokers and Triggers, by `/namespace/name`.
#[derive(Debug, Default)]
pub(crate) struct RelayedSeries {
    /// Counters of Brokers, for the role `ingress`.
    pub(crate) brokers: HashMap<String, Arc<ChannelSeries>>,
    /// Counters of Triggers, for the role `filter`.
    pub(crate) triggers: HashMap<String, Arc<SubscriptionSeries>>,
}

impl RelayedSeries {
    /// Looks up the counters of these relays, except of those that were served before: these keep
    /// theirs.
    pub(super) fn look_up(relays: &RelayTable, before: &Self, counters: &ProcessCounters) -> Self {
        let brokers = relays.brokers.keys().filter_map(|path| {
            let known = before.brokers.get(path).cloned();
            let series = known.or_else(|| look_up_broker(path, counters))?;
            Some((path.clone(), series))
        });
        let triggers = relays.triggers.keys().filter_map(|path| {
            let known = before.triggers.get(path).cloned();
            let series = known.or_else(|| look_up_trigger(path, counters))?;
            Some((path.clone(), series))
        });
        Self {
            brokers: brokers.collect(),
            triggers: triggers.collect(),
        }
    }
}

fn look_up_broker(path: &str, counters: &ProcessCounters) -> Option<Arc<ChannelSeries>> {
    let NamespacedName { namespace, name } = parse_namespaced_name(path)?;
    let key = ChannelKey {
        kind: ChannelKind::Broker,
        namespace,
        name,
    };
    Some(metrics::channel_series(counters, &key))
}

fn look_up_trigger(path: &str, counters: &ProcessCounters) -> Option<Arc<SubscriptionSeries>> {
    let NamespacedName { namespace, name } = parse_namespaced_name(path)?;
    let key = SubscriptionKey {
        kind: SubscriptionKind::Trigger,
        namespace,
        name,
    };
    Some(metrics::subscription_series(counters, &key))
}

/// Takes `/namespace/name` apart into namespace and name.
fn parse_namespaced_name(path: &str) -> Option<NamespacedName> {
    let (namespace, name) = path.strip_prefix('/')?.split_once('/')?;
    Some(NamespacedName::new(namespace, name))
}
