//! One receiver of a channel's events. A Trigger is a subscription whose filter is set and whose
//! reply goes back to its Broker.

use std::fmt;
use std::sync::Arc;

use super::{Addressable, DeliverySpec, DestinationRoute, EventTypeOwner, ServiceAccount};
use crate::filter::Filter;

/// The kind of object that a subscription comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SubscriptionKind {
    /// A `Subscription` of a channel.
    Subscription,
    /// A `Trigger` of a Broker.
    Trigger,
    /// An entry of a channel's own `spec.subscribers`, named by its uid.
    Subscriber,
    /// A `PingSource`: it has a sink instead of a subscriber.
    PingSource,
}

/// Names a subscription; its queue lives as long as this key is configured.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionKey {
    /// The kind of object that the subscription comes from.
    pub kind: SubscriptionKind,
    /// `metadata.namespace` of that object.
    pub namespace: String,
    /// `metadata.name` of that object; for [`SubscriptionKind::Subscriber`], channel name and uid.
    pub name: String,
}

impl SubscriptionKind {
    /// The kind in lower case, as metrics and messages show it.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Subscription => "subscription",
            Self::Trigger => "trigger",
            Self::Subscriber => "subscriber",
            Self::PingSource => "pingsource",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        let all = [
            Self::Subscription,
            Self::Trigger,
            Self::Subscriber,
            Self::PingSource,
        ];
        all.into_iter().find(|kind| kind.as_str() == word)
    }
}

impl SubscriptionKey {
    /// Makes the key of this object.
    #[must_use]
    pub(crate) fn new(kind: SubscriptionKind, namespace: &str, name: &str) -> Self {
        Self {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    /// Reads a key as it is displayed; `None` if it is of another kind of object.
    #[must_use]
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (kind, path) = text.split_once(' ')?;
        let (namespace, name) = path.split_once('/')?;
        Some(Self::new(SubscriptionKind::parse(kind)?, namespace, name))
    }
}

impl fmt::Display for SubscriptionKey {
    /// Writes the kind in lower case, then namespace and name: `subscription ns/name`, `trigger
    /// ns/name`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind.as_str(), self.namespace, self.name)
    }
}

/// A Subscription of a channel, a Trigger of a Broker, or the sink of a PingSource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The kind, namespace and name of the object.
    pub key: SubscriptionKey,
    /// The filter that decides which events it gets.
    pub filter: Filter,
    /// The destination of the events; `None` if only a reply address is given, which then gets the
    /// events themselves.
    pub subscriber: Option<Addressable>,
    /// The destination of the events that the subscriber replies with.
    pub reply: Option<Addressable>,
    /// The destination of events that could not be delivered to `subscriber` or `reply`.
    pub dead_letter_sink: Option<Addressable>,
    /// The retries, waits and limits of delivery.
    pub delivery: DeliverySpec,
    /// The ServiceAccount as which it sends to destinations with an audience; it sends no token if
    /// `None` (contract 7.2).
    pub sender: Option<Arc<ServiceAccount>>,
    /// The object that new `EventType`s refer to for replies; none are created if `None`.
    pub event_types: Option<Arc<EventTypeOwner>>,
    /// The namespace that is sent as `Kn-Namespace` (contract DP-5).
    pub namespace: String,
}

impl Subscription {
    /// True if every request to one of its destinations fails, since that is unresolved or trusts
    /// nobody.
    #[must_use]
    pub(crate) fn has_unresolved_destination(&self) -> bool {
        let destinations = [&self.subscriber, &self.reply, &self.dead_letter_sink];
        let has_no_way = |to: &Addressable| {
            matches!(to.route, DestinationRoute::Unresolved(_)) || to.trust.trusts_nobody()
        };
        destinations.into_iter().flatten().any(has_no_way)
    }
}
