//! Publishing an event to the queues of a channel's subscriptions. What one queue has taken is not undone by another that
//! does not: the rest is tried until it is stored, for a bounded time, before the sender is told.

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

/// From the request to the answer, at most.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a queue may refuse what is published before it counts as away: as long as an election may take.
const ELECTION: Duration = Duration::from_secs(4);
/// The wait after the first refusal; it doubles up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// For a look at a queue; one without a leader does not answer.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);
/// For a message to be stored where it waits.
const ELSEWHERE_TIMEOUT: Duration = Duration::from_millis(1500);
/// How long events wait elsewhere whose queue is away.
pub(super) const AWAY_WAITS: [Duration; 3] = [Duration::from_secs(4), Duration::from_secs(8), Duration::from_secs(16)];

/// A subscription as a publisher sees it.
pub(super) struct RabbitmqSubscriptionQueue {
    pub(super) subscription: Arc<Subscription>,
    pub(super) queue: Arc<RabbitmqQueue>,
}

/// Publishes to one channel.
pub(super) struct RabbitmqPublisher {
    pub(super) filter_index: FilterIndex,
    pub(super) queues: Vec<RabbitmqSubscriptionQueue>,
    pub(super) context: Arc<RabbitmqContext>,
}

impl RabbitmqPublisher {
    /// The queues whose subscriptions want the event.
    async fn matching_queues(&self, event: &Event, shift: &mut CooperativeYield) -> Vec<&RabbitmqSubscriptionQueue> {
        let candidates = self.filter_index.candidates(event).filter_map(|place| self.queues.get(place));
        let mut wanted = Vec::new();
        for to in candidates {
            let decision = to.subscription.filter.decide(event);
            if self.context.counters.count_filter_decision(&to.queue.series, decision) {
                wanted.push(to);
            }
            shift.yield_if_due(decision).await;
        }
        wanted
    }

    /// One message for each of these queues.
    async fn publish_event(&self, event: &Event, wanted: &[&RabbitmqSubscriptionQueue]) -> Result<(), PublishError> {
        if wanted.is_empty() {
            self.context.counters.unrouted.increment();
            return Ok(());
        }
        self.check_accepting(wanted)?;
        let deadline = Instant::now() + PATIENCE;
        until_declared(wanted, deadline).await?;
        let message = Arc::new(message::encode(event, RetryHeaders::default()));
        // All of them to their end, also if one fails: what is known to be stored need not be sent again.
        let published = join_all(wanted.iter().map(|to| self.publish_to(to, &message, deadline))).await;
        published.into_iter().collect()
    }

    /// Refuses an event before any queue has it, if it is known that one cannot take it.
    fn check_accepting(&self, wanted: &[&RabbitmqSubscriptionQueue]) -> Result<(), PublishError> {
        let outbox = &self.context.publisher;
        if !outbox.is_open() {
            return Err(unavailable_error(RabbitmqPublishError::NoConnection));
        }
        if outbox.is_blocked() {
            self.context.counters.rabbitmq_unconfirmed.increment();
            self.context.counters.rabbitmq_blocked.increment();
            return Err(unavailable_error(RabbitmqPublishError::Blocked));
        }
        for RabbitmqSubscriptionQueue { subscription, queue } in wanted {
            if queue.health.is_full() {
                return Err(PublishError::Full { subscription: subscription.key.clone() });
            }
        }
        Ok(())
    }

    /// Publishes to one queue until it has the message, or time is up.
    async fn publish_to(
        &self,
        to: &RabbitmqSubscriptionQueue,
        message: &Arc<AmqpMessage>,
        deadline: Instant,
    ) -> Result<(), PublishError> {
        let RabbitmqSubscriptionQueue { subscription, queue } = to;
        let mut refusals = PublishRefusals::default();
        loop {
            let Some(turn) = acquire_publish_permit(to, deadline).await? else {
                return self.divert_to_delay_queue(queue, message).await;
            };
            let publish = self.context.publisher.publish(&queue.names.queue, &queue.publish_route, message);
            let published = tokio::time::timeout_at(deadline, publish).await;
            drop(turn);
            let Err(failure) = published.unwrap_or(Err(RabbitmqPublishError::Unconfirmed)) else {
                queue.published.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            };
            let next = self.step_after_failure(queue, failure, &mut refusals);
            match tokio::time::timeout_at(deadline, next).await {
                Ok(PublishStep::Retry) => {}
                Ok(PublishStep::Divert) => return self.divert_to_delay_queue(queue, message).await,
                Ok(PublishStep::Full) => return Err(PublishError::Full { subscription: subscription.key.clone() }),
                Ok(PublishStep::Fail) | Err(_) => {
                    return Err(PublishError::Unavailable(format!("{failure}, for {}", subscription.key)));
                }
            }
        }
    }

