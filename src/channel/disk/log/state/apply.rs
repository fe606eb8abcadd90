//! How each record changes the state.

use std::sync::Arc;

use super::{ClockReading, LogState};
use crate::channel::disk::log::format::checkpoint::EventProgress;
use crate::channel::disk::log::format::record::{
    DeferredRecord, EventRecord, LogRecord, ParkedRecord, QueueLeftover, SettledRecord, SourceEvent,
};
use crate::channel::disk::log::format::span::RangeRecord;
use crate::channel::disk::log::queue::{
    BufferedEvent, EventPlace, LogQueueState, ReadHint, UnfinishedEvent,
};
use crate::channel::disk::log::{QueueId, Sequence};

/// Whether a record has just been written, or is read after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordOrigin {
    /// It has just been written, so that what is in memory may be given to queues.
    Written,
    /// It was read: what it holds is read again when a queue comes to it.
    Recovered,
}

impl LogState {
    /// Changes the state as a record says that stands at an offset of the active segment.
    pub(crate) fn apply(
        &mut self,
        record: LogRecord,
        offset: u64,
        origin: RecordOrigin,
        now: ClockReading,
    ) {
        if let Some(sequence) = record.sequence() {
            self.next_sequence = sequence.saturating_add(1);
        }
        match record {
            LogRecord::Event(event) => self.apply_event(&event, offset, origin),
            LogRecord::Settled(settled) => self.apply_settled(&settled),
            LogRecord::Deferred(deferred) => self.apply_deferred(&deferred, now),
            LogRecord::Parked(parked) => self.apply_parked(&parked),
            LogRecord::Replayed(queue, ranges) => self.apply_replayed(queue, &ranges),
            LogRecord::Discarded(queue, ranges) => self.apply_discarded(queue, &ranges),
            LogRecord::Declared(queue, name) => self.apply_declared(queue, name),
            LogRecord::Retired { queue, leftover } => self.apply_retired(queue, leftover),
            LogRecord::Freed(ranges) => self.apply_freed(&ranges),
            LogRecord::Ranged(ranged) => self.apply_ranged(&ranged),
            LogRecord::Cut(cut) => self.apply_cut(&cut),
            // It says what is known already.
            LogRecord::Checkpoint(_) => {}
        }
        if origin == RecordOrigin::Recovered {
            self.woken.clear();
        }
    }

    fn apply_event(&mut self, event: &EventRecord, offset: u64, origin: RecordOrigin) {
        let limits = self.read_ahead;
        let mut file = None;
        if let Some(segment) = self.segments.active_mut() {
            segment.count_event(event.received_at);
            file = Some(Arc::clone(&segment.file));
        }
        for (first, last) in event.queues.runs() {
            for (_, queue) in self.queues.range_mut(QueueId(first)..=QueueId(last)) {
                queue.depth = queue.depth.saturating_add(1);
                queue.bytes = queue.bytes.saturating_add(event.body.len() as u64);
                if !queue.is_at_end {
                    continue;
                }
                // Whoever waits for the next event waits at an empty buffer.
                if queue.buffer.is_empty() {
                    self.woken.push(Arc::clone(&queue.wake));
                }
                let has_room = queue.buffer.len() < limits.events
                    && queue.buffer_bytes + event.body.len() <= limits.bytes;
                if origin == RecordOrigin::Written && has_room {
                    queue.push_buffered(BufferedEvent {
                        sequence: event.sequence,
                        received_at: event.received_at,
                        body: event.body.clone(),
                    });
                } else {
                    queue.is_at_end = false;
                    queue.read_to = event.sequence;
                    // What is read after a restart may be carried into another segment.
                    let file = file.clone().filter(|_| origin == RecordOrigin::Written);
                    queue.hint = file.map(|file| ReadHint { file, offset });
                }
            }
        }
    }

    fn apply_settled(&mut self, settled: &SettledRecord) {
        let Some(queue) = self.queues.get_mut(&settled.queue) else {
            return;
        };
        let taken = queue.taken(self.next_sequence);
        if queue.is_held_back() {
            self.woken.push(Arc::clone(&queue.wake));
        }
        let mut unpinned = Vec::new();
        for sequence in queue.unfinished_in(&settled.ranges) {
            unpinned.push(sequence);
            let event = queue.remove_unfinished(sequence);
            unpinned.extend(event.and_then(|event| event.progress.record()));
        }
        for (first, last) in &settled.ranges {
            if *last >= taken {
                queue.finished.insert((*first).max(taken), *last);
            }
        }
        queue.depth = queue.depth.saturating_sub(settled.count);
        queue.bytes = queue.bytes.saturating_sub(settled.bytes);
        self.finished_bytes = self.finished_bytes.saturating_add(settled.bytes);
        for sequence in unpinned {
            self.segments.unpin(sequence);
        }
    }

    fn apply_deferred(&mut self, deferred: &DeferredRecord, now: ClockReading) {
        let progress = EventProgress::Deferred {
            record: deferred.sequence,
            recorded_at: deferred.recorded_at,
            due: deferred.due,
        };
        let place = EventPlace::Due(now.due(deferred.recorded_at, deferred.due));
        self.apply_progress(&deferred.source, progress, place);
    }

