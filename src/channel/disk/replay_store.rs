//! Replays of channels on disk, for operators.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use super::history::first_sequence;
use super::log::{ChannelLog, LogClock, LogError, QueueRange, SequenceSpan, StandardClock};
use super::queue::DeclaredQueue;
use super::queue_table::{OpenDiskQueue, SharedQueueTable};
use super::replay::{DiskReplay, parse_filter};
use super::replay_name::{ReplayName, ReplaySettings};
use super::replay_runner::options_of;
use crate::channel::parked::ParkingSubscription;
use crate::channel::replay::{
    ReplayCount, ReplayError, ReplayFuture, ReplayReport, ReplayRequest, ReplayStore,
};
use crate::event::stored;
use crate::filter::Filter;
use crate::model::time_text;

/// Events that are read at once to be counted.
const PAGE: usize = 1024;
/// Longest time that the end of a replay is waited for that was told to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// The replays of all logs.
pub(super) struct DiskReplays {
    pub(super) table: SharedQueueTable,
}

/// What a replay is about.
struct ReplaySource {
    open: OpenDiskQueue,
    log: ChannelLog,
    span: SequenceSpan,
    filter: Option<Filter>,
}

impl DiskReplays {
    fn find_open(&self, owner: &ParkingSubscription) -> Result<OpenDiskQueue, ReplayError> {
        let open = self.table.find(&owner.subscription);
        let open = open.filter(|open| open.queue.log.channel == owner.channel);
        open.ok_or_else(|| {
            ReplayError::Unavailable(format!(
                "{} has no queue yet: try again",
                owner.subscription
            ))
        })
    }

    /// Finds what a replay is about.
    async fn find_source(
        &self,
        owner: &ParkingSubscription,
        request: &ReplayRequest,
    ) -> Result<ReplaySource, ReplayError> {
        let open = self.find_open(owner)?;
        let filter = parse_filter(request.filter.as_deref()).map_err(ReplayError::Filter)?;
        if open.log.retention().is_none() {
            return Err(ReplayError::RetainsNothing {
                channel: owner.channel.clone(),
                remedy: "give it the annotation sealpost.dev/retain, such as P7D, for what comes \
                         from then on",
            });
        }
        let log = open
            .queue
            .log
            .until_open()
            .await
            .map_err(|error| unavailable(&error))?;
        let from = first_sequence(&log, request.from).await;
        let until = match request.until {
            Some(until) => first_sequence(&log, until).await,
            None => Ok(log.next_sequence()),
        };
        let span = SequenceSpan {
            from: from.map_err(|error| unavailable(&error))?,
            until: until.map_err(|error| unavailable(&error))?,
        };
        if span.from >= span.until {
            return Err(nothing_there(owner, &log).await);
        }
        Ok(ReplaySource {
            open,
            log,
            span,
            filter,
        })
    }

    async fn count(
        &self,
        owner: &ParkingSubscription,
        request: &ReplayRequest,
        stop: &CancellationToken,
    ) -> Result<ReplayCount, ReplayError> {
        let source = self.find_source(owner, request).await?;
        let mut count = ReplayCount::default();
        let mut after = source.span.from.saturating_sub(1);
        loop {
            if stop.is_cancelled() {
                count.stopped = true;
                return Ok(count);
            }
            let begin = tokio::time::Instant::now();
            let page = source
                .log
                .history(0, after, PAGE)
                .await
                .map_err(|error| unavailable(&error))?;
            let Some(last) = page.last() else {
                return Ok(count);
            };
            after = last.sequence;
            for event in page {
                if source.span.contains(event.sequence) {
                    count.examined += 1;
                    count.events += u64::from(source.wants(event.event));
                }
            }
            if after >= source.span.until {
                return Ok(count);
            }
            // Live events come first: half of a processor is left to them.
            tokio::time::sleep(begin.elapsed()).await;
        }
    }

