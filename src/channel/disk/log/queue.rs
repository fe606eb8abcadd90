//! A queue: a cursor into the log, and the events before it that are not finished.

pub(crate) mod take;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::channel::disk::log::Sequence;
use crate::channel::disk::log::clock::EpochMillis;
use crate::channel::disk::log::format::checkpoint::{EventProgress, QueueEntry, UnfinishedEntry};
use crate::channel::disk::log::format::record::DeferredRecord;
use crate::channel::disk::log::format::span::SequenceSpan;
use crate::channel::disk::log::ranges::SequenceRanges;
use crate::channel::disk::log::segment::SegmentFile;

/// How a queue gives its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueOptions {
    /// True if the next event is given when the one before has ended.
    pub is_ordered: bool,
    /// Most events that may be in flight at once.
    pub window: usize,
    /// Most events that may wait for another attempt before no new ones are given.
    pub max_deferred: usize,
    /// Most events that may be parked before no new ones are given.
    pub max_parked: usize,
}

impl Default for QueueOptions {
    /// An event that waits or is parked takes about 150 bytes of memory.
    fn default() -> Self {
        Self {
            is_ordered: false,
            window: 1000,
            max_deferred: 50_000,
            max_parked: 100_000,
        }
    }
}

/// Where an unfinished event of a queue is now. It is not recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventPlace {
    /// Somebody has taken it.
    InFlight,
    /// Its end is being written.
    Settling,
    /// It can be given, and has to be read first.
    Waiting,
    /// It has just become known, and is in no place yet.
    Nowhere,
    /// It is being read.
    Loading,
    /// It has been read.
    Loaded,
    /// It waits until then, on the steady clock.
    Due(Duration),
    /// It is parked.
    Parked,
}

/// An event that was taken once, and is not finished.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnfinishedEvent {
    pub(crate) received_at: EpochMillis,
    pub(crate) bytes: u32,
    pub(crate) progress: EventProgress,
    pub(crate) place: EventPlace,
}

/// An event that was read ahead.
#[derive(Clone, Debug)]
pub(crate) struct BufferedEvent {
    pub(crate) sequence: Sequence,
    pub(crate) received_at: EpochMillis,
    pub(crate) body: Bytes,
}

/// An event that was read again, with the record of its progress.
#[derive(Clone, Debug)]
pub(crate) struct LoadedEvent {
    pub(crate) body: Bytes,
    pub(crate) deferred: Option<DeferredRecord>,
}

/// Place in a segment at which a scan finds what comes next.
#[derive(Clone, Debug)]
pub(crate) struct ReadHint {
    pub(crate) file: Arc<SegmentFile>,
    pub(crate) offset: u64,
}

/// State of a queue in memory.
#[derive(Debug)]
pub(crate) struct LogQueueState {
    pub(crate) name: String,
    pub(crate) is_active: bool,
    pub(crate) options: QueueOptions,
    /// Sequences of which the queue gets every event, besides those that name it.
    pub(crate) range: SequenceSpan,
    /// Events that were taken and are not finished.
    pub(crate) unfinished: BTreeMap<Sequence, UnfinishedEvent>,
    /// Those of them that are [`EventPlace::Waiting`].
    pub(crate) waiting: BTreeSet<Sequence>,
    /// Those of them that are [`EventPlace::Due`].
    pub(crate) due: BTreeSet<(Duration, Sequence)>,
    /// Those of them that are [`EventPlace::Loaded`].
    pub(crate) loaded: BTreeMap<Sequence, LoadedEvent>,
    /// Events that come next.
    pub(crate) buffer: VecDeque<BufferedEvent>,
    pub(crate) buffer_bytes: usize,
    /// True if nothing in the log comes after the buffer.
    pub(crate) is_at_end: bool,
    /// Sequence of what has to be read next, if the queue is not at the end.
    pub(crate) read_to: Sequence,
    pub(crate) hint: Option<ReadHint>,
    /// What is finished behind the cursor: known after a restart only.
    pub(crate) finished: SequenceRanges,
    pub(crate) is_filling: bool,
    pub(crate) in_flight: usize,
    /// Number of events that are [`EventPlace::Loading`].
    pub(crate) loading: usize,
    pub(crate) parked: usize,
    pub(crate) depth: u64,
    pub(crate) bytes: u64,
    /// Bytes of the events that are parked.
    pub(crate) parked_bytes: u64,
    pub(crate) wake: Arc<Notify>,
}

