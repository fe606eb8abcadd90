//! A number by which an event is found again among what is known of many: 64 bits of its id and
//! source, by a seed of this process, so that nobody outside can make two events with one number.

use std::hash::BuildHasher;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::RandomState;

use super::Event;

static SEED: LazyLock<RandomState> = LazyLock::new(RandomState::default);

/// The number of an event, once somebody has asked for it; 0 before, and after a change.
#[derive(Debug, Default)]
pub(super) struct CachedIdentity(AtomicU64);

impl CachedIdentity {
    pub(super) fn clear(&mut self) {
        *self.0.get_mut() = 0;
    }
}

impl Clone for CachedIdentity {
    fn clone(&self) -> Self {
        Self(AtomicU64::new(self.0.load(Ordering::Relaxed)))
    }
}

impl Event {
    /// A number for id and source, as they are on the wire. It is reckoned once; two who ask at the
    /// same time reckon the same.
    pub(crate) fn identity(&self) -> u64 {
        let known = self.identity.0.load(Ordering::Relaxed);
        if known != 0 {
            return known;
        }
        let identity = self.reckon_identity();
        self.identity.0.store(identity, Ordering::Relaxed);
        identity
    }

    fn reckon_identity(&self) -> u64 {
        let (mut id, mut source) = (&[][..], &[][..]);
        for attribute in self.attributes() {
            match attribute.name() {
                "id" => id = attribute.value().as_bytes(),
                "source" => source = attribute.value().as_bytes(),
                _ => continue,
            }
            if !id.is_empty() && !source.is_empty() {
                break;
            }
        }
        SEED.hash_one((id, source)).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_of_id_and_source_as_they_are_meant() {
        let identity = |id: &str, source: &str, ty| Event::new(id, source, ty).identity();
        assert_eq!(identity("1", "/s", "t"), identity("1", "/s", "other"));
        for (id, source) in [
            ("2", "/s"),
            ("1", "/t"),
            ("1/", "s"),
            ("", "1/s"),
            ("1\0", "/s"),
        ] {
            assert_ne!(
                identity("1", "/s", "t"),
                identity(id, source, "t"),
                "{id:?} {source:?}"
            );
        }
        let all: std::collections::HashSet<_> = (0..10_000)
            .map(|n| identity(&n.to_string(), "/s", "t"))
            .collect();
        assert_eq!(all.len(), 10_000);
    }

    #[test]
    fn a_change_makes_another_identity() {
        let mut event = Event::new("1", "/s", "t");
        let first = event.identity();
        assert_eq!(event.clone().identity(), first);
        event.set("id", "2");
        let second = event.identity();
        assert_eq!(second, Event::new("2", "/s", "t").identity());
        event.remove("source");
        assert_ne!(event.identity(), second);
        event.set("source", "/s");
        assert_eq!(event.identity(), second);
    }
}
