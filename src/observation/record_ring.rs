//! The latest of what was told of events, in bounded memory: records of few bytes, one after the
//! other, in segments. The oldest segment goes when there is more than enough.
//!
//! Each thread writes into a segment of its own, whose lock nobody else takes but a reader, so that
//! telling something waits for nobody. There is no index: a query looks through all of it.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;

use super::event_key::EventKey;
use super::observed_fact::ObservedFact;
use super::observed_object::ObservedObject;
use crate::event::{Event, MOST_COMPACT};

/// Number of events of which records are kept.
pub(super) const MOST_EVENTS: usize = 100_000;
/// Number of open segments: threads beyond share them.
const SHARDS: usize = 16;
/// Size of a segment in bytes.
const SEGMENT_BYTES: usize = 64 * 1024;
/// Size that a record has at most: its head, two texts, attributes.
const MOST_RECORD: usize = HEAD + 1024 + MOST_COMPACT;
/// Size of what comes before a fact: length, key, time, object.
const HEAD: usize = 2 + 8 + 4 + 4;

/// The number of the next thread that tells something.
static NEXT_THREAD: AtomicUsize = AtomicUsize::new(0);
/// The number of the next segment.
static NEXT_SEGMENT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static THREAD: Cell<usize> = const { Cell::new(usize::MAX) };
}

fn thread_number() -> usize {
    THREAD.with(|number| {
        if number.get() == usize::MAX {
            number.set(NEXT_THREAD.fetch_add(1, Ordering::Relaxed));
        }
        number.get()
    })
}

/// Records one after the other, with the objects that they name.
#[derive(Clone, Debug, Default)]
pub(super) struct RecordSegment {
    /// A number that no other segment has, from the first record on.
    serial: usize,
    bytes: Vec<u8>,
    /// The time of the first record, in milliseconds since the epoch.
    base_millis: u64,
    objects: HashMap<u32, Arc<ObservedObject>, RandomState>,
    /// Objects that are held for sure; ordinals begin with 1.
    last_ordinals: [u32; 2],
    /// Number of events whose attributes are in it.
    events: usize,
}

/// One record, as it was told.
#[derive(Clone, Copy, Debug)]
pub(super) struct ObservationRecord<'s> {
    pub(super) key: EventKey,
    /// Milliseconds since the epoch.
    pub(super) millis: u64,
    pub(super) object: &'s Arc<ObservedObject>,
    pub(super) fact: ObservedFact<'s>,
    /// The attributes of the event, if they are kept with this record.
    pub(super) attributes: &'s [u8],
}

impl RecordSegment {
    fn is_full(&self) -> bool {
        self.bytes.len() + MOST_RECORD > SEGMENT_BYTES
    }

    fn push(
        &mut self,
        key: EventKey,
        object: &Arc<ObservedObject>,
        fact: &ObservedFact<'_>,
        event: Option<&Event>,
    ) {
        let now = super::now_millis();
        if self.bytes.is_empty() {
            self.base_millis = now;
            self.serial = NEXT_SEGMENT.fetch_add(1, Ordering::Relaxed);
            self.bytes.reserve_exact(SEGMENT_BYTES);
        }
        let ordinal = object.ordinal();
        self.hold(ordinal, object);
        let start = self.bytes.len();
        let since = u32::try_from(now.saturating_sub(self.base_millis)).unwrap_or(u32::MAX);
        // The length is known at the end.
        let mut head = [0; HEAD];
        let [_, _, fields @ ..] = &mut head;
        let all = u128::from(key.0) | u128::from(since) << 64 | u128::from(ordinal) << 96;
        *fields = all.to_le_bytes();
        self.bytes.extend_from_slice(&head);
        fact.write(&mut self.bytes);
        if let Some(event) = event {
            event.write_compact(&mut self.bytes);
            // Those that come out of a queue were accepted before, here or elsewhere.
            self.events += usize::from(matches!(fact, ObservedFact::Accepted(_)));
        }
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        if let Some(place) = self.bytes.get_mut(start..start + 2) {
            place.copy_from_slice(&length.to_le_bytes());
        }
    }

