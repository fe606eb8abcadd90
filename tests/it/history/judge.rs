//! The judge of a history: a pure function, which does not know how the history came about.

mod copies;
mod service;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub(super) use copies::SubscriptionTally;
use service::GapKind;

use super::record::RunHistory;
use super::spans::TimeSpan;

/// What a run may cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct RunLimits {
    /// The longest time without a 202, or without a delivery, while most nodes and a replica are
    /// up.
    pub(super) outage: Duration,
    /// The same when a node was paused, which nobody is told of.
    pub(super) pause_outage: Duration,
    /// How long a replica may be ready and refuse everything.
    pub(super) idle: Duration,
    /// Copies of hundred deliveries that came twice without need.
    pub(super) doubled_percent: f64,
}

/// What the judge found.
#[derive(Clone, Debug)]
pub(super) struct RunVerdict {
    pub(super) accepted: usize,
    pub(super) tries: usize,
    pub(super) tallies: Vec<SubscriptionTally>,
    /// The longest time without a 202.
    pub(super) outage: TimeSpan,
    /// The longest time without a 202 that has to do with a paused node.
    pub(super) pause_outage: TimeSpan,
    /// The longest time in which accepted events waited for a subscription, and none came to it;
    /// and the subscription.
    pub(super) stillness: (TimeSpan, &'static str),
    pub(super) pause_stillness: (TimeSpan, &'static str),
    /// The longest time that a replica was ready and refused everything.
    pub(super) idle: TimeSpan,
    /// The time in which no service was due: no majority of nodes, no replica, or an alarm.
    pub(super) excused: Duration,
    pub(super) unfinished: Vec<(String, u64)>,
}

/// Judges a history.
pub(super) fn judge(history: &RunHistory) -> RunVerdict {
    let tallies = copies::tallies(history);
    let service = service::Service::of(history);
    RunVerdict {
        accepted: history
            .tries
            .iter()
            .filter(|tried| tried.is_accepted())
            .count(),
        tries: history.tries.len(),
        tallies,
        outage: service.outage(GapKind::Other),
        pause_outage: service.outage(GapKind::Pause),
        stillness: service.stillness(GapKind::Other),
        pause_stillness: service.stillness(GapKind::Pause),
        idle: service::idle(history),
        excused: service.excused.iter().map(TimeSpan::length).sum(),
        unfinished: history.unfinished.clone(),
    }
}

impl RunVerdict {
    pub(super) fn lost(&self) -> usize {
        self.tallies.iter().map(|tally| tally.lost.len()).sum()
    }

    /// Deliveries that came again without need, of hundred.
    pub(super) fn doubled_percent(&self) -> f64 {
        let sum = |count: fn(&SubscriptionTally) -> usize| {
            self.tallies.iter().map(count).sum::<usize>() as f64
        };
        100.0 * sum(SubscriptionTally::needless) / sum(|tally| tally.wanted).max(1.0)
    }

    /// Every promise that was not kept, in a sentence; none if the run was good.
    pub(super) fn violations(&self, limits: &RunLimits) -> Vec<String> {
        let mut found: Vec<String> = self
            .tallies
            .iter()
            .flat_map(SubscriptionTally::violations)
            .collect();
        found.extend(
            self.unfinished
                .iter()
                .map(|(queue, count)| format!("{queue} still has {count} messages")),
        );
        let percent = self.doubled_percent();
        if percent > limits.doubled_percent {
            found.push(format!("{percent:.2} % doubled beyond what was under way"));
        }
        let (still, paused) = (self.stillness, self.pause_stillness);
        let spans = [
            ("no event was accepted", "", self.outage, limits.outage),
            (
                "no event was accepted around a pause",
                "",
                self.pause_outage,
                limits.pause_outage,
            ),
            (
                "no event was delivered to ",
                still.1,
                still.0,
                limits.outage,
            ),
            (
                "no event was delivered around a pause to ",
                paused.1,
                paused.0,
                limits.pause_outage,
            ),
            (
                "a replica was ready and refused everything",
                "",
                self.idle,
                limits.idle,
            ),
        ];
        let long = spans
            .iter()
            .filter(|(.., span, limit)| span.length() > *limit);
        let text = |what, whom, span: TimeSpan| {
            format!(
                "{what}{whom} for {:.1?}, from {:.1?}",
                span.length(),
                span.from
            )
        };
        found.extend(long.map(|(what, whom, span, _)| text(what, whom, *span)));
        found
    }
}
