//! Sends the events of sources at their times, by the delivery that channels use. A time that passes while the process
//! does not run is passed; nothing is sent twice.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::channel::{Outcome, Progress};
use crate::client::Transport;
use crate::delivery::{Delivery, Lane};
use crate::model::{RoutingTable, Source, SubscriptionKey};
use crate::telemetry::counters::Counters;
use crate::telemetry::series::{Dropped, End};

/// Events of one source that may be unfinished at once; what comes due meanwhile is left out.
const MAX_UNFINISHED: usize = 16;
/// The clock on the wall is looked at again after this time, since it may be set.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// A clock that is set back by more than this is a clock that was wrong.
const MOST_SET_BACK: Duration = Duration::from_secs(90);

/// Runs the sources of a routing table.
pub struct Sources<T> {
    delivery: Arc<Delivery<T>>,
    counters: Arc<Counters>,
    running: HashMap<SubscriptionKey, Running>,
    tasks: JoinSet<()>,
}

/// A source with a task of its own.
struct Running {
    source: Arc<Source>,
    stop: CancellationToken,
}

impl<T: Transport> Sources<T> {
    /// Nothing is sent before [`Sources::run`].
    #[must_use]
    pub fn new(delivery: Arc<Delivery<T>>, counters: Arc<Counters>) -> Self {
        Self { delivery, counters, running: HashMap::new(), tasks: JoinSet::new() }
    }

    /// Runs the sources of the newest table until `stop`; returns when their last event has been delivered. A source
    /// that has not changed goes on undisturbed.
    pub async fn run(mut self, mut tables: watch::Receiver<Arc<RoutingTable>>, stop: CancellationToken) {
        loop {
            let table = Arc::clone(&tables.borrow_and_update());
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
        while self.tasks.try_join_next().is_some() {}
        let mut before = std::mem::take(&mut self.running);
        for source in table.sources() {
            let key = &source.subscription.key;
            let running = match before.remove(key) {
                Some(running) if running.source == *source => running,
                changed => {
                    changed.inspect(|running| running.stop.cancel());
                    self.start(Arc::clone(source), stop)
                }
            };
            self.running.insert(key.clone(), running);
        }
        before.into_values().for_each(|gone| gone.stop.cancel());
    }

    fn start(&mut self, source: Arc<Source>, stop: &CancellationToken) -> Running {
        let stop = stop.child_token();
        let (delivery, counters) = (Arc::clone(&self.delivery), Arc::clone(&self.counters));
        self.tasks.spawn(send(Arc::clone(&source), delivery, counters, stop.clone()));
        Running { source, stop }
    }
}

/// Sends a source's events until it is told to stop, and waits for the end of their delivery.
async fn send<T: Transport>(
    source: Arc<Source>,
    delivery: Arc<Delivery<T>>,
    counters: Arc<Counters>,
    stop: CancellationToken,
) {
    let lane = Arc::new(delivery.lane(Arc::clone(&source.subscription), MAX_UNFINISHED));
    let mut unfinished = JoinSet::new();
    let mut last = Timestamp::now();
    while let Some(next) = source.schedule.next_after(after(last, Timestamp::now())) {
        match stop.run_until_cancelled(sleep_until(next)).await {
            None => break,
            Some(Slept::ClockSetBack) => continue,
            Some(Slept::UntilThen) => {}
        }
        last = next;
        while unfinished.try_join_next().is_some() {}
        if unfinished.len() >= MAX_UNFINISHED {
            tracing::warn!(source = %source.subscription.key, "The sink is slower than the schedule: an event is left out");
            continue;
        }
        unfinished.spawn(deliver(Arc::clone(&source), Arc::clone(&lane), Arc::clone(&delivery), Arc::clone(&counters)));
    }
    while unfinished.join_next().await.is_some() {}
}

/// From when on the next time is looked for: not before the last one, since clocks are set back a little now and then; but
/// a clock that was set back by more than a while would silence the source for as long.
fn after(last: Timestamp, now: Timestamp) -> Timestamp {
    if is_set_back(last.duration_since(now)) { now } else { last.max(now) }
}

fn is_set_back(by: SignedDuration) -> bool {
    by > SignedDuration::try_from(MOST_SET_BACK).unwrap_or(SignedDuration::MAX)
}

/// Why a sleep ended.
enum Slept {
    /// It is time.
    UntilThen,
    /// The clock says that there is more to wait than there was.
    ClockSetBack,
}

async fn sleep_until(time: Timestamp) -> Slept {
    let mut left = SignedDuration::MAX;
    loop {
        let wait = time.duration_since(Timestamp::now());
        if left < SignedDuration::MAX && is_set_back(wait - left) {
            return Slept::ClockSetBack;
        }
        left = wait;
        match Duration::try_from(wait) {
            Ok(wait) if !wait.is_zero() => tokio::time::sleep(wait.min(LONGEST_SLEEP)).await,
            _ => return Slept::UntilThen,
        }
    }
}

async fn deliver<T: Transport>(
    source: Arc<Source>,
    lane: Arc<Lane>,
    delivery: Arc<Delivery<T>>,
    counters: Arc<Counters>,
) {
    let mut event = source.event.clone();
    event.set("id", &Uuid::new_v4().to_string());
    event.set("time", &Timestamp::now().to_string());
    let event = Arc::new(event);
    counters.enqueue(lane.series());
    let permit = lane.permit().await;
    lane.series().begin();
    let Some(permit) = permit else { return counters.end(lane.series(), End::Abandoned) };
    let end = match delivery.deliver(&event, &lane, permit, Progress::default()).await {
        Outcome::Delivered => End::Delivered,
        Outcome::DeadLettered => End::DeadLettered,
        Outcome::Lost(loss) => {
            loss.report(&event, lane.series());
            loss.count(lane.series(), Dropped::Lost);
            End::Lost
        }
        // Nothing sets a limit to its patience.
        Outcome::Deferred(_) => End::Lost,
    };
    counters.end(lane.series(), end);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_back_silences_nothing() {
        let now: Timestamp = "2026-11-29T12:00:00Z".parse().expect("a time");
        let minutes = |minutes| now + SignedDuration::from_mins(minutes);
        for (last, from) in [(-1, 0), (0, 0), (1, 1), (2, 0), (60, 0)] {
            assert_eq!(after(minutes(last), now), minutes(from), "{last} minutes");
        }
    }
}
