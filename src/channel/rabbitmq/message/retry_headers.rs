//! Headers of a deferred message: attempts so far, and the time of the next one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Attempts and wait of an event, beside the event itself; the default is that of a new event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::channel::rabbitmq) struct RetryHeaders {
    /// Attempts made at the destination of the current stage.
    pub(in crate::channel::rabbitmq) attempts: u32,
    /// Time at which the next attempt is due, in milliseconds since the epoch.
    pub(in crate::channel::rabbitmq) not_before_millis: u64,
    /// Longest wait that is left, in milliseconds: clocks of processes differ, and are set.
    pub(in crate::channel::rabbitmq) remaining_millis: Option<u64>,
}

impl RetryHeaders {
    /// Wait that is left, from now.
    pub(in crate::channel::rabbitmq) fn remaining_wait(&self) -> Duration {
        let by_clock = self.not_before_millis.saturating_sub(unix_millis());
        Duration::from_millis(by_clock.min(self.remaining_millis.unwrap_or(u64::MAX)))
    }

    /// Makes the headers after so many attempts for this wait, of which `delayed` passes in a delay
    /// queue.
    pub(in crate::channel::rabbitmq) fn after_attempts(
        attempts: u32,
        wait: Duration,
        delayed: Duration,
    ) -> Self {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let remaining_millis = Some(millis(wait.saturating_sub(delayed)));
        Self {
            attempts,
            not_before_millis: unix_millis().saturating_add(millis(wait)),
            remaining_millis,
        }
    }
}

/// Milliseconds since the epoch, by the clock of this process.
pub(super) fn unix_millis() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
