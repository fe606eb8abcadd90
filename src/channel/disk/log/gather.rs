//! Gathering stragglers: a segment of which little is needed is written anew without the rest, in
//! its place, so that an old event keeps its own bytes and not those of its neighbours.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::channel::disk::log::LogError;
use crate::channel::disk::log::channel_log::LogCore;
use crate::channel::disk::log::clock::EpochMillis;
use crate::channel::disk::log::commit::writer::{encode_frame, frame_bytes};
use crate::channel::disk::log::files::{LogFile, write_fully};
use crate::channel::disk::log::format::HEAD_BYTES;
use crate::channel::disk::log::format::head::SegmentHead;
use crate::channel::disk::log::format::record::LogRecord;
use crate::channel::disk::log::format::scanner::{RecordScanner, ScanFault};
use crate::channel::disk::log::recovery::inspect::read_head;
use crate::channel::disk::log::segment::{SegmentFile, SegmentState};

/// Bytes of records that are looked at, and written, at once.
const BATCH_BYTES: usize = 256 << 10;

/// Records that are needed of a batch, and whether there may be more.
type NeededBatch = (Vec<LogRecord>, bool);

impl LogCore {
    /// Looks for stragglers in one segment if there may be many. What is read is bounded by what
    /// has been finished in the meantime.
    pub(crate) fn gather_stragglers(self: &Arc<Self>, retained_from: EpochMillis) {
        if self.is_gathering.load(Ordering::Acquire) {
            return;
        }
        let mut state = self.state();
        let Some(id) = state.straggling(retained_from) else {
            return;
        };
        let finished = state.finished_bytes;
        let Some(segment) = state.segments.get_mut(id) else {
            return;
        };
        segment.checked = Some(finished);
        let segment = segment.clone();
        state.gathered = Some(id);
        drop(state);
        self.is_gathering.store(true, Ordering::Release);
        self.submit(&self.lanes.reads, move |core| {
            // A segment that cannot be read or written anew stays as it is: whoever needs it will
            // be told why.
            let _unchanged = core.gather(&segment, retained_from);
            core.state().gathered = None;
            core.is_gathering.store(false, Ordering::Release);
            core.request_upkeep();
        });
    }

    fn gather(&self, segment: &SegmentState, retained_from: EpochMillis) -> Result<(), LogError> {
        let needed = self.count_needed(segment, retained_from)?;
        if needed == 0 {
            let mut state = self.state();
            if let Some(segment) = state.segments.get_mut(segment.file.id) {
                segment.is_dead = true;
            }
            return Ok(());
        }
        let size = (HEAD_BYTES + needed).next_multiple_of(4096);
        if size > segment.end / 2 {
            return Ok(());
        }
        // The budget is asked for both files, since both are there for a while.
        if !self.budget.reserve(size) {
            return Ok(());
        }
        let path = self.directory.join(format!("{}.new", segment.file.id));
        match self.write_gathered(segment, &path, size, retained_from) {
            Ok(head) => self.replace(segment, &head, &path, size),
            Err(error) => {
                // What is left is removed when the log is opened.
                let _left = self.files.remove(&path);
                self.budget.release(size);
                Err(error)
            }
        }
    }

    /// Bytes that the needed records of a segment take as frames.
    fn count_needed(
        &self,
        segment: &SegmentState,
        retained_from: EpochMillis,
    ) -> Result<u64, LogError> {
        let file = &segment.file;
        let mut scanner = file.scan(&*self.files, HEAD_BYTES, segment.end)?;
        let mut needed = 0;
        loop {
            let (records, has_more) = self.next_needed(&mut scanner, file, retained_from)?;
            if !records.is_empty() {
                needed += frame_bytes(&records);
            }
            if !has_more {
                return Ok(needed);
            }
        }
    }

    fn next_needed(
        &self,
        scanner: &mut RecordScanner,
        file: &SegmentFile,
        retained_from: EpochMillis,
    ) -> Result<NeededBatch, LogError> {
        let begin = scanner.offset();
        let mut records = Vec::new();
        let damaged = |fault: ScanFault| fault.into_damage(&file.path);
        let mut has_more = true;
        while scanner.offset() - begin < BATCH_BYTES as u64 {
            let Some((_, record)) = scanner.next_content().map_err(damaged)? else {
                has_more = false;
                break;
            };
            records.push(record);
        }
        let state = self.state();
        records.retain(|record| state.needs(record, retained_from));
        Ok((records, has_more))
    }

    /// Writes the needed records of a segment to a new file; gives its head.
    fn write_gathered(
        &self,
        segment: &SegmentState,
        path: &Path,
        size: u64,
        retained_from: EpochMillis,
    ) -> Result<SegmentHead, LogError> {
        let failed = |error: std::io::Error| LogError::unreadable(path, &error);
        let old = &segment.file;
        let mut head = read_head(&old.path, old.id, &*old.open(&*self.files)?)?;
        let written: Arc<dyn LogFile> = self.files.create(path, size).map_err(failed)?;
        let mut scanner = old.scan(&*self.files, HEAD_BYTES, segment.end)?;
        let (mut end, mut buffer, mut has_more) = (HEAD_BYTES, Vec::new(), true);
        head.events = 0;
        while has_more {
            let (records, more) = self.next_needed(&mut scanner, old, retained_from)?;
            has_more = more;
            if records.is_empty() {
                continue;
            }
            let is_event = |record: &&LogRecord| matches!(record, LogRecord::Event(_));
            head.events += records.iter().filter(is_event).count() as u64;
            encode_frame(&mut buffer, old.salt, end, 0, &records);
            write_fully(&*written, &buffer, end).map_err(failed)?;
            end += buffer.len() as u64;
        }
        head.generation += 1;
        head.end = end;
        write_fully(&*written, &head.encode(), 0)
            .and_then(|()| written.sync_data())
            .map_err(failed)?;
        Ok(head)
    }

    /// Puts the new file into the place of the old one, which those who read it keep open.
    fn replace(
        &self,
        segment: &SegmentState,
        head: &SegmentHead,
        path: &Path,
        size: u64,
    ) -> Result<(), LogError> {
        let mut state = self.state();
        // Whoever opens the old file from here on is told to look again.
        segment.file.give_up();
        let renamed = self.files.rename(path, &segment.file.path);
        if renamed.is_ok() {
            let file = SegmentFile::new(&self.directory, head);
            state.segments.replace(head, file, size);
            self.statistics.gathered.fetch_add(1, Ordering::Relaxed);
        }
        drop(state);
        // Until the directory is synced, either file may be there after a crash: both hold what is
        // needed.
        let synced = renamed.and_then(|()| self.files.sync_directory(&self.directory));
        self.budget.release(segment.size);
        synced.map_err(|error| {
            let path = segment.file.path.display();
            self.poison(&format!("{path}: {error}"))
        })
    }
}
