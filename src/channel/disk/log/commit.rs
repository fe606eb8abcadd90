//! Group commit: what many ask for while the disk is busy is written and synced at once.

pub(crate) mod operation;
pub(crate) mod prepare;
pub(crate) mod roll;
pub(crate) mod spare;
pub(crate) mod writer;

use std::collections::VecDeque;
use std::sync::Arc;
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

/// Part of the time of a frame that the next one waits for those who were answered, and the longest.
const LINGER_PART: u32 = 8;
const LONGEST_LINGER: Duration = Duration::from_micros(500);

/// Operations that wait for the committer of a log.
#[derive(Debug, Default)]
pub(crate) struct CommitQueue {
    pending: VecDeque<PendingOperation>,
    /// True while a committer is at work, or about to be.
    is_active: bool,
    /// True if nothing is taken any more.
    pub(crate) is_closed: bool,
}

impl LogCore {
    /// Asks for an operation. It is done even if nobody waits for the result.
    pub(crate) fn request(
        self: &Arc<Self>,
        operation: LogOperation,
    ) -> oneshot::Receiver<CommitResult> {
        let (reply, receiver) = oneshot::channel();
        let pending = PendingOperation {
            weight: operation.weight(),
            operation,
            reply,
        };
        let mut queue = self.commits();
        if queue.is_closed {
            drop(queue);
            let failure = self.state().failure.clone();
            let _unheard = pending.reply.send(Err(failure.unwrap_or(LogError::Closed)));
            return receiver;
        }
        queue.pending.push_back(pending);
        self.arrived.notify_one();
        self.wake_committer(&mut queue);
        receiver
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
        let (mut before, mut took) = (0, Duration::ZERO);
        for frame in 1..=FRAMES_AT_ONCE {
            self.linger(before, took / LINGER_PART);
            let batch = self.next_batch();
            let is_idle = batch.is_empty();
            if !is_idle {
                before = batch.len();
                let begun = Instant::now();
                writer.commit(&self, batch);
                took = begun.elapsed();
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

    /// Waits a moment for those who have just been answered: who asks again at once would otherwise
    /// miss the next frame, and each frame would have half of them.
    fn linger(&self, before: usize, most: Duration) {
        let queue = self.commits();
        let is_short = |queue: &mut CommitQueue| queue.pending.len() < before && !queue.is_closed;
        if !most.is_zero() {
            let most = most.min(LONGEST_LINGER);
            // Whatever has come by then is taken.
            drop(self.arrived.wait_timeout_while(queue, most, is_short));
        }
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

/// Replies to one operation; whoever asked may have gone.
pub(crate) fn reply(sender: oneshot::Sender<CommitResult>, result: Result<Committed, LogError>) {
    let _unheard = sender.send(result);
}
