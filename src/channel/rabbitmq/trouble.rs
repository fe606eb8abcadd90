//! Reasons for which RabbitMQ does not serve a subscription.

use std::borrow::Cow;

use crate::channel::trouble_reason::{TroubleReason, TroubleScope};

/// Reason for which RabbitMQ does not take events of a subscription, or does not deliver them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RabbitmqTrouble {
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

impl RabbitmqTrouble {
    fn message(&self) -> Cow<'static, str> {
        match self {
            Self::Disconnected => "RabbitMQ is away".into(),
            Self::Blocked => "RabbitMQ is blocked by an alarm of memory or disk".into(),
            Self::NotDeclared => "its queue is not declared yet".into(),
            Self::NoAnswer => "RabbitMQ does not answer for its queue".into(),
            Self::NoAnswerAnywhere => "RabbitMQ answers neither for its queue nor for those in \
                                       which its events would wait"
                .into(),
            Self::Refused(refusal) => format!("RabbitMQ refuses its queue: {refusal}").into(),
        }
    }
}

impl From<RabbitmqTrouble> for TroubleReason {
    /// Tells apart what whoever reports on all backends needs to know. Events of a queue that does
    /// not answer, or that is refused, wait in a delay queue.
    fn from(trouble: RabbitmqTrouble) -> Self {
        let (scope, keeps_unordered_events) = match &trouble {
            RabbitmqTrouble::Disconnected | RabbitmqTrouble::Blocked => {
                (TroubleScope::Backend, false)
            }
            RabbitmqTrouble::NotDeclared => (TroubleScope::UndeclaredQueue, false),
            RabbitmqTrouble::NoAnswerAnywhere => (TroubleScope::Queue, false),
            RabbitmqTrouble::NoAnswer | RabbitmqTrouble::Refused(_) => (TroubleScope::Queue, true),
        };
        Self {
            scope,
            keeps_unordered_events,
            condition: "RabbitmqUnavailable",
            message: trouble.message(),
        }
    }
}
