//! Going on to the next segment, and giving up those that nothing needs.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::operation::FrameRoom;
use super::writer::{LogWriter, RESERVED_PART, encode_frame, frame_bytes};
use crate::channel::disk::log::LogError;
use crate::channel::disk::log::channel_log::LogCore;
use crate::channel::disk::log::clock::EpochMillis;
use crate::channel::disk::log::files::{LogFile, write_fully};
use crate::channel::disk::log::format::HEAD_BYTES;
use crate::channel::disk::log::format::head::SegmentHead;
use crate::channel::disk::log::format::record::LogRecord;
use crate::channel::disk::log::ranges::exact_ranges;
use crate::channel::disk::log::segment::{SegmentFile, SegmentState, segment_name};

/// A segment that is filled sooner than this is followed by one of twice its size.
const SOON: Duration = Duration::from_mins(1);

/// Part of a segment that its checkpoint takes at most: a log with many events that wait has
/// larger segments.
const CHECKPOINT_PART: u64 = 8;

/// Segments have a multiple of this size.
const PAGE: u64 = 4096;

/// The first frame of a segment.
pub(crate) struct FirstFrame {
    pub(crate) head: SegmentHead,
    pub(crate) records: Vec<LogRecord>,
}

/// A file that has become a segment.
pub(crate) struct BegunSegment {
    pub(crate) segment: Arc<SegmentFile>,
    pub(crate) file: Arc<dyn LogFile>,
    pub(crate) size: u64,
    pub(crate) end: u64,
    /// Offset of each record of the first frame.
    pub(crate) offsets: Vec<u64>,
}

impl BegunSegment {
    pub(crate) fn state(&self) -> SegmentState {
        SegmentState {
            index: Some(Arc::default()),
            ..SegmentState::new(Arc::clone(&self.segment), self.end, self.size)
        }
    }
}

impl LogCore {
    /// Makes the next segment: a file that is whole and synced before it has its name.
    /// `needed` bytes must fit after its first frame.
    pub(crate) fn begin_segment(
        &self,
        first: &FirstFrame,
        frame: u64,
        needed: u64,
        wish: SizeWish,
    ) -> Result<BegunSegment, LogError> {
        let segment = SegmentFile::new(&self.directory, &first.head);
        let mut bytes = Vec::new();
        let salt = segment.salt;
        let offsets = encode_frame(&mut bytes, salt, HEAD_BYTES, frame, &first.records);
        let end = HEAD_BYTES + bytes.len() as u64;
        let minimum = (end + needed).saturating_mul(RESERVED_PART) / (RESERVED_PART - 1) + PAGE;
        let least = minimum.max(bytes.len() as u64 * CHECKPOINT_PART);
        let wish = SizeWish {
            size: wish.size.max(least),
            ..wish
        };
        let temporary = self.directory.join(format!("{}.new", first.head.id));
        let (file, size) = self.make_file(&temporary, wish, minimum)?;
        let written = write_fully(&*file, &first.head.encode(), 0)
            .and_then(|()| write_fully(&*file, &bytes, HEAD_BYTES))
            .and_then(|()| file.sync_data());
        if let Err(error) = written {
            return Err(self.give_file_up(&temporary, size, &error));
        }
        let path = self.directory.join(segment_name(first.head.id));
        self.files
            .rename(&temporary, &path)
            .and_then(|()| self.files.sync_directory(&self.directory))
            .map_err(|error| LogError::unreadable(&path, &error))?;
        segment.share(&file);
        Ok(BegunSegment {
            segment: Arc::new(segment),
            file,
            size,
            end,
            offsets,
        })
    }

    /// Takes the spare file, or makes one of the size that is wished or the smallest that will do.
    fn make_file(
        &self,
        path: &Path,
        wish: SizeWish,
        minimum: u64,
    ) -> Result<(Arc<dyn LogFile>, u64), LogError> {
        self.drop_spare_unless(|size| size >= minimum);
        if let Some(size) = self.take_spare() {
            let opened = self.files.rename(&self.spare_path(), path);
            let opened = opened.and_then(|()| self.files.open(path));
            return opened
                .map(|file| (file, size))
                .map_err(|error| self.give_file_up(path, size, &error));
        }
        let mut result = Err(LogError::Full {
            needed: minimum,
            cause: "the limit of all logs".into(),
        });
        for size in [wish.size, minimum] {
            let size = size.next_multiple_of(PAGE);
            if !self.budget.reserve(size) {
                continue;
            }
            match self.files.create(path, size) {
                Ok(file) => return Ok((file, size)),
                Err(error) => result = Err(self.give_file_up(path, size, &error)),
            }
        }
        let is_full = matches!(result, Err(LogError::Full { .. }));
        if !(wish.room == FrameRoom::Ends && is_full) {
            return result;
        }
        // What ends events may go over the limit, and gets what was kept back on the disk, since it
        // makes room.
        let size = minimum.next_multiple_of(PAGE);
        self.budget.count(size);
        let mut made = self.files.create(path, size);
        if made.is_err() && self.reserve.give() {
            made = self.files.create(path, size);
        }
        made.map(|file| (file, size))
            .map_err(|error| self.give_file_up(path, size, &error))
    }

