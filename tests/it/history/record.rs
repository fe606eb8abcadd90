//! The history of a run, as the judge reads it: what was sent, what came, what was done to whom,
//! and when.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::spans::TimeSpan;

/// A moment, counted from the beginning of the run.
pub(super) type Moment = Duration;

/// A subscription, and what it promises.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) name: &'static str,
    /// Whether it wants an event, by the event's number.
    pub(super) wants: fn(u32) -> bool,
    /// Whether the events of each sender have to come in the order in which they were accepted.
    pub(super) ordered: bool,
}

/// One request of a sender. An event is tried until it is accepted, by one sender, which sends
/// nothing else meanwhile.
#[derive(Clone, Copy, Debug)]
pub(super) struct SendTry {
    pub(super) event: u32,
    /// Counted from 1 for each event.
    pub(super) number: u16,
    pub(super) sender: u16,
    pub(super) replica: ReplicaLife,
    pub(super) begun: Moment,
    pub(super) ended: Moment,
    /// 0 if there was no answer.
    pub(super) status: u16,
}

impl SendTry {
    pub(super) fn is_accepted(&self) -> bool {
        self.status == 202
    }
}

/// One life of a replica, from the start of its process to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ReplicaLife {
    pub(super) replica: usize,
    pub(super) life: u16,
}

/// Where a copy of an event came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventPlace {
    Subscriber,
    DeadLetterSink,
    ParkingQueue,
}

/// A copy of an event that came somewhere.
#[derive(Clone, Copy, Debug)]
pub(super) struct EventCopy {
    pub(super) event: u32,
    /// Which try of the sender it is a copy of.
    pub(super) number: u16,
    /// Which subscription's it is.
    pub(super) subscription: usize,
    pub(super) place: EventPlace,
    pub(super) at: Moment,
    pub(super) status: u16,
}

impl EventCopy {
    /// Whether the delivery ends with it.
    pub(super) fn is_taken(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// What a replica's `/readyz` said.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadyLook {
    pub(super) replica: ReplicaLife,
    pub(super) at: Moment,
    pub(super) ready: bool,
}

/// What was done to somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FaultKind {
    ReplicaKilled(usize),
    ReplicaStopped(usize),
    NodeDown(usize),
    NodePaused(usize),
    NodeParted(usize),
    MemoryAlarm,
    ConnectionClosed,
    QueueDeleted(usize),
    PolicySet,
}

/// A fault that was made between two moments.
#[derive(Clone, Copy, Debug)]
pub(super) struct FaultStrike {
    pub(super) kind: FaultKind,
    /// Before this moment it was certainly not there.
    pub(super) from: Moment,
    /// From this moment on it was certainly there.
    pub(super) made: Moment,
}

/// A fault, and when it was mended: a replica is ready again, a node is a member of its cluster
/// again.
#[derive(Clone, Copy, Debug)]
pub(super) struct NemesisFault {
    pub(super) strike: FaultStrike,
    pub(super) until: Moment,
}

impl NemesisFault {
    pub(super) fn kind(&self) -> FaultKind {
        self.strike.kind
    }

    /// From the moment before it was made to the one when it was mended.
    pub(super) fn span(&self) -> TimeSpan {
        TimeSpan::new(self.strike.from, self.until)
    }
}

/// A run.
#[derive(Clone, Debug, Default)]
pub(super) struct RunHistory {
    pub(super) wishes: Vec<Wish>,
    pub(super) replicas: usize,
    pub(super) nodes: usize,
    /// How many messages of one queue a replica holds unacknowledged at most.
    pub(super) prefetch: u64,
    pub(super) tries: Vec<SendTry>,
    pub(super) copies: Vec<EventCopy>,
    pub(super) looks: Vec<ReadyLook>,
    pub(super) faults: Vec<NemesisFault>,
    /// Queues that still had messages when the run was given up waiting for, parking queues aside.
    pub(super) unfinished: Vec<(String, u64)>,
}

/// What writes a history down while it happens.
pub(super) struct Recorder {
    begun: Instant,
    history: Mutex<RunHistory>,
    seen: Mutex<HashSet<(usize, u32)>>,
    accepted: AtomicUsize,
    copies: AtomicUsize,
}

impl Recorder {
    /// A recorder of a run that begins now.
    pub(super) fn new(history: RunHistory) -> Self {
        Self {
            begun: Instant::now(),
            history: Mutex::new(history),
            seen: Mutex::default(),
            accepted: AtomicUsize::new(0),
            copies: AtomicUsize::new(0),
        }
    }

    pub(super) fn now(&self) -> Moment {
        self.begun.elapsed()
    }

    /// How many events have been accepted.
    pub(super) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    /// How many copies have come.
    pub(super) fn copies(&self) -> usize {
        self.copies.load(Ordering::Relaxed)
    }

    /// Whether a subscription is given an event for the first time.
    pub(super) fn is_first(&self, subscription: usize, event: u32) -> bool {
        self.seen
            .lock()
            .expect("lock")
            .insert((subscription, event))
    }

    pub(super) fn tried(&self, tried: SendTry) {
        self.accepted
            .fetch_add(usize::from(tried.is_accepted()), Ordering::Relaxed);
        self.history.lock().expect("lock").tries.push(tried);
    }

    pub(super) fn came(&self, copy: EventCopy) {
        self.copies.fetch_add(1, Ordering::Relaxed);
        self.history.lock().expect("lock").copies.push(copy);
    }

    pub(super) fn looked(&self, look: ReadyLook) {
        self.history.lock().expect("lock").looks.push(look);
    }

    /// Makes a fault.
    pub(super) fn strike(&self, kind: FaultKind, act: impl FnOnce()) -> FaultStrike {
        let from = self.now();
        act();
        FaultStrike {
            kind,
            from,
            made: self.now(),
        }
    }

    /// Notes a fault that is mended now.
    pub(super) fn mended(&self, strike: FaultStrike) {
        let fault = NemesisFault {
            strike,
            until: self.now(),
        };
        self.history.lock().expect("lock").faults.push(fault);
    }

    pub(super) fn left(&self, unfinished: Vec<(String, u64)>) {
        self.history.lock().expect("lock").unfinished = unfinished;
    }

    /// What has been written down.
    pub(super) fn history(&self) -> RunHistory {
        self.history.lock().expect("lock").clone()
    }
}
