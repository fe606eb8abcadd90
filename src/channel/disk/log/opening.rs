//! What is told of the opening of a log.

use std::path::PathBuf;
use std::time::Duration;

/// What was found when a log was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOpening {
    /// True if the log was not there before.
    pub is_new: bool,
    /// The torn end that was cut off, if there was one.
    pub torn_end: Option<TornEnd>,
    /// Files that were left from an interrupted change, and removed.
    pub leftovers: usize,
    /// Time that it took.
    pub took: Duration,
}

/// The end of a frame that was being written when a process or machine ended. Nobody was told that
/// its events were safe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornEnd {
    /// The newest segment.
    pub path: PathBuf,
    /// Offset at which its whole frames end.
    pub offset: u64,
}
