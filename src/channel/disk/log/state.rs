//! What a log knows in memory, and how each record changes it. The same code runs when a record
//! has been written, and when it is read after a restart.

pub(crate) mod apply;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::channel::disk::log::clock::EpochMillis;
use crate::channel::disk::log::format::checkpoint::{
    EventProgress, LogCheckpoint, QueueEntry, UnfinishedEntry,
};
use crate::channel::disk::log::format::record::LogRecord;
use crate::channel::disk::log::queue::take::TakeStep;
use crate::channel::disk::log::queue::{EventPlace, LogQueueState, UnfinishedEvent};
use crate::channel::disk::log::segment::{SegmentList, SegmentState};
use crate::channel::disk::log::{LogError, QueueId, Sequence};

/// The state of a log.
#[derive(Debug, Default)]
pub(crate) struct LogState {
    pub(crate) queues: BTreeMap<QueueId, LogQueueState>,
    pub(crate) names: HashMap<String, QueueId>,
    /// Id of the next queue that is declared.
    pub(crate) next_queue: u32,
    pub(crate) segments: SegmentList,
    /// Sequence of the next record that has one.
    pub(crate) next_sequence: Sequence,
    /// The failure after which nothing is written or given.
    pub(crate) failure: Option<LogError>,
    /// True if the log was closed.
    pub(crate) is_closed: bool,
    /// Bytes of the events that queues have finished since the log was opened.
    pub(crate) finished_bytes: u64,
    /// Segment that stragglers are being gathered in, which must not be freed.
    pub(crate) gathered: Option<u64>,
    /// Most events and bytes that a queue reads ahead.
    pub(crate) read_ahead: ReadAhead,
    /// Those who wait for events and are to be woken, once the lock of the state is free.
    pub(crate) woken: Vec<Arc<Notify>>,
}

/// Limits of what a queue holds of the events that come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadAhead {
    /// Most events.
    pub events: usize,
    /// Bytes after which no more events are read.
    pub bytes: usize,
}

impl Default for ReadAhead {
    fn default() -> Self {
        Self {
            events: 512,
            bytes: 256 << 10,
        }
    }
}

/// Times of both clocks at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ClockReading {
    pub(crate) wall: EpochMillis,
    pub(crate) steady: Duration,
}

impl ClockReading {
    /// Time on the steady clock at which a deferral is due that was recorded at one time of the
    /// wall clock for another. It never waits for longer than it was meant to.
    pub(crate) fn due(self, recorded_at: EpochMillis, due: EpochMillis) -> Duration {
        let wait = due.saturating_sub(recorded_at);
        let left = due.saturating_sub(self.wall).min(wait);
        self.steady.saturating_add(Duration::from_millis(left))
    }
}

impl LogState {
    /// Fails if the log takes nothing any more.
    pub(crate) fn ensure_sound(&self) -> Result<(), LogError> {
        match &self.failure {
            Some(failure) => Err(failure.clone()),
            None => Ok(()),
        }
    }

    /// Fails if nothing is to be given, or taken, any more.
    fn ensure_open(&self) -> Result<(), LogError> {
        self.ensure_sound()?;
        if self.is_closed {
            return Err(LogError::Closed);
        }
        Ok(())
    }

    /// Wakes all who wait for events, to tell them that none will come.
    pub(crate) fn wake_all(&self) {
        for queue in self.queues.values() {
            queue.wake.notify_waiters();
        }
    }

    /// Takes the next events of a queue, or says what is in the way.
    pub(crate) fn take(
        &mut self,
        queue: QueueId,
        most: usize,
        now: Duration,
    ) -> Result<TakeStep, LogError> {
        self.ensure_open()?;
        let log_end = self.next_sequence;
        let step = self.queue_mut(queue)?.step(most, now, log_end);
        if let TakeStep::Taken(events, again) = &step {
            for event in events.iter().skip(*again) {
                self.segments.pin(event.sequence);
            }
        }
        Ok(step)
    }

