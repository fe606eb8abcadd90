//! Group commit: what many ask for while the disk is busy is written and synced at once.

pub(crate) mod operation;
pub(crate) mod prepare;
pub(crate) mod roll;
pub(crate) mod spare;
pub(crate) mod writer;

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::channel::disk::log::LogError;
use crate::channel::disk::log::channel_log::LogCore;
use operation::{CommitResult, Committed, LogOperation, PendingOperation};

/// Frames after which the thread of a log is given to another log that waits for one.
const FRAMES_AT_ONCE: usize = 64;

/// Frames after which segments are looked for that nothing needs, if the log is never idle.
const FRAMES_BETWEEN_UPKEEP: usize = 32;

/// Longest time that a frame waits for those who are likely to ask soon. A frame costs some 150 us of
/// processor time on a virtual machine, however fast the disk is, and an answer may take 3 ms.
const LONGEST_LINGER: Duration = Duration::from_micros(1500);

/// Operations that wait for the committer of a log.
#[derive(Debug, Default)]
pub(crate) struct CommitQueue {
    pending: VecDeque<PendingOperation>,
    /// Number of those that publish events.
    publishes: usize,
    /// Number of them that a committer waits for; 0 if none waits.
    awaited: usize,
    /// True while a committer is at work, or about to be.
    is_active: bool,
    /// True if nothing is taken any more.
    pub(crate) is_closed: bool,
}

/// How the last frame with events went, by which the next one is timed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CommitPace {
    /// Operations in it that published events.
    publishes: usize,
    /// Those that came while it was written, before anybody was answered.
    pub(crate) arrived: usize,
    took: Duration,
}

impl CommitPace {
    /// Notes a frame. Frames without events say little by little that none are coming.
    fn count_frame(&mut self, publishes: usize, took: Duration) {
        if publishes == 0 {
            self.publishes /= 2;
        } else {
            (self.publishes, self.took) = (publishes, took);
        }
    }
}

impl LogCore {
    /// Asks for an operation. It is done even if nobody waits for the result.
    pub(crate) fn request(
        self: &Arc<Self>,
        operation: LogOperation,
    ) -> oneshot::Receiver<CommitResult> {
        let (pending, receiver) = PendingOperation::new(operation);
        let mut queue = self.commits();
        match queue.add(pending) {
            Ok(()) => self.wake_committer(&mut queue),
            Err(refused) => {
                drop(queue);
                self.refuse(refused);
            }
        }
        receiver
    }

    /// Asks for operations that are to be in one frame, if there is room.
    pub(crate) fn request_all(
        self: &Arc<Self>,
        operations: Vec<LogOperation>,
    ) -> Vec<oneshot::Receiver<CommitResult>> {
        let each = operations.into_iter().map(PendingOperation::new);
        let (pending, receivers): (Vec<_>, Vec<_>) = each.unzip();
        let mut queue = self.commits();
        let each = pending.into_iter().map(|pending| queue.add(pending));
        let refused: Vec<_> = each.filter_map(Result::err).collect();
        if !queue.pending.is_empty() {
            self.wake_committer(&mut queue);
        }
        drop(queue);
        for pending in refused {
            self.refuse(pending);
        }
        receivers
    }

    /// Answers an operation of a log that takes none any more, with the reason.
    fn refuse(&self, pending: PendingOperation) {
        let failure = self.state().failure.clone();
        reply(pending.reply, Err(failure.unwrap_or(LogError::Closed)));
    }

    /// Does an operation, and waits until it is on the disk.
    pub(crate) async fn commit(self: &Arc<Self>, operation: LogOperation) -> CommitResult {
        let receiver = self.request(operation);
        receiver.await.unwrap_or(Err(LogError::Closed))
    }

    /// Has the committer look for what nothing needs, unless the log is closed.
    pub(crate) fn request_upkeep(self: &Arc<Self>) {
        let mut queue = self.commits();
        if !queue.is_closed {
            self.wake_committer(&mut queue);
        }
    }

