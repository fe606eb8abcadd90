//! Context that all parts of the backend share: publisher, connections, topology, and the queues
//! that are open in this process.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::confirming_publisher::ConfirmingPublisher;
use super::connection_pool::AmqpConnectionPool;
use super::delay_queue::delay_seconds;
use super::health::LastFailure;
use super::hold_limit::HoldLimit;
use super::message::amqp_message::AmqpMessage;
use super::metrics::RabbitmqMetrics;
use super::open_queues::OpenQueues;
use super::options::RabbitmqBackendOptions;
use super::publish_error::RabbitmqPublishError;
use super::queue::RabbitmqQueue;
use super::queue_arguments::QueuePurpose;
use super::queue_names;
use super::refused_queues::RefusedQueues;
use super::topology::RabbitmqTopology;
use crate::telemetry::counters::ProcessCounters;

/// Queues that are declared at once.
const DECLARING: usize = 16;
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
    pub(super) open_queues: OpenQueues,
    refused_queues: RefusedQueues,
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
        Self {
            topology: RabbitmqTopology::new(options.queue_type),
            hold_limit: HoldLimit::new(options.consumer_timeout),
            options,
            publisher,
            pool,
            declare_permits: Semaphore::new(DECLARING),
            busy_queues: AtomicUsize::new(0),
            open_queues: OpenQueues::default(),
            refused_queues: RefusedQueues::default(),
            diversion_failure: LastFailure::default(),
            counters,
            metrics,
        }
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
        let known = self.open_queues.find(queue);
        // Forwarded messages are many: one is tried now and then, the others wait.
        let is_suspended = known
            .as_ref()
            .is_some_and(|known| known.is_publishing_suspended());
        if is_suspended || self.refused_queues.contains(queue) {
            return Err(RabbitmqPublishError::Nacked);
        }
        let route = known
            .as_ref()
            .map_or_else(Arc::default, |known| Arc::clone(&known.publish_route));
        let message = Arc::new(message.clone());
        let published = self.publisher.publish(queue, &route, &message).await;
        if let Err(failure) = published {
            self.record_failure(queue, known.as_deref(), failure);
        }
        published
    }

    /// Records why a queue did not take a message, so that it is left alone or declared again.
    fn record_failure(
        &self,
        name: &str,
        queue: Option<&RabbitmqQueue>,
        failure: RabbitmqPublishError,
    ) {
        match failure {
            RabbitmqPublishError::Unroutable => {
                self.metrics.unroutable.increment();
                if let Some(queue) = queue {
                    queue.mark_missing();
                }
            }
            RabbitmqPublishError::Nacked | RabbitmqPublishError::Unconfirmed => {
                self.refused_queues.record(name);
            }
            RabbitmqPublishError::NoConnection
            | RabbitmqPublishError::Blocked
            | RabbitmqPublishError::Interrupted => {}
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
