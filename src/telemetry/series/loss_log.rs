//! Limits the log of lost and parked events: the first of a minute is logged at once and in full,
//! the others in one line at the end of the minute.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Time from an event that is logged in full to the line that sums up those after it.
const PERIOD: Duration = Duration::from_secs(60);

/// The lost, or parked, events of one subscription that are not logged yet.
#[derive(Debug, Default)]
pub(super) struct LossLog(Mutex<LossLogMinute>);

#[derive(Debug, Default)]
struct LossLogMinute {
    since: Option<Instant>,
    unlogged: u64,
}

impl LossLog {
    /// Records a lost, or parked, event; returns true if it is to be logged in full.
    pub(super) fn is_first_of_minute(&self, now: Instant) -> bool {
        let mut minute = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A sum that was not taken yet goes on: its minute ends when it is logged.
        let goes_on = minute.since.is_some_and(|since| {
            now.saturating_duration_since(since) < PERIOD || minute.unlogged > 0
        });
        if goes_on {
            minute.unlogged += 1;
        } else {
            minute.since = Some(now);
        }
        !goes_on
    }

    /// Takes the sum of a minute that is over, without the event that was logged in full; with
    /// `None`, of whatever minute.
    pub(super) fn take_sum(&self, now: Option<Instant>) -> Option<u64> {
        let mut minute = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = minute.since?;
        if now.is_some_and(|now| now.saturating_duration_since(since) < PERIOD) {
            return None;
        }
        minute.since = None;
        Some(std::mem::take(&mut minute.unlogged)).filter(|more| *more > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_and_the_others_are_summed() {
        let (losses, start) = (LossLog::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(losses.take_sum(Some(at(0))), None);
        assert!(losses.is_first_of_minute(at(0)));
        assert!((1..=9_150).all(|event| !losses.is_first_of_minute(at(event % 60))));
        assert_eq!(losses.take_sum(Some(at(59))), None);
        assert_eq!(losses.take_sum(Some(at(60))), Some(9_150));
        assert_eq!(losses.take_sum(Some(at(61))), None);
        assert!(losses.is_first_of_minute(at(62)));
        assert!(!losses.is_first_of_minute(at(63)));
        assert_eq!(
            losses.take_sum(None),
            Some(1),
            "the end waits for no minute"
        );
        assert!(losses.is_first_of_minute(at(64)));
        assert_eq!(losses.take_sum(Some(at(200))), None);
        assert!(losses.is_first_of_minute(at(201)));
    }
}
