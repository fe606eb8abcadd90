//! Opening a log: from the checkpoint of its newest segment and the records after it.

pub(crate) mod inspect;
pub(crate) mod replay;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Condvar, Mutex, Weak};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::channel::disk::log::LogError;
use crate::channel::disk::log::channel_log::{IdleLooks, LogCore, LogOptions};
use crate::channel::disk::log::clock::millis;
use crate::channel::disk::log::commit::CommitPace;
use crate::channel::disk::log::commit::operation::FrameRoom;
use crate::channel::disk::log::commit::roll::{BegunSegment, FirstFrame, SizeWish};
use crate::channel::disk::log::commit::spare::SpareSlot;
use crate::channel::disk::log::commit::writer::LogWriter;
use crate::channel::disk::log::directory::{DataDirectory, bytes_of_log};
use crate::channel::disk::log::format::head::SegmentHead;
use crate::channel::disk::log::format::record::LogRecord;
use crate::channel::disk::log::mark::{MARK_BYTES, SegmentMark};
use crate::channel::disk::log::open_logs::OpenLogPlace;
use crate::channel::disk::log::opening::LogOpening;
use crate::channel::disk::log::state::{ClockReading, LogState};
use inspect::DirectoryListing;
use replay::ReplayedLog;

impl DataDirectory {
    /// Opens a log and goes on in a new segment. Nothing is written to the segment that was the
    /// newest: after a failed sync, nobody knows what of it is on the disk. Its last frame is
    /// written anew with the new segment, since it may be in the memory of the operating system
    /// alone.
    pub(crate) fn open_core(
        &self,
        path: &Path,
        options: LogOptions,
    ) -> Result<(Arc<LogCore>, LogOpening), LogError> {
        let place = self.open_logs.take_place(path)?;
        let account = self.accounts.of(path);
        account.set(bytes_of_log(&*self.files, path));
        let opened = self.open_in_place(path, options, place);
        if opened.is_err() {
            account.set(bytes_of_log(&*self.files, path));
        }
        opened
    }

    fn open_in_place(
        &self,
        path: &Path,
        options: LogOptions,
        place: OpenLogPlace,
    ) -> Result<(Arc<LogCore>, LogOpening), LogError> {
        let begun_at = Instant::now();
        let now = ClockReading {
            wall: self.clock.wall(),
            steady: self.clock.steady(),
        };
        self.files
            .create_directory(path)
            .map_err(|error| LogError::unreadable(path, &error))?;
        let listing = DirectoryListing::read(&*self.files, path)?;
        let (mut replayed, mark) = if listing.is_new() {
            let nonce = new_nonce(now);
            let mark = SegmentMark::create(&*self.files, path, nonce)?;
            self.accounts.of(path).count(MARK_BYTES);
            (ReplayedLog::new(nonce), mark)
        } else {
            ReplayedLog::read(&*self.files, path, &listing, now)?
        };
        replayed.cut_last_frame();
        replayed.state.read_ahead = options.read_ahead;
        let core = Arc::new(LogCore::new(self, path.to_owned(), options, listing.spare));
        let writer = core.begin_writer(&mut replayed, mark)?;
        // Not before: what says that a file is free may have been read from a frame that is not on
        // the disk.
        let (leftovers, bytes) = listing.remove_leftovers(&*self.files, path, &replayed.state);
        core.budget.release(bytes);
        *core.state() = replayed.state;
        *core.writer() = Some(writer);
        let upkept: Weak<LogCore> = Arc::downgrade(&core);
        place.fill(upkept);
        *core.place() = Some(place);
        core.request_upkeep();
        let opening = LogOpening {
            is_new: replayed.is_new,
            torn_end: replayed.torn_end,
            leftovers,
            took: begun_at.elapsed(),
        };
        Ok((core, opening))
    }
}

/// A number that no sender of events can know.
fn new_nonce(now: ClockReading) -> u64 {
    use std::hash::{BuildHasher, Hasher};
    let mut hasher = std::hash::RandomState::new().build_hasher();
    hasher.write_u64(now.wall);
    hasher.finish()
}

impl LogCore {
    fn new(
        directory: &DataDirectory,
        path: PathBuf,
        options: LogOptions,
        spare: Option<u64>,
    ) -> Self {
        Self {
            files: Arc::clone(&directory.files),
            clock: Arc::clone(&directory.clock),
            budget: directory.accounts.of(&path),
            reserve: Arc::clone(&directory.reserve),
            lanes: directory.lanes.clone(),
            lock: Arc::clone(&directory.lock),
            directory: path,
            options,
            retention: AtomicU64::new(options.retain.map_or(0, millis)),
            statistics: crate::channel::disk::log::channel_log::CommitCounters::default(),
            jobs: Arc::default(),
            state: Mutex::new(LogState::default()),
            failed: Notify::new(),
            commits: Mutex::default(),
            arrived: Condvar::new(),
            writer: Mutex::new(None),
            spare: Mutex::new(spare.map_or(SpareSlot::Empty, SpareSlot::Ready)),
            place: Mutex::new(None),
            idle_looks: IdleLooks::default(),
            is_gathering: std::sync::atomic::AtomicBool::new(false),
        }
    }

    /// Begins the segment that this process writes to.
    fn begin_writer(
        &self,
        replayed: &mut ReplayedLog,
        mut mark: SegmentMark,
    ) -> Result<LogWriter, LogError> {
        let state = &mut replayed.state;
        let checkpoint = state.checkpoint();
        let carried = std::mem::take(&mut replayed.carried);
        let first_carried = carried.iter().find_map(LogRecord::sequence);
        let head = SegmentHead {
            nonce: replayed.nonce,
            id: replayed.newest + 1,
            generation: 0,
            first: first_carried.unwrap_or(checkpoint.next_sequence),
            created_at: self.clock.wall(),
            end: 0,
            events: 0,
        };
        let mut records = vec![LogRecord::Checkpoint(Box::new(checkpoint))];
        records.extend(carried);
        let first = FirstFrame { head, records };
        let wish = SizeWish {
            size: self.options.min_segment_bytes,
            room: FrameRoom::Ends,
        };
        let begun = self.begin_segment(&first, replayed.next_frame, 0, wish)?;
        mark.advance(first.head.id)?;
        take_in(state, &begun, &first.records);
        Ok(LogWriter {
            nonce: replayed.nonce,
            mark,
            segment: begun.segment,
            file: begun.file,
            offset: begun.end,
            size: begun.size,
            frame: replayed.next_frame + 1,
            next_size: self.options.min_segment_bytes,
            begun: Instant::now(),
            pace: CommitPace::default(),
            buffer: Vec::new(),
        })
    }
}

/// Adds the new segment with the records that were carried into it, which the state knows.
fn take_in(state: &mut LogState, begun: &BegunSegment, records: &[LogRecord]) {
    let mut segment = begun.state();
    segment.index_records(records, &begun.offsets);
    for record in records {
        if let LogRecord::Event(event) = record {
            segment.count_event(event.received_at);
        }
    }
    state.segments.push(segment);
    state.pin_all();
}
