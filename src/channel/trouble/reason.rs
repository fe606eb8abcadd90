//! Why a subscription is not served.

use std::fmt;

use crate::model::DeliveryOrder;

/// Why events for a subscription cannot be put into its queue, or taken out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TroubleReason {
    /// There is no connection to RabbitMQ.
    Disconnected,
    /// RabbitMQ takes nothing, of anybody.
    Blocked,
    /// The subscription was added, or somebody deleted its queue.
    NotDeclared,
    /// Its queue has lost most of its members, or its leader.
    NoAnswer,
    /// The same, and so have the queues in which its events would wait.
    NoAnswerAnywhere,
    /// RabbitMQ refuses to declare or to deliver its queue, and says this.
    Refused(String),
}

impl TroubleReason {
    /// Whether senders are refused for a subscription in this order. Where it is not so, events wait elsewhere; those that
    /// are in order cannot.
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
            Self::NoAnswerAnywhere => {
                f.write_str("RabbitMQ answers neither for its queue nor for those in which its events would wait")
            }
            Self::Refused(refusal) => write!(f, "RabbitMQ refuses its queue: {refusal}"),
        }
    }
}
