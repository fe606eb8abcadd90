//! The two clocks of a log: one that people set, and one that only goes forward.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Milliseconds since the epoch, as they are on the disk.
pub type EpochMillis = u64;

/// Source of time. What is written to the disk is of the wall clock; what waits in a process waits
/// by the steady one, so that a wall clock that is set anew moves nothing.
pub trait LogClock: fmt::Debug + Send + Sync + 'static {
    /// Time of the wall clock.
    fn wall(&self) -> EpochMillis;

    /// Time since some moment before the log was opened; never goes back.
    fn steady(&self) -> Duration;
}

/// The clocks of the operating system.
#[derive(Clone, Copy, Debug)]
pub struct StandardClock {
    begin: Instant,
}

impl Default for StandardClock {
    fn default() -> Self {
        Self {
            begin: Instant::now(),
        }
    }
}

impl LogClock for StandardClock {
    fn wall(&self) -> EpochMillis {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        millis(since.unwrap_or_default())
    }

    fn steady(&self) -> Duration {
        self.begin.elapsed()
    }
}

/// A duration in milliseconds, or the longest there is.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
