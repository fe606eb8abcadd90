//! The names by which records of one event find each other.

use crate::event::Event;

/// What an event is called in its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct EventKey(pub(super) u64);

impl EventKey {
    /// The key of an event, by what its id and source are on the wire.
    pub(super) fn of(event: &Event) -> Self {
        Self(event.identity())
    }
}
