//! Reads events of a log again: each batch in one call that blocks.

pub(crate) mod history;
pub(crate) mod parked;

use std::path::Path;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::channel::disk::log::channel_log::{LogCore, LogQueueCounts, LogUsage};
use crate::channel::disk::log::clock::EpochMillis;
use crate::channel::disk::log::format::HEAD_BYTES;
use crate::channel::disk::log::format::record::LogRecord;
use crate::channel::disk::log::format::scanner::{RecordScanner, ScanFault};
use crate::channel::disk::log::queue::take::{CursorPlan, CursorRead, FillPlan};
use crate::channel::disk::log::queue::{BufferedEvent, LoadedEvent, ReadHint};
use crate::channel::disk::log::segment::{SegmentFile, SegmentState, SparseIndex};
use crate::channel::disk::log::state::LogState;
use crate::channel::disk::log::{LogError, QueueId, Sequence};

/// Bytes of records that are looked through in one call for events that a queue wants.
const MOST_SCANNED: u64 = 8 << 20;

/// Bytes that are read at once where one record is looked for.
const LOOKUP_CHUNK: usize = 16 << 10;

/// A segment as a reader needs it.
#[derive(Clone, Debug)]
pub(crate) struct SegmentView {
    pub(crate) file: Arc<SegmentFile>,
    pub(crate) end: u64,
    pub(crate) newest: EpochMillis,
    /// First sequence of the next segment, or next sequence of the log.
    pub(crate) next_first: Sequence,
}

impl LogState {
    /// The segments from the one on that holds a sequence.
    fn views_from(&self, sequence: Sequence) -> Vec<SegmentView> {
        let views = self.segments.with_ends();
        let views = views.filter(|(_, next)| next.is_none_or(|next| next > sequence));
        views
            .map(|(segment, next)| SegmentView {
                file: Arc::clone(&segment.file),
                end: segment.end,
                newest: segment.newest,
                next_first: next.unwrap_or(self.next_sequence),
            })
            .collect()
    }

    pub(crate) fn usage(&self) -> LogUsage {
        let segments = || self.segments.iter();
        LogUsage {
            segments: self.segments.len(),
            events: segments().map(|segment| segment.events).sum(),
            bytes: segments().map(|segment| segment.size).sum(),
            written: segments().map(|segment| segment.end).sum(),
        }
    }

    pub(crate) fn counts(&self, id: QueueId) -> Result<LogQueueCounts, LogError> {
        let queue = self.queues.get(&id).ok_or(LogError::UnknownQueue(id))?;
        let unread = || {
            let segment = self.segments.holding(queue.read_to)?;
            (!queue.is_at_end && segment.oldest > 0).then_some(segment.oldest)
        };
        let is_waiting = |event: &&crate::channel::disk::log::queue::UnfinishedEvent| {
            event.place != crate::channel::disk::log::queue::EventPlace::Parked
        };
        let oldest = queue.unfinished.values().find(is_waiting);
        let oldest = oldest.map(|event| event.received_at);
        let next = queue.buffer.front().map(|event| event.received_at);
        Ok(LogQueueCounts {
            depth: queue.depth,
            bytes: queue.bytes,
            in_flight: queue.in_flight,
            deferred: queue.deferred(),
            parked: queue.parked,
            oldest: oldest.or(next).or_else(unread).filter(|_| queue.depth > 0),
        })
    }
}

impl LogCore {
    /// Reads what a queue needs. Goes on if nobody waits for it any more.
    pub(crate) async fn fill_queue(
        self: &Arc<Self>,
        queue: QueueId,
        plan: FillPlan,
    ) -> Result<(), LogError> {
        let (sender, receiver) = oneshot::channel();
        self.submit(&self.lanes.reads, move |core| {
            let filled = core.fill(queue, plan);
            drop(core);
            // Nobody may be waiting any more.
            let _unheard = sender.send(filled);
        });
        receiver.await.map_err(|_dropped| LogError::Closed)?
    }

