//! Counts events that nobody took, by outcome, by the destination that failed last, and by reason,
//! all from short lists. A subscription that never drops an event pays a pointer.

use std::sync::OnceLock;

use super::outcome::{ByDestinationRole, ByDropOutcome, DropOutcome};
use crate::model::DestinationRole;
use crate::telemetry::counter::Counter;

/// The label values of reasons; the last one is every other reason.
const REASONS: [&str; 13] = [
    "status_3xx",
    "status_4xx",
    "status_5xx",
    "connect",
    "timeout",
    "tls",
    "trust",
    "token",
    "request",
    "reply",
    "invalid",
    "no_dead_letter_sink",
    "other",
];

/// The reason for which an event was dropped, as a place in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropReason(u8);

impl DropReason {
    /// Returns the reason for a response with this status.
    #[must_use]
    pub(crate) fn of_status(status: u16) -> Self {
        Self::from(match status {
            300..400 => "status_3xx",
            400..500 => "status_4xx",
            500..600 => "status_5xx",
            _ => "other",
        })
    }

    /// Returns the label value of the reason.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        REASONS.get(usize::from(self.0)).unwrap_or(&"other")
    }
}

impl From<&str> for DropReason {
    /// Returns the reason with this name; a name that is not in the list is `other`.
    fn from(word: &str) -> Self {
        let place = REASONS
            .iter()
            .position(|known| *known == word)
            .unwrap_or(REASONS.len() - 1);
        Self(u8::try_from(place).unwrap_or(u8::MAX))
    }
}

/// The counters of a subscription's dropped events; made by the first one.
#[derive(Debug, Default)]
pub(super) struct DropCounters(OnceLock<Box<DropCounterTable>>);

type DropCounterTable = ByDropOutcome<ByDestinationRole<[Counter; REASONS.len()]>>;

/// The number of events that were dropped in the same way, with the label values of that way.
pub(super) struct DropCount {
    pub(super) outcome: &'static str,
    pub(super) destination: &'static str,
    pub(super) reason: &'static str,
    pub(super) count: u64,
}

impl DropCounters {
    pub(super) fn count(&self, drop: DropOutcome, destination: DestinationRole, why: DropReason) {
        let counters = self.0.get_or_init(Box::default).get(drop).get(destination);
        if let Some(counter) = counters.get(usize::from(why.0)) {
            counter.increment();
        }
    }

    /// Returns the numbers that are not 0.
    pub(super) fn counts(&self) -> Vec<DropCount> {
        let mut counts = Vec::new();
        for (outcome, by_destination) in self.0.get().iter().flat_map(|table| table.labelled()) {
            for (destination, counters) in by_destination.labelled() {
                let counters = REASONS.into_iter().zip(counters);
                let used = counters.filter(|(_, counter)| counter.get() > 0);
                counts.extend(used.map(|(reason, counter)| DropCount {
                    outcome,
                    destination,
                    reason,
                    count: counter.get(),
                }));
            }
        }
        counts
    }
}
