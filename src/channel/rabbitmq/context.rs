//! Context that all parts of the backend share: publisher, connections, topology, and the queues
//! that are open in this process.

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::confirming_publisher::{ConfirmingPublisher, RabbitmqPublishError};
use super::connection::AmqpConnectionPool;
use super::health::LastFailure;
use super::hold_limit::HoldLimit;
use super::message::AmqpMessage;
use super::metrics::RabbitmqMetrics;
use super::topology::{QueuePurpose, RabbitmqTopology, delay_seconds};
use super::{RabbitmqBackendOptions, RabbitmqQueue, queue_names};
use crate::telemetry::counters::ProcessCounters;

/// Queues that are declared at once.
const DECLARING: usize = 16;
/// Time for which a queue is left alone that did not take a forwarded message.
const REFUSED_FOR: Duration = Duration::from_secs(5);
/// Largest number of queues that are remembered to have refused.
const MOST_REFUSED: usize = 1024;
/// Longest time for the declaration of a queue on demand.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Parts and state of the backend that are needed everywhere in it.
pub(super) struct RabbitmqContext {
    pub(super) options: RabbitmqBackendOptions,
    pub(super) publisher: Arc<ConfirmingPublisher>,
    pub(super) pool: AmqpConnectionPool,
    pub(super) topology: RabbitmqTopology,
    /// Permits for declaring queues, [`DECLARING`] at once.
    pub(super) declare_permits: Semaphore,
    pub(super) hold_limit: HoldLimit,
    /// Number of queues of which messages are held in this process.
    pub(super) busy_queues: AtomicUsize,
    /// Queues that are consumed in this process, by name.
    open_queues: Mutex<HashMap<String, Arc<RabbitmqQueue>>>,
    /// Queues that did not take a forwarded message, each with the time until which it is left
    /// alone.
    refused_queues: Mutex<HashMap<String, Instant>>,
    /// State of diverting: failing if the delay queues take no messages, either.
    pub(super) diversion_failure: LastFailure,
    pub(super) counters: Arc<ProcessCounters>,
    pub(super) metrics: Arc<RabbitmqMetrics>,
}

impl RabbitmqContext {
    pub(super) fn new(
        options: RabbitmqBackendOptions,
        publisher: Arc<ConfirmingPublisher>,
        pool: AmqpConnectionPool,
        counters: Arc<ProcessCounters>,
        metrics: Arc<RabbitmqMetrics>,
    ) -> Self {
        let (topology, hold_limit) = (
            RabbitmqTopology::new(options.queue_type),
            HoldLimit::new(options.consumer_timeout),
        );
        let declare_permits = Semaphore::new(DECLARING);
        let (busy_queues, open_queues, refused_queues) =
            (AtomicUsize::new(0), Mutex::default(), Mutex::default());
        let diversion_failure = LastFailure::default();
        Self {
            options,
            publisher,
            pool,
            topology,
            declare_permits,
            hold_limit,
            busy_queues,
            open_queues,
            refused_queues,
            diversion_failure,
            counters,
            metrics,
        }
    }

    fn open_queues(&self) -> MutexGuard<'_, HashMap<String, Arc<RabbitmqQueue>>> {
        self.open_queues
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a queue that is consumed in this process.
    pub(super) fn add_open_queue(&self, queue: &Arc<RabbitmqQueue>) {
        self.open_queues()
            .insert(queue.names.queue.clone(), Arc::clone(queue));
    }

    /// Removes a queue that is not consumed in this process any more, unless it was opened anew.
    pub(super) fn remove_open_queue(&self, queue: &Arc<RabbitmqQueue>) {
        let mut open = self.open_queues();
        if open
            .get(&queue.names.queue)
            .is_some_and(|known| Arc::ptr_eq(known, queue))
        {
            open.remove(&queue.names.queue);
        }
    }

    /// Finds a queue that is consumed in this process; `None` if it is not.
    pub(super) fn open_queue(&self, queue: &str) -> Option<Arc<RabbitmqQueue>> {
        self.open_queues().get(queue).cloned()
    }

