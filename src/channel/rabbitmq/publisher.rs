//! Publisher of events to the queues of a channel's subscriptions. An event that one queue has
//! taken is not taken back when another queue does not take it: the rest is tried until it is
//! stored, for a limited time, before the sender gets an error.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;

use super::confirming_publisher::RabbitmqPublishError;
use super::health::QueueState;
use super::message::{self, AmqpMessage, RetryHeaders};
use super::topology::inspect_queue;
use super::{RabbitmqContext, RabbitmqQueue};
use crate::channel::cooperative_yield::CooperativeYield;
use crate::channel::{ChannelPublisher, PublishError};
use crate::event::Event;
use crate::filter::index::FilterIndex;
use crate::model::{DeliveryOrder, Subscription};

/// Longest time from a sender's request to the answer.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for which a queue may refuse messages before it counts as unavailable: as long as an
/// election may take.
const ELECTION: Duration = Duration::from_secs(4);
/// Wait after the first refusal; it doubles up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// Longest time for a look at a queue; one without a leader does not answer.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest time for storing a message in one delay queue.
const DIVERT_TIMEOUT: Duration = Duration::from_millis(1500);
/// Waits of diverted events; each has a delay queue of its own.
pub(super) const DIVERSION_DELAYS: [Duration; 3] = [
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(16),
];

/// Queue of a subscription, with the filter that says what goes into it.
pub(super) struct RabbitmqSubscriptionQueue {
    pub(super) subscription: Arc<Subscription>,
    pub(super) queue: Arc<RabbitmqQueue>,
}

/// Publisher to the queues of one channel.
pub(super) struct RabbitmqPublisher {
    pub(super) filter_index: FilterIndex,
    pub(super) queues: Vec<RabbitmqSubscriptionQueue>,
    pub(super) context: Arc<RabbitmqContext>,
}

impl RabbitmqPublisher {
    /// Queues of the subscriptions that want the event.
    async fn matching_queues(
        &self,
        event: &Event,
        cooperative_yield: &mut CooperativeYield,
    ) -> Vec<&RabbitmqSubscriptionQueue> {
        let candidates = self
            .filter_index
            .candidates(event)
            .filter_map(|place| self.queues.get(place));
        let mut wanted = Vec::new();
        for to in candidates {
            let decision = to.subscription.filter.decide(event);
            if self
                .context
                .counters
                .count_filter_decision(&to.queue.series, decision)
            {
                wanted.push(to);
            }
            cooperative_yield.yield_if_due(decision).await;
        }
        wanted
    }

    /// Publishes one message to each of these queues.
    ///
    /// # Errors
    /// If one queue did not take it in time.
    async fn publish_event(
        &self,
        event: &Event,
        wanted: &[&RabbitmqSubscriptionQueue],
    ) -> Result<(), PublishError> {
        if wanted.is_empty() {
            self.context.counters.unrouted.increment();
            return Ok(());
        }
        // Refusals that are known beforehand come first, while no queue has the event yet.
        self.check_accepting(wanted)?;
        let deadline = Instant::now() + PUBLISH_TIMEOUT;
        until_declared(wanted, deadline).await?;
        let message = Arc::new(message::encode(event, RetryHeaders::default()));
        // Each is awaited, even if one fails: a message that is known to be stored need not be sent
        // again.
        let published = join_all(
            wanted
                .iter()
                .map(|to| self.publish_to(to, &message, deadline)),
        )
        .await;
        published.into_iter().collect()
    }

    /// Refuses an event before any queue has it, if it is known that one cannot take it.
    fn check_accepting(&self, wanted: &[&RabbitmqSubscriptionQueue]) -> Result<(), PublishError> {
        let outbox = &self.context.publisher;
        if !outbox.is_open() {
            return Err(unavailable_error(RabbitmqPublishError::NoConnection));
        }
        if outbox.is_blocked() {
            self.context.metrics.unconfirmed.increment();
            self.context.metrics.blocked.increment();
            return Err(unavailable_error(RabbitmqPublishError::Blocked));
        }
        for RabbitmqSubscriptionQueue {
            subscription,
            queue,
        } in wanted
        {
            if queue.health.is_full() {
                return Err(PublishError::Full {
                    subscription: subscription.key.clone(),
                });
            }
        }
        Ok(())
    }

