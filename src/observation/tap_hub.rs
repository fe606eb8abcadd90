//! Whoever listens to what happens to events now. While nobody does, telling costs a look at a
//! number. A listener has a bounded queue, out of which it takes what has come now and then: nobody
//! wakes it, so that telling costs no more than copying. What does not fit is counted, not waited
//! for.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::now_millis;
use super::observed_fact::ObservedFact;
use super::observed_object::ObservedObject;
use crate::event::{CompactEvent, Event, MOST_SHOWN};

/// Number of listeners at once.
pub(crate) const MOST_READERS: usize = 16;
/// Bytes that may wait for one listener, before the last observation.
const MOST_WAITING: usize = 2 * 1024 * 1024;

/// What a listener wants to see of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TapDetail {
    /// Their attributes.
    Attributes,
    /// Their data, too, as far as they are shown.
    Data,
}

/// Something that has happened to an event, as it waited for a listener.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'b> {
    pub(super) millis: u64,
    pub(super) object: &'b ObservedObject,
    fact: &'b [u8],
    /// The attributes of the event.
    pub(super) attributes: CompactEvent<'b>,
    /// The start of the event's data and their whole length, if the listener may see them.
    pub(super) data: Option<(&'b [u8], usize)>,
}

impl<'b> Observation<'b> {
    /// What has happened.
    pub(super) fn fact(&self) -> Option<ObservedFact<'b>> {
        ObservedFact::read(self.fact).map(|(fact, _)| fact)
    }
}

/// The event that is told of.
#[derive(Clone, Copy, Debug)]
pub(super) enum ToldEvent<'e> {
    AtHand(&'e Event),
    /// It is not at hand any more; its attributes were written before.
    Noted(&'e [u8]),
}

impl ToldEvent<'_> {
    fn write_attributes(self, to: &mut Vec<u8>) {
        match self {
            Self::AtHand(event) => event.write_compact(to),
            Self::Noted(written) => to.extend_from_slice(written),
        }
    }

    /// Appends the start of its data, and gives their whole length.
    fn write_data(self, to: &mut Vec<u8>) -> Option<usize> {
        let Self::AtHand(event) = self else {
            return None;
        };
        let data = event.data();
        to.extend_from_slice(data.get(..MOST_SHOWN).unwrap_or(data));
        Some(data.len())
    }
}

/// What has come for a listener since it last looked. What is written of all observations is one
/// piece of memory, one after the other, since telling is on the way of events.
#[derive(Debug, Default)]
pub struct TapBatch {
    entries: Vec<TapEntry>,
    written: Vec<u8>,
    missed: u64,
}

/// An observation in a batch, with the places at which its parts end in what is written.
#[derive(Debug)]
struct TapEntry {
    millis: u64,
    object: Arc<ObservedObject>,
    begin: usize,
    fact_end: usize,
    attributes_end: usize,
    end: usize,
    /// Length of all of the event's data.
    data_length: Option<usize>,
}

impl TapBatch {
    /// What has happened, in its order.
    pub fn observations(&self) -> impl ExactSizeIterator<Item = Observation<'_>> {
        let part = |from: usize, to: usize| self.written.get(from..to).unwrap_or_default();
        self.entries.iter().map(move |entry| Observation {
            millis: entry.millis,
            object: &entry.object,
            fact: part(entry.begin, entry.fact_end),
            attributes: CompactEvent(part(entry.fact_end, entry.attributes_end)),
            data: entry
                .data_length
                .map(|length| (part(entry.attributes_end, entry.end), length)),
        })
    }

    /// Number of observations that the listener has missed after those.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed
    }

    fn push(
        &mut self,
        event: ToldEvent<'_>,
        object: &Arc<ObservedObject>,
        fact: &ObservedFact<'_>,
        detail: TapDetail,
    ) {
        if self.written.len() + size_of_val(self.entries.as_slice()) > MOST_WAITING {
            self.missed += 1;
            return;
        }
        let written = &mut self.written;
        let begin = written.len();
        fact.write(written);
        let fact_end = written.len();
        event.write_attributes(written);
        let attributes_end = written.len();
        let wants_data = detail == TapDetail::Data && fact.is_first();
        let data_length = wants_data.then(|| event.write_data(written)).flatten();
        self.entries.push(TapEntry {
            millis: now_millis(),
            object: Arc::clone(object),
            begin,
            fact_end,
            attributes_end,
            end: written.len(),
            data_length,
        });
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.written.clear();
        self.missed = 0;
    }
}

