//! What happened to the events of one subscription since this process took it up, and the last thing that went wrong.
//!
//! A success costs one atomic addition; only a failure takes a lock and copies text.

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use super::counters::Counter;

/// Bytes of a text that are kept of an error.
const MAX_TEXT: usize = 300;

/// How one delivery ended, as its queue has noted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The subscriber has the event, and the reply destination the reply.
    Delivered,
    /// The dead letter sink has it.
    DeadLettered,
    /// Nobody has it.
    Lost,
    /// It is in the parking queue of its subscription.
    Parked,
    /// It was put off, to be taken up again later.
    Deferred,
    /// It went back to its queue, and comes again.
    Returned,
}

/// An attempt that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastError {
    /// When.
    pub at: SystemTime,
    /// Which of the subscription's destinations failed: `subscriber`, `reply` or `dead letter sink`.
    pub leg: &'static str,
    /// Where, without query; its first 300 bytes.
    pub destination: Box<str>,
    /// What happened; its first 300 bytes.
    pub reason: Box<str>,
}

/// The counters of one subscription.
#[derive(Debug, Default)]
pub struct Tally {
    /// Deliveries that ended with the subscriber and its reply.
    pub delivered: Counter,
    /// Deliveries that ended in the dead letter sink.
    pub dead_lettered: Counter,
    /// Deliveries that ended without a home.
    pub lost: Counter,
    /// Deliveries that ended in the parking queue.
    pub parked: Counter,
    /// Deliveries that were put off.
    pub deferred: Counter,
    /// Deliveries that went back to their queue.
    pub returned: Counter,
    /// Attempts after the first, at any of the destinations.
    pub retries: Counter,
    /// Attempts that failed, at any of the destinations.
    pub failures: Counter,
    last_error: Mutex<Option<LastError>>,
}

impl Tally {
    /// Counts the end of a delivery.
    pub fn ended(&self, end: End) {
        match end {
            End::Delivered => &self.delivered,
            End::DeadLettered => &self.dead_lettered,
            End::Lost => &self.lost,
            End::Parked => &self.parked,
            End::Deferred => &self.deferred,
            End::Returned => &self.returned,
        }
        .increment();
    }

    /// Counts a failed attempt, and remembers it until the next one.
    pub fn failed(&self, leg: &'static str, destination: &str, reason: &str) {
        self.failures.increment();
        let (destination, reason) = (start(destination).into(), start(reason).into());
        let error = LastError { at: SystemTime::now(), leg, destination, reason };
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// The attempt that failed last.
    #[must_use]
    pub fn last_error(&self) -> Option<LastError> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// As much of a text as is kept.
fn start(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_TEXT)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_is_bounded() {
        let tally = Tally::default();
        assert_eq!(tally.last_error(), None);
        tally.failed("subscriber", "http://first/", "answered 503");
        tally.failed("reply", &"ä".repeat(1000), &format!("x{}", "ä".repeat(1000)));
        let last = tally.last_error().expect("one");
        assert_eq!((last.leg, last.destination.len(), last.reason.len()), ("reply", 300, 299));
        assert_eq!(tally.failures.get(), 2);
    }
}