    /// Says that the end of events in flight is to be written: of all of them, or none.
    pub(crate) fn begin_settling(
        &mut self,
        queue: QueueId,
        events: &[Sequence],
    ) -> Result<(), LogError> {
        self.ensure_open()?;
        for (place, event) in events.iter().enumerate() {
            let moved = self.move_in_flight(queue, *event, EventPlace::Settling);
            if moved.is_err() {
                self.put_back(queue, events.get(..place).unwrap_or_default());
                return moved;
            }
        }
        Ok(())
    }

    /// Gives an event in flight back, so that it is taken again.
    pub(crate) fn release(&mut self, queue: QueueId, event: Sequence) -> Result<(), LogError> {
        self.move_in_flight(queue, event, EventPlace::Waiting)
    }

    fn move_in_flight(
        &mut self,
        id: QueueId,
        event: Sequence,
        place: EventPlace,
    ) -> Result<(), LogError> {
        let queue = self.queue_mut(id)?;
        let before = queue.unfinished.get(&event).map(|it| it.place);
        if before != Some(EventPlace::InFlight) {
            return Err(LogError::NotInFlight {
                queue: id,
                sequence: event,
            });
        }
        queue.enter_place(event, place);
        if place == EventPlace::Waiting {
            queue.wake.notify_waiters();
        }
        Ok(())
    }

    /// Puts events back in flight whose end could not be written.
    pub(crate) fn put_back(&mut self, queue: QueueId, events: &[Sequence]) {
        let Some(queue) = self.queues.get_mut(&queue) else {
            return;
        };
        for event in events {
            let place = queue.unfinished.get(event).map(|it| it.place);
            if place == Some(EventPlace::Settling) {
                queue.enter_place(*event, EventPlace::InFlight);
            }
        }
    }

    pub(crate) fn queue_mut(&mut self, queue: QueueId) -> Result<&mut LogQueueState, LogError> {
        self.queues
            .get_mut(&queue)
            .ok_or(LogError::UnknownQueue(queue))
    }

    /// The lowest sequence that some queue has not taken.
    pub(crate) fn lowest_taken(&self) -> Sequence {
        let each = self.queues.values();
        each.map(|queue| queue.taken(self.next_sequence))
            .min()
            .unwrap_or(self.next_sequence)
    }

    /// Segments that nothing needs: no queue has to read in them, and what they hold is not to be
    /// retained since `retained_from`.
    pub(crate) fn unneeded(&mut self, retained_from: EpochMillis) -> Vec<u64> {
        if self.segments.len() < 2 {
            return Vec::new();
        }
        let log_end = self.next_sequence;
        let queues = self.queues.values_mut();
        queues.for_each(|queue| queue.skip_unwanted(log_end));
        let taken = self.lowest_taken();
        let is_unneeded = |(segment, next): &(&SegmentState, Option<Sequence>)| {
            let is_read = next.is_some_and(|next| next <= taken);
            let is_empty = *next == Some(segment.file.first);
            let is_old = segment.newest == 0 || segment.newest < retained_from;
            segment.pins == 0
                && (is_read || segment.is_dead)
                && (is_old || is_empty)
                && self.gathered != Some(segment.file.id)
        };
        let each = self.segments.with_ends().filter(is_unneeded);
        each.map(|(segment, _)| segment.file.id).collect()
    }

    /// True if some queue needs a record, or it is not to be given up yet.
    pub(crate) fn needs(&self, record: &LogRecord, retained_from: EpochMillis) -> bool {
        let (source, sequence) = match record {
            LogRecord::Event(event) => {
                let mut runs = event.queues.runs();
                let mut each = runs.by_ref().flat_map(|(first, last)| {
                    let range = QueueId(first)..=QueueId(last);
                    self.queues.range(range)
                });
                let log_end = self.next_sequence;
                return event.received_at >= retained_from
                    || each.any(|(_, queue)| queue.needs(event.sequence, log_end))
                    || self.is_in_range(event.sequence);
            }
            LogRecord::Deferred(deferred) => (deferred.source, deferred.sequence),
            LogRecord::Parked(parked) => (parked.source, parked.sequence),
            _ => return false,
        };
        let queue = self.queues.get(&source.queue);
        let event = queue.and_then(|queue| queue.unfinished.get(&source.event));
        event.is_some_and(|event| event.progress.record() == Some(sequence))
    }

