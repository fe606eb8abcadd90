//! What unfinished events wait for, in words: another attempt, the event before them, or a place.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::status::format_time;
use crate::delivery::{
    AttemptPlaces, NextAttempt, SubscriptionWorkerState, SubscriptionWorkerStates,
    UnfinishedProgress,
};
use crate::model::{DeliveryOrder, DestinationRole, SubscriptionKey};
use crate::observation::{EventAhead, Explanation, OpenDelivery, WaitingLine};
use crate::wire_text::WireText;

/// Number of subscriptions of which it is said what an event waits for.
const MOST_WAITING: usize = 32;

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
                    Duration::ZERO => "is due".to_owned(),
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
pub(super) fn explain_waits(explanation: &mut Explanation, workers: &SubscriptionWorkerStates) {
    let clocks = TwoClocks::now();
    let open = std::mem::take(&mut explanation.open);
    for delivery in open.iter().take(MOST_WAITING) {
        let key = SubscriptionKey::parse(&delivery.subscription);
        if let Some(worker) = key.and_then(|key| workers.get(&key)) {
            explain_wait(explanation, delivery, &worker, clocks);
        }
    }
}

fn explain_wait(
    explanation: &mut Explanation,
    delivery: &OpenDelivery,
    worker: &SubscriptionWorkerState,
    clocks: TwoClocks,
) {
    let noted = worker.unfinished().list();
    let own = noted
        .iter()
        .find(|event| event.is(&delivery.id, &delivery.source));
    let is_ordered = worker.order() == DeliveryOrder::Ordered;
    let ahead = noted.first().filter(|_| is_ordered && own.is_none());
    let AttemptPlaces { taken, all } = worker.places();
    let reason = match (own, ahead) {
        (Some(own), _) if own.progress.next.due().is_none() => clocks.describe(&own.progress),
        (Some(own), _) => format!("waits for {}", clocks.describe(&own.progress)),
        (None, Some(ahead)) => {
            let (id, source) = (WireText::new(&ahead.id), WireText::new(&ahead.source));
            format!(
                "waits behind {id} (source {source}): {}",
                clocks.describe(&ahead.progress)
            )
        }
        (None, None) if taken >= all => {
            let slow = noted.iter().filter(|it| it.progress.next.due().is_none());
            // An event whose own attempt began less than a second ago is not noted yet.
            let unless = if slow.count() >= all {
                ""
            } else {
                ", unless it has just got one"
            };
            format!("waits for a free place{unless}: {taken} of {all} attempts under way")
        }
        (None, None) => return,
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
        next_attempt: &due.map_or_else(String::new, |due| clocks.format(due)),
        reason: &reason,
    });
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
