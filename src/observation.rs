//! What is told of single events as they pass: that one was accepted, was tried, has ended. The data
//! plane tells it in one place, whoever asks: `explain` reads the latest of it, which is always kept
//! (`record_ring.rs`), `tap` gets it as it comes (`tap_hub.rs`).
//!
//! Nothing here waits, and nothing an observer does can delay or lose an event.

mod event_key;
mod event_line;
mod explanation;
mod observed_fact;
mod observed_object;
mod record_ring;
mod tap_hub;

use std::sync::Arc;

use rustix::time::{ClockId, clock_gettime};

use crate::event::Event;
use event_key::EventKeyHasher;
use record_ring::RecordRing;
use tap_hub::TapHub;

pub(crate) use event_key::EventKey;
pub(crate) use explanation::Explanation;
pub use observed_fact::{EventArrival, ObservedAttempt, ObservedEnd, ObservedFact};
pub use observed_object::ObservedObject;
pub(crate) use tap_hub::{MOST_READERS, TapDetail, TapReader};

/// Bytes that the latest events may take by default.
const DEFAULT_BYTES: usize = 32 * 1024 * 1024;

/// Takes what is told of single events. There is one for the process.
#[derive(Debug)]
pub struct EventObserver {
    keys: EventKeyHasher,
    ring: RecordRing,
    taps: Arc<TapHub>,
}

impl Default for EventObserver {
    fn default() -> Self {
        Self::new(DEFAULT_BYTES)
    }
}

impl EventObserver {
    /// Makes an observer that keeps the latest events in about `max_bytes`; none with 0.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self {
            keys: EventKeyHasher::default(),
            ring: RecordRing::new(max_bytes),
            taps: Arc::default(),
        }
    }

    /// Takes what has happened to an event at a channel or subscription.
    pub fn observe(&self, event: &Event, object: &Arc<ObservedObject>, fact: &ObservedFact<'_>) {
        if self.ring.is_kept() {
            let attributes = fact.is_first().then_some(event);
            self.ring.append(self.key(event), object, fact, attributes);
        }
        if self.taps.is_listening() {
            self.taps.publish(event, object, fact);
        }
    }

    /// The name of an event, for [`EventObserver::observe_key`].
    pub(crate) fn key(&self, event: &Event) -> EventKey {
        self.keys.key(event)
    }

    /// Takes what has happened to an event that is not at hand any more. Taps are not told.
    pub(crate) fn observe_key(
        &self,
        key: EventKey,
        object: &Arc<ObservedObject>,
        fact: &ObservedFact<'_>,
    ) {
        if self.ring.is_kept() {
            self.ring.append(key, object, fact, None);
        }
    }

    /// What is known of the events of this id, and of this source if one is given.
    pub(crate) fn explain(&self, id: &str, source: Option<&str>) -> Explanation {
        let key = source.map(|source| self.keys.key_of(id, source));
        Explanation::find(&self.ring, id, source, key)
    }

    /// The latest events that the subscription with this label did not get in the end, `most` of
    /// them at most.
    pub(crate) fn undelivered(&self, label: &str, most: usize) -> Explanation {
        Explanation::find_undelivered(&self.ring, label, most)
    }

    /// Begins to tell a reader what happens from now on; `None` if there are [`MOST_READERS`].
    pub(crate) fn tap(&self, detail: TapDetail) -> Option<TapReader> {
        TapHub::listen(&self.taps, detail)
    }
}

/// The time now, in milliseconds since the epoch, by the clock that the system advances at each of
/// its ticks, some milliseconds apart: reading it costs a fraction of what the exact one costs, and
/// facts of one time have an order of their own.
fn now_millis() -> u64 {
    let now = clock_gettime(ClockId::RealtimeCoarse);
    let (seconds, nanos) = (now.tv_sec.max(0), now.tv_nsec.max(0));
    u64::try_from(seconds.saturating_mul(1000) + nanos / 1_000_000).unwrap_or_default()
}
