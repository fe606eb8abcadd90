//! One receiver of a channel's events. A Trigger is a subscription whose filter is set and whose reply goes back to
//! its broker.

use std::fmt;
use std::sync::Arc;

use super::{Addressable, DeliverySpec, DestinationRoute, EventTypeOwner, ServiceAccount};
use crate::filter::Filter;

/// Which object a subscription comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SubscriptionKind {
    /// A `Subscription`.
    Subscription,
    /// A `Trigger`.
    Trigger,
    /// An entry of a channel's own `spec.subscribers`, named by its uid.
    Subscriber,
    /// A `PingSource`: it has a sink instead of a subscriber.
    PingSource,
}

/// Names a subscription; its queue lives as long as this key is configured.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionKey {
    /// Which object it comes from.
    pub kind: SubscriptionKind,
    /// `metadata.namespace` of that object.
    pub namespace: String,
    /// `metadata.name` of that object; for [`SubscriptionKind::Subscriber`], channel name and uid.
    pub name: String,
}

impl SubscriptionKind {
    /// In lower case.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Subscription => "subscription",
            Self::Trigger => "trigger",
            Self::Subscriber => "subscriber",
            Self::PingSource => "pingsource",
        }
    }
}

impl fmt::Display for SubscriptionKey {
    /// `subscription ns/name`, `trigger ns/name` or `subscriber ns/name`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind.as_str(), self.namespace, self.name)
    }
}

/// A subscription of a channel or a trigger of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Its name.
    pub key: SubscriptionKey,
    /// Which events it gets.
    pub filter: Filter,
    /// Who gets them; `None` where only a reply address is given, which then gets the events themselves.
    pub subscriber: Option<Addressable>,
    /// Who gets the events that the subscriber answers with.
    pub reply: Option<Addressable>,
    /// Who gets what could not be delivered.
    pub dead_letter_sink: Option<Addressable>,
    /// How delivery is tried.
    pub delivery: DeliverySpec,
    /// As whom it sends to destinations with an audience; without proof if `None` (contract 7.2).
    pub sender: Option<Arc<ServiceAccount>>,
    /// Whose events replies are in `EventType`s; none are made if `None`.
    pub event_types: Option<Arc<EventTypeOwner>>,
    /// Sent as `Kn-Namespace` (contract DP-5).
    pub namespace: String,
}

impl Subscription {
    /// Whether what is sent to one of its destinations fails, whatever happens.
    #[must_use]
    pub fn has_unresolved_destination(&self) -> bool {
        let destinations = [&self.subscriber, &self.reply, &self.dead_letter_sink];
        let has_no_way =
            |to: &Addressable| matches!(to.route, DestinationRoute::Unresolved(_)) || to.trust.trusts_nobody();
        destinations.into_iter().flatten().any(has_no_way)
    }
}
