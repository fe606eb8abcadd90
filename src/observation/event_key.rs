//! The names by which records of one event find each other: 64 bits of its id and source, by keys of
//! this process, so that nobody outside can make two events with one name.

use std::hash::{BuildHasher, RandomState};

use crate::event::{ContextAttribute, Event};

/// What an event is called in its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct EventKey(pub(super) u64);

/// Makes the keys of events.
#[derive(Debug)]
pub(super) struct EventKeyHasher {
    secrets: [u64; 2],
}

impl Default for EventKeyHasher {
    fn default() -> Self {
        let random = RandomState::new();
        Self {
            secrets: [random.hash_one(1_u8), random.hash_one(2_u8)],
        }
    }
}

impl EventKeyHasher {
    /// The key of an event, by what its id and source are on the wire.
    pub(super) fn key(&self, event: &Event) -> EventKey {
        let value = |name| {
            let attribute = event.attribute(name);
            attribute.map_or(&[][..], |attribute: &ContextAttribute| {
                attribute.value().as_bytes()
            })
        };
        self.hash(value("id"), value("source"))
    }

    /// The key of the event with this id and source.
    pub(super) fn key_of(&self, id: &str, source: &str) -> EventKey {
        self.key(&Event::new(id, source, ""))
    }

    fn hash(&self, id: &[u8], source: &[u8]) -> EventKey {
        let [first, second] = self.secrets;
        EventKey(mix(mix_bytes(first, second, id), second, source))
    }
}

/// Mixes bytes into a state, eight at a time, by the folded product of 64 bits with 64 bits.
fn mix_bytes(state: u64, secret: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut state = fold(state ^ bytes.len() as u64, secret | 1);
    for word in words {
        state = fold(state ^ u64::from_le_bytes(*word), secret | 1);
    }
    let mut last = [0; 8];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    fold(state ^ u64::from_le_bytes(last), secret | 1)
}

fn mix(state: u64, secret: u64, bytes: &[u8]) -> u64 {
    mix_bytes(state, secret.rotate_left(32), bytes)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "both halves of the product are used"
)]
fn fold(x: u64, y: u64) -> u64 {
    let product = u128::from(x) * u128::from(y);
    (product as u64) ^ ((product >> 64) as u64)
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
