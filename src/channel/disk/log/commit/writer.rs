//! The writer of a log: it alone writes to the active segment, one frame after the other, and
//! writes none before the one before is on the disk.

use std::io;
use std::sync::Arc;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::operation::{CommitResult, FrameRoom, LogOperation, PendingOperation};
use super::prepare::{FrameBuilder, PreparedFrame};
use super::{CommitPace, reply};
use crate::channel::disk::log::LogError;
use crate::channel::disk::log::channel_log::LogCore;
use crate::channel::disk::log::files::{FilePlace, LogFile, write_fully};
use crate::channel::disk::log::format::record::{FrameHead, LogRecord};
use crate::channel::disk::log::mark::SegmentMark;
use crate::channel::disk::log::segment::SegmentFile;
use crate::channel::disk::log::state::apply::RecordOrigin;

/// Part of a segment that events leave to other records: a log whose disk is full can still be
/// emptied.
pub(crate) const RESERVED_PART: u64 = 32;

/// The writer's part of a log.
#[derive(Debug)]
pub(crate) struct LogWriter {
    pub(crate) nonce: u64,
    pub(crate) mark: SegmentMark,
    pub(crate) segment: Arc<SegmentFile>,
    pub(crate) file: Arc<dyn LogFile>,
    /// Offset at which the next frame begins.
    pub(crate) offset: u64,
    /// Size of the active segment.
    pub(crate) size: u64,
    /// Number of the next frame.
    pub(crate) frame: u64,
    /// Size that the next segment should have, and the time at which this one was begun.
    pub(crate) next_size: u64,
    pub(crate) begun: Instant,
    /// How the last frame with events went.
    pub(crate) pace: CommitPace,
    /// Kept from frame to frame, so that its memory is.
    pub(crate) buffer: Vec<u8>,
}

/// Those who wait for events of a frame that is on the disk. They need the lock of the state, so that
/// they are woken when it is free.
#[derive(Debug)]
#[must_use]
pub(crate) struct WokenTakers(Vec<Arc<Notify>>);

impl WokenTakers {
    pub(crate) fn wake(self) {
        self.0.iter().for_each(|taker| taker.notify_waiters());
    }
}

/// The operations of a frame, and who waits for each.
struct FrameBatch {
    operations: Vec<LogOperation>,
    replies: Vec<oneshot::Sender<CommitResult>>,
}

impl FrameBatch {
    fn new(batch: Vec<PendingOperation>) -> Self {
        let each = batch.into_iter();
        let (operations, replies) = each.map(|it| (it.operation, it.reply)).unzip();
        Self {
            operations,
            replies,
        }
    }

    fn room(&self) -> FrameRoom {
        let mut each = self.operations.iter();
        match each.any(LogOperation::is_publish) {
            true => FrameRoom::Events,
            false => FrameRoom::Ends,
        }
    }

    /// Takes out the operations that publish events.
    fn split_publishes(self) -> (Self, Self) {
        let each = self.operations.into_iter().zip(self.replies);
        let (publishes, rest): (Vec<_>, Vec<_>) = each.partition(|(it, _)| it.is_publish());
        let unzip = |each: Vec<(LogOperation, oneshot::Sender<CommitResult>)>| {
            let (operations, replies) = each.into_iter().unzip();
            Self {
                operations,
                replies,
            }
        };
        (unzip(publishes), unzip(rest))
    }

    fn fail(self, core: &LogCore, error: &LogError) {
        let mut state = core.state();
        for operation in &self.operations {
            let (queue, events) = operation.ended_events();
            state.put_back(queue, events);
        }
        drop(state);
        for sender in self.replies {
            reply(sender, Err(error.clone()));
        }
    }

    /// Replies, and wakes who waits for events, from one task of the runtime: they run there, and
    /// each word from this thread would wake the runtime by itself.
    fn succeed(self, core: &LogCore, results: Vec<CommitResult>, takers: WokenTakers) {
        let replies = self.replies;
        core.lanes.commits.hand_back(move || {
            for (sender, result) in replies.into_iter().zip(results) {
                reply(sender, result);
            }
            takers.wake();
        });
    }
}

impl LogWriter {
    /// Commits operations as one frame. If there is no room for their events, those are refused
    /// and the others are committed.
    pub(crate) fn commit(&mut self, core: &Arc<LogCore>, batch: Vec<PendingOperation>) {
        let batch = FrameBatch::new(batch);
        let Some(batch) = self.try_commit(core, batch) else {
            return;
        };
        let (publishes, rest) = batch.0.split_publishes();
        publishes.fail(core, &batch.1);
        if rest.operations.is_empty() {
            return;
        }
        if let Some((rest, error)) = self.try_commit(core, rest) {
            rest.fail(core, &error);
        }
    }