    /// Has a committer at work. It is counted as a job under the lock of the queue, so that whoever
    /// closes the log waits for it.
    fn wake_committer(self: &Arc<Self>, queue: &mut CommitQueue) {
        // To notify is a system call, whether somebody waits or not.
        if queue.awaited > 0 && queue.publishes >= queue.awaited {
            self.arrived.notify_one();
        }
        let is_idle = !std::mem::replace(&mut queue.is_active, true);
        if is_idle {
            self.submit_committer();
        }
    }

    fn submit_committer(self: &Arc<Self>) {
        self.submit(&self.lanes.commits, Self::run_committer);
    }

    /// Commits what waits until nothing does, or for as long as is fair.
    fn run_committer(self: Arc<Self>) {
        let mut guard = self.writer();
        let Some(writer) = guard.as_mut() else {
            return;
        };
        for frame in 1..=FRAMES_AT_ONCE {
            // One that was woken for upkeep alone waits for nobody.
            if frame > 1 || self.has_pending() {
                self.linger(writer.pace);
            }
            let batch = self.next_batch();
            let is_idle = batch.is_empty();
            if !is_idle {
                let publishes = batch.iter().filter(|it| it.operation.is_publish()).count();
                let begun = Instant::now();
                writer.commit(&self, batch);
                writer.pace.count_frame(publishes, begun.elapsed());
            }
            if is_idle || frame % FRAMES_BETWEEN_UPKEEP == 0 {
                writer.upkeep(&self);
            }
            if is_idle && self.rest() {
                writer.shrink();
                return;
            }
        }
        drop(guard);
        self.submit_committer();
    }

    /// Number of operations that wait and publish events.
    pub(crate) fn waiting_publishes(&self) -> usize {
        self.commits().publishes
    }

    fn has_pending(&self) -> bool {
        !self.commits().pending.is_empty()
    }

    /// Waits a moment for those who have been answered after the last frame with events: who asks
    /// again at once would otherwise miss the next frame, and each frame would have half of them.
    /// With those who have come meanwhile, that is all who ask again and again: one by itself waits
    /// for nobody.
    fn linger(&self, pace: CommitPace) {
        let mut queue = self.commits();
        // A simulated disk takes no time.
        if pace.took.is_zero() {
            return;
        }
        queue.awaited = pace.publishes + pace.arrived;
        let is_short =
            |queue: &mut CommitQueue| queue.publishes < queue.awaited && !queue.is_closed;
        // Whatever has come by then is taken.
        let waited = self
            .arrived
            .wait_timeout_while(queue, LONGEST_LINGER, is_short);
        let (mut queue, _elapsed) = waited.unwrap_or_else(PoisonError::into_inner);
        queue.awaited = 0;
    }

    /// Takes operations up to the size of a frame; one at least, if one waits.
    fn next_batch(&self) -> Vec<PendingOperation> {
        let mut queue = self.commits();
        let (mut batch, mut bytes) = (Vec::new(), 0_usize);
        while let Some(next) = queue.pending.front() {
            bytes = bytes.saturating_add(next.weight);
            if !batch.is_empty() && bytes > self.options.max_frame_bytes {
                break;
            }
            queue.publishes -= usize::from(next.operation.is_publish());
            batch.extend(queue.pending.pop_front());
        }
        batch
    }

    /// Ends the committer, unless an operation has come.
    fn rest(&self) -> bool {
        let mut queue = self.commits();
        queue.is_active = !queue.pending.is_empty();
        !queue.is_active
    }
}

impl CommitQueue {
    /// Adds an operation; gives it back if nothing is taken any more.
    fn add(&mut self, pending: PendingOperation) -> Result<(), PendingOperation> {
        if self.is_closed {
            return Err(pending);
        }
        self.publishes += usize::from(pending.operation.is_publish());
        self.pending.push_back(pending);
        Ok(())
    }
}

/// Replies to one operation; whoever asked may have gone.
pub(crate) fn reply(sender: oneshot::Sender<CommitResult>, result: Result<Committed, LogError>) {
    let _unheard = sender.send(result);
}
