//! How far an event got, and when it goes on: what a message says besides its event.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What goes with an event besides itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::channel::rabbitmq) struct RetryHeaders {
    /// Attempts made at the subscriber.
    pub(in crate::channel::rabbitmq) attempts: u32,
    /// When the next one is due; milliseconds since the epoch.
    pub(in crate::channel::rabbitmq) not_before_millis: u64,
    /// Milliseconds that are left to wait at most: clocks of processes differ, and are set.
    pub(in crate::channel::rabbitmq) remaining_millis: Option<u64>,
}

impl RetryHeaders {
    /// What is left to wait.
    pub(in crate::channel::rabbitmq) fn remaining_wait(&self) -> Duration {
        let by_clock = self.not_before_millis.saturating_sub(unix_millis());
        Duration::from_millis(by_clock.min(self.remaining_millis.unwrap_or(u64::MAX)))
    }

    /// After so many attempts, and this wait, of which a delay queue takes a part.
    pub(in crate::channel::rabbitmq) fn after_attempts(attempts: u32, wait: Duration, delayed: Duration) -> Self {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let remaining_millis = Some(millis(wait.saturating_sub(delayed)));
        Self { attempts, not_before_millis: unix_millis().saturating_add(millis(wait)), remaining_millis }
    }
}

/// Milliseconds since the epoch.
pub(super) fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
