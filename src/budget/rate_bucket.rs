//! The bucket that limits a rate: one number, the time at which it is full again. Each event moves
//! that time on by the interval of the rate, and events pass as long as it is not too far ahead.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::limit_set::EventRate;

/// Time whose events may come at once, in nanoseconds.
const BURST: u64 = 1_000_000_000;
/// Longest time for which senders are refused for events that were not asked.
const LONGEST_DEBT: u64 = 60 * BURST;

/// The bucket of one rate. Times are nanoseconds since a moment that its owner knows.
#[derive(Debug, Default)]
pub(super) struct RateBucket {
    /// Time at which the bucket is full.
    full_at: AtomicU64,
    /// Nanoseconds from one event to the next; 0 sets no limit.
    interval: AtomicU64,
}

impl RateBucket {
    /// Sets the rate from now on.
    pub(super) fn set_rate(&self, rate: Option<EventRate>) {
        let interval = rate.map_or(0, |rate| nanoseconds(rate.interval()));
        self.interval.store(interval, Ordering::Relaxed);
    }

    /// True if there is a limit.
    pub(super) fn is_limited(&self) -> bool {
        self.interval.load(Ordering::Relaxed) > 0
    }

    /// Lets these events pass, all or none. Of a request with more events than a full bucket has,
    /// the rest is owed.
    ///
    /// # Errors
    /// If the bucket has too few; holds the time after which it has enough.
    pub(super) fn take(&self, events: usize, now: u64) -> Result<(), Duration> {
        let (cost, burst) = self.cost(events);
        let needed = cost.min(burst);
        let passed = self.move_on(|full_at| {
            let begin = full_at.max(now);
            let is_allowed = (begin - now).saturating_add(needed) <= burst;
            is_allowed.then(|| begin.saturating_add(cost))
        });
        passed.map_err(|full_at| {
            let wait = full_at.saturating_sub(now).saturating_add(needed);
            Duration::from_nanos(wait.saturating_sub(burst))
        })
    }

    /// Time after which one event may pass; `None` if it may now.
    pub(super) fn wait(&self, now: u64) -> Option<Duration> {
        let (cost, burst) = self.cost(1);
        let ahead = self.full_at.load(Ordering::Relaxed).saturating_sub(now);
        let wait = ahead.saturating_add(cost).saturating_sub(burst);
        (wait > 0).then(|| Duration::from_nanos(wait))
    }

    /// Counts events that are not refused, whatever the bucket has: what they take too much is
    /// owed.
    pub(super) fn charge(&self, events: usize, now: u64) {
        let (cost, _) = self.cost(events);
        // The closure always gives a new time, so that this never fails.
        _ = self.move_on(|full_at| {
            let owed = full_at.max(now).saturating_add(cost);
            Some(owed.min(now.saturating_add(LONGEST_DEBT)).max(full_at))
        });
    }

    /// Part of the bucket that is used, from 0 to 1, and more for what is owed.
    pub(super) fn used(&self, now: u64) -> f64 {
        let (_, burst) = self.cost(1);
        let ahead = self.full_at.load(Ordering::Relaxed).saturating_sub(now);
        Duration::from_nanos(ahead).as_secs_f64() / Duration::from_nanos(burst).as_secs_f64()
    }

    /// Time that these events take, and the time whose events may come at once: that of one event
    /// at least.
    fn cost(&self, events: usize) -> (u64, u64) {
        let interval = self.interval.load(Ordering::Relaxed);
        let events = u64::try_from(events).unwrap_or(u64::MAX);
        (interval.saturating_mul(events), BURST.max(interval))
    }

    fn move_on(&self, next: impl FnMut(u64) -> Option<u64>) -> Result<(), u64> {
        let (set, get) = (Ordering::Relaxed, Ordering::Relaxed);
        self.full_at.fetch_update(set, get, next).map(drop)
    }
}

