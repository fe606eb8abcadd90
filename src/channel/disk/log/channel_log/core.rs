//! What all parts of an open log share.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::{CommitStatistics, IdleLooks, JobCount, LogOptions};
use crate::channel::disk::log::LogError;
use crate::channel::disk::log::budget::LogAccount;
use crate::channel::disk::log::clock::{EpochMillis, LogClock};
use crate::channel::disk::log::commit::CommitQueue;
use crate::channel::disk::log::commit::spare::SpareSlot;
use crate::channel::disk::log::commit::writer::LogWriter;
use crate::channel::disk::log::directory::SharedLanes;
use crate::channel::disk::log::files::{DirectoryLock, FileSystem};
use crate::channel::disk::log::lane::BlockingLane;
use crate::channel::disk::log::open_logs::OpenLogPlace;
use crate::channel::disk::log::reserve::RoomReserve;
use crate::channel::disk::log::state::{ClockReading, LogState};

/// An open log. Locks are taken in the order of the fields here, and none is held while the disk
/// is waited for but the writer's.
pub(crate) struct LogCore {
    pub(crate) directory: PathBuf,
    pub(crate) files: Arc<dyn FileSystem>,
    pub(crate) clock: Arc<dyn LogClock>,
    pub(crate) budget: Arc<LogAccount>,
    pub(crate) reserve: Arc<RoomReserve>,
    pub(crate) lanes: SharedLanes,
    /// Keeps other processes out.
    #[expect(dead_code, reason = "it is held, not looked at")]
    pub(crate) lock: Arc<dyn DirectoryLock>,
    pub(crate) options: LogOptions,
    /// Milliseconds for which finished events are kept; 0 keeps none.
    pub(crate) retention: AtomicU64,
    pub(crate) statistics: CommitCounters,
    pub(crate) jobs: Arc<JobCount>,
    /// Operations that wait.
    pub(crate) commits: Mutex<CommitQueue>,
    /// Notified when an operation has come.
    pub(crate) arrived: Condvar,
    /// Empty until the log is open.
    pub(crate) writer: Mutex<Option<LogWriter>>,
    pub(crate) spare: Mutex<SpareSlot>,
    pub(crate) state: Mutex<LogState>,
    /// Notified when the state has a failure.
    pub(crate) failed: Notify,
    /// Its place among the open logs, until it is closed.
    pub(crate) place: Mutex<Option<OpenLogPlace>>,
    pub(crate) idle_looks: IdleLooks,
    /// True while stragglers are gathered.
    pub(crate) is_gathering: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LogCore {
    pub(crate) fn state(&self) -> MutexGuard<'_, LogState> {
        lock(&self.state)
    }

    pub(crate) fn commits(&self) -> MutexGuard<'_, CommitQueue> {
        lock(&self.commits)
    }

    pub(crate) fn writer(&self) -> MutexGuard<'_, Option<LogWriter>> {
        lock(&self.writer)
    }

    pub(crate) fn spare(&self) -> MutexGuard<'_, SpareSlot> {
        lock(&self.spare)
    }

    pub(crate) fn place(&self) -> MutexGuard<'_, Option<OpenLogPlace>> {
        lock(&self.place)
    }

    pub(crate) fn now(&self) -> ClockReading {
        ClockReading {
            wall: self.clock.wall(),
            steady: self.clock.steady(),
        }
    }

    /// Time from which on events are kept though they are finished.
    pub(crate) fn retained_from(&self) -> EpochMillis {
        match self.retention.load(Ordering::Relaxed) {
            0 => EpochMillis::MAX,
            retain => self.clock.wall().saturating_sub(retain),
        }
    }

    /// True if events are kept though they are finished.
    pub(crate) fn retains(&self) -> bool {
        self.retention.load(Ordering::Relaxed) > 0
    }

    /// Has work done that goes on though nobody waits for it; whoever closes the log does.
    pub(crate) fn submit(
        self: &Arc<Self>,
        lane: &Arc<BlockingLane>,
        job: impl FnOnce(Arc<Self>) + Send + 'static,
    ) {
        let core = Arc::clone(self);
        let guard = self.jobs.begin();
        lane.submit(move || {
            // The job gives the log up before it is counted out.
            job(core);
            drop(guard);
        });
    }

    /// Has everything refused that is asked for from now on.
    pub(crate) fn begin_close(&self) {
        self.commits().is_closed = true;
        self.arrived.notify_all();
        let mut state = self.state();
        state.is_closed = true;
        state.wake_all();
    }

    /// Has the log take nothing more: after a failed write or sync, nobody knows what is on the
    /// disk, and a later sync that succeeds would not mean that it is.
    pub(crate) fn poison(&self, cause: &str) -> LogError {
        self.fail(LogError::Poisoned {
            cause: cause.into(),
        })
    }

    /// Has the log take and give nothing more, for the first reason that there is.
    pub(crate) fn fail(&self, reason: LogError) -> LogError {
        let mut state = self.state();
        let failure = state.failure.get_or_insert(reason).clone();
        state.wake_all();
        drop(state);
        self.failed.notify_waiters();
        failure
    }

    /// Does what was asked for, and refuses everything else. When this returns, nothing touches the
    /// files any more.
    pub(crate) async fn close(&self) {
        self.begin_close();
        self.jobs.until_idle().await;
        drop(self.place().take());
    }
}

/// Counters of commits.
#[derive(Debug, Default)]
pub(crate) struct CommitCounters {
    frames: AtomicU64,
    bytes: AtomicU64,
    nanos: AtomicU64,
    pub(crate) freed: AtomicU64,
    pub(crate) gathered: AtomicU64,
}

impl CommitCounters {
    pub(crate) fn count_commit(&self, frame: &[u8], took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.frames.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(frame.len() as u64, Ordering::Relaxed);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> CommitStatistics {
        CommitStatistics {
            frames: self.frames.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            freed: self.freed.load(Ordering::Relaxed),
            gathered: self.gathered.load(Ordering::Relaxed),
            busy: Duration::from_nanos(self.nanos.load(Ordering::Relaxed)),
        }
    }
}
