//! Turns operations into the records of one frame.

use std::collections::{BTreeMap, HashMap};

use super::operation::{CommitResult, Committed, EndedEvents, LogOperation, QueueRange};
use crate::channel::disk::log::clock::{EpochMillis, millis};
use crate::channel::disk::log::format::record::{
    DeferredRecord, EventRecord, LogRecord, ParkedRecord, QueueLeftover, SettledOutcome,
    SettledRecord, SourceEvent,
};
use crate::channel::disk::log::format::span::{RangeRecord, SequenceSpan};
use crate::channel::disk::log::queue::{EventPlace, LogQueueState};
use crate::channel::disk::log::state::LogState;
use crate::channel::disk::log::{LogError, QueueId, Sequence};

/// The records of a frame, and the result of each operation once they are on the disk.
#[derive(Debug, Default)]
pub(crate) struct PreparedFrame {
    pub(crate) records: Vec<LogRecord>,
    pub(crate) results: Vec<CommitResult>,
}

/// Collects the records of operations.
pub(crate) struct FrameBuilder<'a> {
    state: &'a LogState,
    wall: EpochMillis,
    /// True if events are kept that no queue wants.
    pub(crate) retains: bool,
    next_sequence: Sequence,
    next_queue: u32,
    /// Queues that the frame declares.
    declared: HashMap<&'a str, QueueId>,
    /// Queues that the frame retires.
    retired: HashMap<QueueId, QueueLeftover>,
    settled: BTreeMap<(QueueId, SettledOutcome), Vec<Sequence>>,
    frame: PreparedFrame,
}

impl<'a> FrameBuilder<'a> {
    pub(crate) fn new(state: &'a LogState, wall: EpochMillis) -> Self {
        Self {
            state,
            wall,
            retains: false,
            next_sequence: state.next_sequence,
            next_queue: state.next_queue,
            declared: HashMap::new(),
            retired: HashMap::new(),
            settled: BTreeMap::new(),
            frame: PreparedFrame::default(),
        }
    }

    pub(crate) fn add(&mut self, operation: &'a LogOperation) {
        let result = match operation {
            LogOperation::Publish(events) => {
                let first = self.next_sequence;
                let retains = self.retains;
                for event in events.iter().filter(|it| retains || !it.queues.is_empty()) {
                    let sequence = self.take_sequence();
                    self.frame.records.push(LogRecord::Event(EventRecord {
                        sequence,
                        received_at: self.wall,
                        queues: event.queues.clone(),
                        body: event.event.clone(),
                    }));
                }
                Ok(Committed::Published(first))
            }
            LogOperation::Settle(ended) => self.add_settled(ended),
            LogOperation::Defer { .. } | LogOperation::Park { .. } => self.add_progress(operation),
            LogOperation::Replay(queue, ranges) => self.add_replayed(*queue, ranges),
            LogOperation::Discard(queue, ranges) => self.add_discarded(*queue, ranges),
            LogOperation::Declare(name) => Ok(Committed::Declared(self.declare(name))),
            LogOperation::DeclareAs(id, name) => self.declare_as(*id, name),
            LogOperation::DeclareRange { name, range } => {
                Ok(Committed::Declared(self.declare_range(name, *range)))
            }
            LogOperation::Cut(queue) => self.cut(*queue),
            LogOperation::Retire { queue, leftover } => self.retire(*queue, *leftover),
        };
        self.frame.results.push(result);
    }

    /// Ends the frame with the settlements of all its operations.
    pub(crate) fn finish(mut self) -> PreparedFrame {
        for ((id, outcome), mut events) in std::mem::take(&mut self.settled) {
            let Some(queue) = self.state.queues.get(&id) else {
                continue;
            };
            events.sort_unstable();
            let taken = queue.taken(self.state.next_sequence);
            let bytes = events.iter().filter_map(|it| queue.unfinished.get(it));
            self.frame.records.push(LogRecord::Settled(SettledRecord {
                queue: id,
                outcome,
                count: events.len() as u64,
                bytes: bytes.map(|event| u64::from(event.bytes)).sum(),
                ranges: bridged_ranges(queue, &events, taken),
            }));
        }
        self.frame
    }

