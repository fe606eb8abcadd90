//! The last hour of a subscription, minute by minute, in memory that does not grow: 61 minutes of 40
//! bytes, and a histogram of the attempts of the running minute of half a kilobyte.
//!
//! One task fills it from the numbers that are counted anyway (`SeriesRegistry::sample_history`).
//! An attempt pays the addition of one to a bucket.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Minutes that are kept, besides the running one.
const MINUTES: usize = 60;
/// Buckets of an octave: a duration is known to within an eighth.
const PER_OCTAVE: u32 = 4;
/// Buckets from one microsecond to more than an hour.
const BUCKETS: usize = 124;

/// The durations of attempts, by buckets that are four to an octave of microseconds.
#[derive(Debug)]
pub(super) struct AttemptHistogram([AtomicU32; BUCKETS]);

impl Default for AttemptHistogram {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU32::new(0)))
    }
}

/// The bucket of a duration.
fn bucket(duration: Duration) -> usize {
    let micros = u32::try_from(duration.as_micros()).unwrap_or(u32::MAX);
    if micros < PER_OCTAVE {
        return micros as usize;
    }
    let octave = micros.ilog2();
    ((octave - 1) * PER_OCTAVE + (micros >> (octave - 2)) % PER_OCTAVE) as usize
}

/// The middle of a bucket, in milliseconds.
fn middle(bucket: usize) -> f32 {
    let bucket = u16::try_from(bucket).unwrap_or(u16::MAX);
    if bucket < 4 {
        return f32::from(bucket) / 1e3;
    }
    let (octave, part) = (f32::from(bucket / 4 + 1), f32::from(bucket % 4));
    octave.exp2() * (1.0 + (part + 0.5) / 4.0) / 1e3
}

impl AttemptHistogram {
    pub(super) fn record(&self, duration: Duration) {
        if let Some(bucket) = self.0.get(bucket(duration)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn counts(&self, read: impl Fn(&AtomicU32) -> u32) -> [u32; BUCKETS] {
        std::array::from_fn(|at| self.0.get(at).map_or(0, &read))
    }
}

/// The duration in milliseconds that this part of the attempts did not exceed; `None` without any.
fn percentile(counts: &[u32; BUCKETS], part: f64) -> Option<f32> {
    let all: u64 = counts.iter().map(|count| u64::from(*count)).sum();
    let mut left = part * all as f64;
    counts
        .iter()
        .position(|count| {
            left -= f64::from(*count);
            left <= 0.0 && *count > 0
        })
        .map(middle)
}

/// Numbers of a subscription as they are at one moment, from which minutes are made.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HistorySample {
    pub(super) delivered: u64,
    pub(super) undelivered: u64,
    pub(super) failed_attempts: u64,
    pub(super) depth: u64,
    pub(super) age: Duration,
    pub(super) concurrency: u64,
}

/// What happened within one minute.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct HistoryMinute {
    /// Deliveries that ended with the subscriber.
    pub(crate) delivered: u32,
    /// Deliveries that ended otherwise: in a dead letter sink, lost or parked.
    pub(crate) undelivered: u32,
    /// Attempts, and those of them that failed.
    pub(crate) attempts: u32,
    /// Attempts that failed.
    pub(crate) failed: u32,
    /// The duration in milliseconds that half of the attempts did not exceed.
    pub(crate) p50: Option<f32>,
    /// The duration in milliseconds that 99 of 100 attempts did not exceed.
    pub(crate) p99: Option<f32>,
    /// Events that were unfinished or waiting, when there were most of them.
    pub(crate) depth: u32,
    /// The age in seconds of the oldest event that waited, when it was greatest.
    pub(crate) age: f32,
    /// Requests in flight, when there were most of them.
    pub(crate) concurrency: u32,
}

#[derive(Debug, Default)]
struct HistoryState {
    /// The minutes that are over, the oldest first.
    minutes: VecDeque<HistoryMinute>,
    /// The running minute since the epoch; 0 before the first sample.
    running: u64,
    /// The greatest of what goes up and down, in the running minute.
    peaks: HistorySample,
    /// The sums of what only grows, at the start of the running minute.
    before: HistorySample,
}

/// The last hour of a subscription.
#[derive(Debug, Default)]
pub(super) struct SubscriptionHistory {
    pub(super) attempts: AttemptHistogram,
    state: Mutex<HistoryState>,
}

/// The last hour of a subscription, as it is shown.
#[derive(Clone, Debug)]
pub(crate) struct ShownHistory {
    /// The first of the minutes, in minutes since the epoch.
    pub(crate) first_minute: u64,
    /// Minute after minute, the running one last.
    pub(crate) minutes: Vec<HistoryMinute>,
}