    /// True if a queue needs an event that does not name it: the event is in its range, or was taken
    /// before the range was cut.
    fn is_in_range(&self, event: Sequence) -> bool {
        let mut queues = self.queues.values();
        queues.any(|it| {
            it.unfinished.contains_key(&event)
                || it.range.contains(event) && it.needs(event, self.next_sequence)
        })
    }

    /// The next segment in which stragglers should be looked for: the files hold far more than what
    /// queues need, and much has been finished since it was last looked at.
    pub(crate) fn straggling(&self, retained_from: EpochMillis) -> Option<u64> {
        let written: u64 = self.segments.iter().map(|it| it.end).sum();
        let active = self.segments.iter().next_back().map_or(0, |it| it.size);
        let queues = self.queues.values();
        let needed = queues.fold(0_u64, |sum, queue| {
            sum.saturating_add(queue.bytes)
                .saturating_add(queue.parked_bytes)
        });
        if written < needed.saturating_mul(2).saturating_add(active * 2) {
            return None;
        }
        let is_due = |segment: &&SegmentState| {
            let finished = segment.checked.map(|at| self.finished_bytes - at);
            !segment.is_dead
                && segment.newest < retained_from
                && finished.is_none_or(|bytes| bytes >= segment.end / 2)
        };
        let older = self.segments.len().saturating_sub(1);
        let segment = self.segments.iter().take(older).find(is_due)?;
        Some(segment.file.id)
    }

    /// All that is known, for the head of the next segment.
    pub(crate) fn checkpoint(&self) -> LogCheckpoint {
        let queues = self.queues.iter();
        LogCheckpoint {
            next_sequence: self.next_sequence,
            next_queue: self.next_queue,
            segments: self.segments.iter().map(SegmentState::entry).collect(),
            queues: queues
                .map(|(id, queue)| queue.entry(*id, self.next_sequence))
                .collect(),
        }
    }

    /// Takes in the queues of a checkpoint. [`LogState::pin_all`] has to follow when all segments
    /// are known.
    pub(crate) fn restore(&mut self, checkpoint: LogCheckpoint, now: ClockReading) {
        self.next_sequence = checkpoint.next_sequence;
        self.next_queue = checkpoint.next_queue;
        for entry in checkpoint.queues {
            self.restore_queue(entry, now);
        }
    }

    /// Counts anew which segments the unfinished events of all queues need.
    pub(crate) fn pin_all(&mut self) {
        self.segments.unpin_all();
        for queue in self.queues.values() {
            for (sequence, event) in &queue.unfinished {
                self.segments.pin(*sequence);
                if let Some(record) = event.progress.record() {
                    self.segments.pin(record);
                }
            }
        }
    }

    fn restore_queue(&mut self, entry: QueueEntry, now: ClockReading) {
        let mut queue = LogQueueState::new(entry.name.clone(), entry.taken);
        queue.is_active = entry.is_active;
        queue.range = entry.range;
        queue.set_read_to(entry.taken, self.next_sequence);
        queue.depth = entry.depth;
        queue.bytes = entry.bytes;
        for (first, last) in entry.finished {
            queue.finished.insert(first, last);
        }
        for each in entry.unfinished {
            restore_unfinished(&mut queue, each, now);
        }
        self.names.insert(entry.name, entry.id);
        self.queues.insert(entry.id, queue);
    }
}

fn restore_unfinished(queue: &mut LogQueueState, entry: UnfinishedEntry, now: ClockReading) {
    let place = match entry.progress {
        EventProgress::Fresh => EventPlace::Waiting,
        EventProgress::Deferred {
            recorded_at, due, ..
        } => EventPlace::Due(now.due(recorded_at, due)),
        EventProgress::Parked { .. } => EventPlace::Parked,
    };
    let event = UnfinishedEvent {
        received_at: entry.received_at,
        bytes: entry.bytes,
        progress: entry.progress,
        place: EventPlace::Nowhere,
    };
    queue.unfinished.insert(entry.event, event);
    queue.enter_place(entry.event, place);
}
