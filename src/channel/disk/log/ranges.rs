//! Sets of sequences as ranges: what is finished is mostly without gaps.

use std::collections::BTreeMap;

use crate::channel::disk::log::Sequence;

/// Ranges of sequences, each from its first to its last, neither overlapping nor adjacent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SequenceRanges {
    lasts: BTreeMap<Sequence, Sequence>,
}

impl SequenceRanges {
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Sequence, Sequence)> + '_ {
        self.lasts.iter().map(|(first, last)| (*first, *last))
    }

    /// Last sequence of the range that holds `sequence`.
    pub(crate) fn end_of(&self, sequence: Sequence) -> Option<Sequence> {
        let (_, last) = self.lasts.range(..=sequence).next_back()?;
        (*last >= sequence).then_some(*last)
    }

    pub(crate) fn contains(&self, sequence: Sequence) -> bool {
        self.end_of(sequence).is_some()
    }

    /// Adds all sequences from `first` to `last`.
    pub(crate) fn insert(&mut self, mut first: Sequence, mut last: Sequence) {
        if first > last {
            return;
        }
        if let Some((before, end)) = self.lasts.range(..=first).next_back()
            && end.saturating_add(1) >= first
        {
            (first, last) = (*before, last.max(*end));
        }
        while let Some((next, end)) = self.lasts.range(first..=last.saturating_add(1)).next() {
            let (next, end) = (*next, *end);
            last = last.max(end);
            self.lasts.remove(&next);
        }
        self.lasts.insert(first, last);
    }

    /// Forgets all sequences below `floor`.
    pub(crate) fn remove_below(&mut self, floor: Sequence) {
        while let Some((first, last)) = self.lasts.first_key_value() {
            let (first, last) = (*first, *last);
            if first >= floor {
                return;
            }
            self.lasts.remove(&first);
            if last >= floor {
                self.lasts.insert(floor, last);
            }
        }
    }
}

/// Joins sorted sequences to ranges of those that follow each other.
pub(crate) fn exact_ranges(sequences: &[Sequence]) -> Vec<(Sequence, Sequence)> {
    let mut ranges: Vec<(Sequence, Sequence)> = Vec::new();
    for sequence in sequences {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*sequence) => *last = *sequence,
            Some((_, last)) if *last == *sequence => {}
            _ => ranges.push((*sequence, *sequence)),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_are_a_set(
            inserted in proptest::collection::vec((0_u64..60, 0_u64..6), 0..40),
            floor in 0_u64..60,
        ) {
            let (mut ranges, mut set) = (SequenceRanges::default(), BTreeSet::new());
            for (first, more) in inserted {
                ranges.insert(first, first + more);
                set.extend(first..=first + more);
            }
            ranges.remove_below(floor);
            set.retain(|it| *it >= floor);
            for sequence in 0..70 {
                prop_assert_eq!(ranges.contains(sequence), set.contains(&sequence));
            }
            let sorted: Vec<u64> = set.into_iter().collect();
            prop_assert_eq!(ranges.iter().collect::<Vec<_>>(), exact_ranges(&sorted));
        }
    }
}
