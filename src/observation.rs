//! What is told of single events as they pass: that one was accepted, was tried, has ended. The data
//! plane tells it in one place, whoever asks: `explain` reads the latest of it, which is always kept
//! (`record_ring.rs`), `tap` gets it as it comes (`tap_hub.rs`).
//!
//! Nothing here waits, and nothing an observer does can delay or lose an event.

mod event_key;
mod event_line;
mod event_note;
mod explanation;
mod json_line;
mod observed_fact;
mod observed_object;
mod open_deliveries;
mod record_ring;
mod tap_hub;

use std::sync::Arc;

use rustix::time::{ClockId, clock_gettime};

use crate::event::Event;
use event_key::EventKey;
use record_ring::RecordRing;
use tap_hub::{TapHub, ToldEvent};

pub use event_line::LineWriter;
pub(crate) use event_note::EventNote;
pub(crate) use explanation::{EventAhead, Explanation, WaitingLine};
pub use observed_fact::{
    EventArrival, ObservedAttempt, ObservedEnd, ObservedFact, ObservedRefusal,
};
pub use observed_object::ObservedObject;
pub(crate) use open_deliveries::{OpenDelivery, OpenProgress};
pub(crate) use tap_hub::MOST_READERS;
pub use tap_hub::{Observation, TapBatch, TapDetail, TapReader};

/// Bytes that the latest events may take by default.
const DEFAULT_BYTES: usize = 32 * 1024 * 1024;
/// Part of these bytes that events take which were refused before a channel had them: whoever may
/// not send pushes nothing out that was accepted.
const REFUSED_PART: usize = 16;

/// Takes what is told of single events. There is one for the process.
#[derive(Debug)]
pub struct EventObserver {
    ring: RecordRing,
    /// Records of events that were refused before a channel had them.
    refused: RecordRing,
    taps: Arc<TapHub>,
    /// Where events are refused whose address nothing has.
    nowhere: Arc<ObservedObject>,
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
            ring: RecordRing::new(max_bytes),
            refused: RecordRing::new(max_bytes.div_ceil(REFUSED_PART)),
            taps: Arc::default(),
            nowhere: ObservedObject::unknown_address(),
        }
    }

    /// Takes what has happened to an event at a channel or subscription.
    pub fn observe(&self, event: &Event, object: &Arc<ObservedObject>, fact: &ObservedFact<'_>) {
        if self.ring.is_kept() {
            let attributes = fact.is_first().then_some(event);
            self.ring
                .append(EventKey::of(event), object, fact, attributes);
        }
        if self.taps.is_listening() {
            self.taps.publish(ToldEvent::AtHand(event), object, fact);
        }
    }

    /// Takes that an event was refused before a channel had it: at this object, or at no address
    /// that anything has. What is not known of the event is not set.
    pub(crate) fn observe_refused(
        &self,
        event: &Event,
        object: Option<&Arc<ObservedObject>>,
        refusal: &ObservedRefusal<'_>,
    ) {
        let (object, fact) = (
            object.unwrap_or(&self.nowhere),
            ObservedFact::Refused(*refusal),
        );
        // Nobody could ask for an event that has no id.
        if self.refused.is_kept() && event.attribute("id").is_some() {
            self.refused
                .append(EventKey::of(event), object, &fact, Some(event));
        }
        if self.taps.is_listening() {
            self.taps.publish(ToldEvent::AtHand(event), object, &fact);
        }
    }

    /// Notes an event, for [`EventObserver::observe_later`] when it is not at hand any more.
    pub(crate) fn note(&self, event: &Event) -> EventNote {
        let attributes = self.taps.is_listening().then(|| {
            let mut written = Vec::with_capacity(256);
            event.write_compact(&mut written);
            written.into()
        });
        EventNote {
            key: self.ring.is_kept().then(|| EventKey::of(event)),
            attributes,
        }
    }

    /// Takes what has happened to an event that was noted. Taps that were not open then are not
    /// told.
    pub(crate) fn observe_later(
        &self,
        note: &EventNote,
        object: &Arc<ObservedObject>,
        fact: &ObservedFact<'_>,
    ) {
        if let Some(key) = note.key {
            self.ring.append(key, object, fact, None);
        }
        if let Some(attributes) = &note.attributes
            && self.taps.is_listening()
        {
            self.taps
                .publish(ToldEvent::Noted(attributes), object, fact);
        }
    }

    /// What is known of the events of this id, and of this source if one is given.
    pub(crate) fn explain(&self, id: &str, source: Option<&str>) -> Explanation {
        let key = source.map(|source| EventKey::of(&Event::new(id, source, "")));
        Explanation::find([&self.ring, &self.refused], id, source, key)
    }

    /// The latest events that the subscription with this label did not get in the end, `most` of
    /// them at most.
    pub(crate) fn undelivered(&self, label: &str, most: usize) -> Explanation {
        Explanation::find_undelivered(&self.ring, label, most)
    }

    /// Begins to tell a reader what happens from now on; `None` if there are [`MOST_READERS`].
    #[must_use]
    pub fn tap(&self, detail: TapDetail) -> Option<TapReader> {
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
