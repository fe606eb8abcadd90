//! When deliveries last ended, by how. A delivery that ends costs a look at the clock and a store.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::End;

/// Milliseconds since the epoch; 0 if it has not happened.
#[derive(Debug, Default)]
pub(super) struct Moments {
    delivered: AtomicU64,
    dead_lettered: AtomicU64,
    lost: AtomicU64,
}

impl Moments {
    fn of(&self, end: End) -> Option<&AtomicU64> {
        match end {
            End::Delivered => Some(&self.delivered),
            End::DeadLettered => Some(&self.dead_lettered),
            End::Lost => Some(&self.lost),
            End::Abandoned | End::Deferred | End::Parked | End::Returned => None,
        }
    }

    pub(super) fn note(&self, end: End) {
        if let Some(moment) = self.of(end) {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            moment.store(u64::try_from(since.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }

    pub(super) fn last(&self, end: End) -> Option<SystemTime> {
        match self.of(end)?.load(Ordering::Relaxed) {
            0 => None,
            millis => SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_has_its_time() {
        let (moments, before) = (Moments::default(), SystemTime::now() - Duration::from_millis(1));
        assert_eq!(moments.last(End::Delivered), None);
        moments.note(End::Lost);
        moments.note(End::Parked);
        assert_eq!((moments.last(End::Delivered), moments.last(End::Parked)), (None, None));
        assert!(moments.last(End::Lost).is_some_and(|at| at >= before && at <= SystemTime::now()));
    }
}
