//! A lane of work that blocks: as many threads as it may have while there is work, none otherwise.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::channel::disk::log::LogError;

type BlockingJob = Box<dyn FnOnce() + Send>;

/// Where the work of a lane is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneKind {
    /// On the runtime's threads for blocking work.
    Threads,
    /// In tasks of the runtime itself, in an order that depends on nothing but chance that is
    /// seeded: for a simulated disk, which never blocks.
    Tasks,
}

/// Work of all logs of one directory, done by a bounded number of threads: a thousand channels that
/// write at once do not need a thousand threads, and a disk is not faster with them.
#[derive(Debug)]
pub(crate) struct BlockingLane {
    kind: LaneKind,
    width: usize,
    runtime: Handle,
    state: Mutex<LaneState>,
}

#[derive(Default)]
struct LaneState {
    jobs: VecDeque<BlockingJob>,
    workers: usize,
    /// Most workers that there have been at once.
    most: usize,
}

impl std::fmt::Debug for LaneState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} jobs, {} workers", self.jobs.len(), self.workers)
    }
}

/// Counts a worker out, even if a job of it has panicked.
struct WorkerGuard<'a>(&'a BlockingLane);

impl Drop for WorkerGuard<'_> {
    fn drop(&mut self) {
        self.0.state().workers -= 1;
    }
}

impl BlockingLane {
    pub(crate) fn new(kind: LaneKind, width: usize) -> Result<Arc<Self>, LogError> {
        let runtime = Handle::try_current().map_err(|_outside| LogError::Closed)?;
        Ok(Arc::new(Self {
            kind,
            width: width.max(1),
            runtime,
            state: Mutex::default(),
        }))
    }

    fn state(&self) -> MutexGuard<'_, LaneState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Most threads that the lane has had at once.
    #[cfg(test)]
    pub(crate) fn most_workers(&self) -> usize {
        self.state().most
    }

    /// Has a job done as soon as a thread is free.
    pub(crate) fn submit(self: &Arc<Self>, job: impl FnOnce() + Send + 'static) {
        let mut state = self.state();
        state.jobs.push_back(Box::new(job));
        if state.workers >= self.width {
            return;
        }
        state.workers += 1;
        state.most = state.most.max(state.workers);
        drop(state);
        let lane = Arc::clone(self);
        match self.kind {
            LaneKind::Threads => drop(self.runtime.spawn_blocking(move || lane.work())),
            LaneKind::Tasks => drop(self.runtime.spawn(async move { lane.work() })),
        }
    }

    /// Has a job done that does not block, in a task of the runtime.
    pub(crate) fn hand_back(&self, job: impl FnOnce() + Send + 'static) {
        drop(self.runtime.spawn(async move { job() }));
    }

    /// Has a job done, and gives its result.
    pub(crate) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, LogError> {
        let (sender, receiver) = oneshot::channel();
        self.submit(move || {
            // Nobody may be waiting any more.
            let _unheard = sender.send(job());
        });
        receiver.await.map_err(|_dropped| LogError::Closed)
    }

    fn work(&self) {
        let guard = WorkerGuard(self);
        loop {
            let mut state = self.state();
            let Some(job) = state.jobs.pop_front() else {
                // The worker is counted out under the lock under which it saw no job, so that no
                // job is left without a worker.
                state.workers -= 1;
                drop(state);
                std::mem::forget(guard);
                return;
            };
            drop(state);
            job();
        }
    }
}