    fn apply_parked(&mut self, parked: &ParkedRecord) {
        let progress = EventProgress::Parked {
            record: parked.sequence,
        };
        self.apply_progress(&parked.source, progress, EventPlace::Parked);
        if let Some(queue) = self.queues.get_mut(&parked.source.queue) {
            queue.depth = queue.depth.saturating_sub(1);
            queue.bytes = queue.bytes.saturating_sub(u64::from(parked.source.bytes));
        }
    }

    fn apply_progress(&mut self, source: &SourceEvent, progress: EventProgress, place: EventPlace) {
        let Some(queue) = self.queues.get_mut(&source.queue) else {
            return;
        };
        let sequence = source.event;
        let is_new = !queue.unfinished.contains_key(&sequence);
        let event = queue.unfinished.entry(sequence).or_insert(UnfinishedEvent {
            received_at: source.received_at,
            bytes: source.bytes,
            progress: EventProgress::Fresh,
            place: EventPlace::Nowhere,
        });
        let before = std::mem::replace(&mut event.progress, progress);
        queue.enter_place(sequence, place);
        queue.wake.notify_waiters();
        // An event that was taken is pinned already.
        if is_new {
            self.segments.pin(sequence);
        }
        if let Some(record) = before.record() {
            self.segments.unpin(record);
        }
        if let Some(record) = progress.record() {
            self.segments.pin(record);
        }
    }

    fn apply_replayed(&mut self, queue: QueueId, ranges: &[(Sequence, Sequence)]) {
        let Some(queue) = self.queues.get_mut(&queue) else {
            return;
        };
        let mut unpinned = Vec::new();
        for sequence in parked_in(queue, ranges) {
            queue.enter_place(sequence, EventPlace::Waiting);
            if let Some(event) = queue.unfinished.get_mut(&sequence) {
                unpinned.extend(event.progress.record());
                event.progress = EventProgress::Fresh;
                queue.depth = queue.depth.saturating_add(1);
                queue.bytes = queue.bytes.saturating_add(u64::from(event.bytes));
            }
        }
        queue.wake.notify_waiters();
        for sequence in unpinned {
            self.segments.unpin(sequence);
        }
    }

    fn apply_discarded(&mut self, queue: QueueId, ranges: &[(Sequence, Sequence)]) {
        let Some(queue) = self.queues.get_mut(&queue) else {
            return;
        };
        let taken = queue.taken(self.next_sequence);
        let mut unpinned = Vec::new();
        for sequence in parked_in(queue, ranges) {
            unpinned.push(sequence);
            let event = queue.remove_unfinished(sequence);
            unpinned.extend(event.and_then(|event| event.progress.record()));
            if sequence >= taken {
                queue.finished.insert(sequence, sequence);
            }
        }
        queue.wake.notify_waiters();
        for sequence in unpinned {
            self.segments.unpin(sequence);
        }
    }

    fn apply_declared(&mut self, id: QueueId, name: String) {
        let next = self.next_sequence;
        self.next_queue = self.next_queue.max(id.0.saturating_add(1));
        self.names.insert(name.clone(), id);
        let queue = self
            .queues
            .entry(id)
            .or_insert_with(|| LogQueueState::new(name, next));
        queue.is_active = true;
    }

    fn apply_retired(&mut self, id: QueueId, leftover: QueueLeftover) {
        let Some(queue) = self.queues.get_mut(&id) else {
            return;
        };
        queue.is_active = false;
        queue.wake.notify_waiters();
        if leftover == QueueLeftover::Kept {
            return;
        }
        if let Some(queue) = self.queues.remove(&id) {
            self.names.remove(&queue.name);
            for (sequence, event) in queue.unfinished {
                self.segments.unpin(sequence);
                if let Some(record) = event.progress.record() {
                    self.segments.unpin(record);
                }
            }
        }
    }

    fn apply_ranged(&mut self, ranged: &RangeRecord) {
        let log_end = self.next_sequence;
        if let Some(queue) = self.queues.get_mut(&ranged.queue) {
            queue.begin_range(ranged.range, log_end);
        }
    }

    fn apply_cut(&mut self, cut: &RangeRecord) {
        let log_end = self.next_sequence;
        if let Some(queue) = self.queues.get_mut(&cut.queue) {
            queue.depth = cut.events;
            queue.cut_range(cut.range.until, log_end);
        }
    }

    fn apply_freed(&mut self, ranges: &[(u64, u64)]) {
        let is_freed = |id: u64| {
            ranges
                .iter()
                .any(|(first, last)| (*first..=*last).contains(&id))
        };
        let ids: Vec<u64> = self.segments.iter().map(|it| it.file.id).collect();
        for id in ids.into_iter().filter(|id| is_freed(*id)) {
            self.segments.remove(id);
        }
    }
}

fn parked_in(queue: &LogQueueState, ranges: &[(Sequence, Sequence)]) -> Vec<Sequence> {
    let is_parked = |sequence: &Sequence| {
        let event = queue.unfinished.get(sequence);
        event.is_some_and(|event| event.place == EventPlace::Parked)
    };
    let mut sequences = queue.unfinished_in(ranges);
    sequences.retain(is_parked);
    sequences
}