    /// Commits operations as one frame; gives them back if there is no room.
    fn try_commit(
        &mut self,
        core: &Arc<LogCore>,
        batch: FrameBatch,
    ) -> Option<(FrameBatch, LogError)> {
        let sound = core.state().ensure_sound();
        if let Err(error) = sound {
            batch.fail(core, &error);
            return None;
        }
        let prepared = prepare(core, &batch.operations);
        if prepared.records.is_empty() {
            batch.succeed(core, prepared.results, WokenTakers(Vec::new()));
            return None;
        }
        if let Err(error) = self.make_room(core, &prepared.records, batch.room()) {
            if matches!(error, LogError::Full { .. }) {
                return Some((batch, error));
            }
            batch.fail(core, &core.poison(&error.to_string()));
            return None;
        }
        let written = self.write_frame(core, prepared.records);
        if batch.room() == FrameRoom::Events {
            self.pace.arrived = core.waiting_publishes();
        }
        match written {
            Ok(takers) => batch.succeed(core, prepared.results, takers),
            Err(error) => {
                let path = self.segment.path.display();
                let poisoned = core.poison(&format!("{path}: {error}"));
                batch.fail(core, &poisoned);
            }
        }
        None
    }

    /// Goes on to a new segment if this one has no room for the records.
    fn make_room(
        &mut self,
        core: &Arc<LogCore>,
        records: &[LogRecord],
        room: FrameRoom,
    ) -> Result<(), LogError> {
        let bytes = frame_bytes(records);
        let limit = match room {
            FrameRoom::Events => self.size - self.size / RESERVED_PART,
            FrameRoom::Ends => self.size,
        };
        if self.offset + bytes <= limit {
            return Ok(());
        }
        self.roll(core, bytes, room)
    }

    /// Writes and syncs a frame, and changes the state as its records say. Gives those who are to be
    /// woken.
    pub(crate) fn write_frame(
        &mut self,
        core: &Arc<LogCore>,
        records: Vec<LogRecord>,
    ) -> io::Result<WokenTakers> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let offsets = self.encode_frame(&mut buffer, &records);
        let begin = Instant::now();
        let written = write_fully(&*self.file, &buffer, self.offset)
            .and_then(|()| self.file.sync_data())
            .and_then(|()| self.ensure_in_place());
        core.statistics.count_commit(&buffer, begin.elapsed());
        let end = self.offset + buffer.len() as u64;
        // A frame of many large events is not what the next one will be.
        if buffer.capacity() <= core.options.max_frame_bytes * 2 {
            buffer.clear();
            self.buffer = buffer;
        }
        written?;
        self.offset = end;
        self.frame += 1;
        let now = core.now();
        let mut state = core.state();
        if let Some(segment) = state.segments.active_mut() {
            segment.end = end;
            segment.index_records(&records, &offsets);
        }
        for (record, offset) in records.into_iter().zip(offsets) {
            state.apply(record, offset, RecordOrigin::Written, now);
        }
        Ok(WokenTakers(std::mem::take(&mut state.woken)))
    }

    /// Makes sure that what was written will be found: nobody has removed the file, or moved it or a
    /// directory above it.
    pub(crate) fn ensure_in_place(&self) -> io::Result<()> {
        let what = match self.file.place(&self.segment.path)? {
            FilePlace::Same => return Ok(()),
            FilePlace::Removed => {
                "the file was removed while it was open, and what was in it is lost"
            }
            FilePlace::Moved => {
                "the file, or a directory above it, was moved or replaced while it was open, and \
                 what was in it is no longer served: to have it again, stop the process and put the \
                 directory back"
            }
        };
        Err(io::Error::new(io::ErrorKind::NotFound, what))
    }

    /// Gives back the memory of a large frame when the log is idle: there may be a thousand logs.
    pub(crate) fn shrink(&mut self) {
        const KEPT: usize = 64 << 10;
        if self.buffer.capacity() > KEPT {
            self.buffer = Vec::new();
        }
    }

    /// Encodes a frame that begins where the segment ends; gives the offset of each record.
    pub(crate) fn encode_frame(&self, buffer: &mut Vec<u8>, records: &[LogRecord]) -> Vec<u64> {
        let salt = self.segment.salt;
        encode_frame(buffer, salt, self.offset, self.frame, records)
    }
}

fn prepare(core: &LogCore, operations: &[LogOperation]) -> PreparedFrame {
    let wall = core.clock.wall();
    let state = core.state();
    let mut builder = FrameBuilder::new(&state, wall);
    builder.retains = core.retains();
    for operation in operations {
        builder.add(operation);
    }
    builder.finish()
}

/// Bytes that a frame of records takes at most.
pub(crate) fn frame_bytes(records: &[LogRecord]) -> u64 {
    let records: usize = records.iter().map(LogRecord::max_bytes).sum();
    (FrameHead::record_bytes() + records) as u64
}

/// Encodes a frame of records; gives the offset of each.
pub(crate) fn encode_frame(
    buffer: &mut Vec<u8>,
    salt: crate::channel::disk::log::format::SegmentSalt,
    begin: u64,
    number: u64,
    records: &[LogRecord],
) -> Vec<u64> {
    let head_bytes = FrameHead::record_bytes();
    buffer.clear();
    buffer.resize(head_bytes, 0);
    let mut offsets = Vec::with_capacity(records.len());
    for record in records {
        offsets.push(begin + buffer.len() as u64);
        record.encode(buffer, salt, begin);
    }
    let head = FrameHead {
        number,
        bytes: (buffer.len() - head_bytes) as u64,
        count: u32::try_from(records.len()).unwrap_or(u32::MAX),
    };
    let mut encoded = Vec::with_capacity(head_bytes);
    head.encode(&mut encoded, salt, begin);
    if let Some(place) = buffer.get_mut(..head_bytes) {
        place.copy_from_slice(&encoded);
    }
    offsets
}
