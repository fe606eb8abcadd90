//! What all parts of the backend use: the way out, connections, what is declared, and the queues that are open here.

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::connection::ConnectionPool;
use super::health::LastFailure;
use super::hold::HoldLimit;
use super::message::Encoded;
use super::outbox::{Outbox, PublishFailure};
use super::topology::{QueuePurpose, Topology, delay_for};
use super::{Options, Queue, names};
use crate::telemetry::counters::Counters;

/// Queues that are declared at once.
const DECLARING: usize = 16;
/// How long a queue is left alone that did not take what was moved on to it.
const REFUSED_FOR: Duration = Duration::from_secs(5);
/// Queues that are remembered to have refused.
const MOST_REFUSED: usize = 1024;
/// For what is declared in passing.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What all parts use.
pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) outbox: Arc<Outbox>,
    pub(super) pool: ConnectionPool,
    pub(super) topology: Topology,
    /// Queues that may be declared at once.
    pub(super) declaring: Semaphore,
    pub(super) hold: HoldLimit,
    /// Queues of which messages are held.
    pub(super) busy: AtomicUsize,
    /// The queues that are consumed here, by name.
    open: Mutex<HashMap<String, Arc<Queue>>>,
    /// Queues that did not take what was moved on to them, until when they are left alone.
    refused: Mutex<HashMap<String, Instant>>,
    /// Whether the queues take nothing in which events wait whose own queue is away.
    pub(super) elsewhere: LastFailure,
    pub(super) counters: Arc<Counters>,
}

impl Shared {
    pub(super) fn new(options: Options, outbox: Arc<Outbox>, pool: ConnectionPool, counters: Arc<Counters>) -> Self {
        let (topology, hold) = (Topology::new(options.queue_type), HoldLimit::new(options.consumer_timeout));
        let declaring = Semaphore::new(DECLARING);
        let (busy, open, refused) = (AtomicUsize::new(0), Mutex::default(), Mutex::default());
        let elsewhere = LastFailure::default();
        Self { options, outbox, pool, topology, declaring, hold, busy, open, refused, elsewhere, counters }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<String, Arc<Queue>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a queue that is consumed here.
    pub(super) fn opened(&self, queue: &Arc<Queue>) {
        self.open().insert(queue.place.queue.clone(), Arc::clone(queue));
    }

    /// Notes that a queue is not consumed here any more, unless it was opened anew.
    pub(super) fn closed(&self, queue: &Arc<Queue>) {
        let mut open = self.open();
        if open.get(&queue.place.queue).is_some_and(|known| Arc::ptr_eq(known, queue)) {
            open.remove(&queue.place.queue);
        }
    }

    /// A queue that is consumed here.
    pub(super) fn opened_here(&self, queue: &str) -> Option<Arc<Queue>> {
        self.open().get(queue).cloned()
    }

    /// Whether a queue is consumed here, which sees to it that it is there.
    pub(super) fn is_open_here(&self, queue: &str) -> bool {
        self.open().contains_key(queue)
    }

    /// Publishes to the queue of a subscription, unless it did not take a message a moment ago.
    pub(super) async fn publish_known(&self, queue: &str, message: &Encoded) -> Result<(), PublishFailure> {
        let (known, unknown) = (self.open().get(queue).cloned(), Arc::default());
        if known.as_ref().is_some_and(|known| known.is_left_alone()) || self.has_refused(queue) {
            return Err(PublishFailure::Nacked);
        }
        let way = known.as_ref().map_or(&unknown, |known| &known.way);
        let published = self.outbox.publish(queue, way, &Arc::new(message.clone())).await;
        if published == Err(PublishFailure::Unroutable) {
            self.counters.rabbitmq_unroutable.increment();
        }
        match (published, known) {
            (Err(PublishFailure::Unroutable), Some(known)) => known.declare_again(),
            (Err(PublishFailure::Nacked | PublishFailure::Unconfirmed), _) => self.note_refused(queue),
            _ => {}
        }
        published
    }

    fn has_refused(&self, queue: &str) -> bool {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match refused.get(queue) {
            Some(until) if *until > now => true,
            Some(_) => {
                refused.remove(queue);
                false
            }
            None => false,
        }
    }

    fn note_refused(&self, queue: &str) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.len() < MOST_REFUSED {
            refused.insert(queue.to_owned(), Instant::now() + REFUSED_FOR);
        }
    }

    /// Puts a message that says where it is on the way to where it waits for about so long. Whether that has it now.
    pub(super) async fn put_into_wait(&self, wait: Duration, message: &Encoded) -> bool {
        let seconds = delay_for(wait.as_secs());
        self.put_into(&names::wait(seconds), QueuePurpose::Wait(seconds), message).await
    }

    /// Puts a message into a parking queue. Whether it has it now.
    pub(super) async fn park(&self, parked: &str, message: &Encoded) -> bool {
        let is_last = parked == names::RETURNED_PARKED;
        let purpose = if is_last { QueuePurpose::ReturnedParked } else { QueuePurpose::Parking };
        self.put_into(parked, purpose, message).await
    }

    /// Puts a message into a queue that is declared before its first one. Whether it has it now.
    async fn put_into(&self, queue: &str, purpose: QueuePurpose, message: &Encoded) -> bool {
        let message = Arc::new(message.clone());
        // The second time, since somebody may have deleted it.
        for _ in 0..2 {
            let on_demand = self.topology.on_demand(queue);
            if !on_demand.declared.initialized() && !self.declare(queue, purpose).await {
                return false;
            }
            match self.outbox.publish(queue, &on_demand.way, &message).await {
                Ok(()) => return true,
                Err(PublishFailure::Unroutable) => self.topology.forget(queue),
                Err(failure) => {
                    tracing::debug!(queue, %failure, "A message could not be put off or parked");
                    return false;
                }
            }
        }
        false
    }

    async fn declare(&self, queue: &str, purpose: QueuePurpose) -> bool {
        let Some(connection) = self.pool.any() else { return false };
        let ensure = self.topology.ensure_once(&connection.connection, queue, purpose);
        let ensured = connection.run_within(TIMEOUT, ensure).await;
        ensured.inspect_err(|error| tracing::debug!(queue, error, "A queue cannot be declared")).is_ok()
    }
}
