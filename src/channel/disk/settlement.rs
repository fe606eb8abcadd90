//! Settlement of a delivery that has ended: the log is told, and what follows from the outcome is in
//! the same log.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::context::DiskContext;
use super::log::{EventDeferral, EventParking, LogError, Sequence, SettledOutcome};
use super::queue::{DeclaredQueue, DiskQueue, EndedDelivery};
use crate::channel::{
    DeferredDelivery, DeliveryOutcome, DeliverySettlement, DeliveryStage, LostDelivery,
};
use crate::event::{Event, stored};
use crate::observation::{ObservedEnd, ObservedFact};
use crate::telemetry::series::{DeliveryEnd, Dropped};

/// Tries to write the end of a delivery while there is no room for it, with the pause between them.
const TRIES: u32 = 10;
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// Numbers of the stages in the log.
const SUBSCRIBER: u8 = 0;
const REPLY: u8 = 1;
const DEAD_LETTER_SINK: u8 = 2;

/// Stage of this number, with the event that goes there.
pub(super) fn stage_of(number: u8, second: Arc<Event>) -> Option<DeliveryStage> {
    match number {
        REPLY => Some(DeliveryStage::Reply(second)),
        DEAD_LETTER_SINK => Some(DeliveryStage::DeadLetterSink(second)),
        _ => None,
    }
}

/// Tells the log how a delivery ended. If it is dropped before, the event is taken again.
pub(super) struct DiskSettlement {
    sequence: Sequence,
    declared: DeclaredQueue,
    queue: Arc<DiskQueue>,
    context: Arc<DiskContext>,
    /// True once it is known how the delivery ended, so that it is counted once.
    is_settled: bool,
    /// True if the acknowledger counts the delivery as settled.
    is_acknowledged: bool,
}

impl std::fmt::Debug for DiskSettlement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiskSettlement")
            .field("queue", &self.queue.name)
            .field("sequence", &self.sequence)
            .finish_non_exhaustive()
    }
}

impl DiskSettlement {
    pub(super) fn new(
        sequence: Sequence,
        declared: DeclaredQueue,
        queue: &Arc<DiskQueue>,
        context: &Arc<DiskContext>,
    ) -> Self {
        context.counters.count_enqueued(&queue.series);
        queue.count_handed_over();
        Self {
            sequence,
            declared,
            queue: Arc::clone(queue),
            context: Arc::clone(context),
            is_settled: false,
            is_acknowledged: false,
        }
    }

    /// Has the acknowledger write that the delivery has ended, and tell so.
    fn acknowledge(&mut self, event: &Event, outcome: SettledOutcome) {
        (self.is_settled, self.is_acknowledged) = (true, true);
        let ended = EndedDelivery {
            sequence: self.sequence,
            note: self.context.counters.observer.note(event),
        };
        self.queue.acknowledge(ended, outcome);
    }

    /// Writes what follows from a delivery that has failed.
    async fn apply_failure(&mut self, event: &Event, outcome: DeliveryOutcome) {
        let end = match &outcome {
            DeliveryOutcome::Lost(_) => DeliveryEnd::Parked,
            _ => DeliveryEnd::Deferred,
        };
        let written = self.write_while_full(&outcome).await;
        self.is_settled = true;
        if let Err(error) = written {
            tracing::debug!(queue = self.queue.name, %error, "The end of a delivery is not on the disk");
            self.count_end(DeliveryEnd::Requeued);
            self.observe(event, &ObservedFact::Ended(ObservedEnd::Requeued, ""));
            self.queue.abandon(&[self.sequence]);
            return;
        }
        self.count_end(end);
        self.observe(event, &outcome.observed(ObservedEnd::Parked));
        if let DeliveryOutcome::Lost(loss) = &outcome {
            loss.count_dropped(&self.queue.series, Dropped::Parked);
            loss.log_parked(event, &self.queue.series);
        }
    }

    /// Tells observers what has happened to the event.
    pub(super) fn observe(&self, event: &Event, fact: &ObservedFact<'_>) {
        let (observer, series) = (&self.context.counters.observer, &self.queue.series);
        observer.observe(event, series.observed(), fact);
    }

    fn count_end(&self, end: DeliveryEnd) {
        self.context.counters.count_end(&self.queue.series, end);
    }

    /// Writes the end, again for a while if the disk is full: what ends events makes room.
    async fn write_while_full(&self, outcome: &DeliveryOutcome) -> Result<(), LogError> {
        let mut written = self.write(outcome).await;
        for _ in 1..TRIES {
            if !matches!(written, Err(LogError::Full { .. })) {
                break;
            }
            tokio::time::sleep(PAUSE).await;
            written = self.write(outcome).await;
        }
        written
    }

    async fn write(&self, outcome: &DeliveryOutcome) -> Result<(), LogError> {
        let DeclaredQueue { log, id } = &self.declared;
        match outcome {
            DeliveryOutcome::Delivered | DeliveryOutcome::DeadLettered => Ok(()),
            DeliveryOutcome::Lost(loss) => log.park(*id, self.sequence, parking(loss)).await,
            DeliveryOutcome::Deferred(deferred) => {
                log.defer(*id, self.sequence, deferral(deferred)).await
            }
        }
    }
}

fn parking(loss: &LostDelivery) -> EventParking {
    EventParking {
        attempts: loss.attempts,
        code: loss.code,
        reason: loss.reason.clone(),
        destination: loss.destination.clone(),
    }
}

fn deferral(deferred: &DeferredDelivery) -> EventDeferral {
    let (stage, second) = match &deferred.stage {
        DeliveryStage::Subscriber => (SUBSCRIBER, None),
        DeliveryStage::Reply(reply) => (REPLY, Some(reply)),
        DeliveryStage::DeadLetterSink(dead) => (DEAD_LETTER_SINK, Some(dead)),
    };
    EventDeferral {
        stage,
        attempts: deferred.attempts,
        wait: deferred.wait,
        body: second.map(|second| stored::encode(second)),
    }
}

impl DeliverySettlement for DiskSettlement {
    fn settle<'a>(&'a mut self, event: &'a Event, outcome: DeliveryOutcome) -> BoxFuture<'a, ()> {
        let ended = match outcome {
            DeliveryOutcome::Delivered => SettledOutcome::Delivered,
            DeliveryOutcome::DeadLettered => SettledOutcome::DeadLettered,
            failed => return self.apply_failure(event, failed).boxed(),
        };
        self.acknowledge(event, ended);
        std::future::ready(()).boxed()
    }

    fn observe_abandoned(&self, event: &Event, why: &str) {
        self.observe(event, &ObservedFact::Ended(ObservedEnd::Requeued, why));
    }
}

impl Drop for DiskSettlement {
    fn drop(&mut self) {
        if !self.is_acknowledged {
            self.queue.count_settled(1);
        }
        if !self.is_settled {
            self.count_end(DeliveryEnd::Requeued);
            self.queue.abandon(&[self.sequence]);
        }
    }
}
