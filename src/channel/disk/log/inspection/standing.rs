//! How far an event has come in the queues that want it.

use super::LogInspection;
use crate::channel::disk::log::QueueId;
use crate::channel::disk::log::clock::EpochMillis;
use crate::channel::disk::log::format::checkpoint::EventProgress;
use crate::channel::disk::log::format::record::EventRecord;
use crate::channel::disk::log::queue::LogQueueState;

/// How far an event has come in one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventStanding {
    /// It waits, or is in flight.
    Waiting,
    /// It waits for another attempt.
    Deferred {
        /// Time at which that is due.
        due: EpochMillis,
    },
    /// Nobody took it, and it is kept.
    Parked,
    /// It is finished: delivered, dead-lettered or given up.
    Finished,
}

/// How far an event has come in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueStanding {
    /// Name of the queue.
    pub queue: String,
    /// How far it is there.
    pub standing: EventStanding,
}

impl LogInspection {
    /// How far an event has come in each queue that wants it and that the log still has.
    pub(super) fn standings(&self, event: &EventRecord) -> Vec<QueueStanding> {
        let is_wanted = |id: QueueId, queue: &LogQueueState| {
            event.queues.contains(id) || queue.range.contains(event.sequence)
        };
        let mut standings = Vec::new();
        for (id, queue) in &self.log.state.queues {
            if is_wanted(*id, queue) {
                standings.push(QueueStanding {
                    queue: queue.name.clone(),
                    standing: self.standing(queue, event),
                });
            }
        }
        standings
    }

    fn standing(&self, queue: &LogQueueState, event: &EventRecord) -> EventStanding {
        let unfinished = queue.unfinished.get(&event.sequence);
        match unfinished.map(|it| it.progress) {
            Some(EventProgress::Fresh) => EventStanding::Waiting,
            Some(EventProgress::Deferred { due, .. }) => EventStanding::Deferred { due },
            Some(EventProgress::Parked { .. }) => EventStanding::Parked,
            None if queue.needs(event.sequence, self.log.state.next_sequence) => {
                EventStanding::Waiting
            }
            None => EventStanding::Finished,
        }
    }
}
