//! The order of the rows.

use std::cmp::{Ordering, Reverse};

use super::rows::TopRow;
use crate::cli::TopColumn;

/// The column by which rows are sorted, and which end of it comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TopOrder {
    pub(super) column: TopColumn,
    pub(super) is_reversed: bool,
}

impl TopOrder {
    /// Texts from A to Z, everything else from the greatest; what is broken comes first.
    pub(super) fn new(column: TopColumn) -> Self {
        Self {
            column,
            is_reversed: false,
        }
    }

    /// The order by the column before or after this one.
    pub(super) fn moved(self, by: isize) -> Self {
        let all = TopColumn::ALL;
        let at = all.iter().position(|column| *column == self.column);
        let next = at.and_then(|at| at.checked_add_signed(by));
        let column = next.and_then(|at| all.get(at)).copied();
        column.map_or(self, Self::new)
    }

    /// The same order, the other way round.
    pub(super) fn turned(self) -> Self {
        Self {
            is_reversed: !self.is_reversed,
            ..self
        }
    }

    /// Sorts rows; equal ones by what is broken, then by their names.
    pub(super) fn sort(self, rows: &mut [TopRow]) {
        rows.sort_by(|a, b| {
            let ordering = self.compare(a, b);
            let ordering = if self.is_reversed {
                ordering.reverse()
            } else {
                ordering
            };
            let rest = || (Reverse(a.level()), &a.name).cmp(&(Reverse(b.level()), &b.name));
            ordering.then_with(rest)
        });
    }

    fn compare(self, a: &TopRow, b: &TopRow) -> Ordering {
        match self.column {
            TopColumn::State => b.level().cmp(&a.level()),
            TopColumn::Name => a.name.cmp(&b.name),
            TopColumn::Destination => a.destination.cmp(&b.destination),
            TopColumn::Rate => b.rate.unwrap_or(-1.0).total_cmp(&a.rate.unwrap_or(-1.0)),
            TopColumn::InFlight => b.in_flight.cmp(&a.in_flight),
            TopColumn::Unfinished => b.unfinished.cmp(&a.unfinished),
            TopColumn::Retries => b.retries.cmp(&a.retries),
            TopColumn::DeadLetters => b.dead_letters.cmp(&a.dead_letters),
            TopColumn::Lost => b.lost.cmp(&a.lost),
            TopColumn::Error => b.error_time.cmp(&a.error_time),
        }
    }
}
