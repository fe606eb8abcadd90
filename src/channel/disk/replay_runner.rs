//! Runs the replays to one subscription: takes what was retained out of the log, as fast as is
//! asked for and live events leave room, and hands it to the subscription's worker.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::context::DiskContext;
use super::log::{LogError, QueueLeftover, QueueOptions, Sequence, SettledOutcome, TakenEvent};
use super::queue::{DeclaredQueue, DiskQueue};
use super::replay::{DiskReplay, ReplayList};
use super::replay_name::ReplayName;
use super::send_rate::SendRate;
use super::stored_delivery::{StoredDelivery, park_unreadable};
use crate::channel::EventDelivery;
use crate::doubling_wait::DoublingWait;
use crate::model::DeliveryOrder;

/// Most events of a replay that the worker has at once, so that live events find it free.
const MOST_UNSETTLED: usize = 16;
/// Most events that are taken from the log and not finished: those that are not wanted are finished
/// many at once.
const WINDOW: usize = 8192;
/// Events that are not wanted, and are finished at once.
const MOST_UNWANTED: usize = 2048;
/// Longest time for which a replay waits for live events that wait for the worker.
const LONGEST_YIELD: Duration = Duration::from_secs(1);
/// Period in which it looks whether it may go on.
const LOOK: Duration = Duration::from_millis(2);
/// Time after which a take is looked at again, and what was not wanted is finished.
const TAKE_TIMEOUT: Duration = Duration::from_millis(50);
/// Period in which a replay whose events are sent looks whether operators have changed what of them
/// is parked.
const LOOK_AT_PARKED: Duration = Duration::from_millis(250);
/// Time for which events are looked through before others have their turn.
const TURN: Duration = Duration::from_millis(2);
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Runs all replays to one subscription.
pub(super) struct ReplayRunner {
    pub(super) queue: Arc<DiskQueue>,
    pub(super) replays: Arc<ReplayList>,
    pub(super) context: Arc<DiskContext>,
    pub(super) messages: mpsc::Sender<Box<EventDelivery>>,
}

impl ReplayRunner {
    /// Runs replays until the queue is given up. Those that an earlier process has left go on.
    pub(super) async fn run(self) {
        let stop = self.queue.stop.clone();
        let declared = stop.run_until_cancelled(self.queue.declared.wait()).await;
        let Some(declared) = declared.cloned() else {
            return;
        };
        self.find_replays(&declared);
        self.run_all().await;
    }

    async fn run_all(&self) {
        let mut running = FuturesUnordered::new();
        let mut known: Vec<Arc<DiskReplay>> = Vec::new();
        loop {
            let mut changed = std::pin::pin!(self.replays.changed.notified());
            changed.as_mut().enable();
            let all = self.replays.all();
            known.retain(|it| all.iter().any(|other| Arc::ptr_eq(it, other)));
            for replay in all {
                if !known.iter().any(|it| Arc::ptr_eq(it, &replay)) {
                    known.push(Arc::clone(&replay));
                    running.push(self.run_one(replay));
                }
            }
            tokio::select! {
                () = changed => {}
                Some(()) = running.next() => {}
                () = self.queue.stop.cancelled() => break,
            }
        }
        // Each ends by itself, so that nothing is forgotten that was taken.
        while running.next().await.is_some() {}
    }

    /// Takes up the replays that are in the log.
    fn find_replays(&self, declared: &DeclaredQueue) {
        for (id, name, _is_active) in declared.log.queues() {
            let Some(name) = ReplayName::parse(&name) else {
                continue;
            };
            if name.of != self.queue.name {
                continue;
            }
            let of_replay = DeclaredQueue {
                log: declared.log.clone(),
                id,
            };
            let replay_id = name.id.clone();
            match DiskReplay::new(name, of_replay, &self.queue) {
                Ok(replay) => self.replays.add(Arc::new(replay.resumed())),
                Err(error) => {
                    tracing::error!(
                        queue = self.queue.name,
                        replay_id,
                        error,
                        "Replay not taken up"
                    );
                }
            }
        }
    }