impl LogQueueState {
    /// Makes a queue that has read everything below `read_to`.
    pub(crate) fn new(name: String, read_to: Sequence) -> Self {
        Self {
            name,
            is_active: true,
            options: QueueOptions::default(),
            range: SequenceSpan::default(),
            unfinished: BTreeMap::new(),
            waiting: BTreeSet::new(),
            due: BTreeSet::new(),
            loaded: BTreeMap::new(),
            buffer: VecDeque::new(),
            buffer_bytes: 0,
            is_at_end: true,
            read_to,
            hint: None,
            finished: SequenceRanges::default(),
            is_filling: false,
            in_flight: 0,
            loading: 0,
            parked: 0,
            depth: 0,
            bytes: 0,
            parked_bytes: 0,
            wake: Arc::default(),
        }
    }

    /// Everything below has been taken or is not wanted. `log_end` is the next sequence of the log.
    pub(crate) fn taken(&self, log_end: Sequence) -> Sequence {
        match self.buffer.front() {
            Some(next) => next.sequence,
            None if self.is_at_end => log_end,
            None => self.read_to,
        }
    }

    /// True if the queue has not finished an event that it wanted.
    pub(crate) fn needs(&self, event: Sequence, log_end: Sequence) -> bool {
        let is_ahead = event >= self.taken(log_end) && !self.finished.contains(event);
        is_ahead || self.unfinished.contains_key(&event)
    }

    /// Goes to the end of the log if the queue wants nothing of what it has not read: a queue that
    /// nobody takes from must not keep what it does not want.
    pub(crate) fn skip_unwanted(&mut self, log_end: Sequence) {
        let taken = self.unfinished.len() - self.parked;
        let is_done = self.buffer.is_empty() && self.depth == taken as u64;
        if !self.is_at_end && !self.is_filling && is_done {
            self.is_at_end = true;
            self.hint = None;
            self.finished.remove_below(log_end);
        }
    }

    /// True if the queue gets the events of its range alone.
    pub(crate) fn is_range_alone(&self) -> bool {
        !self.is_active && self.range.until > 0
    }

    /// Notes how far the log has been read for the queue.
    pub(crate) fn set_read_to(&mut self, read_to: Sequence, log_end: Sequence) {
        self.read_to = read_to;
        self.is_at_end =
            read_to >= log_end || (self.is_range_alone() && read_to >= self.range.until);
    }

    /// Sets the depth right, which is too large while a range may hold fewer events than sequences.
    pub(crate) fn settle_depth(&mut self) {
        if self.range.until > 0 && self.is_at_end && self.buffer.is_empty() {
            self.depth = self.unfinished.len().saturating_sub(self.parked) as u64;
        }
    }

    /// Begins the range of a queue that has been declared just before.
    pub(crate) fn begin_range(&mut self, range: SequenceSpan, log_end: Sequence) {
        self.range = range;
        self.depth = self.depth.saturating_add(range.length());
        self.hint = None;
        self.set_read_to(range.from, log_end);
    }

    /// Gives up what comes in the range from `until` on.
    pub(crate) fn cut_range(&mut self, until: Sequence, log_end: Sequence) {
        self.range.until = until;
        while self
            .buffer
            .back()
            .is_some_and(|last| last.sequence >= until)
        {
            let last = self.buffer.pop_back();
            let bytes = last.map_or(0, |last| last.body.len());
            self.buffer_bytes = self.buffer_bytes.saturating_sub(bytes);
        }
        self.set_read_to(self.read_to, log_end);
        self.wake.notify_waiters();
    }

