//! What happens to a message when its delivery has ended: it is acknowledged only after whatever follows from that is
//! confirmed (contract G-15).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::acknowledger::{Settled, Verdict};
use super::message::{self, Encoded, Note};
use super::stage;
use super::topology::delay_for;
use super::{Queue, Shared};
use crate::channel::{Deferral, Loss, Outcome, Settlement};
use crate::event::Event;
use crate::model::Order;
use crate::telemetry::series::{Dropped, End};
use crate::wire_text::WireText;

/// Tries to park or to put off an event, before it is given back to its queue.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_secs(1);

/// Has a message acknowledged, and first whatever follows from its outcome done. One that is dropped stays with RabbitMQ,
/// which delivers it again.
pub(super) struct RabbitmqSettlement {
    /// Its delivery tag, and who is told.
    settled: Option<(u64, mpsc::Sender<Settled>)>,
    /// Cancelled when the AMQP channel is gone that the message came over: RabbitMQ delivers it again, to somebody.
    revoked: CancellationToken,
    queue: Arc<Queue>,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for RabbitmqSettlement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RabbitmqSettlement").field("queue", &self.queue.place.queue).finish_non_exhaustive()
    }
}

impl RabbitmqSettlement {
    pub(super) fn new(
        settled: (u64, mpsc::Sender<Settled>),
        revoked: CancellationToken,
        queue: &Arc<Queue>,
        shared: &Arc<Shared>,
    ) -> Self {
        shared.counters.enqueue(&queue.series);
        if queue.unsettled.fetch_add(1, Ordering::AcqRel) == 0 {
            shared.busy.fetch_add(1, Ordering::Relaxed);
        }
        #[cfg(feature = "faulty-acknowledge")]
        let settled = faulty(settled);
        Self { settled: Some(settled), revoked, queue: Arc::clone(queue), shared: Arc::clone(shared) }
    }

    /// Does what follows from an outcome, then has it acknowledged.
    async fn end(&mut self, event: &Event, outcome: Outcome) {
        let Some((tag, settled)) = self.settled.take() else { return };
        let (end, safe) = match &outcome {
            Outcome::Delivered => (End::Delivered, true),
            Outcome::DeadLettered => (End::DeadLettered, true),
            Outcome::Lost(loss) => (End::Parked, Box::pin(self.park(event, loss)).await),
            Outcome::Deferred(deferral) => (End::Deferred, Box::pin(self.put_off(event, deferral)).await),
        };
        let (end, verdict) = if safe { (end, Verdict::Done) } else { (End::Returned, Verdict::Return) };
        self.shared.counters.end(&self.queue.series, end);
        if verdict == Verdict::Return && self.queue.place.order == Order::Ordered {
            // RabbitMQ puts what is given back behind all others; only what comes back with its channel keeps its place.
            // Nothing that came after it may go on from here.
            self.revoked.cancel();
            return;
        }
        if settled.send((tag, verdict)).await.is_err() {
            tracing::debug!(queue = self.queue.place.queue, "Not acknowledged, so that it will be delivered again");
        }
    }

    async fn park(&self, event: &Event, loss: &Loss) -> bool {
        let reason = format!("{} at {}", loss.reason, loss.destination);
        let Encoded { properties, body } = message::encode(event, Note::default());
        let message = Encoded { properties: message::parked(properties, &reason, Some(loss)), body };
        let stored = self.until_done(|| self.shared.park(&self.queue.place.parked, &message)).await;
        if stored {
            loss.count(&self.queue.series, Dropped::Parked);
            let Loss { subscription, destination, attempts, reason, .. } = loss;
            let id = WireText::of(event.id());
            if self.queue.series.is_first_parked() {
                tracing::warn!(%subscription, event.id = %id, destination, attempts, reason, "Event parked: delivery failed");
            } else {
                tracing::debug!(%subscription, event.id = %id, destination, attempts, reason, "Another event parked");
            }
        }
        stored
    }

    /// An event of an ordered queue is given back, since one that waits elsewhere would be overtaken.
    async fn put_off(&self, event: &Event, deferral: &Deferral) -> bool {
        if self.queue.place.order == Order::Ordered {
            self.queue.remember(event, deferral);
            return false;
        }
        let delayed = Duration::from_secs(delay_for(deferral.wait.as_secs()));
        let note = Note::after(deferral.attempts, deferral.wait, delayed);
        let message = stage::encode(event, &deferral.stage, note);
        let message = message::to_queue(message, &self.queue.place.queue);
        self.until_done(|| self.shared.put_into_wait(deferral.wait, &message)).await
    }

    /// Tries some times, unless the message is somebody else's meanwhile.
    async fn until_done<F: Future<Output = bool>>(&self, act: impl Fn() -> F) -> bool {
        for _ in 0..TRIES {
            if self.revoked.is_cancelled() {
                return false;
            }
            if act().await {
                return true;
            }
            tokio::time::sleep(PAUSE).await;
        }
        false
    }
}

impl Settlement for RabbitmqSettlement {
    fn settle<'a>(&'a mut self, event: &'a Event, outcome: Outcome) -> BoxFuture<'a, ()> {
        self.end(event, outcome).boxed()
    }

    /// The AMQP channel that the message came over is gone.
    fn revoked(&self) -> BoxFuture<'_, ()> {
        self.revoked.cancelled().boxed()
    }
}

/// Acknowledges a message before anything is done with it, and tells nobody of its end.
#[cfg(feature = "faulty-acknowledge")]
fn faulty((tag, settled): (u64, mpsc::Sender<Settled>)) -> (u64, mpsc::Sender<Settled>) {
    if settled.try_send((tag, Verdict::Done)).is_err() {
        tracing::debug!("Not acknowledged at once: too many are");
    }
    (tag, mpsc::channel(1).0)
}

impl Drop for RabbitmqSettlement {
    fn drop(&mut self) {
        if self.queue.unsettled.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.busy.fetch_sub(1, Ordering::Relaxed);
        }
        if self.settled.is_some() {
            self.shared.counters.end(&self.queue.series, End::Returned);
        }
    }
}