    /// Removes a file that has not become a segment.
    fn give_file_up(&self, path: &Path, size: u64, error: &io::Error) -> LogError {
        // What is left is removed when the log is opened.
        let _left = self.files.remove(path);
        self.budget.release(size);
        LogError::of_write(path, size, error)
    }
}

/// Size that a segment should have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SizeWish {
    pub(crate) size: u64,
    /// What it is for.
    pub(crate) room: FrameRoom,
}

impl LogWriter {
    /// Goes on to the next segment, which has room for `needed` bytes.
    pub(crate) fn roll(
        &mut self,
        core: &Arc<LogCore>,
        needed: u64,
        room: FrameRoom,
    ) -> Result<(), LogError> {
        // The next one would else be put into whatever has taken the place of the directory.
        self.ensure_in_place()
            .map_err(|error| LogError::unreadable(&self.segment.path, &error))?;
        let checkpoint = core.state().checkpoint();
        let first = FirstFrame {
            head: SegmentHead {
                nonce: self.nonce,
                id: self.segment.id + 1,
                generation: 0,
                first: checkpoint.next_sequence,
                created_at: core.clock.wall(),
                end: 0,
                events: 0,
            },
            records: vec![LogRecord::Checkpoint(Box::new(checkpoint))],
        };
        let wish = SizeWish {
            size: self.next_size,
            room,
        };
        let begun = core.begin_segment(&first, self.frame, needed, wish)?;
        self.mark.advance(first.head.id)?;
        core.state().segments.push(begun.state());
        if self.begun.elapsed() < SOON {
            self.next_size = (self.next_size * 2).min(core.options.max_segment_bytes);
        }
        self.begun = Instant::now();
        self.frame += 1;
        self.segment = begun.segment;
        self.file = begun.file;
        self.offset = begun.end;
        self.size = begun.size;
        Ok(())
    }

    /// Gives up segments that nothing needs, and has the next one prepared.
    pub(crate) fn upkeep(&mut self, core: &Arc<LogCore>) {
        if core.state().failure.is_some() {
            return;
        }
        // Nothing is given up or written anew in whatever has taken the place of the directory.
        if let Err(error) = self.ensure_in_place() {
            core.poison(&format!("{}: {error}", self.segment.path.display()));
            return;
        }
        let retained_from = core.retained_from();
        if core.idle_looks.take_wish() {
            self.shrink_idle(core);
        }
        self.free_unneeded(core, retained_from);
        core.gather_stragglers(retained_from);
        self.restore_reserve(core);
        let is_filling = self.offset > self.size / 2 && self.size >= core.options.min_segment_bytes;
        if is_filling {
            core.prepare_spare(self.next_size);
        }
    }

    /// Has the reserve of the directory made again, should it be gone.
    fn restore_reserve(&self, core: &Arc<LogCore>) {
        if core.reserve.is_due() {
            core.submit(&core.lanes.reads, |core| core.reserve.restore());
        }
    }

    /// Gives back the room that a log took while it was busy, since there may be thousands that are
    /// idle: the spare file, and a large segment of which nothing is needed, in favour of a small
    /// one.
    fn shrink_idle(&mut self, core: &Arc<LogCore>) {
        let small = core.options.min_segment_bytes;
        self.next_size = small;
        core.drop_spare_unless(|size| size <= small);
        let state = core.state();
        let segment = state.segments.iter().next_back();
        let is_needed = segment.is_none_or(|it| it.pins > 0 || it.events == 0);
        let is_read = state.lowest_taken() == state.next_sequence;
        drop(state);
        if self.size > small && is_read && !is_needed {
            // Without room, it stays as it is.
            match self.roll(core, 0, FrameRoom::Ends) {
                Err(error) if !matches!(error, LogError::Full { .. }) => {
                    core.poison(&error.to_string());
                }
                _ => {}
            }
        }
    }

    /// Writes down which segments are not needed before it touches their files.
    fn free_unneeded(&mut self, core: &Arc<LogCore>, retained_from: EpochMillis) {
        let mut state = core.state();
        let ids = state.unneeded(retained_from);
        let is_needed = |segment: &&SegmentState| ids.contains(&segment.file.id);
        let freed: Vec<SegmentState> = state.segments.iter().filter(is_needed).cloned().collect();
        drop(state);
        if freed.is_empty() {
            return;
        }
        let records = vec![LogRecord::Freed(exact_ranges(&ids))];
        let bytes = frame_bytes(&records);
        if self.offset + bytes > self.size
            && let Err(error) = self.roll(core, bytes, FrameRoom::Ends)
        {
            // Without room, it is tried again when there is some.
            if !matches!(error, LogError::Full { .. }) {
                core.poison(&error.to_string());
            }
            return;
        }
        match self.write_frame(core, records) {
            // A record of segments that are not needed gives nobody events.
            Ok(takers) => takers.wake(),
            Err(error) => {
                core.poison(&format!("{}: {error}", self.segment.path.display()));
                return;
            }
        }
        for segment in &freed {
            core.recycle(segment, self.next_size);
            core.statistics.freed.fetch_add(1, Ordering::Relaxed);
        }
        // If this fails, the files are there after a restart, and given up then.
        let _unsynced = core.files.sync_directory(&core.directory);
    }
}
