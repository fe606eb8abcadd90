//! How far the attempts at one destination got, and for how long the event may still be held.

use std::time::Duration;

use tokio::time::Instant;

use crate::channel::{HoldTime, Progress};

/// How far the attempts at one destination got.
#[derive(Clone, Copy)]
pub(super) struct Tries {
    /// Made before.
    pub(super) attempts: u32,
    /// What is left to wait before the next one.
    pub(super) wait: Duration,
    /// The longest wait; `None` allows any.
    patience: Option<Duration>,
    /// How long the event may be held; `None` allows it for ever.
    held: Option<HoldTime>,
}

impl From<&Progress> for Tries {
    fn from(progress: &Progress) -> Self {
        let Progress { attempts, wait, patience, held, .. } = *progress;
        Self { attempts, wait, patience, held }
    }
}

impl Tries {
    /// None yet, with the same patience: at the next destination they are counted anew.
    pub(super) fn anew(self) -> Self {
        Self { attempts: 0, wait: Duration::ZERO, ..self }
    }

    /// How long the next attempt may take; `None` if it is to be made by who holds the event next.
    pub(super) fn time_for(&self, timeout: Duration) -> Option<Duration> {
        self.held.map_or(Some(timeout), |held| held.allows(timeout))
    }

    /// How much of the wait before the next attempt passes here; the rest is for who holds the event next.
    pub(super) fn pause(&self, timeout: Duration) -> Duration {
        if self.patience.is_some_and(|patience| self.wait > patience) {
            return Duration::ZERO;
        }
        let Some(held) = self.held else { return self.wait };
        let left = held.until.saturating_duration_since(Instant::now());
        self.wait.min(left.saturating_sub(timeout.min(held.longest / 2)))
    }

    /// Whether the event cannot be held for this wait and an attempt after it.
    pub(super) fn is_too_long(&self, wait: Duration, timeout: Duration) -> bool {
        let outlives = |held: HoldTime| held.until < Instant::now() + wait + timeout.min(held.longest / 2);
        self.patience.is_some_and(|patience| wait > patience) || self.held.is_some_and(outlives)
    }
}
