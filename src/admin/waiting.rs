//! What unfinished events wait for, in words: another attempt, the event before them, or a place.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::status::{StatusSource, format_time};
use crate::channel::ChannelBackend as _;
use crate::delivery::{
    AttemptPlaces, NextAttempt, NotedEvent, SubscriptionWorkerState, UnfinishedProgress,
};
use crate::model::{DeliveryOrder, DestinationRole, SubscriptionKey};
use crate::observation::{EventAhead, Explanation, OpenDelivery, OpenProgress, WaitingLine};
use crate::wire_text::escaped_excerpt;

/// Number of subscriptions of which it is said what an event waits for.
const MOST_WAITING: usize = 32;
/// Largest size in bytes of an id or source in a sentence about another event.
const LONGEST_NAME: usize = 64;

/// The time now, by both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct TwoClocks {
    steady: Instant,
    wall: SystemTime,
}

impl TwoClocks {
    pub(super) fn now() -> Self {
        Self {
            steady: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    pub(super) fn wall(self) -> SystemTime {
        self.wall
    }

    /// The time of day at this instant, as JSON has it.
    pub(super) fn format(self, at: Instant) -> String {
        let later = at.saturating_duration_since(self.steady);
        let earlier = self.steady.saturating_duration_since(at);
        let time = self.wall.checked_add(later);
        let time = time.and_then(|time| time.checked_sub(earlier));
        format_time(time.unwrap_or(self.wall).into())
    }

    /// The time of day after this wait.
    pub(super) fn format_later(self, wait: Duration) -> String {
        let time = self.wall.checked_add(wait);
        format_time(time.unwrap_or(self.wall).into())
    }

    /// Which attempt is next, and when, in words.
    pub(super) fn describe(self, progress: &UnfinishedProgress) -> String {
        let number = progress.attempts.saturating_add(1);
        let to = match progress.role {
            DestinationRole::Subscriber => String::new(),
            role => format!(" at the {}", role.as_str()),
        };
        let when = match progress.next {
            NextAttempt::UnderWay(since) => {
                let since = self.steady.saturating_duration_since(since);
                format!("under way for {}", format_span(since))
            }
            NextAttempt::Due(due) | NextAttempt::Away { due, .. } => {
                match due.saturating_duration_since(self.steady) {
                    Duration::ZERO => "as soon as there is a place".to_owned(),
                    wait => format!("in {}", format_span(wait)),
                }
            }
        };
        format!("attempt {number}{to} {when}")
    }
}

/// A time in two units at most.
pub(super) fn format_span(time: Duration) -> String {
    let seconds = time.as_millis().div_ceil(1000);
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match (hours, minutes) {
        (0, 0) => format!("{seconds} s"),
        (0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (hours @ 0..48, minutes) => format!("{hours} h {} min", minutes % 60),
        (hours, _) => format!("{} d {} h", hours / 24, hours % 24),
    }
}

/// Adds to an explanation what the event waits for, at each subscription that has not finished it.
pub(super) fn explain_waits(explanation: &mut Explanation, source: &StatusSource) {
    let clocks = TwoClocks::now();
    let open = std::mem::take(&mut explanation.open);
    for delivery in open.iter().take(MOST_WAITING) {
        let Some(key) = SubscriptionKey::parse(&delivery.subscription) else {
            continue;
        };
        let Some(worker) = source.subscription_workers.get(&key) else {
            continue;
        };
        let lane = SubscriptionWaits {
            noted: worker.unfinished().list(),
            until_next_due: source.backends.until_next_due(&key),
            worker: &worker,
            clocks,
        };
        lane.explain(explanation, delivery);
    }
}

/// What the events of one subscription wait for, as far as it is known.
struct SubscriptionWaits<'w> {
    noted: Vec<NotedEvent>,
    /// Time until an event is due that its queue has again, if the queue tells it.
    until_next_due: Option<Duration>,
    worker: &'w SubscriptionWorkerState,
    clocks: TwoClocks,
}

impl SubscriptionWaits<'_> {
    /// Adds a line, if it is known what the event waits for.
    fn explain(&self, explanation: &mut Explanation, delivery: &OpenDelivery) {
        let mut noted = self.noted.iter();
        let own = noted.find(|event| event.identity == delivery.identity);
        let is_ordered = self.worker.order() == DeliveryOrder::Ordered;
        let ahead = match &*self.noted {
            // Events of an ordered subscription are tried one by one. Where there are more, it has
            // been made ordered while they were under way, and nothing is behind one of them alone.
            [ahead] if is_ordered && own.is_none() => Some(ahead),
            _ => None,
        };
        let reason = match (own, ahead) {
            (Some(own), _) if own.progress.next.due().is_none() => {
                Some(self.clocks.describe(&own.progress))
            }
            (Some(own), _) => Some(format!("waits for {}", self.clocks.describe(&own.progress))),
            (None, Some(ahead)) => Some(self.behind(ahead)),
            // What has been tried waits for another attempt, whose time its last one tells.
            (None, None) if delivery.progress == OpenProgress::Tried => None,
            (None, None) if is_ordered => self.behind_unknown(),
            (None, None) => self.for_a_place(),
        };
        let Some(reason) = reason else {
            return;
        };
        let progress = own.or(ahead).map(|event| event.progress);
        let due = progress.and_then(|progress| progress.next.due());
        explanation.add_waiting(&WaitingLine {
            delivery,
            behind: ahead.map(|ahead| EventAhead {
                id: &ahead.id,
                source: &ahead.source,
            }),
            attempt: progress.map(|progress| progress.attempts.saturating_add(1)),
            next_attempt: &due.map_or_else(String::new, |due| self.clocks.format(due)),
            reason: &reason,
        });
    }

    fn behind(&self, ahead: &NotedEvent) -> String {
        let [id, source] =
            [&ahead.id, &ahead.source].map(|text| escaped_excerpt(text, LONGEST_NAME));
        format!(
            "waits behind {id} (source {source}): {}",
            self.clocks.describe(&ahead.progress)
        )
    }

    /// Behind an event that was put off before this process, or this worker, began.
    fn behind_unknown(&self) -> Option<String> {
        let wait = self.until_next_due.filter(|_| self.noted.is_empty())?;
        Some(format!(
            "waits behind an event that was put off before the process started: its next attempt \
             is in {}",
            format_span(wait)
        ))
    }

    /// A free place, if all are taken.
    fn for_a_place(&self) -> Option<String> {
        let AttemptPlaces { taken, all } = self.worker.places();
        if taken < all {
            return None;
        }
        let noted = self.noted.iter();
        let slow = noted.filter(|it| it.progress.next.due().is_none());
        // Not all events whose attempts are under way are noted: those of the last second are not,
        // nor those beyond the number that is.
        let unless = if slow.count() >= all {
            ""
        } else {
            ", unless it has got one"
        };
        Some(format!(
            "waits for a free place{unless}: {taken} of {all} attempts under way"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_two_units() {
        for (millis, expected) in [
            (0, "0 s"),
            (1, "1 s"),
            (11_001, "12 s"),
            (60_000, "1 min 0 s"),
            (3_599_000, "59 min 59 s"),
            (10_740_000, "2 h 59 min"),
            (183_600_000, "2 d 3 h"),
        ] {
            let span = Duration::from_millis(millis);
            assert_eq!(format_span(span), expected);
        }
    }
}
