//! What can go wrong, in words that name the file, the offset and the remedy.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::channel::disk::log::files::is_full;
use crate::channel::disk::log::{QueueId, Sequence};

/// A place of a log that does not hold what was written there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDamage {
    /// File that is damaged.
    pub path: PathBuf,
    /// Offset of the first byte that cannot be trusted.
    pub offset: u64,
    /// What is wrong there.
    pub what: String,
}

impl fmt::Display for LogDamage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is damaged at offset {}: {}. Restore the directory {} from a copy, or move it away \
             to begin anew without its events",
            self.path.display(),
            self.offset,
            self.what,
            self.path.parent().unwrap_or(Path::new(".")).display(),
        )
    }
}

/// Reason for which the log did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The disk, or the limit that all logs share, has no room; nothing was written.
    #[error("no room on the disk for {needed} bytes more ({cause}): free some, or raise the limit")]
    Full {
        /// Bytes that were asked for.
        needed: u64,
        /// What has run out.
        cause: Arc<str>,
    },
    /// A write or a sync failed before; the log takes nothing until it is opened anew.
    #[error("the log takes nothing since its disk failed ({cause}): see to the disk")]
    Poisoned {
        /// The failure, with its file.
        cause: Arc<str>,
    },
    /// The log does not hold what was written into it.
    #[error("{0}")]
    Damaged(LogDamage),
    /// A file cannot be read, created or renamed now.
    #[error("{path}: {cause}", path = path.display())]
    Unreadable {
        /// The file or directory.
        path: PathBuf,
        /// The failure of the operating system.
        cause: Arc<str>,
    },
    /// Another process has the data directory.
    #[error("{path} is used by {holder}: end that process, or choose another directory",
        path = path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// What the holder has written about itself.
        holder: String,
    },
    /// The directory is not one that this program has made.
    #[error("{path} is no data directory: it has no file {lock} and no logs",
        path = .0.display(), lock = crate::channel::disk::log::directory::LOCK_NAME)]
    NoDataDirectory(PathBuf),
    /// The log is open in this process.
    #[error("the log {path} is open already", path = .0.display())]
    AlreadyOpen(PathBuf),
    /// The directory of the log holds something that no log has put there.
    #[error("{path} does not belong into the directory of a log: move it away", path = .0.display())]
    Foreign(PathBuf),
    /// The log was put into the place of another, whose queues have ids that it does not have.
    #[error("{path} is another log than the one that was there: restart to take it up", path = .0.display())]
    Replaced(PathBuf),
    /// The file is of a version of the format that this program does not read.
    #[error("{path} has version {version} of the format, and this program reads version {supported}: \
        use the program that wrote it", path = path.display(), supported = crate::channel::disk::log::format::VERSION)]
    UnknownVersion {
        /// The segment.
        path: PathBuf,
        /// Version in its head.
        version: u32,
    },
    /// The file is there, and empty.
    #[error("{path} is empty, though a segment is renamed to its name only when it is whole: the file \
        system has lost it. Move it away to go on without the events that were in it", path = .0.display())]
    EmptySegment(PathBuf),
    /// The head of the segment is not whole.
    #[error("the head of {path} is not whole ({what}), though a segment is renamed to its name only \
        when it is: the file system has lost a part. Move it away to go on without the events that \
        were in it", path = path.display())]
    IncompleteHead {
        /// The segment.
        path: PathBuf,
        /// What is wrong with its head.
        what: &'static str,
    },
    /// No queue has this id, or it was deleted.
    #[error("{0} is not declared in this log")]
    UnknownQueue(QueueId),
    /// The event is not in flight, so that it cannot be settled.
    #[error("event {sequence} of {queue} is not in flight")]
    NotInFlight {
        /// The queue.
        queue: QueueId,
        /// Sequence of the event.
        sequence: Sequence,
    },
    /// What is to be written at once is too large.
    #[error("{bytes} bytes at once are more than the log takes ({limit})")]
    TooLarge {
        /// Bytes that were to be written.
        bytes: u64,
        /// Largest number of bytes.
        limit: u64,
    },
    /// The name of a log cannot be the name of a directory.
    #[error("{0:?} cannot be the name of a log: it may hold letters, digits and -._+~ only")]
    InvalidName(String),
    /// The runtime that does the work of the log has ended.
    #[error("the log is closed, since its runtime has ended")]
    Closed,
}

impl LogError {
    pub(crate) fn unreadable(path: &Path, error: &io::Error) -> Self {
        Self::Unreadable {
            path: path.to_owned(),
            cause: error.to_string().into(),
        }
    }

    /// The error of a file that could not be made: it tells a full disk from one that fails.
    pub(crate) fn of_write(path: &Path, needed: u64, error: &io::Error) -> Self {
        if is_full(error) {
            return Self::Full {
                needed,
                cause: error.to_string().into(),
            };
        }
        Self::unreadable(path, error)
    }

    pub(crate) fn damaged(path: &Path, offset: u64, what: impl Into<String>) -> Self {
        Self::Damaged(LogDamage {
            path: path.to_owned(),
            offset,
            what: what.into(),
        })
    }
}