    /// Number of events that wait for another attempt.
    pub(crate) fn deferred(&self) -> usize {
        self.unfinished
            .len()
            .saturating_sub(self.in_flight)
            .saturating_sub(self.parked)
    }

    /// Removes an event from the place where it is, so that it can be put into another.
    pub(crate) fn leave_place(&mut self, sequence: Sequence) {
        let Some(event) = self.unfinished.get(&sequence) else {
            return;
        };
        match event.place {
            EventPlace::InFlight | EventPlace::Settling => {
                self.in_flight = self.in_flight.saturating_sub(1);
            }
            EventPlace::Waiting => {
                self.waiting.remove(&sequence);
            }
            EventPlace::Loaded => {
                self.loaded.remove(&sequence);
            }
            EventPlace::Due(time) => {
                self.due.remove(&(time, sequence));
            }
            EventPlace::Parked => {
                self.parked = self.parked.saturating_sub(1);
                self.parked_bytes = self.parked_bytes.saturating_sub(u64::from(event.bytes));
            }
            EventPlace::Nowhere => {}
            EventPlace::Loading => self.loading = self.loading.saturating_sub(1),
        }
    }

    /// Puts an event into another place.
    pub(crate) fn enter_place(&mut self, sequence: Sequence, place: EventPlace) {
        if place == EventPlace::Settling
            && let Some(event) = self.unfinished.get_mut(&sequence)
            && event.place == EventPlace::InFlight
        {
            // Both are in flight.
            event.place = place;
            return;
        }
        self.leave_place(sequence);
        let Some(event) = self.unfinished.get_mut(&sequence) else {
            return;
        };
        event.place = place;
        match place {
            EventPlace::InFlight | EventPlace::Settling => self.in_flight += 1,
            EventPlace::Waiting => {
                self.waiting.insert(sequence);
            }
            EventPlace::Due(time) => {
                self.due.insert((time, sequence));
            }
            EventPlace::Parked => {
                self.parked += 1;
                self.parked_bytes += u64::from(event.bytes);
            }
            EventPlace::Loading => self.loading += 1,
            EventPlace::Loaded | EventPlace::Nowhere => {}
        }
    }

    /// Forgets an event that is finished.
    pub(crate) fn remove_unfinished(&mut self, sequence: Sequence) -> Option<UnfinishedEvent> {
        self.leave_place(sequence);
        self.unfinished.remove(&sequence)
    }

    /// The events of ranges that are unfinished.
    pub(crate) fn unfinished_in(&self, ranges: &[(Sequence, Sequence)]) -> Vec<Sequence> {
        let each = ranges.iter().filter(|(first, last)| first <= last);
        each.flat_map(|(first, last)| self.unfinished.range(*first..=*last))
            .map(|(sequence, _)| *sequence)
            .collect()
    }

    pub(crate) fn push_buffered(&mut self, event: BufferedEvent) {
        self.buffer_bytes += event.body.len();
        self.buffer.push_back(event);
    }

    pub(crate) fn pop_buffered(&mut self) -> Option<BufferedEvent> {
        let event = self.buffer.pop_front()?;
        self.buffer_bytes = self.buffer_bytes.saturating_sub(event.body.len());
        Some(event)
    }

    pub(crate) fn entry(
        &self,
        id: crate::channel::disk::log::QueueId,
        log_end: Sequence,
    ) -> QueueEntry {
        let unfinished = self.unfinished.iter();
        QueueEntry {
            id,
            name: self.name.clone(),
            is_active: self.is_active,
            taken: self.taken(log_end),
            depth: self.depth,
            bytes: self.bytes,
            range: self.range,
            finished: self.finished.iter().collect(),
            unfinished: unfinished
                .map(|(sequence, event)| UnfinishedEntry {
                    event: *sequence,
                    received_at: event.received_at,
                    bytes: event.bytes,
                    progress: event.progress,
                })
                .collect(),
        }
    }
}
