//! What happens to a message when its delivery has ended: it is acknowledged only after whatever follows from that is
//! confirmed (gaps.md G-15).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;

use super::acknowledger::{Settled, Verdict};
use super::message::{self, Encoded, Note};
use super::outbox::{Confirmed, Letter};
use super::topology::{declare_delay, delay_for};
use super::{Queue, Shared};
use super::{names, stage};
use crate::channel::{Deferral, Loss, Outcome};
use crate::event::Event;
use crate::telemetry::series::{Dropped, End};

/// Tries to park or to put off an event, before it is given back to its queue.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_secs(1);

/// The obligation to acknowledge a message. One that is dropped stays with RabbitMQ, which delivers it again.
pub(in crate::channel) struct Ticket {
    /// Its delivery tag, and who is told.
    settled: Option<(u64, mpsc::Sender<Settled>)>,
    queue: Arc<Queue>,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticket").field("queue", &self.queue.place.queue).finish_non_exhaustive()
    }
}

impl Ticket {
    pub(super) fn new(settled: (u64, mpsc::Sender<Settled>), queue: &Arc<Queue>, shared: &Arc<Shared>) -> Self {
        shared.counters.enqueue(&queue.series);
        queue.unsettled.fetch_add(1, Ordering::AcqRel);
        #[cfg(feature = "faulty-acknowledge")]
        let settled = faulty(settled);
        Self { settled: Some(settled), queue: Arc::clone(queue), shared: Arc::clone(shared) }
    }

    /// Does what follows from an outcome, then has it acknowledged.
    pub(in crate::channel) async fn settle(mut self, event: &Event, outcome: Outcome) {
        let Some((tag, settled)) = self.settled.take() else { return };
        let (end, safe) = match &outcome {
            Outcome::Delivered => (End::Delivered, true),
            Outcome::DeadLettered => (End::DeadLettered, true),
            Outcome::Lost(loss) => (End::Parked, Box::pin(self.park(event, loss)).await),
            Outcome::Deferred(deferral) => (End::Deferred, Box::pin(self.put_off(event, deferral)).await),
        };
        let (end, verdict) = if safe { (end, Verdict::Done) } else { (End::Returned, Verdict::Return) };
        self.shared.counters.end(&self.queue.series, end);
        if settled.send((tag, verdict)).await.is_err() {
            tracing::debug!(queue = self.queue.place.queue, "Not acknowledged, so that it will be delivered again");
        }
    }

    async fn park(&self, event: &Event, loss: &Loss) -> bool {
        let reason = format!("{} at {}", loss.reason, loss.destination);
        let Encoded { properties, body } = message::encode(event, Note::default());
        let properties = message::parked(properties, &reason, Some(loss));
        let stored = self.publish("", &self.queue.place.parked, &Encoded { properties, body }).await;
        if stored {
            loss.count(&self.queue.series, Dropped::Parked);
            let Loss { subscription, destination, attempts, reason, .. } = loss;
            tracing::warn!(%subscription, event.id = %event.id(), destination, attempts, reason, "Event parked: delivery failed");
        }
        stored
    }

    async fn put_off(&self, event: &Event, deferral: &Deferral) -> bool {
        let delay = delay_for(deferral.wait.as_secs());
        let message = stage::encode(event, &deferral.stage, Note::after(deferral.attempts, deferral.wait));
        let (exchange, queue) = (names::delay(delay), &self.queue.place.queue);
        for _ in 0..TRIES {
            if self.has_delay(delay).await && self.publish_once(&exchange, queue, &message).await {
                return true;
            }
            // Perhaps somebody has deleted it.
            self.shared.delays.lock().await.remove(&delay);
            tokio::time::sleep(PAUSE).await;
        }
        false
    }

    /// Declares the delay, once in the life of this process.
    async fn has_delay(&self, seconds: u64) -> bool {
        if self.shared.delays.lock().await.contains(&seconds) {
            return true;
        }
        let connection = self.shared.consuming.current.borrow().clone();
        let Some(connection) = connection else { return false };
        match declare_delay(&connection, seconds, self.shared.options.queue_type).await {
            Ok(()) => self.shared.delays.lock().await.insert(seconds),
            Err(error) => {
                tracing::warn!(seconds, %error, "No queue to hold events back");
                return false;
            }
        };
        true
    }

    /// Publishes until a queue has it, some times.
    async fn publish(&self, exchange: &str, routing_key: &str, message: &Encoded) -> bool {
        for _ in 0..TRIES {
            if self.publish_once(exchange, routing_key, message).await {
                return true;
            }
            tokio::time::sleep(PAUSE).await;
        }
        false
    }

    /// Whether a queue has it now.
    async fn publish_once(&self, exchange: &str, routing_key: &str, message: &Encoded) -> bool {
        let properties = message.properties.clone();
        let letter = Letter { exchange, routing_key, properties, body: &message.body };
        match self.shared.outbox.publish(letter).await {
            Ok(Confirmed::Stored) => return true,
            Ok(Confirmed::Unroutable) => tracing::warn!(routing_key, "The queue for an event is gone"),
            Err(error) => tracing::debug!(routing_key, error, "Could not publish, trying again"),
        }
        false
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

impl Drop for Ticket {
    fn drop(&mut self) {
        self.queue.unsettled.fetch_sub(1, Ordering::AcqRel);
        if self.settled.is_some() {
            self.shared.counters.end(&self.queue.series, End::Returned);
        }
    }
}
