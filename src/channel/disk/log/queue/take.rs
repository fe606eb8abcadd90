//! What a queue gives next, and what has to be read for it.

use std::time::Duration;

use bytes::Bytes;

use super::{BufferedEvent, EventPlace, LogQueueState, ReadHint, UnfinishedEvent};
use crate::channel::disk::log::Sequence;
use crate::channel::disk::log::clock::EpochMillis;
use crate::channel::disk::log::format::checkpoint::EventProgress;
use crate::channel::disk::log::format::span::SequenceSpan;
use crate::channel::disk::log::queue::LoadedEvent;

/// Most events that are read again in one call.
const MOST_LOADS: usize = 256;

/// An event that was taken from a queue. It is in flight until it is settled, deferred, parked or
/// released, or the log is opened anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenEvent {
    /// Its sequence in the log.
    pub sequence: Sequence,
    /// Time at which it was written.
    pub received_at: EpochMillis,
    /// The event, as it was published.
    pub event: Bytes,
    /// Stage of the delivery that was recorded last; 0 if none was.
    pub stage: u8,
    /// Attempts that were recorded last.
    pub attempts: u32,
    /// What was recorded with the stage: an encoded reply, or dead letter event.
    pub body: Option<Bytes>,
}

/// What a queue can do now for one who wants events.
#[derive(Debug)]
pub(crate) enum TakeStep {
    /// Events, and the number of those among them that were taken before.
    Taken(Vec<TakenEvent>, usize),
    /// Something has to be read first.
    Fill(FillPlan),
    /// There is nothing, until the queue is woken, or this time on the steady clock has come.
    Wait(Option<Duration>),
    /// The queue was retired, and is empty.
    Ended,
}

/// What is to be read for a queue.
#[derive(Debug)]
pub(crate) struct FillPlan {
    /// Events to read again, each with its record of progress.
    pub(crate) loads: Vec<(Sequence, Option<Sequence>)>,
    /// Where new events are to be read, if they are.
    pub(crate) cursor: Option<CursorPlan>,
}

/// Where new events are to be read, and which of them the queue wants.
#[derive(Clone, Debug)]
pub(crate) struct CursorPlan {
    /// Sequence from which they are to be read.
    pub(crate) from: Sequence,
    /// Where that may be.
    pub(crate) hint: Option<ReadHint>,
    /// Sequences of which the queue gets every event.
    pub(crate) range: SequenceSpan,
    /// Sequence behind which nothing is wanted.
    pub(crate) until: Sequence,
}

/// What was read from the cursor on.
#[derive(Debug)]
pub(crate) struct CursorRead {
    pub(crate) events: Vec<BufferedEvent>,
    /// Sequence of what comes after what was read.
    pub(crate) read_to: Sequence,
    pub(crate) hint: Option<ReadHint>,
}

impl LogQueueState {
    /// Takes up to `most` events, or says what is in the way.
    pub(crate) fn step(&mut self, most: usize, now: Duration, log_end: Sequence) -> TakeStep {
        self.wake_due(now);
        let room = self.window_room().min(most);
        if room == 0 {
            return TakeStep::Wait(None);
        }
        if self.needs_loads() && !self.is_filling {
            return TakeStep::Fill(self.plan(room));
        }
        let mut taken = self.take_loaded(room);
        let again = taken.len();
        // Events that were taken before come before those that were not.
        let is_again = !self.waiting.is_empty() || !self.loaded.is_empty() || self.loading > 0;
        while taken.len() < room && !is_again && self.gives_new() {
            match self.pop_buffered() {
                Some(event) => taken.push(self.start(event)),
                None => break,
            }
        }
        if !taken.is_empty() {
            self.finished.remove_below(self.taken(log_end));
            return TakeStep::Taken(taken, again);
        }
        if self.needs_reading() && !self.is_filling {
            return TakeStep::Fill(self.plan(room));
        }
        self.settle_depth();
        if !self.is_active && self.depth == 0 {
            return TakeStep::Ended;
        }
        TakeStep::Wait(self.due.first().map(|(time, _)| *time))
    }

    /// Number of events that may be in flight besides those that are.
    fn window_room(&self) -> usize {
        let window = match self.options.is_ordered {
            true => 1,
            false => self.options.window.max(1),
        };
        window.saturating_sub(self.in_flight)
    }

    /// True if whoever takes from the queue may be waiting for an event to end, not for one to come.
    pub(crate) fn is_held_back(&self) -> bool {
        self.options.is_ordered || !self.is_active || self.window_room() == 0 || !self.gives_new()
    }

    fn wake_due(&mut self, now: Duration) {
        while let Some((time, sequence)) = self.due.first().copied()
            && time <= now
        {
            self.enter_place(sequence, EventPlace::Waiting);
        }
    }

