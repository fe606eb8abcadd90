//! Counters: numbers that only grow.

use std::sync::atomic::{AtomicU64, Ordering};

use super::data_point::MetricValue;
use super::metric_family::MetricFamily;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one to the number.
    pub(crate) fn increment(&self) {
        self.add(1);
    }

    /// Adds `n` to the number.
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Returns the number as it is now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The description of one counter of many that `S` holds, by which it is exposed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CounterDescription<S> {
    /// The name, without the suffix of counters.
    pub name: &'static str,
    /// The help text, in one line.
    pub help: &'static str,
    /// The counter itself.
    pub counter: fn(&S) -> &Counter,
}

impl<S> CounterDescription<S> {
    /// Makes the metric family of the counter, with its number now.
    #[must_use]
    pub(crate) fn collect(&self, counters: &S) -> MetricFamily<'static> {
        let number = (self.counter)(counters).get();
        MetricFamily::new(self.name, self.help).with_point(&[], MetricValue::Sum(number))
    }
}
