//! The names by which records of one event find each other: 64 bits of its id and source, by a seed
//! of this process, so that nobody outside can make two events with one name.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use crate::event::Event;

/// What an event is called in its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct EventKey(pub(super) u64);

/// Makes the keys of events.
#[derive(Debug, Default)]
pub(super) struct EventKeyHasher(RandomState);

impl EventKeyHasher {
    /// The key of an event, by what its id and source are on the wire.
    pub(super) fn key(&self, event: &Event) -> EventKey {
        let (mut id, mut source) = (&[][..], &[][..]);
        for attribute in event.attributes() {
            match attribute.name() {
                "id" => id = attribute.value().as_bytes(),
                "source" => source = attribute.value().as_bytes(),
                _ => continue,
            }
            if !id.is_empty() && !source.is_empty() {
                break;
            }
        }
        EventKey(self.0.hash_one((id, source)))
    }

    /// The key of the event with this id and source.
    pub(super) fn key_of(&self, id: &str, source: &str) -> EventKey {
        self.key(&Event::new(id, source, ""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_of_id_and_source_as_they_are_meant() {
        let keys = EventKeyHasher::default();
        let key = |id: &str, source: &str| keys.key(&Event::new(id, source, "t"));
        assert_eq!(key("1", "/s"), keys.key_of("1", "/s"));
        for (id, source) in [
            ("2", "/s"),
            ("1", "/t"),
            ("1/", "s"),
            ("", "1/s"),
            ("1\0", "/s"),
        ] {
            assert_ne!(key("1", "/s"), key(id, source), "{id:?} {source:?}");
        }
        let other = EventKeyHasher::default();
        assert_ne!(key("1", "/s"), other.key_of("1", "/s"), "another process");
        let all: std::collections::HashSet<_> =
            (0..10_000).map(|n| key(&n.to_string(), "/s")).collect();
        assert_eq!(all.len(), 10_000);
    }
}
