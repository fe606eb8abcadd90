//! Where the operator's events go: the Broker or channel of this name, as the table of the role has
//! it.

use std::sync::Arc;

use crate::model::{
    Addressable, ChannelKey, ChannelKind, DestinationRoute, NamespacedName, RoutingTable,
    ServiceAccount, TrustBundle,
};

/// What upstream appends to the name of a Broker for that of its channel.
const BROKER_CHANNEL: &str = "-kne-trigger";

/// The Broker or channel of the operator's events.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SystemEventTarget {
    pub(super) address: Addressable,
    /// The ServiceAccount as which events are sent, if the address has an audience.
    pub(super) sender: Option<Arc<ServiceAccount>>,
    /// True if the events come into a Broker by this: their hops are counted before they are sent.
    pub(super) enters_broker: bool,
    /// The channel, if it is one of this process.
    pub(super) channel: Option<ChannelKey>,
}

impl SystemEventTarget {
    /// Finds the Broker or channel; `None` if this process knows none of this name.
    pub(super) fn find(table: &RoutingTable, name: &NamespacedName) -> Option<Self> {
        Self::channel(table, name)
            .or_else(|| Self::relayed_broker(table, name))
            .or_else(|| Self::broker_of_trigger(table, name))
    }

    /// A Broker or channel of this process, or the channel of a Broker of the cluster.
    fn channel(table: &RoutingTable, name: &NamespacedName) -> Option<Self> {
        let NamespacedName { namespace, name } = name;
        let of_broker = format!("{name}{BROKER_CHANNEL}");
        let candidates = [
            (ChannelKey::new(ChannelKind::Broker, namespace, name), false),
            (
                ChannelKey::new(ChannelKind::Channel, namespace, name),
                false,
            ),
            (
                ChannelKey::new(ChannelKind::Channel, namespace, &of_broker),
                true,
            ),
        ];
        let found = candidates
            .into_iter()
            .find(|(key, _)| table.channel(key).is_some());
        let (key, enters_broker) = found?;
        let url = format!("http://{}.{}.svc/", key.name, key.namespace);
        Some(Self {
            address: Addressable {
                url: url.parse().ok()?,
                route: DestinationRoute::Local(key.clone()),
                trust: Arc::new(TrustBundle::default()),
                audience: None,
            },
            sender: None,
            enters_broker,
            channel: Some(key),
        })
    }

    /// A Broker that the role `ingress` relays: its events go straight to its channel.
    fn relayed_broker(table: &RoutingTable, name: &NamespacedName) -> Option<Self> {
        let broker = table.relays().brokers.get(&format!("/{name}"))?;
        Some(Self {
            address: broker.channel.clone()?,
            sender: broker.sender.clone(),
            enters_broker: true,
            channel: None,
        })
    }

    /// A Broker whose Triggers the role `filter` serves: they know its address, for replies.
    fn broker_of_trigger(table: &RoutingTable, name: &NamespacedName) -> Option<Self> {
        let path = format!("/{name}");
        let triggers = table.relays().triggers.values();
        let mut of_broker = triggers.filter(|trigger| {
            let broker = trigger.broker.as_ref();
            broker.is_some_and(|broker| broker.url.path() == path)
        });
        let trigger = of_broker.next()?;
        Some(Self {
            address: trigger.broker.clone()?,
            sender: trigger.sender.clone(),
            enters_broker: false,
            channel: None,
        })
    }
}
