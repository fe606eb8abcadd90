//! Looks at a log without changing or locking anything, also beside the process that has it open.

mod standing;
mod verification;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::channel::disk::log::channel_log::{LogQueueCounts, LogUsage};
use crate::channel::disk::log::clock::{EpochMillis, LogClock, StandardClock};
use crate::channel::disk::log::directory::LOCK_NAME;
use crate::channel::disk::log::files::FileSystem;
use crate::channel::disk::log::files::read_only::ReadOnlyFiles;
use crate::channel::disk::log::format::HEAD_BYTES;
use crate::channel::disk::log::format::record::LogRecord;
use crate::channel::disk::log::mark::MARK_NAME;
use crate::channel::disk::log::opening::TornEnd;
use crate::channel::disk::log::recovery::inspect::DirectoryListing;
use crate::channel::disk::log::recovery::replay::ReplayedLog;
use crate::channel::disk::log::segment::SegmentState;
use crate::channel::disk::log::state::ClockReading;
use crate::channel::disk::log::{LogError, Sequence};
pub use standing::{EventStanding, QueueStanding};
pub use verification::LogVerification;

/// Times that a log is read before it is believed to be as it looks: the process that has it may
/// give files up and begin others meanwhile.
const TRIES: u32 = 5;

/// What is in a data directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirectoryInspection {
    /// Names of the logs, in order.
    pub logs: Vec<String>,
    /// Words of the process that has the directory, if one has.
    pub owner: Option<String>,
}

impl DirectoryInspection {
    /// Looks at a data directory.
    ///
    /// # Errors
    /// If it is not there, cannot be read, or is no data directory.
    pub fn read(path: &Path) -> Result<Self, LogError> {
        let entries = ReadOnlyFiles
            .list(path)
            .map_err(|error| LogError::unreadable(path, &error))?;
        let has_lock = entries.iter().any(|it| it.is_file && it.name == LOCK_NAME);
        let logs = entries.iter().filter(|entry| !entry.is_file);
        let mut logs: Vec<String> = logs.map(|entry| entry.name.clone()).collect();
        logs.sort();
        let has_log = logs
            .iter()
            .any(|name| path.join(name).join(MARK_NAME).exists());
        if !(has_lock || has_log || entries.is_empty()) {
            return Err(LogError::NoDataDirectory(path.to_owned()));
        }
        // A lock that may not be read says nothing.
        let owner = ReadOnlyFiles.lock_holder(&path.join(LOCK_NAME));
        Ok(Self {
            logs,
            owner: owner.unwrap_or_default(),
        })
    }
}

/// A queue of a log that is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InspectedQueue {
    /// Its name.
    pub name: String,
    /// False if it was retired, and what waits is kept.
    pub is_active: bool,
    /// What it holds. Nothing is in flight: that is known to the process alone.
    pub counts: LogQueueCounts,
}

/// An event of a log that is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InspectedEvent {
    /// Its sequence in the log.
    pub sequence: Sequence,
    /// Time at which it was written.
    pub received_at: EpochMillis,
    /// The event, as it was published.
    pub event: Bytes,
    /// How far it is in the queues that wanted it and that the log still has.
    pub queues: Vec<QueueStanding>,
}

/// A log that is looked at, as it was at one moment.
pub struct LogInspection {
    directory: PathBuf,
    files: Arc<dyn FileSystem>,
    log: ReplayedLog,
}

impl LogInspection {
    /// Looks at the log in a directory.
    ///
    /// # Errors
    /// If it cannot be read, or is damaged.
    pub fn read(directory: &Path) -> Result<Self, LogError> {
        Self::read_on(&(Arc::new(ReadOnlyFiles) as Arc<dyn FileSystem>), directory)
    }

    /// Looks at the log in a directory of another file system.
    ///
    /// # Errors
    /// As [`LogInspection::read`].
    pub fn read_on(files: &Arc<dyn FileSystem>, directory: &Path) -> Result<Self, LogError> {
        let mut before = None;
        for _ in 1..TRIES {
            match Self::read_once(files, directory) {
                Err(error) if before.as_ref() != Some(&error) => before = Some(error),
                read => return read,
            }
        }
        Self::read_once(files, directory)
    }

