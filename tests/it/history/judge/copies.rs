//! The copies of each event: none that is missing, none too many, none out of order.

use std::collections::HashMap;
use std::time::Duration;

use crate::history::record::{
    EventCopy, EventPlace, FaultKind, Moment, NemesisFault, RunHistory, SendTry, Wish,
};
use crate::history::spans::TimeSpan;

/// How long after its delivery a message may be unacknowledged, and how long after a fault a
/// connection may take to notice.
const UNDER_WAY: Duration = Duration::from_secs(1);

/// What became of the events that a subscription wanted.
#[derive(Clone, Debug, Default)]
pub(in crate::history) struct SubscriptionTally {
    pub(in crate::history) name: &'static str,
    /// Accepted events that it wanted.
    pub(in crate::history) wanted: usize,
    pub(in crate::history) delivered: usize,
    pub(in crate::history) dead_lettered: usize,
    pub(in crate::history) parked: usize,
    /// Requests to its subscriber and its dead letter sink.
    pub(in crate::history) attempts: usize,
    /// Events that came nowhere.
    pub(in crate::history) lost: Vec<u32>,
    /// Events that came nowhere since their queue was deleted.
    pub(in crate::history) excused: usize,
    /// Copies after the first one of the same try: RabbitMQ delivered it again.
    pub(in crate::history) redelivered: usize,
    /// Copies of another try: its sender was told that it was not stored.
    pub(in crate::history) resent: usize,
    /// Of these, what was under way when a fault was made.
    pub(in crate::history) under_way: usize,
    /// Events that came after one that was sent when they had been accepted.
    pub(in crate::history) disordered: Vec<u32>,
}

impl SubscriptionTally {
    /// Copies too many that no fault explains.
    pub(in crate::history) fn needless(&self) -> usize {
        (self.redelivered + self.resent).saturating_sub(self.under_way)
    }

    pub(super) fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (what, events) in [("lost", &self.lost), ("out of order", &self.disordered)] {
            if !events.is_empty() {
                let some = &events[..events.len().min(5)];
                found.push(format!(
                    "{}: {} events {what}, such as {some:?}",
                    self.name,
                    events.len()
                ));
            }
        }
        found
    }
}

/// An accepted event.
#[derive(Clone, Copy, Debug)]
struct Accepted {
    event: u32,
    sender: u16,
    /// When its first try was begun, and the one that was accepted had ended.
    span: TimeSpan,
}

/// Judges the copies of each subscription.
pub(super) fn tallies(history: &RunHistory) -> Vec<SubscriptionTally> {
    let tries = tries(history);
    let accepted = accepted(&tries);
    let mut taken: Vec<HashMap<u32, Vec<EventCopy>>> = vec![HashMap::new(); history.wishes.len()];
    for copy in history.copies.iter().filter(|copy| copy.is_taken()) {
        taken[copy.subscription]
            .entry(copy.event)
            .or_default()
            .push(*copy);
    }
    for copies in taken.iter_mut().flat_map(HashMap::values_mut) {
        copies.sort_by_key(|copy| copy.at);
    }
    let each = history.wishes.iter().enumerate().zip(&taken);
    let tally = |((subscription, wish), taken)| Case {
        history,
        tries: &tries,
        subscription,
        wish,
        taken,
    };
    each.map(tally).map(|case| case.tally(&accepted)).collect()
}

/// The tries of each event, in order.
fn tries(history: &RunHistory) -> HashMap<u32, Vec<SendTry>> {
    let mut tries: HashMap<u32, Vec<SendTry>> = HashMap::new();
    for tried in &history.tries {
        tries.entry(tried.event).or_default().push(*tried);
    }
    for tries in tries.values_mut() {
        tries.sort_by_key(|tried| tried.number);
    }
    tries
}

/// The events that were accepted, in the order in which they were sent.
fn accepted(tries: &HashMap<u32, Vec<SendTry>>) -> Vec<Accepted> {
    let one = |(event, tries): (&u32, &Vec<SendTry>)| {
        let last = tries.iter().find(|tried| tried.is_accepted())?;
        let span = TimeSpan::new(tries.first()?.begun, last.ended);
        Some(Accepted {
            event: *event,
            sender: last.sender,
            span,
        })
    };
    let mut accepted: Vec<_> = tries.iter().filter_map(one).collect();
    accepted.sort_by_key(|accepted| (accepted.span.from, accepted.event));
    accepted
}

/// One subscription.
struct Case<'a> {
    history: &'a RunHistory,
    tries: &'a HashMap<u32, Vec<SendTry>>,
    subscription: usize,
    wish: &'a Wish,
    taken: &'a HashMap<u32, Vec<EventCopy>>,
}

