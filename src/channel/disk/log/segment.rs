//! The segments of a log: which sequences are where, and what keeps a segment.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::channel::disk::log::clock::EpochMillis;
use crate::channel::disk::log::files::{FileSystem, LogFile};
use crate::channel::disk::log::format::checkpoint::SegmentEntry;
use crate::channel::disk::log::format::head::SegmentHead;
use crate::channel::disk::log::format::record::LogRecord;
use crate::channel::disk::log::format::scanner::RecordScanner;
use crate::channel::disk::log::format::{HEAD_BYTES, SegmentSalt};
use crate::channel::disk::log::{LogError, Sequence};

/// Bytes of a segment for which there is one entry in its index. One is 16 bytes, so that an index
/// takes 16 KiB for a segment of 64 MiB.
const INDEX_STEP: u64 = 64 << 10;

const SUFFIX: &str = ".segment";

/// Name of the file of a segment.
pub(crate) fn segment_name(id: u64) -> String {
    format!("{id:020}{SUFFIX}")
}

/// Number of the segment whose file has a name.
pub(crate) fn segment_of_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    let id = digits.parse().ok()?;
    (segment_name(id) == name).then_some(id)
}

/// The file of a segment in one generation. It is open while somebody reads it.
#[derive(Debug)]
pub(crate) struct SegmentFile {
    pub(crate) path: Arc<Path>,
    pub(crate) id: u64,
    pub(crate) generation: u32,
    pub(crate) first: Sequence,
    pub(crate) salt: SegmentSalt,
    open: Mutex<OpenSlot>,
}

#[derive(Debug, Default)]
struct OpenSlot {
    file: Option<Weak<dyn LogFile>>,
    /// True if the file is no longer this segment's.
    is_gone: bool,
}

impl SegmentFile {
    pub(crate) fn new(directory: &Path, head: &SegmentHead) -> Self {
        let path: PathBuf = directory.join(segment_name(head.id));
        Self {
            path: path.into(),
            id: head.id,
            generation: head.generation,
            first: head.first,
            salt: SegmentSalt::new(head.nonce, head.id),
            open: Mutex::default(),
        }
    }

    /// Opens the file, or gives the one that is open.
    pub(crate) fn open(&self, files: &dyn FileSystem) -> Result<Arc<dyn LogFile>, LogError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = open.file.as_ref().and_then(Weak::upgrade) {
            return Ok(file);
        }
        if open.is_gone {
            let error = io::ErrorKind::NotFound.into();
            return Err(LogError::unreadable(&self.path, &error));
        }
        let file = files
            .open(&self.path)
            .map_err(|error| LogError::unreadable(&self.path, &error))?;
        open.file = Some(Arc::downgrade(&file));
        Ok(file)
    }

    /// Says that the file is no longer this segment's. True if nobody reads it, so that another
    /// segment may be written over it.
    pub(crate) fn give_up(&self) -> bool {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.is_gone = true;
        let readers = open.file.as_ref().map_or(0, Weak::strong_count);
        readers == 0
    }

    pub(crate) fn is_gone(&self) -> bool {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.is_gone
    }

    /// Lets readers share a file that is open already.
    pub(crate) fn share(&self, file: &Arc<dyn LogFile>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.file = Some(Arc::downgrade(file));
    }

    /// Reader of the records between two offsets.
    pub(crate) fn scan(
        &self,
        files: &dyn FileSystem,
        from: u64,
        end: u64,
    ) -> Result<RecordScanner, LogError> {
        let file = self.open(files)?;
        let path = Arc::clone(&self.path);
        Ok(RecordScanner::new(path, file, self.salt, from, end))
    }
}

/// Offsets of some records of a segment, by sequence.
#[derive(Clone, Debug, Default)]
pub(crate) struct SparseIndex {
    entries: Vec<(Sequence, u64)>,
}

impl SparseIndex {
    /// Adds a record, unless the last one is near enough.
    pub(crate) fn add(&mut self, sequence: Sequence, offset: u64) {
        let is_due = |(_, last): &(Sequence, u64)| offset >= last + INDEX_STEP;
        if self.entries.last().is_none_or(is_due) {
            self.entries.push((sequence, offset));
        }
    }

    /// Offset from which a scan finds the record of a sequence, if there is one.
    pub(crate) fn floor(&self, sequence: Sequence) -> u64 {
        let after = self.entries.partition_point(|(each, _)| *each <= sequence);
        let before = after.checked_sub(1).and_then(|at| self.entries.get(at));
        before.map_or(HEAD_BYTES, |(_, offset)| *offset)
    }
}

