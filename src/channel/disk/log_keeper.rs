//! Keeper of one log: it opens the log, again and again if that fails, declares and retires its
//! queues, and closes it at the end.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::context::DiskContext;
use super::history;
use super::kept_log::{KeptLog, WantedQueue};
use super::log::{
    ChannelLog, LogError, LogOpening, LogOptions, QueueId, QueueLeftover, QueueOptions, QueueRange,
};
use super::log_access::LogStatus;
use super::queue::DeclaredQueue;
use super::queue_gauges;
use super::replay_name::ReplayName;
use crate::doubling_wait::DoublingWait;
use crate::model::DeliveryOrder;

/// Wait before a log is opened again that could not be; it doubles up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// Time after which a log that was opened anew is believed to be sound: if it fails then, it is
/// opened again soon.
const SOUND: Duration = Duration::from_mins(1);
/// Time without a change after which all queues are known that the configuration asks for.
const SETTLED: Duration = Duration::from_secs(5);
/// Most events of one queue in flight. Waits are not held, so that the worker decides how many
/// there are.
const WINDOW: usize = 100_000;

/// Bytes of the first segment of a log: there may be thousands of channels with few events.
const MIN_SEGMENT_BYTES: u64 = 256 << 10;

/// Keeper of one log.
pub(super) struct LogKeeper {
    pub(super) log: Arc<KeptLog>,
    pub(super) context: Arc<DiskContext>,
    /// Cancelled when nobody needs the log any more.
    pub(super) ending: CancellationToken,
}

impl LogKeeper {
    /// Keeps the log until the end.
    pub(super) async fn run(self) {
        let opened = self.open_at_last();
        let Some(Some(log)) = self.ending.run_until_cancelled(opened).await else {
            return;
        };
        let kept = self.keep_open(&log);
        self.ending.run_until_cancelled(kept).await;
        log.close().await;
    }

    /// Keeps the log, and opens it anew after its disk has failed, or it was found to be damaged.
    async fn keep_open(&self, log: &ChannelLog) {
        let mut pause = DoublingWait::new(PAUSE, LONGEST_PAUSE);
        loop {
            let begun = Instant::now();
            let failure = tokio::select! {
                failure = log.until_failed() => failure,
                () = self.keep(log) => return,
            };
            if begun.elapsed() > SOUND {
                pause.reset();
            }
            let (channel, error) = (&self.log.access.channel, failure);
            tracing::error!(%channel, %error, "Channel not served: its log takes nothing until it is opened anew");
            self.reopen_at_last(log, &mut pause).await;
        }
    }

    /// Opens the log anew as soon as it can be.
    async fn reopen_at_last(&self, log: &ChannelLog, pause: &mut DoublingWait) {
        let channel = &self.log.access.channel;
        loop {
            tokio::time::sleep(pause.take_jittered()).await;
            let reopened = match self.context.directory.open() {
                Ok(directory) => log.reopen(&directory).await,
                Err(error) => Err(error),
            };
            match reopened {
                Ok(opening) => {
                    tracing::info!(%channel, "The log was opened anew: the channel is served again");
                    return self.report_opening(&opening);
                }
                Err(error) => tracing::debug!(%channel, %error, "The log still cannot be opened"),
            }
        }
    }

    /// Opens the log as soon as it can be.
    async fn open_at_last(&self) -> Option<ChannelLog> {
        let mut pause = DoublingWait::new(PAUSE, LONGEST_PAUSE);
        loop {
            match self.open().await {
                Ok(log) => return Some(log),
                Err(LogError::Closed) => return None,
                Err(error) => self.report_failure(error, pause),
            }
            tokio::time::sleep(pause.take_jittered()).await;
        }
    }

    async fn open(&self) -> Result<ChannelLog, LogError> {
        let directory = self.context.directory.open()?;
        let options = LogOptions {
            min_segment_bytes: MIN_SEGMENT_BYTES,
            retain: self.log.retention(),
            ..LogOptions::default()
        };
        let (log, opening) = directory.open_log(&self.log.access.name, options).await?;
        self.report_opening(&opening);
        self.log.access.set_status(LogStatus::Open(log.clone()));
        Ok(log)
    }

    fn report_failure(&self, error: LogError, pause: DoublingWait) {
        let (channel, directory) = (
            &self.log.access.channel,
            self.context.options.directory.display(),
        );
        if pause.is_first() {
            tracing::error!(%channel, %directory, %error, "Channel not served: its log cannot be opened");
        } else {
            tracing::debug!(%channel, %error, "The log still cannot be opened");
        }
        self.log.access.set_status(LogStatus::Failed(error));
    }

    fn report_opening(&self, opening: &LogOpening) {
        let (channel, took) = (&self.log.access.channel, opening.took);
        if let Some(torn) = &opening.torn_end {
            tracing::warn!(
                %channel,
                file = %torn.path.display(),
                offset = torn.offset,
                "The end of a log was torn when a write failed or the process or machine ended, and \
                 is left out: nobody was told that these events were safe"
            );
        }
        tracing::debug!(%channel, is_new = opening.is_new, ?took, "Log open");
    }