    /// True if an event that nobody has taken yet may be given.
    fn gives_new(&self) -> bool {
        let is_in_turn = !self.options.is_ordered || self.unfinished.len() == self.parked;
        is_in_turn
            && self.deferred() < self.options.max_deferred.max(1)
            && self.parked < self.options.max_parked.max(1)
    }

    fn needs_reading(&self) -> bool {
        let needs_new = self.buffer.is_empty() && !self.is_at_end && self.gives_new();
        needs_new || self.needs_loads()
    }

    /// True if an event has to be read again: the next one of an ordered queue may come before
    /// those that were read.
    fn needs_loads(&self) -> bool {
        let Some(waiting) = self.waiting.first() else {
            return false;
        };
        match self.loaded.first_key_value() {
            Some((loaded, _)) => self.options.is_ordered && waiting < loaded,
            None => true,
        }
    }

    /// First event of an ordered queue that is not parked.
    fn is_first(&self, sequence: Sequence) -> bool {
        let mut before = self.unfinished.range(..sequence);
        before.all(|(_, event)| event.place == EventPlace::Parked)
    }

    fn take_loaded(&mut self, room: usize) -> Vec<TakenEvent> {
        let mut taken = Vec::new();
        while taken.len() < room
            && let Some(sequence) = self.loaded.first_key_value().map(|(first, _)| *first)
        {
            if self.options.is_ordered && !self.is_first(sequence) {
                break;
            }
            let loaded = self.loaded.remove(&sequence);
            self.enter_place(sequence, EventPlace::InFlight);
            let received_at = self.unfinished.get(&sequence).map(|it| it.received_at);
            let (Some(loaded), Some(received_at)) = (loaded, received_at) else {
                continue;
            };
            let deferred = loaded.deferred;
            taken.push(TakenEvent {
                sequence,
                received_at,
                event: loaded.body,
                stage: deferred.as_ref().map_or(0, |it| it.stage),
                attempts: deferred.as_ref().map_or(0, |it| it.attempts),
                body: deferred.and_then(|it| it.body),
            });
        }
        taken
    }

    /// Puts an event that was in the buffer in flight.
    fn start(&mut self, event: BufferedEvent) -> TakenEvent {
        let unfinished = UnfinishedEvent {
            received_at: event.received_at,
            bytes: u32::try_from(event.body.len()).unwrap_or(u32::MAX),
            progress: EventProgress::Fresh,
            place: EventPlace::Nowhere,
        };
        self.unfinished.insert(event.sequence, unfinished);
        self.enter_place(event.sequence, EventPlace::InFlight);
        TakenEvent {
            sequence: event.sequence,
            received_at: event.received_at,
            event: event.body,
            stage: 0,
            attempts: 0,
            body: None,
        }
    }

    fn plan(&mut self, room: usize) -> FillPlan {
        self.is_filling = true;
        let most = room.min(MOST_LOADS);
        let sequences: Vec<Sequence> = self.waiting.iter().take(most).copied().collect();
        let mut loads = Vec::new();
        for sequence in sequences {
            self.enter_place(sequence, EventPlace::Loading);
            let event = self.unfinished.get(&sequence);
            let record = event.and_then(|event| event.progress.record());
            loads.push((sequence, record));
        }
        let reads_new = self.buffer.is_empty() && !self.is_at_end && self.gives_new();
        if reads_new && let Some(end) = self.finished.end_of(self.read_to) {
            self.read_to = end.saturating_add(1);
            self.hint = None;
        }
        let cursor = reads_new.then(|| CursorPlan {
            from: self.read_to,
            hint: self.hint.clone(),
            range: self.range,
            until: if self.is_range_alone() {
                self.range.until
            } else {
                Sequence::MAX
            },
        });
        FillPlan { loads, cursor }
    }

    /// Takes in what was read. An event that could not be read waits on.
    pub(crate) fn fill(
        &mut self,
        loads: Vec<(Sequence, Option<LoadedEvent>)>,
        cursor: Option<CursorRead>,
        log_end: Sequence,
    ) {
        self.is_filling = false;
        for (sequence, loaded) in loads {
            let place = self.unfinished.get(&sequence).map(|event| event.place);
            if place != Some(EventPlace::Loading) {
                continue;
            }
            match loaded {
                Some(loaded) => {
                    self.loaded.insert(sequence, loaded);
                    self.enter_place(sequence, EventPlace::Loaded);
                }
                None => self.enter_place(sequence, EventPlace::Waiting),
            }
        }
        if let Some(read) = cursor {
            for event in read.events {
                // The range may have been cut while it was read.
                let is_cut = self.is_range_alone() && event.sequence >= self.range.until;
                let is_known = is_cut
                    || self.finished.contains(event.sequence)
                    || self.unfinished.contains_key(&event.sequence);
                if !is_known {
                    self.push_buffered(event);
                }
            }
            self.hint = read.hint;
            self.set_read_to(read.read_to, log_end);
        }
        self.wake.notify_waiters();
    }
}