    fn take_sequence(&mut self) -> Sequence {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        sequence
    }

    /// The event of a queue whose end is to be written.
    fn source(&self, queue: QueueId, event: Sequence) -> Result<SourceEvent, LogError> {
        let state = self.state.queues.get(&queue);
        let state = state.ok_or(LogError::UnknownQueue(queue))?;
        let unfinished = state.unfinished.get(&event);
        let unfinished = unfinished.filter(|it| it.place == EventPlace::Settling);
        let unfinished = unfinished.ok_or(LogError::NotInFlight {
            queue,
            sequence: event,
        })?;
        Ok(SourceEvent {
            queue,
            event,
            received_at: unfinished.received_at,
            bytes: unfinished.bytes,
        })
    }

    fn add_settled(&mut self, ended: &EndedEvents) -> CommitResult {
        for event in &ended.events {
            self.source(ended.queue, *event)?;
        }
        let place = (ended.queue, ended.outcome);
        let settled = self.settled.entry(place).or_default();
        settled.extend_from_slice(&ended.events);
        Ok(Committed::Done)
    }

    fn add_progress(&mut self, operation: &LogOperation) -> CommitResult {
        let (queue, [event]) = operation.ended_events() else {
            return Ok(Committed::Done);
        };
        let event = *event;
        let source = self.source(queue, event)?;
        let sequence = self.take_sequence();
        let record = match operation {
            LogOperation::Defer { deferral, .. } => LogRecord::Deferred(DeferredRecord {
                sequence,
                source,
                stage: deferral.stage,
                attempts: deferral.attempts,
                recorded_at: self.wall,
                due: self.wall.saturating_add(millis(deferral.wait)),
                body: deferral.body.clone(),
            }),
            LogOperation::Park { parking, .. } => LogRecord::Parked(ParkedRecord {
                sequence,
                source,
                parked_at: self.wall,
                attempts: parking.attempts,
                code: parking.code,
                reason: parking.reason.clone(),
                destination: parking.destination.clone(),
            }),
            _ => return Ok(Committed::Done),
        };
        self.frame.records.push(record);
        Ok(Committed::Done)
    }

    fn add_replayed(&mut self, id: QueueId, ranges: &[(Sequence, Sequence)]) -> CommitResult {
        let (parked, count) = self.parked_ranges(id, ranges)?;
        if count > 0 {
            self.frame.records.push(LogRecord::Replayed(id, parked));
        }
        Ok(Committed::Changed(count))
    }

    fn add_discarded(&mut self, id: QueueId, ranges: &[(Sequence, Sequence)]) -> CommitResult {
        let (parked, count) = self.parked_ranges(id, ranges)?;
        if count > 0 {
            self.frame.records.push(LogRecord::Discarded(id, parked));
        }
        Ok(Committed::Changed(count))
    }

    /// Those events of ranges that are parked, and their number.
    fn parked_ranges(
        &self,
        id: QueueId,
        ranges: &[(Sequence, Sequence)],
    ) -> Result<(Vec<(Sequence, Sequence)>, u64), LogError> {
        let queue = self.state.queues.get(&id);
        let queue = queue.ok_or(LogError::UnknownQueue(id))?;
        let mut events = queue.unfinished_in(ranges);
        let is_parked = |event: &Sequence| {
            let event = queue.unfinished.get(event);
            event.is_some_and(|event| event.place == EventPlace::Parked)
        };
        events.retain(is_parked);
        let parked = crate::channel::disk::log::ranges::exact_ranges(&events);
        Ok((parked, events.len() as u64))
    }