    async fn start(
        &self,
        owner: &ParkingSubscription,
        request: &ReplayRequest,
    ) -> Result<ReplayReport, ReplayError> {
        let source = self.find_source(owner, request).await?;
        let (open, log) = (&source.open, &source.log);
        let is_sending = |replay: &Arc<DiskReplay>| replay.is_sending();
        if let Some(running) = open.replays.all().into_iter().find(is_sending) {
            return Err(ReplayError::Busy {
                id: running.name.id.clone(),
                subscription: owner.subscription.clone(),
            });
        }
        let name = ReplayName {
            id: new_id(),
            of: open.queue.name.clone(),
            settings: ReplaySettings {
                rate: request.rate,
                filter: request.filter.clone(),
                first: source.span.from,
            },
        };
        let range = QueueRange::Alone(source.span);
        let options = options_of(open.queue.order);
        let id = log.declare_range(&name.text(), range, options).await;
        let declared = DeclaredQueue {
            log: log.clone(),
            id: id.map_err(|error| unavailable(&error))?,
        };
        let replay = DiskReplay::new(name, declared, &open.queue).map_err(ReplayError::Filter)?;
        let replay = Arc::new(replay);
        open.replays.add(Arc::clone(&replay));
        tracing::info!(
            subscription = %owner.subscription,
            replay = replay.name.id,
            ?request,
            "An operator has begun a replay"
        );
        Ok(replay.report())
    }

    fn latest(&self, owner: &ParkingSubscription) -> Result<Arc<DiskReplay>, ReplayError> {
        let latest = self.find_open(owner)?.replays.latest();
        latest.ok_or_else(|| ReplayError::NotRunning(owner.subscription.clone()))
    }

    async fn stop(&self, owner: &ParkingSubscription) -> Result<ReplayReport, ReplayError> {
        let replay = self.latest(owner)?;
        if !replay.is_sending() {
            return Err(ReplayError::NotRunning(owner.subscription.clone()));
        }
        let cut = replay.was_cut.notified();
        replay.cut.cancel();
        if tokio::time::timeout(STOP_TIMEOUT, cut).await.is_err() {
            let cause = "the replay has not ended yet: see the log, and try again";
            return Err(ReplayError::Unavailable(cause.to_owned()));
        }
        let report = replay.report();
        tracing::info!(subscription = %owner.subscription, ?report, "An operator has stopped a replay");
        Ok(report)
    }
}

impl ReplaySource {
    fn wants(&self, bytes: bytes::Bytes) -> bool {
        let Ok(event) = stored::decode(bytes) else {
            return false;
        };
        let subscription = self.open.queue.subscription();
        subscription.filter.matches(&event)
            && self
                .filter
                .as_ref()
                .is_none_or(|filter| filter.matches(&event))
    }
}

fn unavailable(error: &LogError) -> ReplayError {
    ReplayError::Unavailable(error.to_string())
}

/// Says what there is, since there is nothing where it was looked for.
async fn nothing_there(owner: &ParkingSubscription, log: &ChannelLog) -> ReplayError {
    let oldest = match log.history(0, 0, 1).await {
        Ok(events) => events.first().map(|oldest| oldest.received_at),
        Err(error) => return unavailable(&error),
    };
    ReplayError::NothingThere {
        channel: owner.channel.clone(),
        oldest: match oldest {
            Some(time) => format!("the oldest event is of {}", time_text(time)),
            None => "there is no event yet".to_owned(),
        },
    }
}

/// An id of a new replay: the time, and a number that makes it the only one.
fn new_id() -> String {
    let seconds = StandardClock::default().wall() / 1000 * 1000;
    let time: String = time_text(seconds)
        .chars()
        .filter(|it| !"-:".contains(*it))
        .collect();
    format!("{time}-{:04x}", fastrand::u16(..))
}

impl ReplayStore for DiskReplays {
    fn count_replay<'a>(
        &'a self,
        owner: &'a ParkingSubscription,
        request: &'a ReplayRequest,
        stop: &'a CancellationToken,
    ) -> ReplayFuture<'a, ReplayCount> {
        self.count(owner, request, stop).boxed()
    }

    fn start_replay<'a>(
        &'a self,
        owner: &'a ParkingSubscription,
        request: &'a ReplayRequest,
    ) -> ReplayFuture<'a, ReplayReport> {
        self.start(owner, request).boxed()
    }

    fn replay_progress(&self, owner: &ParkingSubscription) -> Result<ReplayReport, ReplayError> {
        self.latest(owner).map(|replay| replay.report())
    }

    fn stop_replay<'a>(&'a self, owner: &'a ParkingSubscription) -> ReplayFuture<'a, ReplayReport> {
        self.stop(owner).boxed()
    }
}
