//! Progress of the attempts at one destination, and the time for which the event may still be held.

use std::time::Duration;

use tokio::time::Instant;

use crate::channel::{DeliveryProgress, HoldTime};

/// Progress of the attempts at one destination.
#[derive(Clone, Copy)]
pub(super) struct AttemptProgress {
    /// Attempts that were made at the destination before.
    pub(super) attempts: u32,
    /// Wait that is left before the next attempt.
    pub(super) wait: Duration,
    /// Longest wait for which the event may be held; `None` allows any.
    max_wait: Option<Duration>,
    /// Time for which the event may be held; `None` means for ever.
    hold_time: Option<HoldTime>,
}

impl From<&DeliveryProgress> for AttemptProgress {
    fn from(progress: &DeliveryProgress) -> Self {
        let DeliveryProgress {
            attempts,
            wait,
            max_wait: patience,
            hold_time: held,
            ..
        } = *progress;
        Self {
            attempts,
            wait,
            max_wait: patience,
            hold_time: held,
        }
    }
}

impl AttemptProgress {
    /// Starts anew for the next destination, within the same limits of holding the event.
    pub(super) fn for_next_destination(self) -> Self {
        Self {
            attempts: 0,
            wait: Duration::ZERO,
            ..self
        }
    }

    /// Timeout of the next attempt; `None` if the queue has to deliver the event anew before that.
    pub(super) fn attempt_timeout(&self, timeout: Duration) -> Option<Duration> {
        self.hold_time
            .map_or(Some(timeout), |held| held.attempt_timeout(timeout))
    }

    /// Part of the wait before the next attempt that passes here; the rest is deferred.
    pub(super) fn wait_here(&self, timeout: Duration) -> Duration {
        if self.max_wait.is_some_and(|patience| self.wait > patience) {
            return Duration::ZERO;
        }
        let Some(held) = self.hold_time else {
            return self.wait;
        };
        let left = held.until.saturating_duration_since(Instant::now());
        self.wait
            .min(left.saturating_sub(timeout.min(held.longest / 2)))
    }

    /// True if the queue records every step after a failure, so that the next process goes on there.
    pub(super) fn is_recorded(&self) -> bool {
        self.max_wait.is_some_and(|patience| patience.is_zero())
    }

    /// True if the event cannot be held for this wait and an attempt after it.
    pub(super) fn exceeds_hold_time(&self, wait: Duration, timeout: Duration) -> bool {
        let outlives =
            |held: HoldTime| held.until < Instant::now() + wait + timeout.min(held.longest / 2);
        self.is_recorded()
            || self.max_wait.is_some_and(|patience| wait > patience)
            || self.hold_time.is_some_and(outlives)
    }
}
