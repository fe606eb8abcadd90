//! How long things took, in bounded memory however many there are.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// Width of a bucket in microseconds.
const WIDTH: u128 = 10;
/// Whatever took longer counts as one minute.
const BUCKETS: usize = 6_000_000;

static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Microseconds since a moment that is the same for the sender and the sink.
pub(crate) fn clock() -> u64 {
    EPOCH.elapsed().as_micros() as u64
}

/// Counts of durations, exact to 10 µs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latencies {
    buckets: Vec<u32>,
    count: u64,
}

impl Latencies {
    pub(crate) fn record(&mut self, time: Duration) {
        let bucket =
            usize::try_from(time.as_micros() / WIDTH).map_or(BUCKETS, |bucket| bucket.min(BUCKETS));
        if self.buckets.len() <= bucket {
            self.buckets.resize(bucket + 1, 0);
        }
        self.buckets[bucket] += 1;
        self.count += 1;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        if self.buckets.len() < other.buckets.len() {
            self.buckets.resize(other.buckets.len(), 0);
        }
        self.buckets
            .iter_mut()
            .zip(&other.buckets)
            .for_each(|(sum, count)| *sum += count);
        self.count += other.count;
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// What this part of all did not exceed; zero if there are none.
    pub(crate) fn percentile(&self, part: f64) -> Duration {
        let rank = (self.count as f64 * part) as u64;
        let mut seen = 0;
        let bucket = self.buckets.iter().position(|count| {
            seen += u64::from(*count);
            seen > rank
        });
        Duration::from_micros(bucket.unwrap_or_default() as u64 * WIDTH as u64)
    }
}