    async fn run_one(&self, replay: Arc<DiskReplay>) {
        self.send(&replay).await;
        replay.queue.stop.cancel();
    }

    /// Sends what a replay is to send.
    async fn send(&self, replay: &Arc<DiskReplay>) {
        let Some(declared) = replay.queue.declared.get().cloned() else {
            return;
        };
        let options = options_of(self.queue.order);
        if declared
            .log
            .set_queue_options(declared.id, options)
            .is_err()
        {
            return;
        }
        let mut pass = ReplayPass {
            runner: self,
            rate: SendRate::new(replay.name.settings.rate),
            unwanted: Vec::new(),
            declared: declared.pinned(),
            replay: Arc::clone(replay),
        };
        let mut pause = DoublingWait::new(PAUSE, LONGEST_PAUSE);
        while let Err(error) = pass.run().await {
            let queue = &pass.replay.queue.name;
            if let LogError::UnknownQueue(_) = error {
                let sent = pass.replay.report().sent;
                tracing::error!(
                    queue,
                    sent,
                    "A replay has ended before its end: its log was moved, removed or replaced"
                );
                return;
            }
            if let LogError::Closed = error {
                return;
            }
            tracing::error!(queue, %error, "A replay cannot go on now");
            let retried = async {
                tokio::time::sleep(pause.take_jittered()).await;
                if pass.declared.log.failure().is_some() {
                    pass.go_on_in(&declared).await;
                }
            };
            let retried = self.queue.stop.run_until_cancelled(retried);
            if retried.await.is_none() {
                return;
            }
        }
    }
}

/// How the queue of a replay gives its events.
pub(super) fn options_of(order: DeliveryOrder) -> QueueOptions {
    QueueOptions {
        is_ordered: order == DeliveryOrder::Ordered,
        window: WINDOW,
        ..QueueOptions::default()
    }
}

/// One replay on its way.
struct ReplayPass<'r> {
    runner: &'r ReplayRunner,
    replay: Arc<DiskReplay>,
    declared: DeclaredQueue,
    rate: SendRate,
    /// Events that were taken and are not wanted.
    unwanted: Vec<Sequence>,
}

