//! What a log can be asked to write.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::channel::disk::log::format::queue_set::QueueSet;
use crate::channel::disk::log::format::record::{QueueLeftover, SettledOutcome};
use crate::channel::disk::log::format::span::SequenceSpan;
use crate::channel::disk::log::{LogError, QueueId, Sequence};

/// An event to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// Queues that want it.
    pub queues: QueueSet,
    /// The event, encoded; the log does not look into it.
    pub event: Bytes,
}

/// How an event goes on that is to be tried again later.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventDeferral {
    /// Stage of the delivery; the log does not know what it means.
    pub stage: u8,
    /// Attempts made at that stage.
    pub attempts: u32,
    /// Wait before the next attempt.
    pub wait: Duration,
    /// What the stage needs: an encoded reply, or dead letter event.
    pub body: Option<Bytes>,
}

/// Why an event is parked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventParking {
    /// Attempts that were made.
    pub attempts: u32,
    /// Last status of the destination.
    pub code: i32,
    /// Description of the last failure.
    pub reason: String,
    /// The destination that failed last.
    pub destination: String,
}

/// Events of a queue that have ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedEvents {
    /// The queue.
    pub queue: QueueId,
    /// Its events, which are in flight.
    pub events: Vec<Sequence>,
    /// How they ended.
    pub outcome: SettledOutcome,
}

/// The range of a queue that is declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueRange {
    /// The queue gets the events of the span, and no other.
    Alone(SequenceSpan),
    /// The queue gets the events from this sequence on, and then those that name it.
    AndOn(Sequence),
}

/// An operation that changes the log.
#[derive(Debug)]
pub(crate) enum LogOperation {
    Publish(Vec<NewEvent>),
    Settle(EndedEvents),
    Defer {
        queue: QueueId,
        event: Sequence,
        deferral: EventDeferral,
    },
    Park {
        queue: QueueId,
        event: Sequence,
        parking: EventParking,
    },
    Replay(QueueId, Vec<(Sequence, Sequence)>),
    Discard(QueueId, Vec<(Sequence, Sequence)>),
    Declare(String),
    /// Declare a queue with the id that it had in a log that was replaced.
    DeclareAs(QueueId, String),
    DeclareRange {
        name: String,
        range: QueueRange,
    },
    /// End the range of a queue with what has been taken.
    Cut(QueueId),
    Retire {
        queue: QueueId,
        leftover: QueueLeftover,
    },
}

impl LogOperation {
    /// True if it publishes events.
    pub(crate) fn is_publish(&self) -> bool {
        matches!(self, Self::Publish(_))
    }

    /// Bytes that it takes in a frame, nearly.
    pub(crate) fn weight(&self) -> usize {
        const SMALL: usize = 128;
        match self {
            Self::Publish(events) => {
                let each = events.iter();
                each.map(|event| event.event.len() + SMALL).sum()
            }
            Self::Settle(ended) => SMALL + 8 * ended.events.len(),
            Self::Defer { deferral, .. } => SMALL + deferral.body.as_ref().map_or(0, Bytes::len),
            Self::Park { parking, .. } => SMALL + parking.reason.len() + parking.destination.len(),
            Self::Declare(name) | Self::DeclareRange { name, .. } => SMALL + name.len(),
            _ => SMALL,
        }
    }

    /// The events of a queue whose end the operation is.
    pub(crate) fn ended_events(&self) -> (QueueId, &[Sequence]) {
        match self {
            Self::Settle(ended) => (ended.queue, &ended.events),
            Self::Defer { queue, event, .. } | Self::Park { queue, event, .. } => {
                (*queue, std::slice::from_ref(event))
            }
            _ => (QueueId::default(), &[]),
        }
    }
}

/// What a frame needs room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameRoom {
    /// Events that are published: they leave a part of each segment to other records.
    Events,
    /// Records that end events, or tell of the log itself: the limit of all logs does not hold for
    /// them.
    Ends,
}

/// Result of an operation that is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Committed {
    Done,
    /// Sequence of the first event that was published.
    Published(Sequence),
    Declared(QueueId),
    /// Number of events that were changed.
    Changed(u64),
    /// The range ends here.
    Cut(Sequence),
}

pub(crate) type CommitResult = Result<Committed, LogError>;

/// An operation that somebody waits for.
#[derive(Debug)]
pub(crate) struct PendingOperation {
    pub(crate) operation: LogOperation,
    pub(crate) weight: usize,
    pub(crate) reply: oneshot::Sender<CommitResult>,
}

impl PendingOperation {
    /// An operation with what its result is received by.
    pub(crate) fn new(operation: LogOperation) -> (Self, oneshot::Receiver<CommitResult>) {
        let (reply, receiver) = oneshot::channel();
        let pending = Self {
            weight: operation.weight(),
            operation,
            reply,
        };
        (pending, receiver)
    }
}
