//! Reads the newest segment: its checkpoint, and what has happened since.

use std::path::Path;
use std::sync::Arc;

use super::inspect::{DirectoryListing, read_head};
use crate::channel::disk::log::LogError;
use crate::channel::disk::log::files::FileSystem;
use crate::channel::disk::log::format::HEAD_BYTES;
use crate::channel::disk::log::format::checkpoint::{LogCheckpoint, SegmentEntry};
use crate::channel::disk::log::format::head::SegmentHead;
use crate::channel::disk::log::format::record::LogRecord;
use crate::channel::disk::log::format::scanner::{RecordScanner, ScanFault, ScannedFrame};
use crate::channel::disk::log::mark::{MARK_NAME, SegmentMark};
use crate::channel::disk::log::opening::TornEnd;
use crate::channel::disk::log::segment::{SegmentFile, SegmentState, segment_name};
use crate::channel::disk::log::state::apply::RecordOrigin;
use crate::channel::disk::log::state::{ClockReading, LogState};

/// Bytes of the newest segment that are read at once.
const CHUNK: usize = 1 << 20;

/// A log as its files say.
#[derive(Debug)]
pub(crate) struct ReplayedLog {
    pub(crate) nonce: u64,
    /// Number of the newest segment; 0 if there is none.
    pub(crate) newest: u64,
    pub(crate) state: LogState,
    /// Number of the next frame.
    pub(crate) next_frame: u64,
    /// Offset of the last frame, if it is not the first of its segment, with its records that have
    /// a sequence.
    last_frame: Option<(u64, Vec<LogRecord>)>,
    /// Records with a sequence of the last frame, which are to be written anew.
    pub(crate) carried: Vec<LogRecord>,
    pub(crate) torn_end: Option<TornEnd>,
    pub(crate) is_new: bool,
}

impl ReplayedLog {
    pub(crate) fn new(nonce: u64) -> Self {
        Self {
            nonce,
            newest: 0,
            state: LogState {
                next_sequence: 1,
                ..LogState::default()
            },
            next_frame: 1,
            last_frame: None,
            carried: Vec::new(),
            torn_end: None,
            is_new: true,
        }
    }

    pub(crate) fn read(
        files: &dyn FileSystem,
        directory: &Path,
        listing: &DirectoryListing,
        now: ClockReading,
    ) -> Result<(Self, SegmentMark), LogError> {
        let mark = SegmentMark::read(files, directory).map_err(|error| {
            if listing.has_mark {
                return error;
            }
            let path = directory.join(MARK_NAME);
            LogError::damaged(&path, 0, "the file is missing, though there are segments")
        })?;
        let known = mark.entry();
        let newest = listing.newest().map_or(0, |(newest, _size)| newest);
        if newest < known.newest {
            let path = directory.join(segment_name(known.newest));
            let what = "the file is missing, though the mark says that it was there";
            return Err(LogError::damaged(&path, 0, what));
        }
        let log = match newest {
            0 => Self::new(known.nonce),
            _ => Self::read_newest(files, directory, listing, now)?,
        };
        if log.nonce != known.nonce {
            let what = "it is the mark of another log";
            return Err(LogError::damaged(mark.path(), 0, what));
        }
        Ok((log, mark))
    }

    fn read_newest(
        files: &dyn FileSystem,
        directory: &Path,
        listing: &DirectoryListing,
        now: ClockReading,
    ) -> Result<Self, LogError> {
        let (newest, size) = listing.newest().unwrap_or_default();
        let path = directory.join(segment_name(newest));
        let opened = files.open(&path);
        let file = opened.map_err(|error| LogError::unreadable(&path, &error))?;
        let head = read_head(&path, newest, &*file)?;
        let segment = Arc::new(SegmentFile::new(directory, &head));
        let scanner = segment.scan(files, HEAD_BYTES, size)?.with_chunk(CHUNK);
        let active = SegmentState::new(Arc::clone(&segment), 0, size);
        let mut replay = SegmentReplay {
            segment,
            active,
            scanner,
            next_frame: 0,
            last: None,
            log: Self {
                nonce: head.nonce,
                newest,
                is_new: false,
                ..Self::new(head.nonce)
            },
        };
        let first = replay.first_frame()?;
        let checkpoint = replay.begin(first)?;
        for entry in &checkpoint.segments {
            let segment = named_segment(directory, entry, head.nonce);
            replay.log.state.segments.push(segment);
        }
        replay.log.state.segments.push(replay.active.clone());
        replay.log.state.restore(checkpoint, now);
        while let Some(frame) = replay.next_frame()? {
            replay.apply(frame, now)?;
        }
        // Not before: a segment that the checkpoint names may have been freed since.
        for segment in replay.log.state.segments.older_mut() {
            check_older(files, directory, listing, segment, head.nonce)?;
        }
        replay.log.next_frame = replay.next_frame;
        replay.log.last_frame = replay.last;
        Ok(replay.log)
    }
}

impl ReplayedLog {
    /// Cuts the last frame off the newest segment, since it is carried into the next one.
    pub(crate) fn cut_last_frame(&mut self) {
        let Some((offset, records)) = self.last_frame.take() else {
            return;
        };
        if let Some(active) = self.state.segments.active_mut() {
            active.end = offset;
            let is_event = |record: &&LogRecord| matches!(record, LogRecord::Event(_));
            active.events -= records.iter().filter(is_event).count() as u64;
        }
        self.carried = records;
    }
}

