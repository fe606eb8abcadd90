//! Whoever listens to what happens to events now. While nobody does, telling costs a look at a
//! number. A listener has a bounded queue, out of which it takes what has come now and then: nobody
//! wakes it, so that telling costs no more than copying. What does not fit is counted, not waited
//! for.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::now_millis;
use super::observed_fact::ObservedFact;
use super::observed_object::ObservedObject;
use crate::event::{CompactEvent, Event, MOST_SHOWN};

/// Number of listeners at once.
pub(crate) const MOST_READERS: usize = 16;
/// Bytes that may wait for one listener.
const MOST_WAITING: usize = 2 * 1024 * 1024;
/// Bytes that one observation takes besides its texts, about.
const BESIDE: usize = 160;
/// Bytes that the texts of one observation take mostly.
const USUAL: usize = 224;

/// What a listener wants to see of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TapDetail {
    /// Their attributes.
    Attributes,
    /// Their data, too, as far as they are shown.
    Data,
}

/// Something that has happened to an event, kept until listeners have seen it.
#[derive(Debug)]
pub struct Observation {
    pub(super) millis: u64,
    pub(super) object: Arc<ObservedObject>,
    /// The fact, written, then the attributes of the event, written: one piece of memory, since
    /// this is made for each fact.
    written: Vec<u8>,
    /// Where the attributes begin.
    attributes_at: usize,
    /// The start of the event's data and their whole length, if a listener may see them.
    pub(super) data: Option<(Box<[u8]>, usize)>,
}

impl Observation {
    fn new(
        event: &Event,
        object: &Arc<ObservedObject>,
        fact: &ObservedFact<'_>,
        detail: TapDetail,
    ) -> Self {
        let mut observation = Self::of_fact(object, fact);
        event.write_compact(&mut observation.written);
        if detail == TapDetail::Data && fact.is_first() {
            let (data, length) = (event.data(), event.data().len());
            observation.data = Some((data.get(..MOST_SHOWN).unwrap_or(data).into(), length));
        }
        observation
    }

    fn of_fact(object: &Arc<ObservedObject>, fact: &ObservedFact<'_>) -> Self {
        let mut written = Vec::with_capacity(USUAL);
        fact.write(&mut written);
        Self {
            millis: now_millis(),
            object: Arc::clone(object),
            attributes_at: written.len(),
            written,
            data: None,
        }
    }

    /// What has happened.
    pub(super) fn fact(&self) -> Option<ObservedFact<'_>> {
        ObservedFact::read(&self.written).map(|(fact, _)| fact)
    }

    /// The attributes of the event.
    pub(super) fn attributes(&self) -> CompactEvent<'_> {
        CompactEvent(self.written.get(self.attributes_at..).unwrap_or_default())
    }

    fn bytes(&self) -> usize {
        let data = self.data.as_ref().map_or(0, |(data, _)| data.len());
        BESIDE + self.written.capacity() + data
    }
}

/// What has happened to an event that is not at hand any more, whose attributes were written
/// before.
#[derive(Debug)]
pub(super) struct LaterFact<'f> {
    pub(super) attributes: &'f [u8],
    pub(super) object: &'f Arc<ObservedObject>,
    pub(super) fact: &'f ObservedFact<'f>,
}

impl LaterFact<'_> {
    fn observation(&self) -> Observation {
        let mut observation = Observation::of_fact(self.object, self.fact);
        observation.written.extend_from_slice(self.attributes);
        observation
    }
}

/// What waits for one listener.
#[derive(Debug, Default)]
struct TapQueue {
    waiting: VecDeque<Arc<Observation>>,
    bytes: usize,
    /// Observations that found no room since the listener last looked.
    missed: u64,
}

#[derive(Debug)]
struct TapListener {
    detail: TapDetail,
    queue: Mutex<TapQueue>,
}

impl TapListener {
    fn push(&self, observation: &Arc<Observation>) {
        let mut queue = lock(&self.queue);
        let bytes = queue.bytes + observation.bytes();
        if bytes > MOST_WAITING {
            queue.missed += 1;
        } else {
            queue.bytes = bytes;
            queue.waiting.push_back(Arc::clone(observation));
        }
    }
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
            queue: Mutex::default(),
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
        event: &Event,
        object: &Arc<ObservedObject>,
        fact: &ObservedFact<'_>,
    ) {
        let listeners = lock(&self.listeners);
        let wants_data = listeners.iter().any(|one| one.detail == TapDetail::Data);
        let detail = if wants_data {
            TapDetail::Data
        } else {
            TapDetail::Attributes
        };
        let observation = Arc::new(Observation::new(event, object, fact, detail));
        listeners.iter().for_each(|one| one.push(&observation));
    }

    /// Tells all listeners of an event that is not at hand any more.
    #[cold]
    pub(super) fn publish_later(&self, later: &LaterFact<'_>) {
        let observation = Arc::new(later.observation());
        let listeners = lock(&self.listeners);
        listeners.iter().for_each(|one| one.push(&observation));
    }
}

/// One that listens, until it is dropped.
#[derive(Debug)]
pub struct TapReader {
    hub: Arc<TapHub>,
    listener: Arc<TapListener>,
}

/// What has come for a listener since it last looked.
#[derive(Debug, Default)]
pub struct TapBatch {
    /// In the order in which they happened.
    pub observations: Vec<Arc<Observation>>,
    /// Observations that it has missed after those.
    pub missed: u64,
}

impl TapReader {
    /// Takes what has come, `most` observations at most.
    #[must_use]
    pub fn take(&self, most: usize) -> TapBatch {
        let mut queue = lock(&self.listener.queue);
        let count = queue.waiting.len().min(most);
        let observations: Vec<_> = queue.waiting.drain(..count).collect();
        let bytes: usize = observations.iter().map(|one| one.bytes()).sum();
        queue.bytes = queue.bytes.saturating_sub(bytes);
        TapBatch {
            missed: if queue.waiting.is_empty() {
                std::mem::take(&mut queue.missed)
            } else {
                0
            },
            observations,
        }
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
            hub.publish(&event, &object, &ObservedFact::Received);
        };
        let (slow, fast) = (
            TapHub::listen(&hub, TapDetail::Attributes).expect("a place"),
            TapHub::listen(&hub, TapDetail::Data).expect("a place"),
        );
        let (mut came, mut told) = (0, 0);
        for id in 0..30_000 {
            tell(id);
            let batch = fast.take(10);
            came += batch.observations.len();
            assert_eq!(batch.missed, 0);
        }
        assert_eq!(came, 30_000);
        let mut kept = 0;
        loop {
            let batch = slow.take(1000);
            told += batch.missed;
            kept += batch.observations.len() as u64;
            if batch.observations.is_empty() {
                break;
            }
        }
        assert!(told > 0 && kept > 5_000, "{told} missed, {kept} kept");
        assert_eq!(told + kept, 30_000);
        tell(0);
        assert_eq!(slow.take(10).observations.len(), 1, "there is room again");
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
