//! The times at which deliveries last ended, by how they ended. The end of a delivery costs a look
//! at the clock and a store.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::outcome::DeliveryEnd;

/// The last time of each end, in milliseconds since the epoch; 0 if there was none.
#[derive(Debug, Default)]
pub(super) struct LastEndTimes {
    delivered: AtomicU64,
    dead_lettered: AtomicU64,
    lost: AtomicU64,
}

impl LastEndTimes {
    fn time_of(&self, end: DeliveryEnd) -> Option<&AtomicU64> {
        match end {
            DeliveryEnd::Delivered => Some(&self.delivered),
            DeliveryEnd::DeadLettered => Some(&self.dead_lettered),
            DeliveryEnd::Lost => Some(&self.lost),
            DeliveryEnd::Abandoned
            | DeliveryEnd::Deferred
            | DeliveryEnd::Parked
            | DeliveryEnd::Requeued => None,
        }
    }

    pub(super) fn record(&self, end: DeliveryEnd) {
        if let Some(moment) = self.time_of(end) {
            let since = SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default();
            moment.store(
                u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
                Ordering::Relaxed,
            );
        }
    }

    pub(super) fn last(&self, end: DeliveryEnd) -> Option<SystemTime> {
        match self.time_of(end)?.load(Ordering::Relaxed) {
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
        let (moments, before) = (
            LastEndTimes::default(),
            SystemTime::now() - Duration::from_millis(1),
        );
        assert_eq!(moments.last(DeliveryEnd::Delivered), None);
        moments.record(DeliveryEnd::Lost);
        moments.record(DeliveryEnd::Parked);
        assert_eq!(
            (
                moments.last(DeliveryEnd::Delivered),
                moments.last(DeliveryEnd::Parked)
            ),
            (None, None)
        );
        assert!(
            moments
                .last(DeliveryEnd::Lost)
                .is_some_and(|at| at >= before && at <= SystemTime::now())
        );
    }
}