/// A duration in nanoseconds.
pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bucket(rate: &str) -> RateBucket {
        let bucket = RateBucket::default();
        bucket.set_rate(EventRate::parse(rate));
        bucket
    }

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_second_of_events_may_come_at_once_and_no_more() {
        let bucket = bucket("10/s");
        for _ in 0..10 {
            assert_eq!(bucket.take(1, SECOND), Ok(()));
        }
        assert_eq!(bucket.take(1, SECOND), Err(Duration::from_millis(100)));
        assert_eq!(bucket.wait(SECOND), Some(Duration::from_millis(100)));
        assert_eq!(bucket.take(2, SECOND), Err(Duration::from_millis(200)));
        assert_eq!(bucket.take(1, SECOND + SECOND / 10), Ok(()));
    }

    #[test]
    fn a_batch_larger_than_the_bucket_passes_a_full_one_and_is_owed() {
        let bucket = bucket("10/s");
        assert_eq!(bucket.take(50, SECOND), Ok(()));
        assert_eq!(bucket.wait(SECOND), Some(Duration::from_millis(4_100)));
        assert!(bucket.take(1, 5 * SECOND).is_err());
        assert_eq!(bucket.take(1, 6 * SECOND), Ok(()));
    }

    #[test]
    fn what_is_not_refused_is_owed_for_a_minute_at_most() {
        let bucket = bucket("1/s");
        bucket.charge(1_000_000, 0);
        assert_eq!(bucket.wait(0), Some(Duration::from_secs(60)));
        assert_eq!(bucket.take(1, 60 * SECOND), Ok(()));
    }

    #[test]
    fn without_a_rate_everything_passes() {
        let bucket = RateBucket::default();
        assert!(!bucket.is_limited());
        for _ in 0..1000 {
            assert_eq!(bucket.take(1_000_000, 0), Ok(()));
        }
    }

    #[test]
    fn many_at_once_get_no_more_than_one_after_the_other() {
        let bucket = bucket("1000/s");
        let passed: usize = std::thread::scope(|scope| {
            let take = || (0..1000).filter(|_| bucket.take(1, 0).is_ok()).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|it| it.join().expect("ends")).sum()
        });
        assert_eq!(passed, 1000);
    }

    /// A request: nanoseconds after the one before, and its events.
    fn requests() -> impl Strategy<Value = Vec<(u64, usize)>> {
        prop::collection::vec((0..400_000_000_u64, 1..5_usize), 1..300)
    }

    proptest! {
        /// In any time, no more than the rate, the bucket and one request.
        #[test]
        fn no_more_passes_than_the_rate_allows(requests in requests(), rate in 1..200_u32) {
            let bucket = bucket(&format!("{rate}/s"));
            let (mut now, mut passed) = (0, Vec::new());
            for (after, events) in requests {
                now += after;
                if bucket.take(events, now).is_ok() {
                    passed.push((now, events));
                }
            }
            for (first, (begin, _)) in passed.iter().enumerate() {
                let mut sum = 0;
                for (end, events) in &passed[first..] {
                    sum += events;
                    let seconds = (end - begin) as f64 / SECOND as f64;
                    let allowed = f64::from(rate) * (seconds + 1.0) + 5.0;
                    prop_assert!(sum as f64 <= allowed * 1.000_001, "{sum} in {seconds} s");
                }
            }
        }

        /// Whoever keeps to the rate is never refused, and whoever waits as told is not refused
        /// again.
        #[test]
        fn no_less_passes_than_the_rate_allows(requests in requests(), rate in 1..200_u32) {
            let bucket = bucket(&format!("{rate}/s"));
            let interval = SECOND / u64::from(rate);
            let mut now = 0;
            for (after, events) in requests {
                now += interval * events as u64;
                prop_assert_eq!(bucket.take(events.min(rate as usize), now), Ok(()));
                bucket.charge(events, now);
                if let Err(wait) = bucket.take(1, now) {
                    now += nanoseconds(wait);
                    prop_assert_eq!(bucket.take(1, now), Ok(()));
                }
                now += 10 * SECOND + after;
            }
        }
    }
}