    /// Keeps an object for as long as records here name it. Mostly it is one of the last two, which
    /// costs no search.
    fn hold(&mut self, ordinal: u32, object: &Arc<ObservedObject>) {
        if self.last_ordinals.contains(&ordinal) {
            return;
        }
        let [last, _] = self.last_ordinals;
        self.last_ordinals = [ordinal, last];
        self.objects
            .entry(ordinal)
            .or_insert_with(|| Arc::clone(object));
    }

    /// The records in the order in which they were told.
    pub(super) fn records(&self) -> impl Iterator<Item = ObservationRecord<'_>> {
        let mut rest = &self.bytes[..];
        std::iter::from_fn(move || {
            let (length, _) = rest.split_first_chunk()?;
            let (record, after) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
            rest = after;
            self.read(record)
        })
    }

    fn read<'s>(&'s self, record: &'s [u8]) -> Option<ObservationRecord<'s>> {
        let (_length, rest) = record.split_first_chunk::<2>()?;
        let (key, rest) = rest.split_first_chunk()?;
        let (since, rest) = rest.split_first_chunk()?;
        let (ordinal, rest) = rest.split_first_chunk()?;
        let (fact, attributes) = ObservedFact::read(rest)?;
        Some(ObservationRecord {
            key: EventKey(u64::from_le_bytes(*key)),
            millis: self.base_millis + u64::from(u32::from_le_bytes(*since)),
            object: self.objects.get(&u32::from_le_bytes(*ordinal))?,
            fact,
            attributes,
        })
    }
}

/// Segments that are full, the oldest first.
#[derive(Debug, Default)]
struct FullSegments {
    segments: VecDeque<Arc<RecordSegment>>,
    events: usize,
}

/// The latest records.
#[derive(Debug)]
pub(super) struct RecordRing {
    open: Box<[Mutex<RecordSegment>]>,
    full: Mutex<FullSegments>,
    /// Number of full segments that are kept.
    max_segments: usize,
}

impl RecordRing {
    /// Makes a ring that keeps records in about `max_bytes`; nothing with 0.
    pub(super) fn new(max_bytes: usize) -> Self {
        let shards = if max_bytes == 0 { 0 } else { SHARDS };
        Self {
            open: (0..shards).map(|_| Mutex::default()).collect(),
            full: Mutex::default(),
            max_segments: max_bytes / SEGMENT_BYTES,
        }
    }

    /// True if records are kept.
    pub(super) fn is_kept(&self) -> bool {
        !self.open.is_empty()
    }

    /// Appends a record, with the attributes of the event if it is given.
    pub(super) fn append(
        &self,
        key: EventKey,
        object: &Arc<ObservedObject>,
        fact: &ObservedFact<'_>,
        event: Option<&Event>,
    ) {
        let Some(open) = self.open.get(thread_number() % SHARDS) else {
            return;
        };
        let mut open = lock(open);
        if open.is_full() {
            self.replace(&mut open);
        }
        open.push(key, object, fact, event);
    }

    /// Puts a segment that is full to the others, and takes the memory of the oldest one for the
    /// next if there are too many. This is the only lock that all threads take, every some hundred
    /// events.
    fn replace(&self, open: &mut RecordSegment) {
        let full = std::mem::take(open);
        let mut all = lock(&self.full);
        all.events += full.events;
        all.segments.push_back(Arc::new(full));
        while let Some(oldest) = all.segments.front() {
            let rest = all.events.saturating_sub(oldest.events);
            if rest < MOST_EVENTS && all.segments.len() <= self.max_segments {
                break;
            }
            let oldest = all.segments.pop_front().and_then(Arc::into_inner);
            all.events = rest;
            if let Some(mut segment) = oldest {
                segment.bytes.clear();
                segment.objects.clear();
                segment.last_ordinals = [0; 2];
                segment.events = 0;
                *open = segment;
            }
        }
    }

    /// Every segment as it is now, those that are full first.
    pub(super) fn snapshot(&self) -> Vec<Arc<RecordSegment>> {
        // The open ones come first: one that is full a moment later is seen twice then, not missed.
        let open = self.open.iter().map(|open| lock(open).clone());
        let mut open: Vec<_> = open.filter(|segment| !segment.bytes.is_empty()).collect();
        let mut all: Vec<_> = lock(&self.full).segments.iter().map(Arc::clone).collect();
        open.retain(|segment| all.iter().all(|full| full.serial != segment.serial));
        all.extend(open.into_iter().map(Arc::new));
        all
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
