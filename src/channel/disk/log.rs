//! A durable log on disk for channels: an event is written once, whatever the number of queues that
//! want it, and is there until each of them has finished it.
//!
//! In reading order: [`DataDirectory`] holds the lock, the budget and the threads of all logs;
//! [`ChannelLog`] is the log of one channel. DISK.md describes the files.

mod budget;
mod channel_log;
mod clock;
mod commit;
mod directory;
mod error;
pub mod files;
mod format;
mod gather;
mod inspection;
mod lane;
mod mark;
mod open_logs;
mod opening;
mod queue;
mod ranges;
mod read;
mod recovery;
mod reopening;
mod reserve;
mod segment;
mod state;
#[cfg(test)]
mod tests;

use std::fmt;

pub use budget::DiskBudget;
pub use channel_log::{
    ChannelLog, CommitStatistics, LogOptions, LogQueueCounts, LogUsage, RangeProgress,
};
pub use clock::{EpochMillis, LogClock, StandardClock};
pub use commit::operation::{EndedEvents, EventDeferral, EventParking, NewEvent, QueueRange};
pub use directory::{DataDirectory, DirectoryOptions};
pub use error::{LogDamage, LogError};
pub use format::VERSION as FORMAT_VERSION;
pub use format::queue_set::QueueSet;
pub use format::record::{QueueLeftover, SettledOutcome};
pub use format::span::SequenceSpan;
pub use inspection::{
    DirectoryInspection, EventStanding, InspectedEvent, InspectedQueue, LogInspection,
    LogVerification, QueueStanding,
};
pub use lane::LaneKind;
pub use opening::{LogOpening, TornEnd};
pub use queue::QueueOptions;
pub use queue::take::TakenEvent;
pub use read::history::HistoryEvent;
pub use read::parked::ParkedLogEvent;
pub use state::ReadAhead;

/// Number of a record of a log, by which it is found. Each is larger than the one before.
pub type Sequence = u64;

/// Id of a queue in its log. It is never used again for another queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId(pub(crate) u32);

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "queue {}", self.0)
    }
}
