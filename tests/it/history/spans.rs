//! Spans of time, and what can be taken from them.

use super::record::Moment;

/// A span of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TimeSpan {
    pub(super) from: Moment,
    pub(super) until: Moment,
}

impl TimeSpan {
    pub(super) fn new(from: Moment, until: Moment) -> Self {
        Self { from, until }
    }

    pub(super) fn length(&self) -> Moment {
        self.until.saturating_sub(self.from)
    }

    pub(super) fn touches(&self, other: &Self) -> bool {
        self.from <= other.until && other.from <= self.until
    }

    /// What both have, if they have anything.
    pub(super) fn common(&self, other: &Self) -> Option<Self> {
        let both = Self::new(self.from.max(other.from), self.until.min(other.until));
        (both.from < both.until).then_some(both)
    }

    /// What is left of it without these, which are in order and do not overlap.
    pub(super) fn without(&self, others: &[Self]) -> Vec<Self> {
        let (mut left, mut from) = (Vec::new(), self.from);
        for other in others.iter().filter(|other| self.touches(other)) {
            if other.from > from {
                left.push(Self::new(from, other.from));
            }
            from = from.max(other.until);
        }
        if from < self.until {
            left.push(Self::new(from, self.until));
        }
        left
    }
}

/// When at least so many of these are under way, in order.
pub(super) fn at_least(depth: usize, spans: &[TimeSpan]) -> Vec<TimeSpan> {
    let begins = spans.iter().map(|span| (span.from, true));
    let mut edges: Vec<(Moment, bool)> = begins
        .chain(spans.iter().map(|span| (span.until, false)))
        .collect();
    // At one moment, what begins comes first, so that spans that follow each other are one.
    edges.sort_by_key(|(at, begins)| (*at, !begins));
    let (mut open, mut since, mut found) = (0, None, Vec::new());
    for (at, begins) in edges {
        open = if begins { open + 1 } else { open - 1 };
        if open >= depth {
            since = since.or(Some(at));
        } else if let Some(from) = since.take() {
            found.push(TimeSpan::new(from, at));
        }
    }
    found
}

/// The longest of these.
pub(super) fn longest(spans: impl IntoIterator<Item = TimeSpan>) -> TimeSpan {
    spans
        .into_iter()
        .max_by_key(TimeSpan::length)
        .unwrap_or_default()
}

/// A span cut at these moments, which are in order.
pub(super) fn cut(span: TimeSpan, moments: &[Moment]) -> Vec<TimeSpan> {
    let first = moments.partition_point(|at| *at <= span.from);
    let inside = moments[first..]
        .iter()
        .copied()
        .take_while(|at| *at < span.until);
    let mut from = span.from;
    let mut pieces = Vec::new();
    for at in inside.chain([span.until]) {
        pieces.push(TimeSpan::new(from, at));
        from = at;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(from: u64, until: u64) -> TimeSpan {
        TimeSpan::new(Moment::from_secs(from), Moment::from_secs(until))
    }

    #[test]
    fn spans_are_counted_cut_and_taken_away() {
        let nodes = [span(1, 5), span(3, 8), span(8, 9)];
        assert_eq!(at_least(1, &nodes), [span(1, 9)]);
        assert_eq!(at_least(2, &nodes), [span(3, 5), span(8, 8)]);
        assert_eq!(
            span(0, 10).without(&[span(1, 2), span(4, 12)]),
            [span(0, 1), span(2, 4)]
        );
        assert_eq!(span(5, 6).without(&[span(1, 2), span(4, 12)]), []);
        assert_eq!(
            cut(span(2, 6), &[1, 2, 3, 5, 6, 7].map(Moment::from_secs)),
            [span(2, 3), span(3, 5), span(5, 6)]
        );
        assert_eq!(longest([span(0, 1), span(4, 8), span(9, 10)]), span(4, 8));
        assert_eq!(
            (
                span(0, 4).common(&span(3, 9)),
                span(0, 3).common(&span(3, 9))
            ),
            (Some(span(3, 4)), None)
        );
    }
}
