//! The role of a destination: subscriber, reply address or dead letter sink.

use super::{Addressable, Subscription};

/// The role that a destination has for a subscription (contract DP-3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DestinationRole {
    /// The subscriber of the subscription.
    Subscriber,
    /// The reply address of the subscription.
    Reply,
    /// The dead letter sink of the subscription.
    DeadLetterSink,
}

impl DestinationRole {
    /// Returns the role as log lines name it.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Subscriber => "subscriber",
            Self::Reply => "reply",
            Self::DeadLetterSink => "dead letter sink",
        }
    }

    /// Returns the destination that a subscription has in this role. A subscription with only a
    /// reply address sends the events themselves there.
    #[must_use]
    pub(crate) fn destination(self, subscription: &Subscription) -> Option<&Addressable> {
        match self {
            Self::Subscriber => subscription
                .subscriber
                .as_ref()
                .or(subscription.reply.as_ref()),
            Self::Reply => subscription
                .subscriber
                .as_ref()
                .and(subscription.reply.as_ref()),
            Self::DeadLetterSink => subscription.dead_letter_sink.as_ref(),
        }
    }
}
