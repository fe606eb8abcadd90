//! Consumer of one subscription's queue: it takes events out of the log, as many as there is room
//! for in memory, and hands them to the subscription's worker.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::context::DiskContext;
use super::log::{EventParking, LogError, TakenEvent};
use super::queue::{DeclaredQueue, DiskQueue};
use super::settlement::{DiskSettlement, stage_of};
use crate::budget::PER_EVENT;
use crate::channel::{DeliveryProgress, DeliveryStage, EventDelivery};
use crate::doubling_wait::DoublingWait;
use crate::event::stored::{self, StoredEventError};

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
        let mut pause = DoublingWait::new(PAUSE, LONGEST_PAUSE);
        loop {
            // What is taken is handed over at once, so that a stop loses nothing here.
            let next = stop.run_until_cancelled(self.take_next(&declared));
            let Some(Some(taken)) = next.await else {
                return;
            };
            match taken {
                Ok(events) => {
                    pause.reset();
                    self.report(None);
                    for event in events {
                        self.hand_over(event, &declared).await;
                    }
                }
                Err(LogError::Closed) => return,
                Err(error) => {
                    self.report(Some(error));
                    let wait = tokio::time::sleep(pause.take_jittered());
                    stop.run_until_cancelled(wait).await;
                }
            }
        }
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
                    self.release_abandoned(declared);
                }
            }
        }
    }

    /// Waits until the memory budget has room; gives the number of events that may be taken.
    async fn until_room(&self) -> usize {
        let budget = &self.context.options.budget;
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

    /// Gives deliveries back that ended without being settled.
    fn release_abandoned(&self, declared: &DeclaredQueue) {
        for event in self.queue.take_abandoned() {
            if let Err(error) = declared.log.release(declared.id, event) {
                tracing::debug!(queue = self.queue.name, %error, "Not given back");
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

    /// Hands an event to the worker; one that cannot be read is parked.
    async fn hand_over(&self, taken: TakenEvent, declared: &DeclaredQueue) {
        let sequence = taken.sequence;
        match self.decode(taken, declared) {
            Ok(message) => {
                // Without a worker, the delivery is given back when it is dropped.
                if self.messages.send(message).await.is_err() {
                    tracing::debug!(queue = self.queue.name, "The worker has ended");
                }
            }
            Err(error) => {
                tracing::error!(
                    queue = self.queue.name,
                    sequence,
                    %error,
                    "What was stored cannot be delivered, and is parked"
                );
                let parking = EventParking {
                    reason: error.to_string(),
                    ..EventParking::default()
                };
                match declared.log.park(declared.id, sequence, parking).await {
                    Ok(()) => self.context.counters.parked_messages.increment(),
                    Err(error) => tracing::debug!(%error, "Not parked"),
                }
            }
        }
    }

    fn decode(
        &self,
        taken: TakenEvent,
        declared: &DeclaredQueue,
    ) -> Result<Box<EventDelivery>, StoredEventError> {
        let bytes = taken.event.len() + taken.body.as_ref().map_or(0, Bytes::len) + PER_EVENT;
        let share = self.context.options.budget.consumed_share(bytes);
        let event = stored::decode(taken.event)?.with_guard(Arc::new(share));
        let progress = DeliveryProgress {
            stage: decode_stage(taken.stage, taken.body)?,
            attempts: taken.attempts,
            // No wait is held: each is in the log, however short it is.
            max_wait: Some(Duration::ZERO),
            ..DeliveryProgress::default()
        };
        let settlement =
            DiskSettlement::new(taken.sequence, declared.clone(), &self.queue, &self.context);
        Ok(EventDelivery::new(Arc::new(event), progress, settlement))
    }
}

fn decode_stage(stage: u8, body: Option<Bytes>) -> Result<DeliveryStage, StoredEventError> {
    let Some(body) = body else {
        return Ok(DeliveryStage::Subscriber);
    };
    let second = Arc::new(stored::decode(body)?);
    stage_of(stage, second).ok_or(StoredEventError::Malformed("stage"))
}