    /// Publishes to one queue until it has the message, or the deadline is over.
    async fn publish_to(
        &self,
        to: &RabbitmqSubscriptionQueue,
        message: &Arc<AmqpMessage>,
        deadline: Instant,
    ) -> Result<(), PublishError> {
        let RabbitmqSubscriptionQueue {
            subscription,
            queue,
        } = to;
        let mut refusals = PublishRefusals::default();
        loop {
            let Some(permit) = acquire_publish_permit(to, deadline).await? else {
                return self.divert_to_delay_queue(queue, message).await;
            };
            let publish =
                self.context
                    .publisher
                    .publish(&queue.names.queue, &queue.publish_route, message);
            let published = tokio::time::timeout_at(deadline, publish).await;
            // The permit is given back before the wait, so that other messages of the queue may
            // try.
            drop(permit);
            let Err(failure) = published.unwrap_or(Err(RabbitmqPublishError::Unconfirmed)) else {
                queue.published.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            };
            // The wait for the next step counts against the same deadline.
            let next = self.step_after_failure(queue, failure, &mut refusals);
            match tokio::time::timeout_at(deadline, next).await {
                Ok(PublishStep::Retry) => {}
                Ok(PublishStep::Divert) => return self.divert_to_delay_queue(queue, message).await,
                Ok(PublishStep::Full) => {
                    return Err(PublishError::Full {
                        subscription: subscription.key.clone(),
                    });
                }
                Ok(PublishStep::Fail) | Err(_) => {
                    return Err(PublishError::Unavailable(format!(
                        "{failure}, for {}",
                        subscription.key
                    )));
                }
            }
        }
    }

    /// Decides on the step after a failure. Returns when that step can be done.
    async fn step_after_failure(
        &self,
        queue: &RabbitmqQueue,
        failure: RabbitmqPublishError,
        refusals: &mut PublishRefusals,
    ) -> PublishStep {
        match failure {
            RabbitmqPublishError::Blocked => PublishStep::Fail,
            RabbitmqPublishError::NoConnection | RabbitmqPublishError::Interrupted => {
                self.context.publisher.until_open().await;
                PublishStep::Retry
            }
            RabbitmqPublishError::Unroutable => {
                self.context.metrics.unroutable.increment();
                queue.mark_missing();
                queue.health.until_served().await;
                PublishStep::Retry
            }
            RabbitmqPublishError::Unconfirmed => self.step_without_confirm(queue),
            RabbitmqPublishError::Nacked => {
                let since = refusals.count_and_pause().await;
                if refusals.answered_after.is_none() && self.is_alive(queue).await == Some(true) {
                    refusals.answered_after = Some(refusals.count);
                }
                // The queue has a leader, and refuses all the same, on channels that were opened
                // since.
                if refusals
                    .answered_after
                    .is_some_and(|answered| refusals.count >= answered + 2)
                {
                    queue.health.mark_full();
                    tracing::debug!(queue = queue.names.queue, "A queue is full");
                    return PublishStep::Full;
                }
                if since.elapsed() < ELECTION {
                    PublishStep::Retry
                } else {
                    self.step_without_confirm(queue)
                }
            }
        }
    }

    /// Decides on the step when RabbitMQ does not answer for one queue. The other queues get the
    /// event; this one gets it later.
    fn step_without_confirm(&self, queue: &RabbitmqQueue) -> PublishStep {
        if !self.context.publisher.is_open() {
            return PublishStep::Fail;
        }
        queue.mark_unconfirmed();
        if queue.names.order == DeliveryOrder::Ordered {
            PublishStep::Fail
        } else {
            PublishStep::Divert
        }
    }

    /// True if RabbitMQ answers for a queue; `None` if another task is asking.
    async fn is_alive(&self, queue: &RabbitmqQueue) -> Option<bool> {
        let asking = queue.being_inspected.swap(true, Ordering::AcqRel);
        if asking {
            return None;
        }
        let _asked = InspectionGuard(&queue.being_inspected);
        let connection = self.context.pool.any_open()?;
        let look = inspect_queue(&connection.connection, &queue.names.queue);
        Some(connection.run_within(LOOK_TIMEOUT, look).await.is_ok())
    }

