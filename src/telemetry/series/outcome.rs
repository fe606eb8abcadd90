//! The outcomes by which events, deliveries and requests are counted, and their label values.

use super::by_label::by_label;
use crate::filter::UndecidedReason;
use crate::model::DestinationRole;

/// The ways in which a delivery can end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryEnd {
    /// Delivered to the subscriber and, if there was one, its reply to the reply address.
    Delivered,
    /// Taken by the dead letter sink.
    DeadLettered,
    /// Taken by nobody, and not kept either.
    Lost,
    /// Unfinished, since the process had to stop.
    Abandoned,
    /// Deferred to a later time, in a delay queue.
    Deferred,
    /// Put into the parking queue.
    Parked,
    /// Given back to its queue unfinished.
    Requeued,
}

by_label! {
    /// A value for each way in which a delivery can end.
    struct ByDeliveryEnd by DeliveryEnd {
        Delivered => delivered,
        DeadLettered => dead_lettered,
        Lost => lost,
        Abandoned => abandoned,
        Deferred => deferred,
        Parked => parked,
        Requeued => returned,
    }
}

by_label! {
    /// A value for each role that a destination has for a subscription.
    struct ByDestinationRole by DestinationRole {
        Subscriber => subscriber,
        Reply => reply,
        DeadLetterSink => dead_letter_sink,
    }
}

by_label! {
    /// A value for each reason for which a filter does not decide.
    struct ByUndecidedReason by UndecidedReason {
        Expression => expression,
        Limit => limit,
    }
}

/// The outcome of an event that nobody took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DropOutcome {
    /// The event is lost: nobody has it.
    Lost,
    /// The event is in the parking queue.
    Parked,
}

by_label! {
    /// A value for each outcome of an event that nobody took.
    struct ByDropOutcome by DropOutcome {
        Lost => lost,
        Parked => parked,
    }
}

/// The results of events that were sent to a channel or broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ArrivalOutcome {
    /// The event was accepted.
    Accepted,
    /// A queue of the channel is full.
    Full,
    /// A synchronous channel could not deliver the event.
    Undelivered,
    /// The queues of the channel cannot be reached.
    Unavailable,
    /// The sender may not send the event.
    Denied,
    /// The event has passed too many brokers.
    TtlExhausted,
    /// The reply inside the process, or the request to the role `ingress`, was no valid event.
    Invalid,
}

by_label! {
    /// A value for each result of an event that was sent to a channel or broker.
    struct ByArrivalOutcome by ArrivalOutcome {
        Accepted => accepted,
        Full => full,
        Undelivered => undelivered,
        Unavailable => unavailable,
        Denied => denied,
        TtlExhausted => ttl_exhausted,
        Invalid => invalid,
    }
}

/// The ways in which a request to a RequestReply can end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestReplyOutcome {
    /// The request got its reply.
    Replied,
    /// No reply came in time.
    TimedOut,
    /// The request was refused at once, since too many wait.
    Full,
    /// The request ended unfinished, since the process stops or the RequestReply is gone.
    Ended,
    /// The Broker did not take the event, or could not deliver it.
    Refused,
}

by_label! {
    /// A value for each way in which a request to a RequestReply can end.
    struct ByRequestReplyOutcome by RequestReplyOutcome {
        Replied => replied,
        TimedOut => timed_out,
        Full => full,
        Ended => ended,
        Refused => refused,
    }
}