impl ReplayPass<'_> {
    /// Sends until the end of the replay, or of the queue.
    async fn run(&mut self) -> Result<(), LogError> {
        let stop = self.runner.queue.stop.clone();
        loop {
            let Some(most) = stop.run_until_cancelled(self.until_turn()).await else {
                self.give_back();
                return Ok(());
            };
            if self.is_to_be_cut() {
                self.finish_unwanted().await?;
                self.declared.log.cut_range(self.declared.id).await?;
                self.replay.set_cut();
            }
            let take = self.declared.log.take(self.declared.id, most);
            let take = stop
                .run_until_cancelled(tokio::time::timeout(TAKE_TIMEOUT, take))
                .await;
            // What was taken is handed over whatever stops, so that nothing is forgotten.
            let Some(Ok(taken)) = take else {
                self.finish_unwanted().await?;
                self.replay.queue.release_abandoned();
                continue;
            };
            let taken = taken?;
            if taken.is_empty() && self.unwanted.is_empty() {
                if self.has_parked() {
                    let look = tokio::time::sleep(LOOK_AT_PARKED);
                    stop.run_until_cancelled(look).await;
                    continue;
                }
                return self.end().await;
            }
            self.hand_over_all(taken).await?;
        }
    }

    /// Waits until the log was opened anew. What was taken before is taken again.
    async fn go_on_in(&mut self, declared: &DeclaredQueue) {
        declared.log.until_sound().await;
        self.unwanted.clear();
        self.replay.queue.until_settled().await;
        self.declared = declared.pinned();
    }

    /// True if some of its events are parked, so that the queue has to stay.
    fn has_parked(&self) -> bool {
        let DeclaredQueue { log, id } = &self.declared;
        log.counts(*id).is_ok_and(|counts| counts.parked > 0)
    }

    /// Gives back what was taken and is not finished.
    fn give_back(&mut self) {
        let unwanted = std::mem::take(&mut self.unwanted);
        self.replay.queue.abandon(&unwanted);
        self.replay.queue.release_abandoned();
    }

    fn is_to_be_cut(&self) -> bool {
        self.replay.cut.is_cancelled() && self.replay.is_sending()
    }

    /// Waits until events may be sent; gives their number.
    async fn until_turn(&mut self) -> usize {
        self.until_live_events_are_gone().await;
        loop {
            let room = MOST_UNSETTLED.saturating_sub(self.replay.queue.unsettled());
            let allowed = self.rate.allowed().min(room);
            let has_room = self.replay.queue.budget.has_room_for_queues();
            if (allowed > 0 && has_room) || self.is_to_be_cut() {
                return allowed.max(1);
            }
            let wait = if room == 0 {
                LOOK
            } else {
                self.rate.wait().clamp(LOOK, TAKE_TIMEOUT)
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Waits as long as live events wait for the worker, but not for ever.
    async fn until_live_events_are_gone(&self) {
        let messages = &self.runner.messages;
        let begin = Instant::now();
        while messages.capacity() < messages.max_capacity()
            && begin.elapsed() < LONGEST_YIELD
            && !self.is_to_be_cut()
        {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Hands over what is wanted.
    async fn hand_over_all(&mut self, taken: Vec<TakenEvent>) -> Result<(), LogError> {
        let begin = Instant::now();
        self.replay.count_examined(taken.len());
        let is_last = taken.is_empty();
        for event in taken {
            self.hand_over(event).await;
        }
        let is_ordered = self.runner.queue.order == DeliveryOrder::Ordered;
        if is_last || is_ordered || self.unwanted.len() >= MOST_UNWANTED {
            self.finish_unwanted().await?;
        }
        // Events that are not wanted cost time, too, and live events come first.
        self.rate.spend(begin.elapsed());
        if self.rate.is_turn_over(TURN) {
            tokio::time::sleep(self.rate.take_turn().saturating_mul(3)).await;
        }
        Ok(())
    }

    async fn hand_over(&mut self, taken: TakenEvent) {
        let (sequence, context) = (taken.sequence, &self.runner.context);
        let mut stored = match StoredDelivery::decode(taken, &self.replay.queue.budget) {
            Ok(stored) => stored,
            Err(error) => {
                return park_unreadable(sequence, &self.declared, context, &error).await;
            }
        };
        let is_fresh = stored.is_fresh();
        if is_fresh && !self.replay.wants(&stored.event) {
            self.unwanted.push(sequence);
            return;
        }
        if is_fresh {
            self.replay.count_sent();
        }
        self.rate.count_sent();
        self.replay.mark(Arc::make_mut(&mut stored.event));
        let message = stored.into_message(&self.declared, &self.replay.queue, context);
        // Without a worker, the delivery is given back when it is dropped.
        if self.runner.messages.send(message).await.is_err() {
            tracing::debug!(queue = self.replay.queue.name, "The worker has ended");
        }
    }

    /// Finishes what was not wanted.
    async fn finish_unwanted(&mut self) -> Result<(), LogError> {
        if self.unwanted.is_empty() {
            return Ok(());
        }
        let unwanted = std::mem::take(&mut self.unwanted);
        let DeclaredQueue { log, id } = &self.declared;
        let finished = log.settle_all(*id, unwanted.clone(), SettledOutcome::Delivered);
        let finished = finished.await;
        if finished.is_err() {
            // They are still in flight.
            self.unwanted = unwanted;
        }
        finished
    }

    /// Gives up the queue of a replay that has ended.
    async fn end(&mut self) -> Result<(), LogError> {
        let DeclaredQueue { log, id } = self.declared.clone();
        if let Some(progress) = log.range_progress(id) {
            self.replay.set_last(progress);
        }
        log.retire(id, QueueLeftover::GivenUp).await?;
        let report = self.replay.report();
        tracing::info!(
            queue = self.runner.queue.name,
            replay = report.id,
            sent = report.sent,
            position = report.position,
            stopped = report.stopped,
            "A replay has ended"
        );
        Ok(())
    }
}
