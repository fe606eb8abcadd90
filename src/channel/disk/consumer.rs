//! Consumer of one subscription's queue: it takes events out of the log, as many as there is room
//! for in memory, and hands them to the subscription's worker.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::context::DiskContext;
use super::log::{LogError, Sequence, SettledOutcome, TakenEvent};
use super::queue::{DeclaredQueue, DiskQueue};
use super::stored_delivery::{StoredDelivery, park_unreadable};
use crate::channel::EventDelivery;
use crate::doubling_wait::DoublingWait;

/// Wait before a queue is read again that could not be; it doubles up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// Period in which a consumer that waits for memory looks for room, should it not be notified, and
/// after which deliveries that were broken off are given back.
const LOOK: Duration = Duration::from_millis(250);

/// Consumer of one queue.
pub(super) struct DiskConsumer {
    queue: Arc<DiskQueue>,
    context: Arc<DiskContext>,
    messages: mpsc::Sender<Box<EventDelivery>>,
}

impl DiskConsumer {
    pub(super) fn new(
        queue: &Arc<DiskQueue>,
        context: &Arc<DiskContext>,
        messages: mpsc::Sender<Box<EventDelivery>>,
    ) -> Self {
        Self {
            queue: Arc::clone(queue),
            context: Arc::clone(context),
            messages,
        }
    }

    /// Consumes until the queue is given up.
    pub(super) async fn run(self) {
        let stop = self.queue.stop.clone();
        let declared = stop.run_until_cancelled(self.queue.declared.wait());
        let Some(declared) = declared.await.cloned() else {
            return;
        };
        let range = declared.log.range_progress(declared.id);
        let begin = range.map_or(0, |progress| progress.range.until);
        let mut pause = DoublingWait::new(PAUSE, LONGEST_PAUSE);
        let mut current = declared.pinned();
        loop {
            // What is taken is handed over at once, so that a stop loses nothing here.
            let next = stop.run_until_cancelled(self.take_next(&current));
            let Some(Some(taken)) = next.await else {
                return;
            };
            match taken {
                Ok(events) => {
                    pause.reset();
                    self.report(None);
                    self.hand_over_all(events, &current, begin).await;
                }
                Err(LogError::Closed) => return,
                Err(error) => {
                    self.report(Some(error));
                    if current.log.failure().is_none() {
                        let wait = tokio::time::sleep(pause.take_jittered());
                        stop.run_until_cancelled(wait).await;
                        continue;
                    }
                    stop.run_until_cancelled(self.until_reopened(&declared))
                        .await;
                    current = declared.pinned();
                }
            }
        }
    }

    /// Waits until the log was opened anew.
    async fn until_reopened(&self, declared: &DeclaredQueue) {
        declared.log.until_sound().await;
        self.report(None);
        self.queue.until_settled().await;
    }

    /// Takes as many events as the worker and the memory budget have room for; `None` if the worker
    /// has ended.
    async fn take_next(
        &self,
        declared: &DeclaredQueue,
    ) -> Option<Result<Vec<TakenEvent>, LogError>> {
        // The slot is free as long as nobody else sends.
        drop(self.messages.reserve().await.ok()?);
        let most = self.until_room().await.min(self.messages.capacity());
        let mut take = Box::pin(declared.log.take(declared.id, most));
        loop {
            tokio::select! {
                taken = &mut take => return Some(taken),
                () = self.queue.broken_off.notified() => {
                    // A delivery that panics again and again does so at a bearable rate.
                    tokio::time::sleep(LOOK).await;
                    self.queue.release_abandoned();
                }
            }
        }
    }

    /// Waits until the memory budget has room; gives the number of events that may be taken.
    async fn until_room(&self) -> usize {
        let budget = &self.queue.budget;
        loop {
            if budget.has_room_for_queues() {
                return usize::MAX;
            }
            if self.queue.unsettled() == 0 && budget.has_room_for_one() {
                return 1;
            }
            let look = tokio::time::sleep(LOOK.mul_f64(0.5 + fastrand::f64()));
            tokio::select! {
                () = budget.until_released() => {}
                () = look => {}
            }
        }
    }

    /// Notes and logs whether the queue can be read.
    fn report(&self, failure: Option<LogError>) {
        let text = failure.as_ref().map(ToString::to_string);
        if self.queue.set_failure(failure) {
            let (queue, channel) = (&self.queue.name, &self.queue.log.channel);
            match text {
                Some(error) => {
                    tracing::error!(queue, %channel, error, "Events cannot be read from the disk");
                }
                None => tracing::info!(queue, %channel, "Events can be read again"),
            }
        }
    }

    /// Hands events to the worker. Those that cannot be read are parked; those are finished that the
    /// queue holds only since it began with what was there, and that its filter does not let pass.
    async fn hand_over_all(
        &self,
        events: Vec<TakenEvent>,
        declared: &DeclaredQueue,
        begin: Sequence,
    ) {
        let mut unwanted = Vec::new();
        for taken in events {
            let sequence = taken.sequence;
            match StoredDelivery::share(taken, &self.queue.budget, &self.queue.log.recent) {
                Ok(stored) if sequence < begin && !self.wants(&stored) => unwanted.push(sequence),
                Ok(stored) => {
                    let message = stored.into_message(declared, &self.queue, &self.context);
                    // Without a worker, the delivery is given back when it is dropped.
                    if self.messages.send(message).await.is_err() {
                        tracing::debug!(queue = self.queue.name, "The worker has ended");
                    }
                }
                Err(error) => park_unreadable(sequence, declared, &self.context, &error).await,
            }
        }
        if !unwanted.is_empty() {
            let (log, outcome) = (&declared.log, SettledOutcome::Delivered);
            let finished = log.settle_all(declared.id, unwanted, outcome).await;
            if let Err(error) = finished {
                tracing::debug!(queue = self.queue.name, %error, "Not finished");
            }
        }
    }

    fn wants(&self, stored: &StoredDelivery) -> bool {
        !stored.is_fresh() || self.queue.subscription().filter.matches(&stored.event)
    }
}
