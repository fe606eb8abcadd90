//! What a log should do, in plain maps: every event with the states that it may be in.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::channel::disk::log::{QueueId, QueueOptions, Sequence, TakenEvent};

/// State that an event of a queue may be in, as far as whoever uses the log can know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum EventState {
    Absent,
    /// It is to be taken, with what was recorded last.
    Open {
        stage: u8,
        attempts: u32,
        body: Option<String>,
    },
    Parked {
        attempts: u32,
    },
    Done,
}

impl EventState {
    pub(super) fn fresh() -> Self {
        Self::Open {
            stage: 0,
            attempts: 0,
            body: None,
        }
    }

    fn is_open(&self) -> bool {
        matches!(self, Self::Open { .. })
    }
}

#[derive(Clone, Debug)]
pub(super) struct ModelEvent {
    /// More than one after an operation that failed: it may have been done or not.
    pub(super) states: Vec<EventState>,
    pub(super) in_flight: Option<Sequence>,
    /// Time before which it must not be taken, and the jumps of the clock until then.
    not_before: Option<(Instant, Duration)>,
    /// True if it came back, so that it may be taken after later ones.
    came_back: bool,
    /// True if it was ever taken.
    was_taken: bool,
    /// Its sequence, if the queue has it since it is in the range of the queue.
    sequence: Option<Sequence>,
}

impl ModelEvent {
    pub(super) fn is_certainly_open(&self) -> bool {
        self.states.iter().all(EventState::is_open)
    }

    /// The operation has been done.
    pub(super) fn become_state(&mut self, state: EventState) {
        self.states = vec![state];
        self.in_flight = None;
    }

    fn may_become_absent(&mut self) {
        if self.states.contains(&EventState::fresh()) {
            self.may_become(EventState::Absent);
        }
    }

    /// The operation may have been done.
    pub(super) fn may_become(&mut self, state: EventState) {
        if !self.states.contains(&state) {
            self.states.push(state);
        }
    }
}

/// What a queue gets besides the events that name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ModelRange {
    Nothing,
    /// A range, and nothing that names it.
    Alone,
    /// What was there from a sequence on.
    AndOn,
}

#[derive(Clone, Debug)]
pub(super) struct ModelQueue {
    pub(super) id: QueueId,
    pub(super) name: String,
    pub(super) is_ordered: bool,
    pub(super) range: ModelRange,
    pub(super) events: BTreeMap<u64, ModelEvent>,
    /// Last event that was taken in turn since the log was opened.
    last: Option<u64>,
    /// True if an event could not be read since the log was opened: those after it may have come
    /// first, unless the queue is ordered.
    has_failed: bool,
}

impl ModelQueue {
    pub(super) fn new(id: QueueId, name: String, options: QueueOptions) -> Self {
        Self {
            id,
            name,
            is_ordered: options.is_ordered,
            range: ModelRange::Nothing,
            events: BTreeMap::new(),
            last: None,
            has_failed: false,
        }
    }

    pub(super) fn publish(&mut self, tag: u64, states: Vec<EventState>) {
        let event = ModelEvent {
            states,
            in_flight: None,
            not_before: None,
            came_back: false,
            was_taken: false,
            sequence: None,
        };
        assert!(self.events.insert(tag, event).is_none());
    }

    /// The queue gets an event since it is in its range.
    pub(super) fn publish_in_range(&mut self, tag: u64, sequence: Sequence) {
        self.publish(tag, vec![EventState::fresh()]);
        let event = self.events.get_mut(&tag).expect("an event");
        event.sequence = Some(sequence);
    }

    /// The range ends before `until` now. What was taken in an earlier life may be there still.
    pub(super) fn cut(&mut self, until: Sequence) {
        for event in self.events.values_mut() {
            let is_behind = event.sequence.is_some_and(|it| it >= until);
            if !is_behind || event.in_flight.is_some() {
                continue;
            }
            if event.was_taken {
                event.may_become_absent();
            } else {
                event.become_state(EventState::Absent);
            }
        }
    }

    /// The range may have been cut.
    pub(super) fn may_be_cut(&mut self) {
        let events = self.events.values_mut();
        let resting = events.filter(|it| it.in_flight.is_none() && it.sequence.is_some());
        resting.for_each(ModelEvent::may_become_absent);
    }

    /// The log was opened anew.
    pub(super) fn reopen(&mut self) {
        self.last = None;
        self.has_failed = false;
        for event in self.events.values_mut() {
            event.in_flight = None;
        }
    }

    /// The log could not give events.
    pub(super) fn fail(&mut self) {
        self.has_failed = true;
    }