    fn fill(&self, id: QueueId, plan: FillPlan) -> Result<(), LogError> {
        let mut failure = None;
        let mut loads = Vec::with_capacity(plan.loads.len());
        for (event, record) in plan.loads {
            let loaded = self.load(event, record);
            let loaded = loaded.map_err(|error| failure.get_or_insert(error).clone());
            loads.push((event, loaded.ok()));
        }
        let cursor = plan.cursor.map(|plan| {
            let views = || self.state().views_from(plan.from);
            again_if_gone(views, |views| self.read_on(id, views, &plan))
        });
        let cursor = cursor.transpose();
        let cursor = cursor.map_err(|error| failure.get_or_insert(error).clone());
        let mut state = self.state();
        let log_end = state.next_sequence;
        if let Some(queue) = state.queues.get_mut(&id) {
            queue.fill(loads, cursor.ok().flatten(), log_end);
        }
        drop(state);
        match failure {
            // What a queue needs is gone, so that nothing can go on as it should.
            Some(damage @ LogError::Damaged(_)) => Err(self.fail(damage)),
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Reads an event again, with the record of its deferral.
    fn load(&self, event: Sequence, record: Option<Sequence>) -> Result<LoadedEvent, LogError> {
        let (path, found) = self.read_record(event)?;
        let LogRecord::Event(event_record) = found else {
            return Err(wrong_record(&path, event));
        };
        let deferred = match record.map(|record| self.read_record(record)).transpose()? {
            None => None,
            Some((_, LogRecord::Deferred(deferred))) => Some(deferred),
            Some((path, _)) => return Err(wrong_record(&path, event)),
        };
        Ok(LoadedEvent {
            // The chunk that it was read with is not kept for it.
            body: bytes::Bytes::copy_from_slice(&event_record.body),
            deferred: deferred.map(|mut deferred| {
                let body = deferred.body.as_deref();
                deferred.body = body.map(bytes::Bytes::copy_from_slice);
                deferred
            }),
        })
    }

    /// Reads the record of a sequence; again, if its file was replaced before it was opened.
    pub(crate) fn read_record(
        &self,
        sequence: Sequence,
    ) -> Result<(Arc<Path>, LogRecord), LogError> {
        let mut before: Option<Arc<SegmentFile>> = None;
        loop {
            let segment = self.state().segments.holding(sequence).cloned();
            let Some(segment) = segment else {
                let what = format!("no segment holds sequence {sequence}");
                return Err(LogError::damaged(&self.directory, 0, what));
            };
            let found = self.find_record(&segment, sequence);
            let is_other = before.is_none_or(|before| !Arc::ptr_eq(&before, &segment.file));
            match found {
                Err(_replaced) if segment.file.is_gone() && is_other => {}
                Ok(record) => return Ok((Arc::clone(&segment.file.path), record)),
                Err(error) => return Err(error),
            }
            before = Some(segment.file);
        }
    }

    fn find_record(
        &self,
        segment: &SegmentState,
        sequence: Sequence,
    ) -> Result<LogRecord, LogError> {
        let file = &segment.file;
        let index = match &segment.index {
            Some(index) => Arc::clone(index),
            None => self.index_segment(file, segment.end)?,
        };
        let from = index.floor(sequence);
        let scanner = file.scan(&*self.files, from, segment.end)?;
        let mut scanner = scanner.with_chunk(LOOKUP_CHUNK);
        let damaged = |fault: ScanFault| fault.into_damage(&file.path);
        while let Some((_, record)) = scanner.next_content().map_err(damaged)? {
            if record.sequence() == Some(sequence) {
                return Ok(record);
            }
        }
        let what = format!("sequence {sequence} is missing");
        Err(LogError::damaged(&file.path, segment.end, what))
    }

    /// Makes the index of a segment of an earlier process.
    fn index_segment(
        &self,
        file: &Arc<SegmentFile>,
        end: u64,
    ) -> Result<Arc<SparseIndex>, LogError> {
        let mut index = SparseIndex::default();
        let mut scanner = file.scan(&*self.files, HEAD_BYTES, end)?;
        let damaged = |fault: ScanFault| fault.into_damage(&file.path);
        while let Some((offset, record)) = scanner.next_content().map_err(damaged)? {
            if let Some(sequence) = record.sequence() {
                index.add(sequence, offset);
            }
        }
        let index = Arc::new(index);
        let mut state = self.state();
        if let Some(segment) = state.segments.get_mut(file.id)
            && segment.file.generation == file.generation
        {
            segment.index = Some(Arc::clone(&index));
        }
        Ok(index)
    }

    /// Reads the events that a queue wants from its cursor on.
    fn read_on(
        &self,
        queue: QueueId,
        views: &[SegmentView],
        plan: &CursorPlan,
    ) -> Result<CursorRead, LogError> {
        let limits = self.options.read_ahead;
        let mut read = CursorRead {
            events: Vec::new(),
            read_to: plan.from,
            hint: None,
        };
        let (mut bytes, mut passed) = (0, 0);
        for view in views {
            let mut scanner = self.cursor_scanner(view, plan.hint.as_ref())?;
            let damaged = |fault: ScanFault| fault.into_damage(&view.file.path);
            let begin = scanner.offset();
            loop {
                let is_full = read.events.len() >= limits.events || bytes >= limits.bytes;
                if is_full || passed + scanner.offset() - begin > MOST_SCANNED {
                    read.hint = Some(ReadHint {
                        file: Arc::clone(&view.file),
                        offset: scanner.offset(),
                    });
                    return Ok(read);
                }
                let Some((_, record)) = scanner.next_content().map_err(damaged)? else {
                    break;
                };
                let Some(sequence) = record.sequence().filter(|it| *it >= read.read_to) else {
                    continue;
                };
                if sequence >= plan.until {
                    read.read_to = plan.until;
                    return Ok(read);
                }
                read.read_to = sequence + 1;
                if let LogRecord::Event(event) = record
                    && (event.queues.contains(queue) || plan.range.contains(sequence))
                {
                    bytes += event.body.len();
                    read.events.push(BufferedEvent {
                        sequence,
                        received_at: event.received_at,
                        body: bytes::Bytes::copy_from_slice(&event.body),
                    });
                }
            }
            passed += scanner.offset() - begin;
            read.read_to = read.read_to.max(view.next_first);
        }
        Ok(read)
    }

    /// Scanner of a segment from where the cursor was, if that is known.
    fn cursor_scanner(
        &self,
        view: &SegmentView,
        hint: Option<&ReadHint>,
    ) -> Result<RecordScanner, LogError> {
        let same = |hint: &&ReadHint| Arc::ptr_eq(&hint.file, &view.file);
        let offset = hint.filter(same).map_or(HEAD_BYTES, |hint| hint.offset);
        view.file.scan(&*self.files, offset, view.end)
    }
}

/// Does a read on the segments as they are, and again if one was replaced before it was opened.
pub(crate) fn again_if_gone<T>(
    views: impl Fn() -> Vec<SegmentView>,
    read: impl Fn(&[SegmentView]) -> Result<T, LogError>,
) -> Result<T, LogError> {
    let mut seen = views();
    loop {
        let result = read(&seen);
        let is_gone = |views: &[SegmentView]| views.iter().any(|view| view.file.is_gone());
        if result.is_ok() || !is_gone(&seen) {
            return result;
        }
        seen = views();
        if is_gone(&seen) {
            return result;
        }
    }
}

fn wrong_record(path: &Path, sequence: Sequence) -> LogError {
    let what = format!("the record of sequence {sequence} is of another kind than it should be");
    LogError::damaged(path, 0, what)
}
