//! Events that were decoded a moment ago and are still being delivered: the other queues of the log
//! come to the same event at about the same time, and take it from here.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::log::Sequence;
use crate::event::Event;

/// Events that are remembered at most.
const PLACES: u64 = 128;

/// Events of one log that were decoded last. None is kept by this alone.
#[derive(Default)]
pub(super) struct RecentEvents {
    /// Each at the place that its sequence says.
    places: Mutex<Vec<(Sequence, Weak<Event>)>>,
}

impl RecentEvents {
    fn places(&self) -> MutexGuard<'_, Vec<(Sequence, Weak<Event>)>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The event of a sequence, if somebody has it.
    pub(super) fn find(&self, sequence: Sequence) -> Option<Arc<Event>> {
        let places = self.places();
        let (known, event) = places.get(place_of(sequence))?;
        let event = (*known == sequence).then(|| event.upgrade())?;
        drop(places);
        event
    }

    /// Remembers an event for as long as it lives.
    pub(super) fn remember(&self, sequence: Sequence, event: &Arc<Event>) {
        let mut places = self.places();
        if places.is_empty() {
            places.resize_with(place_of(PLACES - 1) + 1, Default::default);
        }
        if let Some(place) = places.get_mut(place_of(sequence)) {
            *place = (sequence, Arc::downgrade(event));
        }
    }

    /// Gives back the memory of events that are gone.
    pub(super) fn forget_gone(&self) {
        let mut places = self.places();
        if places.iter().all(|(_, event)| event.strong_count() == 0) {
            *places = Vec::new();
        }
    }
}

fn place_of(sequence: Sequence) -> usize {
    usize::try_from(sequence % PLACES).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_found_while_somebody_has_it() {
        let recent = RecentEvents::default();
        let event = Arc::new(Event::new("1", "/s", "t"));
        assert!(recent.find(7).is_none());
        recent.remember(7, &event);
        assert!(
            recent
                .find(7)
                .is_some_and(|found| Arc::ptr_eq(&found, &event))
        );
        assert!(recent.find(7 + PLACES).is_none(), "it has the same place");
        drop(event);
        assert!(recent.find(7).is_none());
        recent.forget_gone();
        assert!(recent.places().is_empty());
    }
}