    fn declare(&mut self, name: &'a str) -> QueueId {
        if let Some(id) = self.declared.get(name) {
            return *id;
        }
        let known = self.state.names.get(name).copied();
        let known = known.filter(|id| self.retired.get(id) != Some(&QueueLeftover::GivenUp));
        let is_active = known
            .filter(|id| !self.retired.contains_key(id))
            .and_then(|id| self.state.queues.get(&id))
            .is_some_and(|queue| queue.is_active);
        let id = known.unwrap_or_else(|| {
            let id = QueueId(self.next_queue);
            self.next_queue = self.next_queue.saturating_add(1);
            id
        });
        if !is_active {
            let record = LogRecord::Declared(id, name.to_owned());
            self.frame.records.push(record);
        }
        self.declared.insert(name, id);
        id
    }

    /// Declares a queue with an id that no other has.
    fn declare_as(&mut self, id: QueueId, name: &'a str) -> CommitResult {
        self.next_queue = self.next_queue.max(id.0.saturating_add(1));
        self.declared.insert(name, id);
        let record = LogRecord::Declared(id, name.to_owned());
        self.frame.records.push(record);
        Ok(Committed::Declared(id))
    }

    /// Declares a queue with a range, unless it is there: it goes on then.
    fn declare_range(&mut self, name: &'a str, range: QueueRange) -> QueueId {
        let is_known = self.declared.contains_key(name) || self.state.names.contains_key(name);
        let id = match (is_known, range) {
            (true, QueueRange::Alone(_)) => self.state.names.get(name).copied(),
            _ => None,
        };
        let id = id.unwrap_or_else(|| self.declare(name));
        if is_known {
            return id;
        }
        let range_of = |from, until| SequenceSpan { from, until };
        let (range, is_alone) = match range {
            QueueRange::Alone(span) => (range_of(span.from, span.until), true),
            QueueRange::AndOn(from) => (range_of(from, self.next_sequence), false),
        };
        if is_alone {
            let leftover = QueueLeftover::Kept;
            let retired = LogRecord::Retired {
                queue: id,
                leftover,
            };
            self.frame.records.push(retired);
        }
        self.frame.records.push(LogRecord::Ranged(RangeRecord {
            queue: id,
            range,
            events: range.length(),
        }));
        id
    }

    /// Ends the range of a queue with what has been taken.
    fn cut(&mut self, id: QueueId) -> CommitResult {
        let queue = self.state.queues.get(&id);
        let queue = queue.ok_or(LogError::UnknownQueue(id))?;
        let taken = queue.taken(self.state.next_sequence);
        let until = taken.min(queue.range.until);
        let range = SequenceSpan {
            until,
            ..queue.range
        };
        let events = queue.unfinished.len().saturating_sub(queue.parked) as u64;
        self.frame.records.push(LogRecord::Cut(RangeRecord {
            queue: id,
            range,
            events,
        }));
        Ok(Committed::Cut(until))
    }

    fn retire(&mut self, queue: QueueId, leftover: QueueLeftover) -> CommitResult {
        if !self.state.queues.contains_key(&queue) {
            return Err(LogError::UnknownQueue(queue));
        }
        let was_deleted = self.retired.insert(queue, leftover) == Some(QueueLeftover::GivenUp);
        if was_deleted {
            return Err(LogError::UnknownQueue(queue));
        }
        self.declared.retain(|_, id| *id != queue);
        let record = LogRecord::Retired { queue, leftover };
        self.frame.records.push(record);
        Ok(Committed::Done)
    }
}

/// Ranges that hold the events and, between two of them, only what the queue does not want or has
/// finished: a queue that wants one event in ten has one range, too. Nothing is bridged that the
/// queue has not come to, since that may be wanted.
fn bridged_ranges(
    queue: &LogQueueState,
    events: &[Sequence],
    taken: Sequence,
) -> Vec<(Sequence, Sequence)> {
    let mut ranges: Vec<(Sequence, Sequence)> = Vec::new();
    for event in events.iter().copied() {
        match ranges.last_mut() {
            Some((_, last)) if event < taken && is_finished_between(queue, *last, event) => {
                *last = event;
            }
            _ => ranges.push((event, event)),
        }
    }
    ranges
}

fn is_finished_between(queue: &LogQueueState, last: Sequence, event: Sequence) -> bool {
    last + 1 >= event || queue.unfinished.range(last + 1..event).next().is_none()
}
