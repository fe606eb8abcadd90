//! Tracks the failure spells of a destination: one log line when a spell begins, and one when it
//! ends. A success outside of a spell costs one load.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Number of spells of one destination whose beginning is logged ...
const BEGINNINGS: u32 = 3;
/// ... within this time. A spell whose beginning was not logged is logged when the time is over, if
/// it lasts still.
const PERIOD: Duration = Duration::from_secs(60);

/// The failure spell of one destination. Nothing is allocated before the first failure.
#[derive(Debug, Default)]
pub(super) struct FailureTracker(OnceLock<Box<FailureTrackerState>>);

#[derive(Debug, Default)]
struct FailureTrackerState {
    is_failing: AtomicBool,
    spell: Mutex<FailureSpell>,
}

/// A failure spell: the time from the first failure to the first success.
#[derive(Debug, Default)]
struct FailureSpell {
    since: Option<Instant>,
    last_failure: Option<Instant>,
    failures: u64,
    is_logged: bool,
    /// The start of the period in which beginnings are counted, and the number of those that were
    /// logged.
    logged_in_period: Option<(Instant, u32)>,
}

/// The end of a failure spell, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FailureSpellEnd {
    /// Number of attempts that failed.
    pub(super) failures: u64,
    /// Time since the first failure.
    pub(super) after: Duration,
}

impl FailureTracker {
    /// Records a failed attempt; returns the number of failures if the beginning of the spell is to
    /// be logged.
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

    /// Records an attempt that succeeded and `began` at this time; returns the end of the spell, if
    /// this is one and its beginning was logged. An attempt that was in flight while another one
    /// failed proves nothing.
    pub(super) fn record_success(&self, began: Instant, now: Instant) -> Option<FailureSpellEnd> {
        let remembered = self
            .0
            .get()
            .filter(|remembered| remembered.is_failing.load(Ordering::Acquire))?;
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

impl FailureTracker {
    /// Returns since when the spell lasts, and how many attempts have failed; `None` if there is no
    /// spell whose beginning was logged.
    pub(super) fn told(&self) -> Option<(Instant, u64)> {
        let state = self.0.get()?;
        let is_failing = state.is_failing.load(Ordering::Acquire);
        let spell = is_failing.then(|| state.lock())?;
        let since = spell.since.filter(|_| spell.is_logged)?;
        Some((since, spell.failures))
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
        assert_eq!(
            failing.record_success(at(1), at(3)),
            None,
            "it was under way while another one failed"
        );
        assert_eq!(failing.record_failure(at(4)), None);
        assert_eq!(
            failing.record_success(at(5), at(6)),
            Some(FailureSpellEnd {
                failures: 3,
                after: Duration::from_secs(5)
            })
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
            assert_eq!(
                failing.record_success(at(*second), at(*second)).is_some(),
                begun
            );
            begun
        });
        assert_eq!(told.count(), 3);
        assert_eq!(failing.record_failure(at(55)), None);
        assert_eq!(
            failing.record_failure(at(61)),
            Some(2),
            "it fails still when the minute is over"
        );
    }
}
