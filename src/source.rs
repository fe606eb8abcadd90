//! Runner of sources: it sends their events at the times of their schedules, by the delivery that
//! channels use. Times that pass while the process does not run are left out; no event is sent
//! twice.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::channel::{DeliveryOutcome, DeliveryProgress};
use crate::client::HttpTransport;
use crate::delivery::{EventDeliverer, SubscriptionWorkerState};
use crate::model::{CronSchedule, PingSource, RoutingTable, SubscriptionKey, TableSource};
use crate::observation::{ObservedEnd, ObservedFact};
use crate::telemetry::counters::ProcessCounters;
use crate::telemetry::series::{DeliveryEnd, Dropped};

/// Events of one source that may be unfinished at once; further ones that come due meanwhile are
/// left out.
const MAX_UNFINISHED: usize = 16;
/// Longest sleep before the wall clock is read again, since it may be set.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// Largest difference by which a clock is set back in normal use; a larger one means that the clock
/// was wrong before.
const MOST_SET_BACK: Duration = Duration::from_secs(90);

/// Runs the sources of a routing table, each in a task of its own.
pub(crate) struct SourceRunner<T> {
    delivery: Arc<EventDeliverer<T>>,
    counters: Arc<ProcessCounters>,
    running: HashMap<SubscriptionKey, RunningSource>,
    tasks: JoinSet<()>,
}

/// A source that runs, and the token that stops it.
struct RunningSource {
    source: Arc<PingSource>,
    stop: CancellationToken,
}

