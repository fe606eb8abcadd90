//! Histograms: durations by upstream's buckets (contract OB-6), and sizes of bodies by powers of
//! four; one of each for each status that a response can have. Nothing here allocates once a status
//! has been seen.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::trace::SpanContext;

use super::data_point::{HistogramDataPoint, MAX_BUCKETS, float};
use super::exemplar::ExemplarReservoir;

/// The upper bounds of all buckets of durations but the last, in seconds.
pub(crate) const BOUNDS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];
const BUCKETS: usize = BOUNDS.len() + 1;
const _: () = assert!(BUCKETS <= MAX_BUCKETS && SIZE_BUCKETS <= MAX_BUCKETS);
/// The upper bounds of all buckets of sizes but the last, in bytes: powers of four, from 64 B to 16
/// MiB.
pub(crate) const SIZES: [f64; 10] = [
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
];
const SMALLEST: u64 = 64;
const SIZE_BUCKETS: usize = SIZES.len() + 1;

/// A histogram of durations.
#[derive(Debug, Default)]
pub struct DurationHistogram {
    buckets: [AtomicU64; BUCKETS],
    nanoseconds: AtomicU64,
    exemplars: ExemplarReservoir,
}

impl DurationHistogram {
    /// Records one duration in its bucket; `span` is the one that took it, if it is recorded.
    pub(crate) fn record(&self, duration: Duration, span: Option<&SpanContext>) {
        let seconds = duration.as_secs_f64();
        let index = BOUNDS.iter().take_while(|bound| seconds > **bound).count();
        if let Some(bucket) = self.buckets.get(index) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(span) = span {
            self.exemplars.offer(index, duration, span);
        }
        self.nanoseconds.fetch_add(
            u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
    }

    /// Returns the histogram as it is now, in seconds.
    #[must_use]
    pub(crate) fn collect(&self) -> HistogramDataPoint {
        let sum = Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed));
        HistogramDataPoint::new(&BOUNDS, load_buckets(&self.buckets), sum.as_secs_f64())
            .with_exemplars(self.exemplars.collect())
    }
}

/// A histogram of sizes.
#[derive(Debug, Default)]
pub struct SizeHistogram {
    buckets: [AtomicU64; SIZE_BUCKETS],
    bytes: AtomicU64,
}

impl SizeHistogram {
    /// Records a size in bytes.
    pub(crate) fn record(&self, bytes: u64) {
        // The bucket follows from the smallest power of four that is not below the size.
        let power = bytes.max(SMALLEST).saturating_sub(1).ilog2() / 2 + 1;
        let bucket = power.saturating_sub(SMALLEST.ilog2() / 2) as usize;
        if let Some(bucket) = self.buckets.get(bucket).or(self.buckets.last()) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Returns the histogram as it is now, in bytes.
    #[must_use]
    pub(crate) fn collect(&self) -> HistogramDataPoint {
        let sum = float(self.bytes.load(Ordering::Relaxed));
        HistogramDataPoint::new(&SIZES, load_buckets(&self.buckets), sum)
    }
}

/// Returns the counts of buckets as they are now, with 0 for those that the histogram does not have.
fn load_buckets(buckets: &[AtomicU64]) -> [u64; MAX_BUCKETS] {
    std::array::from_fn(|at| buckets.get(at).map_or(0, |n| n.load(Ordering::Relaxed)))
}

/// The statuses that are told apart. Every other one is `other`, so that responses cannot make
/// series without end.
const STATUSES: [(u16, &str); 22] = [
    (200, "200"),
    (201, "201"),
    (202, "202"),
    (204, "204"),
    (301, "301"),
    (307, "307"),
    (308, "308"),
    (400, "400"),
    (401, "401"),
    (403, "403"),
    (404, "404"),
    (405, "405"),
    (408, "408"),
    (409, "409"),
    (413, "413"),
    (415, "415"),
    (429, "429"),
    (431, "431"),
    (500, "500"),
    (502, "502"),
    (503, "503"),
    (504, "504"),
];
const OTHER: usize = STATUSES.len();
/// The slot of requests without a response.
const NONE: usize = OTHER + 1;
const PLACES: usize = NONE + 1;

fn status_slot(status: Option<u16>) -> usize {
    let Some(status) = status else { return NONE };
    STATUSES
        .binary_search_by_key(&status, |(known, _)| *known)
        .unwrap_or(OTHER)
}

/// A histogram for each status. Only statuses that were seen take memory, and a single pointer as
/// long as there is none.
#[derive(Debug)]
pub struct HistogramsByStatus<H = DurationHistogram>(OnceLock<Box<StatusSlots<H>>>);

type StatusSlots<H> = [OnceLock<Box<H>>; PLACES];

impl<H> Default for HistogramsByStatus<H> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl HistogramsByStatus {
    /// Records a duration that ended in this status, or without a response; `span` is the one that
    /// took it, if it is recorded.
    pub(crate) fn record(
        &self,
        status: Option<u16>,
        duration: Duration,
        span: Option<&SpanContext>,
    ) {
        if let Some(histogram) = self.for_status(status) {
            histogram.record(duration, span);
        }
    }
}

impl<H: Default> HistogramsByStatus<H> {
    /// Returns the histogram of this status, or that of requests without a response.
    pub(crate) fn for_status(&self, status: Option<u16>) -> Option<&H> {
        let places = self.0.get_or_init(Box::default);
        places
            .get(status_slot(status))
            .map(|histogram| &**histogram.get_or_init(Box::default))
    }