    /// Declares and retires queues as they are wanted.
    async fn keep(&self, log: &ChannelLog) {
        let mut is_settled = false;
        loop {
            log.set_retention(self.log.retention());
            let mut is_done = true;
            for wanted in self.log.undone() {
                match self.apply(log, &wanted).await {
                    Ok(()) => self.log.set_done(&wanted),
                    Err(error) => {
                        is_done = false;
                        tracing::debug!(queue = wanted.queue.name, %error, "Queue not declared yet");
                    }
                }
            }
            let deletion = self.delete_long_retired(log).await;
            let look_again = if is_done { deletion } else { Some(PAUSE) };
            let settling = (is_done && !is_settled).then_some(SETTLED);
            let wait = look_again.into_iter().chain(settling).min();
            let changed = self.log.changed.notified();
            let is_quiet = match wait {
                Some(wait) => tokio::time::timeout(wait, changed).await.is_err(),
                None => {
                    changed.await;
                    false
                }
            };
            if is_quiet && settling.is_some() && wait == settling {
                is_settled = true;
                self.report_unclaimed(log);
            }
        }
    }

    /// Tells of queues with events that nobody takes: their subscriptions were removed while no
    /// process ran, or the directory is that of another channel.
    fn report_unclaimed(&self, log: &ChannelLog) {
        for (id, name, _is_active) in log.queues() {
            if self.log.wants(&name) || ReplayName::parse(&name).is_some() {
                continue;
            }
            let waiting = log.counts(id).map_or(0, |counts| counts.depth);
            if waiting > 0 {
                tracing::warn!(
                    channel = %self.log.access.channel,
                    queue = name,
                    waiting,
                    "Events in the log of a channel wait for a subscription that it does not have: \
                     add it again, or see whether the directory is another channel's"
                );
            }
        }
    }

    /// Deletes the queues of subscriptions that have been gone for the configured time; gives the
    /// time after which to look again.
    async fn delete_long_retired(&self, log: &ChannelLog) -> Option<Duration> {
        let grace = self.context.options.delete_after?;
        let mut next: Option<Duration> = None;
        for retired in self.log.retired() {
            let left = grace.saturating_sub(retired.since.elapsed());
            let left = if left.is_zero() {
                match delete_queue(log, &retired).await {
                    true => {
                        self.log.forget(&retired.queue);
                        continue;
                    }
                    false => LONGEST_PAUSE,
                }
            } else {
                left
            };
            next = Some(next.map_or(left, |next| next.min(left)));
        }
        next
    }

    async fn apply(&self, log: &ChannelLog, wanted: &WantedQueue) -> Result<(), LogError> {
        let queue = &wanted.queue;
        if wanted.is_retired {
            tracing::warn!(
                queue = queue.name,
                channel = %self.log.access.channel,
                "Subscription is gone: its queue gets no more events, and keeps those it has"
            );
            return match queue.declared.get() {
                Some(declared) => log.retire(declared.id, QueueLeftover::Kept).await,
                None => Ok(()),
            };
        }
        let options = QueueOptions {
            is_ordered: queue.order == DeliveryOrder::Ordered,
            window: WINDOW,
            ..QueueOptions::default()
        };
        let id = match queue.subscription().delivery.start_at {
            Some(point) => {
                let from = history::first_sequence(log, point).await?;
                let range = QueueRange::AndOn(from);
                log.declare_range(&queue.name, range, options).await?
            }
            None => log.declare(&queue.name, options).await?,
        };
        log.set_queue_options(id, options)?;
        let declared = DeclaredQueue {
            log: log.clone(),
            id,
        };
        // It may be set already, if the queue is declared again after it was to be retired.
        let _known = queue.declared.set(declared);
        if let Some(counts) = queue.counts() {
            queue_gauges::show(queue, counts);
        }
        Ok(())
    }
}

/// Deletes a retired queue with the events in it, unless some are parked, which operators may still
/// want. True if it is gone.
async fn delete_queue(log: &ChannelLog, retired: &WantedQueue) -> bool {
    let queue = &retired.queue;
    let Some(declared) = queue.declared.get() else {
        return true;
    };
    let counts = log.counts(declared.id).unwrap_or_default();
    let replays = replay_queues(log, &queue.name);
    let is_parked = |id: &QueueId| log.counts(*id).is_ok_and(|counts| counts.parked > 0);
    if counts.parked > 0 || replays.iter().any(is_parked) {
        return false;
    }
    for replay in replays {
        if let Err(error) = log.retire(replay, QueueLeftover::GivenUp).await {
            tracing::debug!(queue = queue.name, %error, "Replay not deleted yet");
            return false;
        }
    }
    match log.retire(declared.id, QueueLeftover::GivenUp).await {
        Ok(()) if counts.depth > 0 => {
            tracing::error!(
                queue = queue.name,
                events = counts.depth,
                "The queue of a subscription that is gone was deleted with the events in it \
                 (--disk-delete-after)"
            );
            true
        }
        Ok(()) | Err(LogError::UnknownQueue(_)) => true,
        Err(error) => {
            tracing::debug!(queue = queue.name, %error, "Queue not deleted yet");
            false
        }
    }
}

/// The queues of the replays to a subscription.
fn replay_queues(log: &ChannelLog, of: &str) -> Vec<QueueId> {
    let is_of = |name: &str| ReplayName::parse(name).is_some_and(|replay| replay.of == of);
    let queues = log.queues().into_iter();
    queues
        .filter(|(_, name, _)| is_of(name))
        .map(|(id, _, _)| id)
        .collect()
}