#[derive(Debug)]
struct TapListener {
    detail: TapDetail,
    waiting: Mutex<TapBatch>,
}

/// All that listen.
#[derive(Debug, Default)]
pub(super) struct TapHub {
    /// Number of listeners, for a look without the lock.
    count: AtomicUsize,
    listeners: Mutex<Vec<Arc<TapListener>>>,
}

impl TapHub {
    /// True if anybody listens.
    pub(super) fn is_listening(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Adds a listener; `None` if there are as many as may be.
    pub(super) fn listen(this: &Arc<Self>, detail: TapDetail) -> Option<TapReader> {
        let listener = Arc::new(TapListener {
            detail,
            waiting: Mutex::default(),
        });
        let mut listeners = lock(&this.listeners);
        if listeners.len() >= MOST_READERS {
            return None;
        }
        listeners.push(Arc::clone(&listener));
        this.count.store(listeners.len(), Ordering::Relaxed);
        Some(TapReader {
            hub: Arc::clone(this),
            listener,
        })
    }

    /// Tells all listeners.
    #[cold]
    pub(super) fn publish(
        &self,
        event: ToldEvent<'_>,
        object: &Arc<ObservedObject>,
        fact: &ObservedFact<'_>,
    ) {
        let listeners = lock(&self.listeners);
        for listener in listeners.iter() {
            lock(&listener.waiting).push(event, object, fact, listener.detail);
        }
    }
}

/// One that listens, until it is dropped.
#[derive(Debug)]
pub struct TapReader {
    hub: Arc<TapHub>,
    listener: Arc<TapListener>,
}

impl TapReader {
    /// Takes what has come into an earlier batch, whose memory is used again.
    pub fn take(&self, batch: &mut TapBatch) {
        batch.clear();
        std::mem::swap(&mut *lock(&self.listener.waiting), batch);
    }

    /// What it wants to see of events.
    #[must_use]
    pub fn detail(&self) -> TapDetail {
        self.listener.detail
    }
}

impl Drop for TapReader {
    fn drop(&mut self) {
        let mut listeners = lock(&self.hub.listeners);
        listeners.retain(|other| !Arc::ptr_eq(other, &self.listener));
        self.hub.count.store(listeners.len(), Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_is_too_slow_misses_the_latest_and_knows_how_many() {
        let hub = Arc::new(TapHub::default());
        let object = ObservedObject::new("trigger", "default", "t");
        let tell = |id: usize| {
            let event = Event::new(&id.to_string(), "/s", "t");
            hub.publish(ToldEvent::AtHand(&event), &object, &ObservedFact::Received);
        };
        let (slow, fast) = (
            TapHub::listen(&hub, TapDetail::Attributes).expect("a place"),
            TapHub::listen(&hub, TapDetail::Data).expect("a place"),
        );
        let (mut batch, mut came) = (TapBatch::default(), 0);
        for id in 0..30_000 {
            tell(id);
            fast.take(&mut batch);
            came += batch.observations().len();
            assert_eq!(batch.missed(), 0);
        }
        assert_eq!(came, 30_000);
        slow.take(&mut batch);
        let (kept, missed) = (batch.observations().len() as u64, batch.missed());
        assert!(missed > 0 && kept > 5_000, "{missed} missed, {kept} kept");
        assert_eq!(missed + kept, 30_000);
        tell(0);
        slow.take(&mut batch);
        let there_is_room = (batch.observations().len(), batch.missed());
        assert_eq!(there_is_room, (1, 0));
    }

    #[test]
    fn readers_are_few_and_give_back_their_place() {
        let hub = Arc::new(TapHub::default());
        let mut readers: Vec<_> = (0..MOST_READERS)
            .map(|_| TapHub::listen(&hub, TapDetail::Attributes).expect("a place"))
            .collect();
        assert!(TapHub::listen(&hub, TapDetail::Attributes).is_none());
        readers.truncate(1);
        assert!(hub.is_listening());
        readers.clear();
        assert!(!hub.is_listening());
    }
}
