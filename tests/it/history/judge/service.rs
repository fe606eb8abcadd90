//! The time without service, where service was due.

use std::collections::HashMap;
use std::time::Duration;

use crate::history::record::{FaultKind, Moment, NemesisFault, ReplicaLife, RunHistory};
use crate::history::spans::{TimeSpan, at_least, cut, longest};

/// How long after a paused node goes on what happens may have to do with it.
const AFTER_PAUSE: Duration = Duration::from_secs(2);

/// A kind of times without service, by their limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GapKind {
    /// Those that touch a pause of a node.
    Pause,
    /// The others.
    Other,
}

/// What is asked of the service.
pub(super) struct Service<'a> {
    history: &'a RunHistory,
    /// When no service is due, in order.
    pub(super) excused: Vec<TimeSpan>,
    /// The same for an ordered subscription: while a node hangs, RabbitMQ gives the place of a
    /// consumer there to nobody.
    excused_in_order: Vec<TimeSpan>,
    pauses: Vec<TimeSpan>,
}

impl<'a> Service<'a> {
    pub(super) fn of(history: &'a RunHistory) -> Self {
        let spans = |wanted: &dyn Fn(FaultKind) -> bool| -> Vec<TimeSpan> {
            let wanted = history.faults.iter().filter(|fault| wanted(fault.kind()));
            wanted.map(NemesisFault::span).collect()
        };
        let paused = |kind| matches!(kind, FaultKind::NodePaused(_));
        let away = |kind| {
            paused(kind) || matches!(kind, FaultKind::NodeDown(_) | FaultKind::NodeParted(_))
        };
        let ended = |kind| {
            matches!(
                kind,
                FaultKind::ReplicaKilled(_) | FaultKind::ReplicaStopped(_)
            )
        };
        // A majority is gone as soon as a minority is left.
        let mut excused = at_least(history.nodes.div_ceil(2), &spans(&away));
        excused.extend(at_least(history.replicas, &spans(&ended)));
        excused.extend(spans(&|kind| kind == FaultKind::MemoryAlarm));
        let hung = spans(&paused);
        let excused_in_order = [excused.clone(), hung.clone()].concat();
        let pauses = hung
            .into_iter()
            .map(|span| TimeSpan::new(span.from, span.until + AFTER_PAUSE))
            .collect();
        let [excused, excused_in_order] =
            [excused, excused_in_order].map(|spans| at_least(1, &spans));
        Self {
            history,
            excused,
            excused_in_order,
            pauses,
        }
    }

    /// The longest time without a 202.
    pub(super) fn outage(&self, kind: GapKind) -> TimeSpan {
        let tries = &self.history.tries;
        let begun = tries
            .iter()
            .map(|tried| tried.begun)
            .min()
            .unwrap_or_default();
        let ended = tries
            .iter()
            .map(|tried| tried.ended)
            .max()
            .unwrap_or_default();
        let accepted = tries.iter().filter(|tried| tried.is_accepted());
        let moments = sorted(accepted.map(|tried| tried.ended));
        self.longest(
            &[TimeSpan::new(begun, ended)],
            &moments,
            (kind, &self.excused),
        )
    }

    /// The longest time, while events are sent, in which accepted events waited for a subscription,
    /// and none came to it; and the subscription.
    pub(super) fn stillness(&self, kind: GapKind) -> (TimeSpan, &'static str) {
        let each = self.history.wishes.iter().enumerate();
        let gaps =
            each.map(|(subscription, wish)| (self.stillness_of(subscription, kind), wish.name));
        gaps.max_by_key(|(gap, _)| gap.length()).unwrap_or_default()
    }

    fn stillness_of(&self, subscription: usize, kind: GapKind) -> TimeSpan {
        let taken = self
            .history
            .copies
            .iter()
            .filter(|copy| copy.subscription == subscription && copy.is_taken());
        let mut came: HashMap<u32, Moment> = HashMap::new();
        for copy in taken.clone() {
            let first = came.entry(copy.event).or_insert(copy.at);
            *first = copy.at.min(*first);
        }
        let sent = self
            .history
            .tries
            .iter()
            .map(|tried| tried.ended)
            .max()
            .unwrap_or_default();
        let accepted = self
            .history
            .tries
            .iter()
            .filter(|tried| tried.is_accepted());
        let waits = accepted.filter_map(|tried| {
            let came = came.get(&tried.event)?.min(&sent);
            (*came > tried.ended).then_some(TimeSpan::new(tried.ended, *came))
        });
        let waiting = at_least(1, &waits.collect::<Vec<_>>());
        let is_ordered = self
            .history
            .wishes
            .get(subscription)
            .is_some_and(|wish| wish.ordered);
        let excused = if is_ordered {
            &self.excused_in_order
        } else {
            &self.excused
        };
        self.longest(
            &waiting,
            &sorted(taken.map(|copy| copy.at)),
            (kind, excused),
        )
    }

    fn longest(
        &self,
        spans: &[TimeSpan],
        moments: &[Moment],
        (kind, excused): (GapKind, &[TimeSpan]),
    ) -> TimeSpan {
        let gaps = spans.iter().flat_map(|span| cut(*span, moments));
        let due = gaps.flat_map(|gap| gap.without(excused));
        let paused = |gap: &TimeSpan| self.pauses.iter().any(|pause| pause.touches(gap));
        longest(due.filter(|gap| paused(gap) == (kind == GapKind::Pause)))
    }
}

fn sorted(moments: impl Iterator<Item = Moment>) -> Vec<Moment> {
    let mut moments: Vec<_> = moments.collect();
    moments.sort_unstable();
    moments
}

/// The longest time that a replica's `/readyz` said that it is ready, and every event that it was
/// sent was refused.
pub(super) fn idle(history: &RunHistory) -> TimeSpan {
    let refusals = streaks(
        history
            .tries
            .iter()
            .filter(|tried| tried.status != 0)
            .map(|tried| {
                let refused = TimeSpan::new(tried.begun, tried.ended);
                (tried.replica, refused, !tried.is_accepted())
            }),
    );
    let looks = history
        .looks
        .iter()
        .map(|look| (look.replica, TimeSpan::new(look.at, look.at), look.ready));
    let ready = streaks(looks);
    let of = |replica: &ReplicaLife| ready.get(replica).map(Vec::as_slice).unwrap_or_default();
    let both = refusals.iter().flat_map(|(replica, refusals)| {
        refusals
            .iter()
            .flat_map(|refusal| of(replica).iter().filter_map(|ready| refusal.common(ready)))
    });
    longest(both)
}

/// For each replica, the spans in which something was true each time, from the end of the first
/// time to that of the last.
fn streaks(
    observed: impl Iterator<Item = (ReplicaLife, TimeSpan, bool)>,
) -> HashMap<ReplicaLife, Vec<TimeSpan>> {
    let mut each: HashMap<ReplicaLife, Vec<(TimeSpan, bool)>> = HashMap::new();
    for (replica, span, holds) in observed {
        each.entry(replica).or_default().push((span, holds));
    }
    let of = |mut observed: Vec<(TimeSpan, bool)>| {
        observed.sort_by_key(|(span, _)| span.until);
        let runs = observed
            .chunk_by(|one, other| one.1 == other.1)
            .filter(|run| run[0].1);
        runs.map(|run| TimeSpan::new(run[0].0.until, run[run.len() - 1].0.until))
            .collect()
    };
    each.into_iter()
        .map(|(replica, observed)| (replica, of(observed)))
        .collect()
}
