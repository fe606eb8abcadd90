//! Counts events that nobody took, by outcome, by the destination that failed last, and by reason,
//! all from short lists. A subscription that never drops an event pays a pointer.

use std::sync::OnceLock;

use super::{Counter, DESTINATIONS};
use crate::model::DestinationRole;

/// The outcome of an event that nobody took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropOutcome {
    /// The event is lost: nobody has it.
    Lost,
    /// The event is in the parking queue.
    Parked,
}

/// The label values of [`DropOutcome`], in the order of its variants.
const DROPS: [&str; 2] = ["lost", "parked"];

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
    pub fn of_status(status: u16) -> Self {
        Self::from(match status {
            300..400 => "status_3xx",
            400..500 => "status_4xx",
            500..600 => "status_5xx",
            _ => "other",
        })
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

type DropCounterTable = [[[Counter; REASONS.len()]; DESTINATIONS.len()]; DROPS.len()];

impl DropCounters {
    pub(super) fn count(&self, drop: DropOutcome, destination: DestinationRole, why: DropReason) {
        let counts = self.0.get_or_init(Box::default);
        let of_destination = counts
            .get(drop as usize)
            .and_then(|of| of.get(destination as usize));
        if let Some(counter) = of_destination.and_then(|of| of.get(usize::from(why.0))) {
            counter.increment();
        }
    }

    /// Returns the counters that are not 0: outcome, destination role and reason, and the number.
    pub(super) fn counts(&self) -> impl Iterator<Item = ([&'static str; 3], u64)> {
        let each = |(outcome, of): (
            &'static str,
            &'_ [[Counter; REASONS.len()]; DESTINATIONS.len()],
        )| {
            let named = DESTINATIONS.into_iter().zip(of);
            let each = named.flat_map(move |(destination, of)| {
                REASONS
                    .into_iter()
                    .zip(of)
                    .map(move |(reason, counter)| ([outcome, destination, reason], counter.get()))
            });
            each.collect::<Vec<_>>()
        };
        let counts = self.0.get().into_iter();
        counts
            .flat_map(move |counts| DROPS.into_iter().zip(counts.iter()).flat_map(each))
            .filter(|(_, count)| *count > 0)
    }
}