    /// Returns the histograms by status: a number, `other`, or `none` if there was no response.
    pub(crate) fn histograms(&self) -> impl Iterator<Item = (&'static str, &H)> {
        let names = STATUSES
            .iter()
            .map(|(_, name)| *name)
            .chain(["other", "none"]);
        let places = self.0.get().into_iter().flat_map(|places| places.iter());
        names
            .zip(places)
            .filter_map(|(name, histogram)| Some((name, &**histogram.get()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_upstreams_buckets() {
        let histogram = DurationHistogram::default();
        for millis in [0, 5, 6, 10_000, 10_001] {
            histogram.record(Duration::from_millis(millis), None);
        }
        let collected = histogram.collect();
        let (buckets, sum): (Vec<u64>, f64) = (collected.bucket_counts().collect(), collected.sum);
        assert_eq!(
            (buckets[0], buckets[1], buckets[13], buckets[14]),
            (2, 1, 1, 1),
            "a bound belongs to its bucket"
        );
        assert!((sum - 20.012).abs() < 1e-9, "{sum}");
    }

    #[test]
    fn sizes_fall_into_powers_of_four() {
        let sizes = SizeHistogram::default();
        for bytes in [
            0,
            1,
            64,
            65,
            256,
            257,
            16_777_216,
            16_777_217,
            u64::from(u32::MAX),
        ] {
            sizes.record(bytes);
        }
        let read = sizes.collect();
        let wanted = [3, 2, 1, 0, 0, 0, 0, 0, 0, 1, 2];
        assert_eq!(
            read.bucket_counts().collect::<Vec<_>>(),
            wanted,
            "a bound belongs to its bucket"
        );
        assert_eq!(read.count(), 9);
    }

    /// Whatever subscribers answer, there are so many series and no more.
    #[test]
    fn statuses_are_bounded() {
        assert!(STATUSES.is_sorted());
        let by_status: HistogramsByStatus = HistogramsByStatus::default();
        for status in 0..1000 {
            by_status.record(Some(status), Duration::ZERO, None);
        }
        by_status.record(None, Duration::ZERO, None);
        let read: Vec<_> = by_status
            .histograms()
            .map(|(name, histogram)| (name, histogram.collect().count()))
            .collect();
        assert_eq!(read.len(), PLACES);
        assert_eq!(read.last(), Some(&("none", 1)));
        assert_eq!(
            read.iter().find(|(name, _)| *name == "other"),
            Some(&("other", 1000 - 22))
        );
    }
}
