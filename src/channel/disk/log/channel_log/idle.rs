//! What is done for a log to which nobody writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::LogCore;
use crate::channel::disk::log::open_logs::UpkeptLog;

/// Looks at an idle log after which it gives back the room that it took while it was busy: five
/// minutes.
const LOOKS: u32 = 20;

/// What was seen of a log when it was looked after.
#[derive(Debug, Default)]
pub(crate) struct IdleLooks {
    frames: AtomicU64,
    looks: AtomicU32,
    /// True if the room should be given back.
    wish: AtomicBool,
}

impl IdleLooks {
    /// Counts a look at a log that has written so many frames. True if it has just been idle for
    /// long.
    fn count(&self, frames: u64) -> bool {
        if self.frames.swap(frames, Ordering::Relaxed) != frames {
            self.looks.store(0, Ordering::Relaxed);
            return false;
        }
        let looks = self.looks.fetch_add(1, Ordering::Relaxed);
        let is_due = looks.saturating_add(1) == LOOKS;
        self.wish.fetch_or(is_due, Ordering::Relaxed);
        is_due
    }

    /// True once if the room should be given back.
    pub(crate) fn take_wish(&self) -> bool {
        self.wish.swap(false, Ordering::Relaxed)
    }
}

impl UpkeptLog for LogCore {
    /// Events that were kept for long enough are given up.
    fn look_after(self: Arc<Self>) {
        let is_idle_for_long = self.idle_looks.count(self.statistics.read().frames);
        let retained_from = self.retained_from();
        let mut state = self.state();
        if state.failure.is_some() || state.is_closed {
            return;
        }
        let is_due =
            !state.unneeded(retained_from).is_empty() || state.straggling(retained_from).is_some();
        drop(state);
        if is_due || is_idle_for_long {
            self.request_upkeep();
        }
    }
}
