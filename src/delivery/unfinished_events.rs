//! The oldest events of a subscription that take long: those whose attempt is under way for a while,
//! and those that wait for another one. An event that is delivered at once never comes here, so that
//! it costs nothing.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::event::Event;
use crate::model::DestinationRole;
use crate::wire_text::truncate;

/// Number of events that are noted at most. Those beyond are younger than all of these; each of them
/// finds a place at its next attempt, if there is one then.
const MOST_NOTED: usize = 64;
/// Largest size in bytes of an id or source that is kept.
const LONGEST_TEXT: usize = 256;

/// Time after which an event that was put back into a queue of this process, and that is due, would
/// have come back.
pub(super) const COMES_BACK: Duration = Duration::from_secs(60);

/// An event that is not finished, and how far its delivery has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotedEvent {
    /// [`Event::identity`], by which it is found again: texts may be cut.
    pub(crate) identity: u64,
    /// The `id` attribute; one of more than 256 bytes is cut, with `…` at its end.
    pub(crate) id: Box<str>,
    /// The `source` attribute, with the same limit.
    pub(crate) source: Box<str>,
    pub(crate) progress: UnfinishedProgress,
}

/// How far the delivery of an event has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnfinishedProgress {
    /// The destination of the next attempt, or of the one that is under way.
    pub(crate) role: DestinationRole,
    /// Attempts at this destination that have ended.
    pub(crate) attempts: u32,
    pub(crate) next: NextAttempt,
}

/// When the next attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NextAttempt {
    /// It is under way, since then.
    UnderWay(Instant),
    /// It is due then; the event is held here until then.
    Due(Instant),
    /// It is due at the first of these times. The event waits in its queue, and if it has not come
    /// back at the second one, this process does not know where it is.
    Away { due: Instant, known_until: Instant },
}

impl NextAttempt {
    /// The time at which it is due; `None` if it is under way.
    #[must_use]
    pub(crate) fn due(self) -> Option<Instant> {
        match self {
            Self::UnderWay(_since) => None,
            Self::Due(due) | Self::Away { due, .. } => Some(due),
        }
    }

    fn is_known(self, now: Instant) -> bool {
        match self {
            Self::UnderWay(_) | Self::Due(_) => true,
            Self::Away { known_until, .. } => now < known_until,
        }
    }
}

impl NotedEvent {
    fn new(event: &Event, progress: UnfinishedProgress) -> Self {
        Self {
            identity: event.identity(),
            id: shortened(&event.id()),
            source: shortened(&event.get("source").unwrap_or_default()),
            progress,
        }
    }
}

fn shortened(text: &str) -> Box<str> {
    match truncate(text, LONGEST_TEXT) {
        start if start.len() < text.len() => format!("{start}…").into(),
        whole => whole.into(),
    }
}

/// The oldest unfinished events of a subscription, in the order in which they were noted.
#[derive(Debug, Default)]
pub(crate) struct UnfinishedEvents(Mutex<Vec<NotedEvent>>);

impl UnfinishedEvents {
    fn lock(&self) -> MutexGuard<'_, Vec<NotedEvent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes how far an event has come; says whether it has a place.
    pub(super) fn note(&self, event: &Event, progress: UnfinishedProgress) -> bool {
        let identity = event.identity();
        let mut noted = self.lock();
        if let Some(known) = noted.iter_mut().find(|known| known.identity == identity) {
            known.progress = progress;
            return true;
        }
        if noted.len() >= MOST_NOTED {
            let now = Instant::now();
            noted.retain(|known| known.progress.next.is_known(now));
        }
        let has_room = noted.len() < MOST_NOTED;
        if has_room {
            noted.push(NotedEvent::new(event, progress));
        }
        has_room
    }

    /// Forgets an event that is finished.
    pub(super) fn forget(&self, event: &Event) {
        let identity = event.identity();
        self.lock().retain(|known| known.identity != identity);
    }

    /// The events that are noted now, the oldest first.
    #[must_use]
    pub(crate) fn list(&self) -> Vec<NotedEvent> {
        let now = Instant::now();
        let noted = self.lock();
        let known = noted.iter().filter(|it| it.progress.next.is_known(now));
        known.cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: &str) -> Event {
        Event::new(id, "/s", "t")
    }

    fn waiting(attempts: u32) -> UnfinishedProgress {
        UnfinishedProgress {
            role: DestinationRole::Subscriber,
            attempts,
            next: NextAttempt::Due(Instant::now() + Duration::from_secs(attempts.into())),
        }
    }

    fn ids(events: &UnfinishedEvents) -> Vec<String> {
        let listed = events.list();
        listed.iter().map(|event| event.id.to_string()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_stay_and_others_find_no_place() {
        let events = UnfinishedEvents::default();
        for id in 0..MOST_NOTED {
            assert!(events.note(&event(&id.to_string()), waiting(1)));
        }
        assert!(!events.note(&event("more"), waiting(1)));
        assert!(events.note(&event("1"), waiting(2)), "it is known");
        assert_eq!(
            ids(&events).get(..3),
            Some(&["0", "1", "2"].map(String::from)[..])
        );
        assert_eq!(events.list()[1].progress.attempts, 2);
        events.forget(&event("0"));
        assert!(events.note(&event("more"), waiting(1)), "there is room");
        let now = ids(&events);
        assert_eq!((now[0].as_str(), now[63].as_str()), ("1", "more"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_gone_elsewhere_is_not_told_for_ever() {
        let events = UnfinishedEvents::default();
        let away = |seconds| {
            let due = Instant::now() + Duration::from_secs(seconds);
            NextAttempt::Away {
                due,
                known_until: due + COMES_BACK,
            }
        };
        let progress = UnfinishedProgress {
            next: away(10),
            ..waiting(1)
        };
        assert!(events.note(&event("away"), progress));
        assert!(events.note(&event("here"), waiting(1)));
        tokio::time::advance(Duration::from_secs(69)).await;
        assert_eq!(ids(&events), ["away", "here"]);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(ids(&events), ["here"]);
        for id in 0..MOST_NOTED {
            events.note(&event(&id.to_string()), waiting(1));
        }
        assert_eq!(ids(&events).len(), MOST_NOTED, "its place is another's");
    }

    #[test]
    fn long_texts_are_cut_and_known_again() {
        let events = UnfinishedEvents::default();
        let long = "ä".repeat(1000);
        events.note(&event(&long), waiting(1));
        let listed = events.list();
        assert!(listed[0].id.len() <= LONGEST_TEXT + 3 && listed[0].id.ends_with('…'));
        // Another one that begins in the same way is another one.
        events.forget(&event(&"ä".repeat(1001)));
        assert_eq!(events.list().len(), 1);
        events.forget(&event(&long));
        assert!(events.list().is_empty());
    }
}
