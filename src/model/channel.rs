//! A channel or Broker that takes events, with every subscription that gets them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{EventTypeOwner, SenderAuthorization, Subscription};

/// The kind of object that an address belongs to. A Broker is a channel that counts hops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ChannelKind {
    /// A `Channel`, an `InMemoryChannel`, a `RabbitmqChannel` or a `DiskChannel`.
    Channel,
    /// A `Broker`, which has its own subscriptions and a limit of hops.
    Broker,
    /// `RequestReply`, which is no channel, but is addressed as one.
    RequestReply,
}

impl ChannelKind {
    /// The kind in lower case, as metrics and messages show it.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Channel => "channel",
            Self::Broker => "broker",
            Self::RequestReply => "requestreply",
        }
    }
}

/// Names an object that takes events: a channel, a Broker or a RequestReply.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelKey {
    /// The kind of the object: a channel and a Broker of the same name are two objects.
    pub kind: ChannelKind,
    /// The `metadata.namespace` of the object.
    pub namespace: String,
    /// The `metadata.name` of the object.
    pub name: String,
}

impl ChannelKey {
    /// Makes the key of this object.
    #[must_use]
    pub(crate) fn new(kind: ChannelKind, namespace: &str, name: &str) -> Self {
        Self {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

impl fmt::Display for ChannelKey {
    /// Writes `channel ns/name`, `broker ns/name` or `requestreply ns/name`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind.as_str(), self.namespace, self.name)
    }
}

/// The moment at which a sender gets its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcknowledgeMode {
    /// As soon as every subscription or its dead letter sink has taken the event (contract FO-4).
    AfterDelivery,
    /// As soon as the event is in the queue of every subscription (contract FO-9; annotation
    /// `messaging.knative.dev/async-handler`).
    AfterEnqueue,
}

/// The backend that keeps the events of a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BackendKind {
    /// Events are kept in the memory of this process.
    #[default]
    Memory,
    /// Events are kept in queues of RabbitMQ.
    Rabbitmq,
    /// Events are kept in a log on a disk of this process.
    Disk,
}

impl BackendKind {
    /// The name of the backend, as messages show it.
    #[must_use]
    pub(crate) fn display_name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Rabbitmq => "RabbitMQ",
            Self::Disk => "disk",
        }
    }

    /// The place where the backend keeps events, as messages show it.
    #[must_use]
    pub fn place(self) -> &'static str {
        match self {
            Self::Memory => "in memory",
            Self::Rabbitmq => "on RabbitMQ",
            Self::Disk => "on disk",
        }
    }
}

/// A channel or Broker of this process, as the data plane serves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// The kind, namespace and name of the object.
    pub key: ChannelKey,
    /// The backend that keeps its events.
    pub backend: BackendKind,
    /// The moment at which senders get their response; only a channel in memory obeys it.
    pub acknowledge: AcknowledgeMode,
    /// The time for which events are kept that were delivered; only a channel on disk obeys it.
    pub retain: Option<Duration>,
    /// The demands on its senders; everybody may send if `None`.
    pub authorization: Option<SenderAuthorization>,
    /// The object that new `EventType`s refer to for the events of this channel; none are created
    /// if `None`.
    pub event_types: Option<Arc<EventTypeOwner>>,
    /// The subscriptions that get its events, each by a queue of its own.
    pub subscriptions: Vec<Arc<Subscription>>,
}
