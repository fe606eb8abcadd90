//! Publication of one message to the queue of one subscription: it is tried until the queue has the
//! message, or is diverted to a delay queue, until the sender's time is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::SemaphorePermit;
use tokio::time::Instant;

use super::context::RabbitmqContext;
use super::delay_queue::DIVERSION_DELAYS;
use super::health::QueueState;
use super::message::amqp_message::AmqpMessage;
use super::publish_error::RabbitmqPublishError;
use super::queue::RabbitmqQueue;
use super::queue_inspection::inspect_queue;
use crate::channel::PublishError;
use crate::channel::subscription_queues::SubscriptionQueue;
use crate::doubling_wait::DoublingWait;
use crate::model::{DeliveryOrder, Subscription};

/// Time for which a queue may refuse messages before it counts as unavailable: as long as an
/// election may take.
const ELECTION: Duration = Duration::from_secs(4);
/// Wait after the first refusal; it doubles up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// Longest time for a look at a queue; one without a leader does not answer.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest time for storing a message in one delay queue.
const DIVERT_TIMEOUT: Duration = Duration::from_millis(1500);
/// Refusals after RabbitMQ has answered for a queue that make sure that the queue is full: each is
/// on a channel that was opened since.
const REFUSALS_OF_FULL_QUEUE: u32 = 2;

/// A message on its way into one queue.
pub(super) struct QueuePublication<'p> {
    context: &'p RabbitmqContext,
    subscription: &'p Subscription,
    queue: &'p RabbitmqQueue,
    message: &'p Arc<AmqpMessage>,
    /// End of the time that the sender waits.
    deadline: Instant,
    refusals: PublishRefusals,
}

impl<'p> QueuePublication<'p> {
    pub(super) fn new(
        context: &'p RabbitmqContext,
        to: &'p SubscriptionQueue<RabbitmqQueue>,
        message: &'p Arc<AmqpMessage>,
        deadline: Instant,
    ) -> Self {
        Self {
            context,
            subscription: &to.subscription,
            queue: &to.queue,
            message,
            deadline,
            refusals: PublishRefusals::default(),
        }
    }

    /// Publishes until the queue has the message, or the deadline is over.
    ///
    /// # Errors
    /// If neither the queue nor a delay queue has the message.
    pub(super) async fn run(mut self) -> Result<(), PublishError> {
        loop {
            let Some(permit) = self.acquire_permit().await? else {
                return self.divert_to_delay_queue().await;
            };
            let published = self.publish().await;
            // The permit is given back before the wait, so that other messages of the queue may
            // try.
            drop(permit);
            let Err(failure) = published else {
                self.queue.published.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            };
            // The wait for the next step counts against the same deadline.
            let deadline = self.deadline;
            let next = self.step_after_failure(failure);
            match tokio::time::timeout_at(deadline, next).await {
                Ok(PublishStep::Retry) => {}
                Ok(PublishStep::Divert) => return self.divert_to_delay_queue().await,
                Ok(PublishStep::Full) => {
                    return Err(PublishError::Full {
                        subscription: self.subscription.key.clone(),
                    });
                }
                Ok(PublishStep::Fail) | Err(_) => {
                    return Err(PublishError::Unavailable(format!(
                        "{failure}, for {}",
                        self.subscription.key
                    )));
                }
            }
        }
    }

    async fn publish(&self) -> Result<(), RabbitmqPublishError> {
        let queue = self.queue;
        let publish =
            self.context
                .publisher
                .publish(&queue.names.queue, &queue.publish_route, self.message);
        let published = tokio::time::timeout_at(self.deadline, publish).await;
        published.unwrap_or(Err(RabbitmqPublishError::Unconfirmed))
    }