    fn read_once(files: &Arc<dyn FileSystem>, directory: &Path) -> Result<Self, LogError> {
        let clock = StandardClock::default();
        let now = ClockReading {
            wall: clock.wall(),
            steady: clock.steady(),
        };
        let listing = DirectoryListing::read(&**files, directory)?;
        let log = if listing.is_new() {
            ReplayedLog::new(0)
        } else {
            ReplayedLog::read(&**files, directory, &listing, now)?.0
        };
        Ok(Self {
            directory: directory.to_owned(),
            files: Arc::clone(files),
            log,
        })
    }

    /// What the log takes of the disk.
    #[must_use]
    pub fn usage(&self) -> LogUsage {
        self.log.state.usage()
    }

    /// The torn end that will be cut off when the log is opened, or that is being written now.
    #[must_use]
    pub fn torn_end(&self) -> Option<&TornEnd> {
        self.log.torn_end.as_ref()
    }

    /// Time of the oldest event that the log holds, if it holds one.
    #[must_use]
    pub fn oldest(&self) -> Option<EpochMillis> {
        let segments = self.log.state.segments.iter();
        segments.map(|it| it.oldest).filter(|time| *time > 0).min()
    }

    /// The queues of the log.
    #[must_use]
    pub fn queues(&self) -> Vec<InspectedQueue> {
        let queues = self.log.state.queues.iter();
        queues
            .map(|(id, queue)| InspectedQueue {
                name: queue.name.clone(),
                is_active: queue.is_active,
                counts: self.log.state.counts(*id).unwrap_or_default(),
            })
            .collect()
    }

    /// Goes through the events that the log holds, whoever has finished them, in their order, until
    /// one breaks off.
    ///
    /// # Errors
    /// If the disk fails, or the log is damaged.
    pub fn visit_events(
        &self,
        mut visit: impl FnMut(InspectedEvent) -> ControlFlow<()>,
    ) -> Result<(), LogError> {
        let mut last = 0;
        for segment in self.log.state.segments.iter() {
            let mut visit_record = |record: &LogRecord| {
                let LogRecord::Event(event) = record else {
                    return ControlFlow::Continue(());
                };
                // A segment may be read twice.
                if event.sequence <= last {
                    return ControlFlow::Continue(());
                }
                last = event.sequence;
                visit(InspectedEvent {
                    sequence: event.sequence,
                    received_at: event.received_at,
                    event: event.body.clone(),
                    queues: self.standings(event),
                })
            };
            if self.visit_segment(segment, &mut visit_record)?.is_break() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Goes through the records of a segment; again, if its process has changed it meanwhile.
    fn visit_segment(
        &self,
        segment: &SegmentState,
        visit: &mut dyn FnMut(&LogRecord) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, LogError> {
        let error = match self.visit_segment_once(segment, visit) {
            Ok(flow) => return Ok(flow),
            Err(error) => error,
        };
        let now = Self::read_on(&self.files, &self.directory)?;
        let mut segments = now.log.state.segments.iter();
        match segments.find(|it| it.file.id == segment.file.id) {
            // It was given up, so that nobody needs what was in it.
            None if now.log.newest > segment.file.id => Ok(ControlFlow::Continue(())),
            None => Err(error),
            Some(segment) => now.visit_segment_once(segment, visit),
        }
    }

    fn visit_segment_once(
        &self,
        segment: &SegmentState,
        visit: &mut dyn FnMut(&LogRecord) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, LogError> {
        let path = &segment.file.path;
        let mut scanner = segment.file.scan(&*self.files, HEAD_BYTES, segment.end)?;
        let mut before = None;
        while let Some(frame) = scanner
            .next_frame()
            .map_err(|fault| fault.into_damage(path))?
        {
            // A segment that was written anew has frames without numbers.
            let is_numbered = segment.file.generation == 0;
            if is_numbered && before.is_some_and(|before| frame.number != before + 1) {
                let what = format!("frame {} is not the one that follows", frame.number);
                return Err(LogError::damaged(path, frame.offset, what));
            }
            before = Some(frame.number);
            for (_, record) in &frame.records {
                if visit(record).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}