    /// What to do after a failure. Returns when it can be done.
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
                self.context.counters.rabbitmq_unroutable.increment();
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
                // It has a leader, and refuses all the same, on channels that were opened since.
                if refusals.answered_after.is_some_and(|answered| refusals.count >= answered + 2) {
                    queue.health.mark_full();
                    tracing::debug!(queue = queue.names.queue, "A queue is full");
                    return PublishStep::Full;
                }
                if since.elapsed() < ELECTION { PublishStep::Retry } else { self.step_without_confirm(queue) }
            }
        }
    }

    /// RabbitMQ does not answer for one queue. The others get the event; this one gets it later.
    fn step_without_confirm(&self, queue: &RabbitmqQueue) -> PublishStep {
        if !self.context.publisher.is_open() {
            return PublishStep::Fail;
        }
        queue.mark_unconfirmed();
        if queue.names.order == DeliveryOrder::Ordered { PublishStep::Fail } else { PublishStep::Divert }
    }

    /// Whether somebody answers for a queue; `None` if another one is asking.
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

    /// Puts a message where it waits for its queue: there are several such places, since the one may have its leader where
    /// the queue has it.
    async fn divert_to_delay_queue(&self, queue: &RabbitmqQueue, message: &AmqpMessage) -> Result<(), PublishError> {
        let message = message::with_target_queue(AmqpMessage::clone(message), &queue.names.queue);
        for wait in AWAY_WAITS {
            let put = self.context.put_into_delay_queue(wait, &message);
            if tokio::time::timeout(ELSEWHERE_TIMEOUT, put).await == Ok(true) {
                self.context.counters.rabbitmq_diverted.increment();
                self.context.diversion_failure.record_success();
                return Ok(());
            }
        }
        self.context.diversion_failure.record_failure();
        Err(PublishError::Unavailable(format!("RabbitMQ does not answer for the queue {}", queue.names.queue)))
    }
}

/// Waits until all of these queues have been declared. At a start, what waits in one queue may have a reply into another.
async fn until_declared(wanted: &[&RabbitmqSubscriptionQueue], deadline: Instant) -> Result<(), PublishError> {
    for RabbitmqSubscriptionQueue { subscription, queue } in wanted {
        let is_new =
            queue.health.state() == QueueState::Undeclared && queue.consumer_starts.load(Ordering::Acquire) == 0;
        if is_new && tokio::time::timeout_at(deadline, queue.health.until_served()).await.is_err() {
            let key = &subscription.key;
            return Err(PublishError::Unavailable(format!("the queue of {key} is not declared yet")));
        }
    }
    Ok(())
}

/// Waits until a message may be on its way to a queue; `None` if it is to wait elsewhere, since RabbitMQ does not answer
/// for the queue. That may be found out during the wait.
async fn acquire_publish_permit(
    to: &RabbitmqSubscriptionQueue,
    deadline: Instant,
) -> Result<Option<SemaphorePermit<'_>>, PublishError> {
    let RabbitmqSubscriptionQueue { subscription, queue } = to;
    let unavailable = |what: &str| PublishError::Unavailable(format!("{what} the queue of {}", subscription.key));
    let wait = async {
        loop {
            let turn = queue.publish_window.acquire().await;
            match (queue.is_unavailable(), queue.names.order) {
                (true, DeliveryOrder::Unordered) => return Ok(None),
                (true, DeliveryOrder::Ordered) if !queue.trial_limit.is_due() => {}
                _ => return turn.map(Some).map_err(|_closed| unavailable("the process does not publish any more to")),
            }
            drop(turn);
            queue.health.until_served().await;
        }
    };
    if queue.is_unavailable() && queue.names.order == DeliveryOrder::Unordered {
        return Ok(None);
    }
    let turn = tokio::time::timeout_at(deadline, wait).await;
    turn.unwrap_or_else(|_elapsed| match queue.health.state() {
        QueueState::Unavailable => Err(unavailable("RabbitMQ does not answer for")),
        _ => Err(unavailable("too many events wait for")),
    })
}

fn unavailable_error(failure: RabbitmqPublishError) -> PublishError {
    PublishError::Unavailable(failure.to_string())
}

/// What to do with a message that one queue has not taken.
enum PublishStep {
    /// Publish it again.
    Retry,
    /// Let it wait elsewhere.
    Divert,
    /// Tell the sender that the queue is full.
    Full,
    /// Tell the sender.
    Fail,
}

/// Notes that a queue is asked about no more when it is dropped.
struct InspectionGuard<'a>(&'a AtomicBool);

impl Drop for InspectionGuard<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// How often, and since when, a queue refuses a message.
#[derive(Default)]
struct PublishRefusals {
    since: Option<Instant>,
    count: u32,
    /// After how many of them it answered when it was asked for.
    answered_after: Option<u32>,
}

impl PublishRefusals {
    /// Counts another one, and waits a little. Gives when the first one was.
    async fn count_and_pause(&mut self) -> Instant {
        let since = *self.since.get_or_insert_with(Instant::now);
        self.count += 1;
        let pause = PAUSE.saturating_mul(1 << self.count.min(8)).min(LONGEST_PAUSE);
        tokio::time::sleep(pause.mul_f64(0.5 + 0.5 * fastrand::f64())).await;
        since
    }
}

impl ChannelPublisher for RabbitmqPublisher {
    fn publish<'a>(&'a self, events: &'a [Arc<Event>]) -> BoxFuture<'a, Result<(), PublishError>> {
        async move {
            let (mut all, mut shift) = (Vec::with_capacity(events.len()), CooperativeYield::default());
            // One after the other: side by side in one task, they would have their turns before anybody else.
            for event in events {
                all.push((event, self.matching_queues(event, &mut shift).await));
            }
            let published = join_all(all.iter().map(|(event, wanted)| self.publish_event(event, wanted))).await;
            published.into_iter().collect()
        }
        .boxed()
    }
}
