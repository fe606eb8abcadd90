//! Reasons for which a subscription is not served.

use std::fmt;

use crate::model::DeliveryOrder;

/// Reason for which events of a subscription cannot be put into its queue, or taken out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TroubleReason {
    /// There is no connection to RabbitMQ.
    Disconnected,
    /// RabbitMQ takes no messages from anybody, because of an alarm of memory or disk.
    Blocked,
    /// The queue is not there: the subscription is new, or somebody has deleted its queue.
    NotDeclared,
    /// The queue does not answer: it has lost most of its members, or its leader.
    NoAnswer,
    /// The queue does not answer, nor do the delay queues in which its events would wait.
    NoAnswerAnywhere,
    /// RabbitMQ refuses to declare or to deliver the queue, for the reason that it gives.
    Refused(String),
}

impl TroubleReason {
    /// True if senders are refused for a subscription in this order. Otherwise events wait in a
    /// delay queue; events that are delivered in order cannot.
    pub(super) fn refuses_senders(&self, order: DeliveryOrder) -> bool {
        match self {
            Self::Disconnected | Self::Blocked | Self::NotDeclared | Self::NoAnswerAnywhere => true,
            Self::NoAnswer | Self::Refused(_) => order == DeliveryOrder::Ordered,
        }
    }
}

impl fmt::Display for TroubleReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disconnected => f.write_str("RabbitMQ is away"),
            Self::Blocked => f.write_str("RabbitMQ is blocked by an alarm of memory or disk"),
            Self::NotDeclared => f.write_str("its queue is not declared yet"),
            Self::NoAnswer => f.write_str("RabbitMQ does not answer for its queue"),
            Self::NoAnswerAnywhere => f.write_str(
                "RabbitMQ answers neither for its queue nor for those in which its \
                     events would wait",
            ),
            Self::Refused(refusal) => write!(f, "RabbitMQ refuses its queue: {refusal}"),
        }
    }
}