    /// Stores a message in a delay queue, from which it comes to its own queue. There are several
    /// of those, since one may have its leader on the same node as the queue.
    async fn divert_to_delay_queue(
        &self,
        queue: &RabbitmqQueue,
        message: &AmqpMessage,
    ) -> Result<(), PublishError> {
        let message = message::with_target_queue(AmqpMessage::clone(message), &queue.names.queue);
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
            "RabbitMQ does not answer for the queue {}",
            queue.names.queue
        )))
    }
}

/// Waits until all of these queues have been declared. At the start, an event that waits in one
/// queue may have a reply for another.
async fn until_declared(
    wanted: &[&RabbitmqSubscriptionQueue],
    deadline: Instant,
) -> Result<(), PublishError> {
    for RabbitmqSubscriptionQueue {
        subscription,
        queue,
    } in wanted
    {
        let is_new = queue.health.state() == QueueState::Undeclared
            && queue.consumer_starts.load(Ordering::Acquire) == 0;
        if is_new
            && tokio::time::timeout_at(deadline, queue.health.until_served())
                .await
                .is_err()
        {
            let key = &subscription.key;
            return Err(PublishError::Unavailable(format!(
                "the queue of {key} is not declared yet"
            )));
        }
    }
    Ok(())
}

/// Waits for the permit to send a message to a queue; `None` if the message is to be diverted,
/// since RabbitMQ does not answer for the queue. That may be found out during the wait.
async fn acquire_publish_permit(
    to: &RabbitmqSubscriptionQueue,
    deadline: Instant,
) -> Result<Option<SemaphorePermit<'_>>, PublishError> {
    let RabbitmqSubscriptionQueue {
        subscription,
        queue,
    } = to;
    let unavailable =
        |what: &str| PublishError::Unavailable(format!("{what} the queue of {}", subscription.key));
    let wait = async {
        loop {
            let permit = queue.publish_window.acquire().await;
            // The state is read again after the wait for the permit, during which it may have
            // changed.
            match (queue.is_unavailable(), queue.names.order) {
                (true, DeliveryOrder::Unordered) => return Ok(None),
                (true, DeliveryOrder::Ordered) if !queue.trial_limit.is_due() => {}
                _ => {
                    return permit.map(Some).map_err(|_closed| {
                        unavailable("the process does not publish any more to")
                    });
                }
            }
            drop(permit);
            queue.health.until_served().await;
        }
    };
    // An unavailable queue is not waited for: messages without a confirm may hold all its permits.
    if queue.is_unavailable() && queue.names.order == DeliveryOrder::Unordered {
        return Ok(None);
    }
    let permit = tokio::time::timeout_at(deadline, wait).await;
    permit.unwrap_or_else(|_elapsed| match queue.health.state() {
        QueueState::Unavailable => Err(unavailable("RabbitMQ does not answer for")),
        _ => Err(unavailable("too many events wait for")),
    })
}

fn unavailable_error(failure: RabbitmqPublishError) -> PublishError {
    PublishError::Unavailable(failure.to_string())
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
#[derive(Default)]
struct PublishRefusals {
    since: Option<Instant>,
    count: u32,
    /// Number of refusals after which RabbitMQ answered an inspection of the queue.
    answered_after: Option<u32>,
}

impl PublishRefusals {
    /// Counts another refusal, and waits a little. Gives the time of the first one.
    async fn count_and_pause(&mut self) -> Instant {
        let since = *self.since.get_or_insert_with(Instant::now);
        self.count += 1;
        let pause = PAUSE
            .saturating_mul(1 << self.count.min(8))
            .min(LONGEST_PAUSE);
        tokio::time::sleep(pause.mul_f64(0.5 + 0.5 * fastrand::f64())).await;
        since
    }
}

impl ChannelPublisher for RabbitmqPublisher {
    fn publish<'a>(&'a self, events: &'a [Arc<Event>]) -> BoxFuture<'a, Result<(), PublishError>> {
        async move {
            let (mut all, mut cooperative_yield) = (
                Vec::with_capacity(events.len()),
                CooperativeYield::default(),
            );
            // Filters are asked for one event after the other: side by side in one task, they would
            // have their turns before any other task.
            for event in events {
                all.push((
                    event,
                    self.matching_queues(event, &mut cooperative_yield).await,
                ));
            }
            let published = join_all(
                all.iter()
                    .map(|(event, wanted)| self.publish_event(event, wanted)),
            )
            .await;
            published.into_iter().collect()
        }
        .boxed()
    }
}
