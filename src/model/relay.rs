//! The relays of the roles `ingress` and `filter`: Brokers to their channels, Triggers to their
//! subscribers, each of which is in another process (contract BI-1 to BI-11, BF-1 to BF-16).

use std::collections::HashMap;
use std::sync::Arc;

use super::{Addressable, DeliveryFormat, EventTypeOwner, SenderAuthorization, ServiceAccount};
use crate::filter::Filter;

/// The role of a process, which decides what objects it serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ProcessRole {
    /// A channel dispatcher. From files it serves everything in one process: channels, Brokers and
    /// Triggers.
    #[default]
    Channel,
    /// The ingress of Brokers, as upstream's mt-broker-ingress: takes events for Brokers and hands
    /// them to their channels.
    Ingress,
    /// The filter of Triggers, as upstream's mt-broker-filter: takes events for Triggers, and hands
    /// to their subscribers those that pass.
    Filter,
}

impl ProcessRole {
    /// The role as the flag `--role` names it.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Channel => "channel",
            Self::Ingress => "ingress",
            Self::Filter => "filter",
        }
    }
}

/// Relayed Brokers and Triggers, each found by the path `/namespace/name`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RelayTable {
    /// The Brokers of the role `ingress`; empty in other roles.
    pub brokers: HashMap<String, Arc<BrokerRelay>>,
    /// The Triggers of the role `filter`; empty in other roles.
    pub triggers: HashMap<String, Arc<TriggerRelay>>,
}

impl RelayTable {
    /// True if nothing is relayed.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.brokers.is_empty() && self.triggers.is_empty()
    }
}

/// A Broker whose channel is in another process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BrokerRelay {
    /// The address of its channel; `None` if it has none yet (contract BI-4).
    pub channel: Option<Addressable>,
    /// The demands on its senders; everybody may send if `None`.
    pub authorization: Option<SenderAuthorization>,
    /// The ServiceAccount as which events are handed to the channel, if that has an audience
    /// (contract AU-1).
    pub sender: Option<Arc<ServiceAccount>>,
    /// The object that new `EventType`s refer to for these events; none are created if `None`.
    pub event_types: Option<Arc<EventTypeOwner>>,
}

/// A Trigger whose events come from a channel in another process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TriggerRelay {
    /// The Trigger's `metadata.uid`, which requests must name; `None` if it is not known, and then
    /// every uid is right.
    pub uid: Option<String>,
    /// The `metadata.namespace` of the Trigger.
    pub namespace: String,
    /// The filter that decides which events the subscriber gets.
    pub filter: Filter,
    /// The content mode in which events are sent to the subscriber.
    pub format: DeliveryFormat,
    /// The destination of the events; `None` if it is not resolved, or the Trigger has problems:
    /// then nobody gets them.
    pub subscriber: Option<Addressable>,
    /// The address of its Broker, which gets replies; `None` if there is no Broker of that name.
    pub broker: Option<Addressable>,
    /// The dead letter sink of the Trigger, else that of its Broker.
    pub dead_letter_sink: Option<Addressable>,
    /// The demands on whoever sends events for the Trigger; everybody may if `None` (contract
    /// AU-13).
    pub authorization: Option<SenderAuthorization>,
    /// The ServiceAccount as which events are sent to destinations with an audience (contract
    /// AU-1).
    pub sender: Option<Arc<ServiceAccount>>,
    /// The object that new `EventType`s refer to for replies; none are created if `None`.
    pub event_types: Option<Arc<EventTypeOwner>>,
}
