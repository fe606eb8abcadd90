//! How far the attempts at one destination got, and for how long the event may still be held.

use std::time::Duration;

use tokio::time::Instant;

use crate::channel::{DeliveryProgress, HoldTime};

/// How far the attempts at one destination got.
#[derive(Clone, Copy)]
pub(super) struct AttemptProgress {
    /// Made before.
    pub(super) attempts: u32,
    /// What is left to wait before the next one.
    pub(super) wait: Duration,
    /// The longest wait; `None` allows any.
    max_wait: Option<Duration>,
    /// How long the event may be held; `None` allows it for ever.
    hold_time: Option<HoldTime>,
}

impl From<&DeliveryProgress> for AttemptProgress {
    fn from(progress: &DeliveryProgress) -> Self {
        let DeliveryProgress { attempts, wait, max_wait: patience, hold_time: held, .. } = *progress;
        Self { attempts, wait, max_wait: patience, hold_time: held }
    }
}

impl AttemptProgress {
    /// None yet, with the same patience: at the next destination they are counted anew.
    pub(super) fn for_next_destination(self) -> Self {
        Self { attempts: 0, wait: Duration::ZERO, ..self }
    }

    /// How long the next attempt may take; `None` if it is to be made by who holds the event next.
    pub(super) fn attempt_timeout(&self, timeout: Duration) -> Option<Duration> {
        self.hold_time.map_or(Some(timeout), |held| held.attempt_timeout(timeout))
    }

    /// How much of the wait before the next attempt passes here; the rest is for who holds the event next.
    pub(super) fn wait_here(&self, timeout: Duration) -> Duration {
        if self.max_wait.is_some_and(|patience| self.wait > patience) {
            return Duration::ZERO;
        }
        let Some(held) = self.hold_time else { return self.wait };
        let left = held.until.saturating_duration_since(Instant::now());
        self.wait.min(left.saturating_sub(timeout.min(held.longest / 2)))
    }

    /// Whether the event cannot be held for this wait and an attempt after it.
    pub(super) fn exceeds_hold_time(&self, wait: Duration, timeout: Duration) -> bool {
        let outlives = |held: HoldTime| held.until < Instant::now() + wait + timeout.min(held.longest / 2);
        self.max_wait.is_some_and(|patience| wait > patience) || self.hold_time.is_some_and(outlives)
    }
}