/// What the log knows of a segment.
#[derive(Clone, Debug)]
pub(crate) struct SegmentState {
    pub(crate) file: Arc<SegmentFile>,
    /// Offset at which the last durable record ends.
    pub(crate) end: u64,
    /// Size of the file.
    pub(crate) size: u64,
    /// Number of its events.
    pub(crate) events: u64,
    /// Earliest and latest time at which its events were received; 0 without events.
    pub(crate) oldest: EpochMillis,
    pub(crate) newest: EpochMillis,
    /// Records in it that unfinished events of queues need.
    pub(crate) pins: u64,
    /// Bytes that had been finished in the log when stragglers were last looked for in it.
    pub(crate) checked: Option<u64>,
    /// True if nothing needs any of its records, though a queue has not read that far.
    pub(crate) is_dead: bool,
    /// Missing for a segment of an earlier process, until a record of it is looked for.
    pub(crate) index: Option<Arc<SparseIndex>>,
}

impl SegmentState {
    /// A segment of which nothing is known but where its records end.
    pub(crate) fn new(file: Arc<SegmentFile>, end: u64, size: u64) -> Self {
        Self {
            file,
            end,
            size,
            events: 0,
            oldest: 0,
            newest: 0,
            pins: 0,
            checked: None,
            is_dead: false,
            index: None,
        }
    }

    /// Counts an event that was received at a time.
    pub(crate) fn count_event(&mut self, time: EpochMillis) {
        self.events += 1;
        self.newest = self.newest.max(time);
        self.oldest = match self.oldest {
            0 => time,
            oldest => oldest.min(time),
        };
    }

    /// Adds records at their offsets to the index, if the segment has one.
    pub(crate) fn index_records(&mut self, records: &[LogRecord], offsets: &[u64]) {
        let Some(index) = self.index.as_mut().map(Arc::make_mut) else {
            return;
        };
        for (record, offset) in records.iter().zip(offsets) {
            if let Some(sequence) = record.sequence() {
                index.add(sequence, *offset);
            }
        }
    }

    pub(crate) fn entry(&self) -> SegmentEntry {
        SegmentEntry {
            id: self.file.id,
            generation: self.file.generation,
            first: self.file.first,
            end: self.end,
            events: self.events,
            oldest: self.oldest,
            newest: self.newest,
        }
    }
}

/// The segments of a log in order, of which the last is written to.
#[derive(Clone, Debug, Default)]
pub(crate) struct SegmentList {
    segments: Vec<SegmentState>,
}

impl SegmentList {
    pub(crate) fn push(&mut self, segment: SegmentState) {
        self.segments.push(segment);
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &SegmentState> {
        self.segments.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.segments.len()
    }

    pub(crate) fn active_mut(&mut self) -> Option<&mut SegmentState> {
        self.segments.last_mut()
    }

    /// The segment that holds a sequence, if any does: the last that begins with it or before.
    pub(crate) fn holding(&self, sequence: Sequence) -> Option<&SegmentState> {
        self.segments.get(self.place_of(sequence)?)
    }

    pub(crate) fn holding_mut(&mut self, sequence: Sequence) -> Option<&mut SegmentState> {
        let place = self.place_of(sequence)?;
        self.segments.get_mut(place)
    }

    fn place_of(&self, sequence: Sequence) -> Option<usize> {
        let after = self
            .segments
            .partition_point(|segment| segment.file.first <= sequence);
        after.checked_sub(1)
    }

    pub(crate) fn get_mut(&mut self, id: u64) -> Option<&mut SegmentState> {
        let place = self
            .segments
            .binary_search_by_key(&id, |segment| segment.file.id);
        self.segments.get_mut(place.ok()?)
    }

    pub(crate) fn remove(&mut self, id: u64) -> Option<SegmentState> {
        let place = self
            .segments
            .binary_search_by_key(&id, |segment| segment.file.id);
        Some(self.segments.remove(place.ok()?))
    }

    /// All segments but the one that is written to.
    pub(crate) fn older_mut(&mut self) -> impl Iterator<Item = &mut SegmentState> {
        let older = self.segments.len().saturating_sub(1);
        self.segments.iter_mut().take(older)
    }

    pub(crate) fn pin(&mut self, sequence: Sequence) {
        if let Some(segment) = self.holding_mut(sequence) {
            segment.pins += 1;
        }
    }

    pub(crate) fn unpin(&mut self, sequence: Sequence) {
        if let Some(segment) = self.holding_mut(sequence) {
            segment.pins = segment.pins.saturating_sub(1);
        }
    }

    pub(crate) fn unpin_all(&mut self) {
        for segment in &mut self.segments {
            segment.pins = 0;
        }
    }

    /// Another file of a segment, which holds less.
    pub(crate) fn replace(&mut self, head: &SegmentHead, file: SegmentFile, size: u64) {
        if let Some(segment) = self.get_mut(head.id) {
            segment.file = Arc::new(file);
            segment.end = head.end;
            segment.events = head.events;
            segment.size = size;
            segment.index = None;
        }
    }

    /// Every segment with the first sequence of the next one; the last has none.
    pub(crate) fn with_ends(&self) -> impl Iterator<Item = (&SegmentState, Option<Sequence>)> {
        let nexts = self.segments.iter().skip(1);
        let nexts = nexts.map(|next| Some(next.file.first));
        self.segments.iter().zip(nexts.chain(std::iter::once(None)))
    }
}