    /// True if a queue is consumed in this process, whose consumer sees to it that the queue
    /// exists.
    pub(super) fn has_open_queue(&self, queue: &str) -> bool {
        self.open_queues().contains_key(queue)
    }

    /// Publishes to the queue of a subscription, unless the queue did not take a message a moment
    /// ago.
    ///
    /// # Errors
    /// If it is not known that the message is stored.
    pub(super) async fn publish_unless_refused(
        &self,
        queue: &str,
        message: &AmqpMessage,
    ) -> Result<(), RabbitmqPublishError> {
        let (known, unknown) = (self.open_queues().get(queue).cloned(), Arc::default());
        // Forwarded messages are many: one is tried now and then, the others wait.
        if known
            .as_ref()
            .is_some_and(|known| known.is_publishing_suspended())
            || self.has_refused(queue)
        {
            return Err(RabbitmqPublishError::Nacked);
        }
        let route = known
            .as_ref()
            .map_or(&unknown, |known| &known.publish_route);
        let published = self
            .publisher
            .publish(queue, route, &Arc::new(message.clone()))
            .await;
        if published == Err(RabbitmqPublishError::Unroutable) {
            self.metrics.unroutable.increment();
        }
        match (published, known) {
            (Err(RabbitmqPublishError::Unroutable), Some(known)) => known.mark_missing(),
            (Err(RabbitmqPublishError::Nacked | RabbitmqPublishError::Unconfirmed), _) => {
                self.record_refused(queue)
            }
            _ => {}
        }
        published
    }

    fn has_refused(&self, queue: &str) -> bool {
        let mut refused = self
            .refused_queues
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
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

    fn record_refused(&self, queue: &str) {
        let mut refused = self
            .refused_queues
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if refused.len() < MOST_REFUSED {
            refused.insert(queue.to_owned(), Instant::now() + REFUSED_FOR);
        }
    }

    /// Publishes a message that names its target queue to the delay queue for about this wait. True
    /// if the message is stored there.
    pub(super) async fn put_into_delay_queue(&self, wait: Duration, message: &AmqpMessage) -> bool {
        let seconds = delay_seconds(wait.as_secs());
        self.declare_and_publish(
            &queue_names::delay_queue(seconds),
            QueuePurpose::Delay(seconds),
            message,
        )
        .await
    }

    /// Publishes a message to a parking queue. True if the message is stored there.
    pub(super) async fn park(&self, parked: &str, message: &AmqpMessage) -> bool {
        let is_last = parked == queue_names::DEAD_LETTERED_PARKED;
        let purpose = if is_last {
            QueuePurpose::DeadLetteredParked
        } else {
            QueuePurpose::Parking
        };
        self.declare_and_publish(parked, purpose, message).await
    }

    /// Publishes a message to a queue that is declared before its first one. True if the message is
    /// stored there.
    async fn declare_and_publish(
        &self,
        queue: &str,
        purpose: QueuePurpose,
        message: &AmqpMessage,
    ) -> bool {
        let message = Arc::new(message.clone());
        // There is a second try, since somebody may have deleted the queue after it was declared.
        for _ in 0..2 {
            let on_demand = self.topology.on_demand(queue);
            if !on_demand.declared.initialized() && !self.declare_on_demand(queue, purpose).await {
                return false;
            }
            match self
                .publisher
                .publish(queue, &on_demand.publish_route, &message)
                .await
            {
                Ok(()) => return true,
                Err(RabbitmqPublishError::Unroutable) => self.topology.forget_declared(queue),
                Err(failure) => {
                    tracing::debug!(queue, %failure, "A message could not be put off or parked");
                    return false;
                }
            }
        }
        false
    }

    async fn declare_on_demand(&self, queue: &str, purpose: QueuePurpose) -> bool {
        let Some(connection) = self.pool.any_open() else {
            return false;
        };
        let ensure = self
            .topology
            .declare_once(&connection.connection, queue, purpose);
        let ensured = connection.run_within(TIMEOUT, ensure).await;
        ensured
            .inspect_err(|error| tracing::debug!(queue, error, "A queue cannot be declared"))
            .is_ok()
    }
}