impl Case<'_> {
    fn tally(&self, accepted: &[Accepted]) -> SubscriptionTally {
        let wanted: Vec<_> = accepted
            .iter()
            .filter(|accepted| (self.wish.wants)(accepted.event))
            .copied()
            .collect();
        let mine = |copy: &&EventCopy| {
            copy.subscription == self.subscription && copy.place != EventPlace::ParkingQueue
        };
        let attempts = self.history.copies.iter().filter(mine).count();
        let mut tally = SubscriptionTally {
            name: self.wish.name,
            attempts,
            ..SubscriptionTally::default()
        };
        tally.wanted = wanted.len();
        let mut allowances = self.allowances();
        for accepted in &wanted {
            match self.taken.get(&accepted.event).map(Vec::as_slice) {
                Some([first, more @ ..]) => {
                    match first.place {
                        EventPlace::Subscriber => tally.delivered += 1,
                        EventPlace::DeadLetterSink => tally.dead_lettered += 1,
                        EventPlace::ParkingQueue => tally.parked += 1,
                    }
                    self.doubles(first, more, &mut tally, &mut allowances);
                }
                _ if self.is_excused(accepted) => tally.excused += 1,
                _ => tally.lost.push(accepted.event),
            }
        }
        if self.wish.ordered {
            tally.disordered = self.disordered(&wanted);
        }
        tally
    }

    /// What was in a queue when it was deleted: the first try was begun before that.
    fn is_excused(&self, accepted: &Accepted) -> bool {
        let deleted = FaultKind::QueueDeleted(self.subscription);
        self.history
            .faults
            .iter()
            .any(|fault| fault.kind() == deleted && accepted.span.from <= fault.strike.made)
    }

    /// How many messages of this queue each fault may have found unacknowledged.
    fn allowances(&self) -> Vec<(NemesisFault, u64)> {
        let replicas = |kind| match kind {
            FaultKind::ReplicaKilled(_) | FaultKind::ConnectionClosed => 1,
            FaultKind::NodeDown(_) | FaultKind::NodePaused(_) | FaultKind::NodeParted(_) => {
                self.history.replicas
            }
            _ => 0,
        };
        let all = self.history.faults.iter().map(|fault| {
            (
                *fault,
                self.history.prefetch * replicas(fault.kind()) as u64,
            )
        });
        all.filter(|(_, allowance)| *allowance > 0).collect()
    }

    fn doubles(
        &self,
        first: &EventCopy,
        more: &[EventCopy],
        tally: &mut SubscriptionTally,
        allowances: &mut [(NemesisFault, u64)],
    ) {
        let mut before = vec![*first];
        for copy in more {
            let same = before
                .iter()
                .rev()
                .find(|before| before.number == copy.number);
            let needed = match same {
                Some(same) => is_under_way(TimeSpan::new(same.at, copy.at), allowances),
                None => self.is_unanswered(before.last().unwrap_or(first), allowances),
            };
            *(if same.is_some() {
                &mut tally.redelivered
            } else {
                &mut tally.resent
            }) += 1;
            tally.under_way += usize::from(needed);
            before.push(*copy);
        }
    }

    /// Whether the sender waited for the answer to an earlier copy's try when a fault was made.
    fn is_unanswered(&self, earlier: &EventCopy, allowances: &[(NemesisFault, u64)]) -> bool {
        let tries = self
            .tries
            .get(&earlier.event)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let mut mine = tries.iter().filter(|tried| tried.number == earlier.number);
        let struck = |tried: &SendTry, fault: &NemesisFault| {
            tried.begun <= fault.strike.made + UNDER_WAY && fault.strike.from <= tried.ended
        };
        mine.any(|tried| allowances.iter().any(|(fault, _)| struck(tried, fault)))
    }

    /// Events that came after one of the same sender which was sent when they had been accepted.
    fn disordered(&self, wanted: &[Accepted]) -> Vec<u32> {
        let mut earliest: HashMap<u16, (Moment, Moment)> = HashMap::new();
        let mut found = Vec::new();
        for accepted in wanted.iter().rev() {
            let Some(first) = self
                .taken
                .get(&accepted.event)
                .and_then(|copies| copies.first())
            else {
                continue;
            };
            let next = earliest.get(&accepted.sender).copied();
            let (sent_at, came_at) = next.unwrap_or((Moment::MAX, Moment::MAX));
            if accepted.span.until <= sent_at && came_at < first.at {
                found.push(accepted.event);
            }
            earliest.insert(accepted.sender, (accepted.span.from, first.at.min(came_at)));
        }
        found.reverse();
        found
    }
}

/// Whether a message that was delivered at the span's beginning and again at its end was
/// unacknowledged at a fault which has allowance left, and takes one from it.
fn is_under_way(copies: TimeSpan, allowances: &mut [(NemesisFault, u64)]) -> bool {
    let explains = |(fault, left): &&mut (NemesisFault, u64)| {
        let window = TimeSpan::new(
            fault.strike.from.saturating_sub(UNDER_WAY),
            fault.until + UNDER_WAY,
        );
        *left > 0
            && (window.from..=window.until).contains(&copies.from)
            && copies.until >= fault.strike.from
    };
    let found = allowances.iter_mut().find(explains);
    found.map(|(_, left)| *left -= 1).is_some()
}
