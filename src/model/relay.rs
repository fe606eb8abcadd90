//! What the roles `ingress` and `filter` relay: Brokers to their channels, Triggers to their subscribers, each somewhere
//! else (contract BI-1 to BI-11, BF-1 to BF-16).

use std::collections::HashMap;
use std::sync::Arc;

use super::{Addressable, DeliveryFormat, EventTypeOwner, SenderAuthorization, ServiceAccount};
use crate::filter::Filter;

/// What a process does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProcessRole {
    /// Everything inside one process: channels, Brokers and Triggers.
    #[default]
    Channel,
    /// What upstream's mt-broker-ingress does: takes events for Brokers and hands them to their channels.
    Ingress,
    /// What upstream's mt-broker-filter does: takes events for Triggers, and hands to subscribers those that pass.
    Filter,
}

impl ProcessRole {
    /// As `--role` names it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Channel => "channel",
            Self::Ingress => "ingress",
            Self::Filter => "filter",
        }
    }
}

/// Relayed Brokers and Triggers, by `/namespace/name`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelayTable {
    /// Of the role `ingress`.
    pub brokers: HashMap<String, Arc<BrokerRelay>>,
    /// Of the role `filter`.
    pub triggers: HashMap<String, Arc<TriggerRelay>>,
}

impl RelayTable {
    /// Whether nothing is relayed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.brokers.is_empty() && self.triggers.is_empty()
    }
}

/// A Broker whose channel is elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerRelay {
    /// Its channel; `None` if it has none yet (contract BI-4).
    pub channel: Option<Addressable>,
    /// What it asks of senders; nothing if `None`.
    pub authorization: Option<SenderAuthorization>,
    /// As whom events are handed to the channel, if that has an audience (contract AU-1).
    pub sender: Option<Arc<ServiceAccount>>,
    /// Whose events they are in `EventType`s; none are made if `None`.
    pub event_types: Option<Arc<EventTypeOwner>>,
}

/// A Trigger whose events come from a channel elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TriggerRelay {
    /// `metadata.uid`, which requests must name; `None` if it is not known, and any is right.
    pub uid: Option<String>,
    /// `metadata.namespace`.
    pub namespace: String,
    /// Which events it gets.
    pub filter: Filter,
    /// In which mode it gets them.
    pub format: DeliveryFormat,
    /// Who gets them; `None` if that is not resolved, or the Trigger has problems: then nobody does.
    pub subscriber: Option<Addressable>,
    /// Its Broker; `None` if there is none of that name.
    pub broker: Option<Addressable>,
    /// Its dead letter sink, else its Broker's.
    pub dead_letter_sink: Option<Addressable>,
    /// What is asked of whoever sends events for it; nothing if `None` (contract AU-13).
    pub authorization: Option<SenderAuthorization>,
    /// As whom events are handed on to destinations with an audience (contract AU-1).
    pub sender: Option<Arc<ServiceAccount>>,
    /// Whose events replies are in `EventType`s; none are made if `None`.
    pub event_types: Option<Arc<EventTypeOwner>>,
}
