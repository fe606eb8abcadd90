//! A RequestReply: an address at which a sender waits for the event that comes back through a
//! Broker.

use std::sync::Arc;
use std::time::Duration;

use super::{ChannelKey, SenderAuthorization, ServiceAccount};
use crate::correlation::CorrelationKey;

/// A RequestReply. An event that is sent to it goes into a Broker, and its sender waits for the
/// reply (upstream's `eventing.knative.dev/v1alpha1`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestReply {
    /// The object's namespace and name; of the kind
    /// [`ChannelKind::RequestReply`](super::ChannelKind::RequestReply).
    pub key: ChannelKey,
    /// The Broker of the same namespace that events go into.
    pub broker: ChannelKey,
    /// The attribute that is added to an event and holds its correlation id.
    pub correlation_attribute: String,
    /// The attribute of a reply that repeats the correlation id.
    pub reply_attribute: String,
    /// The time for which a sender waits for its reply.
    pub timeout: Duration,
    /// The key that seals correlation ids, and verifies those that come back.
    pub correlation_key: CorrelationKey,
    /// The demands on its senders; everybody may send if `None`.
    pub authorization: Option<SenderAuthorization>,
    /// The ServiceAccount as which it sends to the Broker; it sends no token if `None`.
    pub sender: Option<Arc<ServiceAccount>>,
    /// The audience of the Broker; `None` if the Broker asks for no token.
    pub broker_audience: Option<String>,
}

/// The index of the process that waits for a reply, which is part of a correlation id; 0, since
/// this process is the only one.
pub(crate) const REPLY_INDEX: u32 = 0;
/// The number of processes that wait for replies.
pub(crate) const REPLY_REPLICAS: u32 = 1;
