//! What a channel or Broker gives to its subscriptions.

use std::collections::BTreeMap;
use std::time::Duration;

use super::delivery::DeliveryFields;
use crate::model::{AcknowledgeMode, Addressable, BackendKind, ChannelKey};

/// The properties that a channel or Broker gives to its subscriptions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResolvedParent {
    /// The backend that keeps its events.
    pub(crate) backend: BackendKind,
    pub(crate) acknowledge: AcknowledgeMode,
    /// The time for which events are kept that were delivered.
    pub(crate) retain: Option<Duration>,
    /// The delivery spec of subscriptions that have none.
    pub(crate) delivery: DeliveryFields,
    /// The dead letter sink of subscriptions that have none.
    pub(crate) dead_letter_sink: Option<Addressable>,
}

/// The served channels and Brokers, by name.
pub(crate) type ResolvedParents = BTreeMap<ChannelKey, ResolvedParent>;