    /// Waits for the permit to send a message to the queue; `None` if the message is to be diverted,
    /// since RabbitMQ does not answer for the queue. That may be found out during the wait.
    async fn acquire_permit(&self) -> Result<Option<SemaphorePermit<'p>>, PublishError> {
        // An unavailable queue is not waited for: messages without a confirm may hold all its
        // permits.
        if self.queue.is_unavailable() && self.queue.names.order == DeliveryOrder::Unordered {
            return Ok(None);
        }
        let permit = tokio::time::timeout_at(self.deadline, self.until_permitted()).await;
        permit.unwrap_or_else(|_elapsed| match self.queue.health.state() {
            QueueState::Unavailable => Err(self.unavailable("RabbitMQ does not answer for")),
            _ => Err(self.unavailable("too many events wait for")),
        })
    }

    async fn until_permitted(&self) -> Result<Option<SemaphorePermit<'p>>, PublishError> {
        loop {
            let permit = self.queue.publish_window.acquire().await;
            // The state is read after the wait for the permit, during which it may have changed.
            match (self.queue.is_unavailable(), self.queue.names.order) {
                (true, DeliveryOrder::Unordered) => return Ok(None),
                (true, DeliveryOrder::Ordered) if !self.queue.trial_limit.is_due() => {}
                _ => {
                    let stopped = "the process does not publish any more to";
                    return permit
                        .map(Some)
                        .map_err(|_closed| self.unavailable(stopped));
                }
            }
            drop(permit);
            self.queue.health.until_served().await;
        }
    }

    fn unavailable(&self, what: &str) -> PublishError {
        PublishError::Unavailable(format!("{what} the queue of {}", self.subscription.key))
    }

    /// Decides on the step after a failure. Returns when that step can be done.
    async fn step_after_failure(&mut self, failure: RabbitmqPublishError) -> PublishStep {
        match failure {
            RabbitmqPublishError::Blocked => PublishStep::Fail,
            RabbitmqPublishError::NoConnection | RabbitmqPublishError::Interrupted => {
                self.context.publisher.until_open().await;
                PublishStep::Retry
            }
            RabbitmqPublishError::Unroutable => {
                self.context.metrics.unroutable.increment();
                self.queue.mark_missing();
                self.queue.health.until_served().await;
                PublishStep::Retry
            }
            RabbitmqPublishError::Unconfirmed => self.step_without_confirm(),
            RabbitmqPublishError::Nacked => self.step_after_nack().await,
        }
    }

    /// Decides on the step after a nack: the queue has no leader at the moment, or is full. Returns
    /// after a pause.
    async fn step_after_nack(&mut self) -> PublishStep {
        let first_refused = self.refusals.count_and_pause().await;
        if self.refusals.answered_after.is_none() && self.is_alive().await == Some(true) {
            self.refusals.answered_after = Some(self.refusals.count);
        }
        // The queue has a leader, and refuses all the same.
        if self.refusals.are_of_full_queue() {
            self.queue.health.mark_full();
            tracing::debug!(queue = self.queue.names.queue, "A queue is full");
            return PublishStep::Full;
        }
        if first_refused.elapsed() < ELECTION {
            PublishStep::Retry
        } else {
            self.step_without_confirm()
        }
    }

    /// Decides on the step when RabbitMQ does not answer for the queue. The other queues get the
    /// event; this one gets it later.
    fn step_without_confirm(&self) -> PublishStep {
        if !self.context.publisher.is_open() {
            return PublishStep::Fail;
        }
        self.queue.mark_unconfirmed();
        if self.queue.names.order == DeliveryOrder::Ordered {
            PublishStep::Fail
        } else {
            PublishStep::Divert
        }
    }

    /// True if RabbitMQ answers for the queue; `None` if another task is asking.
    async fn is_alive(&self) -> Option<bool> {
        let asking = self.queue.being_inspected.swap(true, Ordering::AcqRel);
        if asking {
            return None;
        }
        let _asked = InspectionGuard(&self.queue.being_inspected);
        let connection = self.context.pool.any_open()?;
        let look = inspect_queue(&connection.connection, &self.queue.names.queue);
        Some(connection.run_within(LOOK_TIMEOUT, look).await.is_ok())
    }

    /// Stores the message in a delay queue, from which it comes to its own queue. There are several
    /// of those, since one may have its leader on the same node as the queue.
    async fn divert_to_delay_queue(&self) -> Result<(), PublishError> {
        let queue = &self.queue.names.queue;
        let message = AmqpMessage::clone(self.message).with_target_queue(queue);
        for wait in DIVERSION_DELAYS {
            let put = self.context.put_into_delay_queue(wait, &message);
            if tokio::time::timeout(DIVERT_TIMEOUT, put).await == Ok(true) {
                self.context.metrics.diverted.increment();
                self.context.diversion_failure.record_success();
                return Ok(());
            }
        }
        self.context.diversion_failure.record_failure();
        Err(PublishError::Unavailable(format!(
            "RabbitMQ does not answer for the queue {queue}"
        )))
    }
}

/// Next step for a message that one queue has not taken.
enum PublishStep {
    /// Publish it to the queue again.
    Retry,
    /// Divert it to a delay queue.
    Divert,
    /// Answer the sender that the queue is full.
    Full,
    /// Answer the sender that the queue is unavailable.
    Fail,
}

/// Clears the mark that a queue is being inspected, when it is dropped.
struct InspectionGuard<'a>(&'a AtomicBool);

impl Drop for InspectionGuard<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Refusals of one message by its queue: their number, and the time of the first one.
struct PublishRefusals {
    since: Option<Instant>,
    count: u32,
    /// Number of refusals after which RabbitMQ answered an inspection of the queue.
    answered_after: Option<u32>,
    pause: DoublingWait,
}

impl Default for PublishRefusals {
    fn default() -> Self {
        Self {
            since: None,
            count: 0,
            answered_after: None,
            pause: DoublingWait::new(PAUSE, LONGEST_PAUSE),
        }
    }
}

impl PublishRefusals {
    /// Counts another refusal, and waits a little. Gives the time of the first one.
    async fn count_and_pause(&mut self) -> Instant {
        let since = *self.since.get_or_insert_with(Instant::now);
        self.count += 1;
        tokio::time::sleep(self.pause.take_jittered()).await;
        since
    }

    /// True if the queue refuses messages although RabbitMQ answers for it.
    fn are_of_full_queue(&self) -> bool {
        self.answered_after
            .is_some_and(|answered| self.count >= answered + REFUSALS_OF_FULL_QUEUE)
    }
}
