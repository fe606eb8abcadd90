//! Whether a destination fails: told in one line when it begins, and in one when it ends. A success of one that does not
//! fail costs a load.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A destination that fails and recovers all the time is told this often...
const BEGINNINGS: u32 = 3;
/// ... in such a time. What is not told then is told when that time is over, if it fails still.
const PERIOD: Duration = Duration::from_secs(60);

/// How one destination is. It has nothing to remember before the first failure.
#[derive(Debug, Default)]
pub(super) struct FailureTracker(OnceLock<Box<FailureTrackerState>>);

#[derive(Debug, Default)]
struct FailureTrackerState {
    is_failing: AtomicBool,
    spell: Mutex<FailureSpell>,
}

/// From the first failure to the first success.
#[derive(Debug, Default)]
struct FailureSpell {
    since: Option<Instant>,
    last_failure: Option<Instant>,
    failures: u64,
    is_logged: bool,
    /// Since when beginnings are counted, and how many were told.
    logged_in_period: Option<(Instant, u32)>,
}

/// What there is to be told of an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FailureSpellEnd {
    /// Attempts that failed.
    pub(super) failures: u64,
    /// From the first of them.
    pub(super) after: Duration,
}

impl FailureTracker {
    /// An attempt failed now. Whether the beginning is to be told, and after how many failures.
    pub(super) fn record_failure(&self, now: Instant) -> Option<u64> {
        let remembered = self.0.get_or_init(Box::default);
        let mut spell = remembered.lock();
        spell.since.get_or_insert(now);
        spell.last_failure = Some(now);
        spell.failures += 1;
        remembered.is_failing.store(true, Ordering::Release);
        if spell.is_logged || !spell.may_log(now) {
            return None;
        }
        spell.is_logged = true;
        Some(spell.failures)
    }

    /// An attempt succeeded that had begun then. What is to be told of the end, if this is one: an attempt that was under
    /// way while another one failed says nothing.
    pub(super) fn record_success(&self, began: Instant, now: Instant) -> Option<FailureSpellEnd> {
        let remembered = self.0.get().filter(|remembered| remembered.is_failing.load(Ordering::Acquire))?;
        let mut spell = remembered.lock();
        if spell.last_failure.is_some_and(|last| began < last) {
            return None;
        }
        remembered.is_failing.store(false, Ordering::Release);
        let after = now.saturating_duration_since(spell.since.take()?);
        let failures = std::mem::take(&mut spell.failures);
        std::mem::take(&mut spell.is_logged).then_some(FailureSpellEnd { failures, after })
    }
}

impl FailureTrackerState {
    fn lock(&self) -> MutexGuard<'_, FailureSpell> {
        self.spell.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FailureSpell {
    fn may_log(&mut self, now: Instant) -> bool {
        let (since, told) = match self.logged_in_period {
            Some((since, told)) if now.saturating_duration_since(since) < PERIOD => (since, told),
            _ => (now, 0),
        };
        self.logged_in_period = Some((since, told.saturating_add(1).min(BEGINNINGS)));
        told < BEGINNINGS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_and_an_end_are_told_once() {
        let (failing, start) = (FailureTracker::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(failing.record_success(at(0), at(0)), None);
        assert_eq!(failing.record_failure(at(1)), Some(1));
        assert_eq!(failing.record_failure(at(2)), None);
        assert_eq!(failing.record_success(at(1), at(3)), None, "it was under way while another one failed");
        assert_eq!(failing.record_failure(at(4)), None);
        assert_eq!(
            failing.record_success(at(5), at(6)),
            Some(FailureSpellEnd { failures: 3, after: Duration::from_secs(5) })
        );
        assert_eq!(failing.record_success(at(7), at(8)), None);
    }

    /// What fails every second time is not told every time, and not forgotten.
    #[test]
    fn flapping_is_told_some_times_a_minute() {
        let (failing, start) = (FailureTracker::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let told = (0..50).filter(|second| {
            let begun = failing.record_failure(at(*second)).is_some();
            assert_eq!(failing.record_success(at(*second), at(*second)).is_some(), begun);
            begun
        });
        assert_eq!(told.count(), 3);
        assert_eq!(failing.record_failure(at(55)), None);
        assert_eq!(failing.record_failure(at(61)), Some(2), "it fails still when the minute is over");
    }
}