impl<T: HttpTransport> SourceRunner<T> {
    /// Makes a runner; no event is sent before [`SourceRunner::run`].
    #[must_use]
    pub(crate) fn new(delivery: Arc<EventDeliverer<T>>, counters: Arc<ProcessCounters>) -> Self {
        Self {
            delivery,
            counters,
            running: HashMap::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Runs the sources of the newest table until `stop`; returns when their last event has been
    /// delivered. A source that has not changed goes on undisturbed.
    pub(crate) async fn run(
        mut self,
        mut tables: watch::Receiver<impl TableSource>,
        stop: CancellationToken,
    ) {
        loop {
            let table = Arc::clone(tables.borrow_and_update().routing_table());
            self.apply(&table, &stop);
            let changed = tokio::select! {
                () = stop.cancelled() => break,
                changed = tables.changed() => changed,
            };
            if changed.is_err() {
                break;
            }
        }
        while self.tasks.join_next().await.is_some() {}
    }

    fn apply(&mut self, table: &RoutingTable, stop: &CancellationToken) {
        // Tasks that have ended are joined here, so that the set does not grow.
        while self.tasks.try_join_next().is_some() {}
        let mut before = std::mem::take(&mut self.running);
        for source in table.sources() {
            let key = &source.subscription.key;
            let running = match before.remove(key) {
                Some(running) if running.source == *source => running,
                changed => {
                    changed.inspect(|running| running.stop.cancel());
                    self.start_source(Arc::clone(source), stop)
                }
            };
            self.running.insert(key.clone(), running);
        }
        before.into_values().for_each(|gone| gone.stop.cancel());
    }

    fn start_source(&mut self, source: Arc<PingSource>, stop: &CancellationToken) -> RunningSource {
        let stop = stop.child_token();
        let (delivery, counters) = (Arc::clone(&self.delivery), Arc::clone(&self.counters));
        self.tasks.spawn(run_source(
            Arc::clone(&source),
            delivery,
            counters,
            stop.clone(),
        ));
        RunningSource { source, stop }
    }
}

/// Sends the events of a source until `stop`, and waits for the end of their delivery.
async fn run_source<T: HttpTransport>(
    source: Arc<PingSource>,
    delivery: Arc<EventDeliverer<T>>,
    counters: Arc<ProcessCounters>,
    stop: CancellationToken,
) {
    let worker = Arc::new(delivery.worker_state(Arc::clone(&source.subscription), MAX_UNFINISHED));
    let mut unfinished = JoinSet::new();
    let mut last = Timestamp::now();
    // The time is awaited first: `stop` ends the wait.
    while let Some(Some(next)) = stop
        .run_until_cancelled(next_time(&source.schedule, last))
        .await
    {
        last = next;
        // Deliveries that have ended are joined here, so that only unfinished ones count for the
        // limit.
        while unfinished.try_join_next().is_some() {}
        if unfinished.len() >= MAX_UNFINISHED {
            tracing::warn!(
                source = %source.subscription.key,
                "The sink is slower than the schedule: an event is left out"
            );
            continue;
        }
        let (source, worker) = (Arc::clone(&source), Arc::clone(&worker));
        let (delivery, counters) = (Arc::clone(&delivery), Arc::clone(&counters));
        unfinished.spawn(deliver_event(source, worker, delivery, counters));
    }
    // Deliveries under way end in order when the source stops.
    while unfinished.join_next().await.is_some() {}
}

/// Sleeps until the next time of the schedule after `last`, and gives it; a clock that is set back
/// starts the wait anew. `None` if there is no such time.
async fn next_time(schedule: &CronSchedule, last: Timestamp) -> Option<Timestamp> {
    loop {
        let next = schedule.next_after(next_search_start(last, Timestamp::now()))?;
        match sleep_until(next).await {
            SleepEnd::TimeReached => return Some(next),
            SleepEnd::ClockSetBack => {}
        }
    }
}

/// Time from which the next time of the schedule is searched: not before the last one, since clocks
/// are set back a little now and then; but a clock that was set back by more than that would
/// silence the source for as long.
fn next_search_start(last: Timestamp, now: Timestamp) -> Timestamp {
    if is_set_back(last.duration_since(now)) {
        now
    } else {
        last.max(now)
    }
}

fn is_set_back(by: SignedDuration) -> bool {
    by > SignedDuration::try_from(MOST_SET_BACK).unwrap_or(SignedDuration::MAX)
}

/// Reason for which a sleep ended.
enum SleepEnd {
    /// The time to send has come.
    TimeReached,
    /// The clock was set back, so that more time is left than there was.
    ClockSetBack,
}

async fn sleep_until(time: Timestamp) -> SleepEnd {
    let mut left = SignedDuration::MAX;
    loop {
        let wait = time.duration_since(Timestamp::now());
        if left < SignedDuration::MAX && is_set_back(wait - left) {
            return SleepEnd::ClockSetBack;
        }
        left = wait;
        match Duration::try_from(wait) {
            Ok(wait) if !wait.is_zero() => tokio::time::sleep(wait.min(LONGEST_SLEEP)).await,
            _ => return SleepEnd::TimeReached,
        }
    }
}

async fn deliver_event<T: HttpTransport>(
    source: Arc<PingSource>,
    worker: Arc<SubscriptionWorkerState>,
    delivery: Arc<EventDeliverer<T>>,
    counters: Arc<ProcessCounters>,
) {
    let mut event = source.event.clone();
    event.set("id", &Uuid::new_v4().to_string());
    event.set("time", &Timestamp::now().to_string());
    let event = Arc::new(event);
    let observed = worker.series().observed();
    counters
        .observer
        .observe(&event, observed, &ObservedFact::Received);
    // A source has no queue: the wait for a permit stands for it in the metrics.
    counters.count_enqueued(worker.series());
    let permit = worker.acquire_permit().await;
    worker.series().start_delivery();
    let Some(permit) = permit else {
        return counters.count_end(worker.series(), DeliveryEnd::Abandoned);
    };
    let progress = DeliveryProgress::default();
    let outcome = delivery.deliver(&event, &worker, permit, progress).await;
    let observed = outcome.observed(ObservedEnd::Lost);
    counters
        .observer
        .observe(&event, worker.series().observed(), &observed);
    let end = match outcome {
        DeliveryOutcome::Delivered => DeliveryEnd::Delivered,
        DeliveryOutcome::DeadLettered => DeliveryEnd::DeadLettered,
        DeliveryOutcome::Lost(loss) => {
            loss.log_lost(&event, worker.series());
            loss.count_dropped(worker.series(), Dropped::Lost);
            DeliveryEnd::Lost
        }
        // Nothing is deferred, since no queue limits the waits of a source.
        DeliveryOutcome::Deferred(_) => DeliveryEnd::Lost,
    };
    counters.count_end(worker.series(), end);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_back_silences_nothing() {
        let now: Timestamp = "2026-11-29T12:00:00Z".parse().expect("a time");
        let minutes = |minutes| now + SignedDuration::from_mins(minutes);
        for (last, from) in [(-1, 0), (0, 0), (1, 1), (2, 0), (60, 0)] {
            assert_eq!(
                next_search_start(minutes(last), now),
                minutes(from),
                "{last} minutes"
            );
        }
    }
}