    pub(super) fn defer_until(&mut self, tag: u64, time: Instant) {
        if let Some(event) = self.events.get_mut(&tag) {
            event.not_before = Some((time, Duration::ZERO));
            event.came_back = true;
        }
    }

    pub(super) fn comes_back(&mut self, tag: u64) {
        if let Some(event) = self.events.get_mut(&tag) {
            event.not_before = None;
            event.came_back = true;
        }
    }

    pub(super) fn jump(&mut self, by: Duration) {
        for event in self.events.values_mut() {
            if let Some((_, jumps)) = &mut event.not_before {
                *jumps += by;
            }
        }
    }

    /// Takes in that the log gave an event; fails if it should not have.
    pub(super) fn take(&mut self, tag: u64, taken: &TakenEvent) {
        let name = self.name.clone();
        if self.is_ordered {
            self.check_turn(tag);
        }
        let event = self.events.get_mut(&tag);
        let event = event.unwrap_or_else(|| panic!("{name}: {tag} was never published to it"));
        assert_eq!(event.in_flight, None, "{name}: {tag} is in flight already");
        let state = EventState::Open {
            stage: taken.stage,
            attempts: taken.attempts,
            body: taken
                .body
                .as_ref()
                .map(|body| String::from_utf8_lossy(body).into_owned()),
        };
        assert!(
            event.states.contains(&state),
            "{name}: {tag} came as {state:?} instead of one of {:?}",
            event.states
        );
        event.states = vec![state];
        event.in_flight = Some(taken.sequence);
        event.was_taken = true;
        if let Some((time, jumps)) = event.not_before {
            assert!(
                Instant::now() + jumps + Duration::from_millis(2) >= time,
                "{name}: {tag} came {:?} early",
                time - Instant::now()
            );
        }
        if !event.came_back && !self.has_failed {
            assert!(
                self.last.is_none_or(|last| last < tag),
                "{name}: {tag} came after {:?}",
                self.last
            );
            self.last = Some(tag);
        }
    }

    /// In an ordered queue nothing is taken while an earlier event is not finished.
    fn check_turn(&mut self, tag: u64) {
        let name = self.name.clone();
        let in_flight = self.events.values().filter(|it| it.in_flight.is_some());
        assert_eq!(in_flight.count(), 0, "{name}: {tag} came beside another");
        for (earlier, event) in self.events.range_mut(..tag) {
            assert!(
                !event.is_certainly_open(),
                "{name}: {tag} came before {earlier}, {event:?}"
            );
            event.states.retain(|state| !state.is_open());
        }
    }

    /// The queue has given everything it had: what did not come was not there.
    pub(super) fn check_drained(&mut self) {
        for (tag, event) in &mut self.events {
            assert!(
                !event.is_certainly_open(),
                "{}: {tag} is lost, {event:?}",
                self.name
            );
            event.states.retain(|state| !state.is_open());
        }
    }

    /// Compares with the events that the log says are parked.
    pub(super) fn check_parked(&mut self, listed: &BTreeMap<u64, u32>) {
        for (tag, event) in &mut self.events {
            let is_parked = |state: &EventState| matches!(state, EventState::Parked { .. });
            let Some(attempts) = listed.get(tag).copied() else {
                assert!(
                    !event.states.iter().all(is_parked),
                    "{}: {tag} is not parked any more",
                    self.name
                );
                event.states.retain(|state| !is_parked(state));
                continue;
            };
            let state = EventState::Parked { attempts };
            assert!(
                event.states.contains(&state),
                "{}: {tag} is parked with {attempts} attempts instead of {event:?}",
                self.name
            );
            event.states = vec![state];
        }
        for tag in listed.keys() {
            assert!(self.events.contains_key(tag), "{}: {tag}?", self.name);
        }
    }

    /// Numbers of events that are open and parked, if they are certain.
    pub(super) fn certain_counts(&self) -> Option<(u64, usize)> {
        let (mut open, mut parked) = (0, 0);
        for event in self.events.values() {
            match event.states.as_slice() {
                [EventState::Open { .. }] => open += 1,
                [EventState::Parked { .. }] => parked += 1,
                [_] => {}
                _ => return None,
            }
        }
        Some((open, parked))
    }

    /// Forgets what is finished for certain.
    pub(super) fn forget_finished(&mut self) {
        let is_over = |states: &[EventState]| {
            states
                .iter()
                .all(|it| matches!(it, EventState::Done | EventState::Absent))
        };
        // A few are kept, so that one that comes again is noticed as such.
        let keep = self.events.len().saturating_sub(300);
        let over = self.events.iter().filter(|(_, it)| is_over(&it.states));
        let over: Vec<u64> = over.map(|(tag, _)| *tag).take(keep).collect();
        for tag in over {
            self.events.remove(&tag);
        }
    }
}
