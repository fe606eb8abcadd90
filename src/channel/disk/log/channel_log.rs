//! The log of one channel, with its queues.

pub(crate) mod api;
mod core;
mod ends;
mod idle;
mod jobs;
mod parked_api;
mod shared;

pub use api::ChannelLog;
pub(crate) use core::{CommitCounters, LogCore};
pub(crate) use idle::IdleLooks;
pub(crate) use jobs::JobCount;
pub(crate) use shared::SharedCore;

use std::time::Duration;

use crate::channel::disk::log::Sequence;
use crate::channel::disk::log::clock::EpochMillis;
use crate::channel::disk::log::format::span::SequenceSpan;
use crate::channel::disk::log::state::ReadAhead;

/// What a log is opened with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// Bytes of the first segment of a process. Those that follow soon are larger.
    pub min_segment_bytes: u64,
    /// Bytes of the largest segments. More are read again when the log is opened.
    pub max_segment_bytes: u64,
    /// Bytes after which no more operations join a frame.
    pub max_frame_bytes: usize,
    /// Bytes that may be published at once.
    pub max_publish_bytes: usize,
    /// Time for which events are kept that are finished; `None` keeps none.
    pub retain: Option<Duration>,
    /// What a queue holds of the events that come next.
    pub read_ahead: ReadAhead,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            min_segment_bytes: 1 << 20,
            max_segment_bytes: 64 << 20,
            max_frame_bytes: 4 << 20,
            max_publish_bytes: 256 << 20,
            retain: None,
            read_ahead: ReadAhead::default(),
        }
    }
}

/// What a queue holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogQueueCounts {
    /// Events that are not finished: waiting, in flight or deferred, and not parked.
    pub depth: u64,
    /// Bytes of these events.
    pub bytes: u64,
    /// Events that are in flight.
    pub in_flight: usize,
    /// Events that wait for another attempt.
    pub deferred: usize,
    /// Events that are parked.
    pub parked: usize,
    /// Time at which the oldest of the unfinished events was written. Where the oldest has not been
    /// read, it is the earliest time of its segment, so that it may be a little early.
    pub oldest: Option<EpochMillis>,
}

/// How far a queue has come in its range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RangeProgress {
    /// The range.
    pub range: SequenceSpan,
    /// Every event of the range below has been taken.
    pub taken: Sequence,
}

/// What a log takes of the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogUsage {
    /// Number of its segments.
    pub segments: usize,
    /// Events in them, finished or not.
    pub events: u64,
    /// Bytes of their files.
    pub bytes: u64,
    /// Bytes of the records in them.
    pub written: u64,
}

/// What the log has written since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommitStatistics {
    /// Frames that were written, each with one sync.
    pub frames: u64,
    /// Bytes of these frames.
    pub bytes: u64,
    /// Segments that were given up, since nothing needed them.
    pub freed: u64,
    /// Segments that were written anew without what nothing needed.
    pub gathered: u64,
    /// Time that writes and syncs took.
    pub busy: Duration,
}

impl CommitStatistics {
    fn plus(self, other: Self) -> Self {
        Self {
            frames: self.frames + other.frames,
            bytes: self.bytes + other.bytes,
            freed: self.freed + other.freed,
            gathered: self.gathered + other.gathered,
            busy: self.busy + other.busy,
        }
    }
}