impl SubscriptionHistory {
    fn state(&self) -> MutexGuard<'_, HistoryState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the numbers as they are now, in this minute since the epoch.
    pub(super) fn sample(&self, minute: u64, sample: HistorySample) {
        let mut state = self.state();
        if state.running == 0 {
            state.running = minute;
        }
        if minute > state.running {
            let counts = self
                .attempts
                .counts(|count| count.swap(0, Ordering::Relaxed));
            let over = state.finish(sample, &counts);
            // A process that was stopped for a while has minutes in which nothing happened.
            let skipped = usize::try_from(minute - state.running - 1).unwrap_or(MINUTES);
            state.push(over);
            (0..skipped.min(MINUTES)).for_each(|_| state.push(HistoryMinute::default()));
            (state.running, state.before, state.peaks) = (minute, sample, HistorySample::default());
        }
        let peaks = &mut state.peaks;
        peaks.depth = peaks.depth.max(sample.depth);
        peaks.age = peaks.age.max(sample.age);
        peaks.concurrency = peaks.concurrency.max(sample.concurrency);
    }

    /// The history until now; `None` if nothing was sampled yet.
    pub(super) fn show(&self, sample: HistorySample) -> Option<ShownHistory> {
        let state = self.state();
        if state.running == 0 {
            return None;
        }
        let counts = self.attempts.counts(|count| count.load(Ordering::Relaxed));
        let running = state.finish(sample, &counts);
        let minutes: Vec<_> = state.minutes.iter().copied().chain([running]).collect();
        Some(ShownHistory {
            first_minute: state.running - state.minutes.len() as u64,
            minutes,
        })
    }
}

impl HistoryState {
    /// The running minute, if it ended with these numbers.
    fn finish(&self, now: HistorySample, counts: &[u32; BUCKETS]) -> HistoryMinute {
        let grown = |now: u64, before: u64| narrow(now.saturating_sub(before));
        HistoryMinute {
            delivered: grown(now.delivered, self.before.delivered),
            undelivered: grown(now.undelivered, self.before.undelivered),
            attempts: counts
                .iter()
                .fold(0, |sum, count| sum.saturating_add(*count)),
            failed: grown(now.failed_attempts, self.before.failed_attempts),
            p50: percentile(counts, 0.5),
            p99: percentile(counts, 0.99),
            depth: narrow(self.peaks.depth.max(now.depth)),
            age: self.peaks.age.max(now.age).as_secs_f32(),
            concurrency: narrow(self.peaks.concurrency.max(now.concurrency)),
        }
    }

    fn push(&mut self, minute: HistoryMinute) {
        if self.minutes.len() >= MINUTES {
            self.minutes.pop_front();
        }
        self.minutes.push_back(minute);
    }
}

fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_known_to_within_an_eighth() {
        for micros in [1_u32, 3, 4, 7, 100, 1234, 80_000, 1_000_000, 3_000_000_000] {
            let found = middle(bucket(Duration::from_micros(micros.into()))) * 1e3;
            let off = (f64::from(found) - f64::from(micros)).abs() / f64::from(micros);
            assert!(off <= 0.126, "{micros} is {found}");
        }
        assert!(bucket(Duration::MAX) < BUCKETS);
        let ordered = (0..10_000_u64).map(|micros| bucket(Duration::from_micros(micros * 37)));
        assert!(ordered.is_sorted());
    }

    #[test]
    fn an_hour_is_kept_and_no_more() {
        let history = SubscriptionHistory::default();
        let at = |delivered: u64| HistorySample {
            delivered,
            depth: delivered % 7,
            ..HistorySample::default()
        };
        assert!(history.show(at(0)).is_none());
        for minute in 1..=100_u64 {
            (0..100).for_each(|_| history.attempts.record(Duration::from_millis(minute)));
            history.sample(minute, at(minute * 10));
        }
        let shown = history.show(at(1005)).expect("a history");
        assert_eq!((shown.minutes.len(), shown.first_minute), (61, 40));
        let last = shown.minutes.last().expect("a minute");
        assert_eq!((last.delivered, last.attempts, last.p50), (5, 0, None));
        let before = shown.minutes.get(59).expect("a minute");
        assert_eq!((before.delivered, before.attempts), (10, 100));
        let p99 = before.p99.expect("attempts");
        assert!((80.0..120.0).contains(&p99), "{p99}");
        // Asleep for some minutes, and for days.
        history.sample(104, at(1010));
        let shown = history.show(at(1010)).expect("a history");
        assert_eq!(shown.first_minute, 44);
        assert_eq!(
            shown.minutes.iter().rev().nth(2),
            Some(&HistoryMinute::default())
        );
        history.sample(1_000_000, at(1010));
        let shown = history.show(at(1010)).expect("a history");
        assert_eq!((shown.minutes.len(), shown.first_minute), (61, 999_940));
        assert!(shown.minutes.iter().all(|minute| minute.delivered == 0));
    }

    #[test]
    fn a_history_is_small() {
        let kept = (MINUTES + 1) * size_of::<HistoryMinute>();
        // The queue doubles its room as it grows.
        let room = 64 * size_of::<HistoryMinute>();
        let all = size_of::<SubscriptionHistory>() + room.max(kept);
        assert!(all <= 4096, "{all} bytes");
    }
}
