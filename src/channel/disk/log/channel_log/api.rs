//! What can be done with a log.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{CommitStatistics, LogCore, LogQueueCounts, LogUsage, RangeProgress, SharedCore};
use crate::channel::disk::log::clock::{EpochMillis, millis};
use crate::channel::disk::log::commit::operation::{Committed, LogOperation, NewEvent, QueueRange};
use crate::channel::disk::log::format::record::QueueLeftover;
use crate::channel::disk::log::queue::QueueOptions;
use crate::channel::disk::log::queue::take::{TakeStep, TakenEvent};
use crate::channel::disk::log::read::history::HistoryEvent;
use crate::channel::disk::log::{LogError, QueueId, Sequence};

/// The log of one channel. Clones are the same log. What a call has returned `Ok` for is on the
/// disk; a call whose future is dropped may have done its work or not.
#[derive(Clone)]
pub struct ChannelLog {
    pub(crate) shared: Arc<SharedCore>,
}

impl ChannelLog {
    pub(crate) fn new(core: Arc<LogCore>) -> Self {
        Self {
            shared: Arc::new(SharedCore::new(core)),
        }
    }

    /// The log as it was opened last.
    pub(crate) fn core(&self) -> Arc<LogCore> {
        self.shared.core()
    }

    /// Makes a queue, or takes one up again that was retired without deleting it. It gets what is
    /// published from then on, besides what it may hold already.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn declare(&self, name: &str, options: QueueOptions) -> Result<QueueId, LogError> {
        let operation = LogOperation::Declare(name.to_owned());
        match self.core().commit(operation).await? {
            Committed::Declared(queue) => {
                self.set_queue_options(queue, options)?;
                Ok(queue)
            }
            _ => Err(LogError::Closed),
        }
    }

    /// Makes a queue with a range, unless there is a queue of that name.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn declare_range(
        &self,
        name: &str,
        range: QueueRange,
        options: QueueOptions,
    ) -> Result<QueueId, LogError> {
        let name = name.to_owned();
        let operation = LogOperation::DeclareRange { name, range };
        match self.core().commit(operation).await? {
            Committed::Declared(queue) => {
                self.set_queue_options(queue, options)?;
                Ok(queue)
            }
            _ => Err(LogError::Closed),
        }
    }

    /// Sets how a queue gives its events.
    ///
    /// # Errors
    /// If there is no such queue.
    pub fn set_queue_options(&self, queue: QueueId, options: QueueOptions) -> Result<(), LogError> {
        let core = self.core();
        let mut state = core.state();
        let declared = state.queue_mut(queue)?;
        declared.options = options;
        declared.wake.notify_waiters();
        Ok(())
    }

    /// Ends the range of a queue with what has been taken from it; gives the sequence at which it
    /// ends now.
    ///
    /// # Errors
    /// If there is no such queue, or it cannot be written.
    pub async fn cut_range(&self, queue: QueueId) -> Result<Sequence, LogError> {
        match self.core().commit(LogOperation::Cut(queue)).await? {
            Committed::Cut(until) => Ok(until),
            _ => Err(LogError::Closed),
        }
    }

    /// The range of a queue with the sequence that it has come to; `None` without a range.
    #[must_use]
    pub fn range_progress(&self, queue: QueueId) -> Option<RangeProgress> {
        let core = self.core();
        let state = core.state();
        let queue = state.queues.get(&queue)?;
        let range = queue.range;
        (range.until > 0).then(|| RangeProgress {
            range,
            taken: queue.taken(state.next_sequence).min(range.until),
        })
    }

    /// Sequence of the next event.
    #[must_use]
    pub fn next_sequence(&self) -> Sequence {
        self.core().state().next_sequence
    }

    /// Sequence of the first event, among those that the log still holds and that have a sequence
    /// above `after`, that was written at a time or later; [`ChannelLog::next_sequence`] if there is none.
    ///
    /// # Errors
    /// If the disk fails, or the log is damaged.
    pub async fn first_since(
        &self,
        from: EpochMillis,
        after: Sequence,
    ) -> Result<Sequence, LogError> {
        let end = self.next_sequence();
        let first = self.history(from, after, 1).await?;
        Ok(first.first().map_or(end, |event| event.sequence))
    }

    /// Sets for how long events are kept that are finished; `None` keeps none from now on.
    pub fn set_retention(&self, retain: Option<Duration>) {
        let retention = retain.map_or(0, millis);
        let core = self.core();
        let before = core.retention.swap(retention, Ordering::Relaxed);
        if before != retention {
            core.request_upkeep();
        }
    }

    /// Closes the log: what was asked for is still done, and everything else refused. When this
    /// returns, nothing touches the files of the log any more.
    pub async fn close(&self) {
        self.core().close().await;
    }

    /// Queues that the log has, with their names, and whether they are active.
    #[must_use]
    pub fn queues(&self) -> Vec<(QueueId, String, bool)> {
        let core = self.core();
        let state = core.state();
        let queues = state.queues.iter();
        queues
            .map(|(id, queue)| (*id, queue.name.clone(), queue.is_active))
            .collect()
    }

    /// Retires a queue: who takes from it gets what is left, and the end then, unless what is left
    /// is given up.
    ///
    /// # Errors
    /// If there is no such queue, or it cannot be written.
    pub async fn retire(&self, queue: QueueId, leftover: QueueLeftover) -> Result<(), LogError> {
        let operation = LogOperation::Retire { queue, leftover };
        self.core().commit(operation).await.map(drop)
    }

    /// Publishes events, each to its queues: all of them, or none. Gives the sequence of the first.
    ///
    /// # Errors
    /// If there is no room, or the log takes nothing; no queue gets an event then.
    pub async fn publish(&self, events: Vec<NewEvent>) -> Result<Sequence, LogError> {
        let bytes: usize = events.iter().map(|event| event.event.len()).sum();
        let core = self.core();
        let of_all = usize::try_from(core.budget.limit()).unwrap_or(usize::MAX);
        let limit = core.options.max_publish_bytes.min(of_all);
        if bytes > limit {
            return Err(LogError::TooLarge {
                bytes: bytes as u64,
                limit: limit as u64,
            });
        }
        match core.commit(LogOperation::Publish(events)).await? {
            Committed::Published(first) => Ok(first),
            _ => Err(LogError::Closed),
        }
    }

    /// Takes the next events of a queue, in their order; waits until there is one. Those that were
    /// in flight when the log was opened come first. Gives none when the queue was retired and is
    /// empty. An event that is dropped without being settled is in flight until the log is opened
    /// anew, or it is released.
    ///
    /// # Errors
    /// If there is no such queue, the disk fails, or the log is damaged.
    pub async fn take(&self, queue: QueueId, most: usize) -> Result<Vec<TakenEvent>, LogError> {
        let core = self.core();
        loop {
            let wake = Arc::clone(&core.state().queue_mut(queue)?.wake);
            let mut woken = std::pin::pin!(wake.notified());
            // What happens from here on wakes, so that nothing is missed between the look and the
            // wait.
            woken.as_mut().enable();
            let now = core.clock.steady();
            let step = core.state().take(queue, most.max(1), now)?;
            match step {
                TakeStep::Taken(events, _again) => return Ok(events),
                TakeStep::Ended => return Ok(Vec::new()),
                TakeStep::Fill(plan) => core.fill_queue(queue, plan).await?,
                TakeStep::Wait(None) => woken.await,
                TakeStep::Wait(Some(until)) => {
                    // A wait is over when the clock of the log says so, not earlier.
                    let wait = until
                        .saturating_sub(now)
                        .max(std::time::Duration::from_millis(1));
                    // Either way, the queue is looked at again.
                    let _elapsed = tokio::time::timeout(wait, woken).await;
                }
            }
        }
    }

    /// Reads up to `most` events that the log still holds, whoever has finished them: those that
    /// were written at a time or later, and have a sequence above `after`.
    ///
    /// # Errors
    /// If the disk fails, or the log is damaged.
    pub async fn history(
        &self,
        from: EpochMillis,
        after: Sequence,
        most: usize,
    ) -> Result<Vec<HistoryEvent>, LogError> {
        self.core().read_history(from, after, most).await
    }

    /// What a queue holds.
    ///
    /// # Errors
    /// If there is no such queue.
    pub fn counts(&self, queue: QueueId) -> Result<LogQueueCounts, LogError> {
        self.core().state().counts(queue)
    }

    /// Time until the first of the events is due that wait for another attempt; `None` if none
    /// does.
    #[must_use]
    pub fn until_next_due(&self, queue: QueueId) -> Option<Duration> {
        let core = self.core();
        let now = core.clock.steady();
        let state = core.state();
        let (due, _sequence) = state.queues.get(&queue)?.due.first()?;
        Some(due.saturating_sub(now))
    }

    /// What the log takes of the disk.
    #[must_use]
    pub fn usage(&self) -> LogUsage {
        self.core().state().usage()
    }

    /// What was written since the log was opened.
    #[must_use]
    pub fn statistics(&self) -> CommitStatistics {
        self.shared.statistics()
    }

    /// Reason for which the log takes and gives nothing any more, until it is opened anew: its disk
    /// has failed, or an event that a queue needs is damaged.
    #[must_use]
    pub fn failure(&self) -> Option<LogError> {
        self.core().state().failure.clone()
    }
}
