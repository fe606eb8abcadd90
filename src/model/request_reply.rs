//! A RequestReply: an address whose answers are events that come back through a Broker.

use std::sync::Arc;
use std::time::Duration;

use super::{ChannelKey, SenderAuthorization, ServiceAccount};
use crate::correlation::CorrelationKey;

/// A RequestReply. What is sent to it goes into a Broker, and the sender waits for the reply (upstream's
/// `eventing.knative.dev/v1alpha1`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestReply {
    /// Its name; of the kind [`ChannelKind::RequestReply`](super::ChannelKind::RequestReply).
    pub key: ChannelKey,
    /// The Broker, of the same namespace.
    pub broker: ChannelKey,
    /// The attribute of an event that gets the correlation id.
    pub correlation_attribute: String,
    /// The attribute of a reply that has the same id.
    pub reply_attribute: String,
    /// How long a sender waits.
    pub timeout: Duration,
    /// Makes the ids.
    pub correlation_key: CorrelationKey,
    /// What it asks of senders; nothing if `None`.
    pub authorization: Option<SenderAuthorization>,
    /// As whom it sends to the Broker; without proof if `None`.
    pub sender: Option<Arc<ServiceAccount>>,
    /// The audience of the Broker, if it asks for tokens.
    pub broker_audience: Option<String>,
}

/// Which process of several waits for a reply: this one, which is alone.
pub const INDEX: u32 = 0;
/// How many wait for replies.
pub const REPLICAS: u32 = 1;
