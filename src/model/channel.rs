//! A channel or broker that takes events, with everyone who gets them.

use std::fmt;
use std::sync::Arc;

use super::{EventTypeOwner, SenderAuthorization, Subscription};

/// What kind of address a channel has. A Broker is a channel that counts hops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ChannelKind {
    /// `Channel`, `InMemoryChannel`, `RabbitmqChannel`.
    Channel,
    /// `Broker`.
    Broker,
    /// `RequestReply`, which is no channel, but is addressed as one.
    RequestReply,
}

impl ChannelKind {
    /// In lower case.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Channel => "channel",
            Self::Broker => "broker",
            Self::RequestReply => "requestreply",
        }
    }
}

/// Names a channel or broker.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelKey {
    /// Channel or broker: the two have separate names.
    pub kind: ChannelKind,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
}

impl fmt::Display for ChannelKey {
    /// `channel ns/name`, `broker ns/name` or `requestreply ns/name`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind.as_str(), self.namespace, self.name)
    }
}

/// When a sender gets its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcknowledgeMode {
    /// When every subscription or its dead letter sink has the event (contract FO-4).
    AfterDelivery,
    /// When every subscription has it in its queue (contract FO-9; annotation `messaging.knative.dev/async-handler`).
    AfterEnqueue,
}

/// What keeps the events of a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BackendKind {
    /// The memory of this process.
    #[default]
    Memory,
    /// RabbitMQ.
    Rabbitmq,
}

/// A channel or broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Its name.
    pub key: ChannelKey,
    /// What keeps its events.
    pub backend: BackendKind,
    /// When senders get their answer; of a channel in memory only.
    pub acknowledge: AcknowledgeMode,
    /// What it asks of senders; nothing if `None`.
    pub authorization: Option<SenderAuthorization>,
    /// Whose events they are in `EventType`s; none are made if `None`.
    pub event_types: Option<Arc<EventTypeOwner>>,
    /// Everyone who gets its events.
    pub subscriptions: Vec<Arc<Subscription>>,
}