/// The newest segment while it is read.
struct SegmentReplay {
    segment: Arc<SegmentFile>,
    /// The segment as it is after its first frame.
    active: SegmentState,
    scanner: RecordScanner,
    next_frame: u64,
    /// The last frame that was read, if it is not the first.
    last: Option<(u64, Vec<LogRecord>)>,
    log: ReplayedLog,
}

impl SegmentReplay {
    fn damaged(&self, offset: u64, what: impl Into<String>) -> LogError {
        LogError::damaged(&self.segment.path, offset, what)
    }

    /// The frame with the checkpoint was on the disk before the segment had its name.
    fn first_frame(&mut self) -> Result<ScannedFrame, LogError> {
        let frame = self.scanner.next_frame();
        let frame = frame.map_err(|fault| fault.into_damage(&self.segment.path))?;
        frame.ok_or_else(|| self.damaged(HEAD_BYTES, "it ends before its checkpoint"))
    }

    /// Takes in the first frame; gives its checkpoint.
    fn begin(&mut self, frame: ScannedFrame) -> Result<LogCheckpoint, LogError> {
        self.next_frame = frame.number + 1;
        self.active.end = frame.end;
        let mut records = frame.records.into_iter();
        let Some((_, LogRecord::Checkpoint(checkpoint))) = records.next() else {
            return Err(self.damaged(frame.offset, "its first record is no checkpoint"));
        };
        // What was carried into the segment is in the checkpoint.
        for (_, record) in records {
            if let LogRecord::Event(event) = record {
                self.active.count_event(event.received_at);
            }
        }
        Ok(*checkpoint)
    }

    /// The next frame that is whole. What follows the last one is either nothing, or a frame that
    /// was being written; a frame after that would say that it had been on the disk.
    fn next_frame(&mut self) -> Result<Option<ScannedFrame>, LogError> {
        let begin = self.scanner.offset();
        let (fault_at, what) = match self.scanner.next_frame() {
            Ok(frame) => return Ok(frame),
            Err(ScanFault::Unreadable(error)) => return Err(error),
            Err(ScanFault::Invalid { offset, what }) => (offset, what),
        };
        let looks_torn = fault_at > begin || self.scanner.looks_like_frame(begin);
        let later = self
            .scanner
            .find_frame(begin, self.next_frame)
            .map_err(|fault| fault.into_damage(&self.segment.path))?;
        if let Some((offset, head)) = later {
            let what = format!(
                "{what}, and frame {} after it at offset {offset} says that it was whole",
                head.number
            );
            return Err(self.damaged(fault_at, what));
        }
        if looks_torn {
            self.log.torn_end = Some(TornEnd {
                path: self.segment.path.to_path_buf(),
                offset: begin,
            });
        }
        Ok(None)
    }

    fn apply(&mut self, frame: ScannedFrame, now: ClockReading) -> Result<(), LogError> {
        if frame.number != self.next_frame {
            let what = format!(
                "frame {} follows where frame {} should",
                frame.number, self.next_frame
            );
            return Err(self.damaged(frame.offset, what));
        }
        self.next_frame += 1;
        let mut kept = Vec::new();
        for (offset, record) in frame.records {
            if let Some(sequence) = record.sequence() {
                let next = self.log.state.next_sequence;
                if sequence != next || sequence == u64::MAX {
                    let what = format!("sequence {sequence} follows where {next} should");
                    return Err(self.damaged(offset, what));
                }
                kept.push(record.clone());
            }
            let state = &mut self.log.state;
            state.apply(record, offset, RecordOrigin::Recovered, now);
        }
        if let Some(active) = self.log.state.segments.active_mut() {
            active.end = frame.end;
        }
        self.last = Some((frame.offset, kept));
        Ok(())
    }
}

/// A segment as the checkpoint names it.
fn named_segment(directory: &Path, entry: &SegmentEntry, nonce: u64) -> SegmentState {
    let head = SegmentHead {
        nonce,
        id: entry.id,
        generation: entry.generation,
        first: entry.first,
        created_at: 0,
        end: 0,
        events: 0,
    };
    SegmentState {
        events: entry.events,
        oldest: entry.oldest,
        newest: entry.newest,
        ..SegmentState::new(Arc::new(SegmentFile::new(directory, &head)), entry.end, 0)
    }
}

/// Looks at a segment that the log needs: it must be there, be of this log, and be no older than
/// the checkpoint says. It may be newer, if stragglers were gathered in it since.
fn check_older(
    files: &dyn FileSystem,
    directory: &Path,
    listing: &DirectoryListing,
    segment: &mut SegmentState,
    nonce: u64,
) -> Result<(), LogError> {
    let named = Arc::clone(&segment.file);
    let damaged = |what: &str| Err(LogError::damaged(&named.path, 0, what));
    let Some(size) = listing.size_of(named.id) else {
        return damaged("the file is missing, though the newest segment needs it");
    };
    let opened = files.open(&named.path);
    let file = opened.map_err(|error| LogError::unreadable(&named.path, &error))?;
    let head = read_head(&named.path, named.id, &*file)?;
    if head.nonce != nonce {
        return damaged("it is a segment of another log");
    }
    if head.generation < named.generation || head.first != named.first {
        return damaged("it is older than the newest segment says: it was copied");
    }
    if head.end > 0 {
        segment.end = head.end;
        segment.events = head.events;
    }
    if segment.end > size {
        return damaged("the file is shorter than its records");
    }
    segment.size = size;
    segment.file = Arc::new(SegmentFile::new(directory, &head));
    Ok(())
}
