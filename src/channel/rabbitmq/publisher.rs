//! Publisher of events to the queues of a channel's subscriptions. An event that one queue has
//! taken is not taken back when another queue does not take it: the rest is tried until it is
//! stored, for a limited time, before the sender gets an error.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use tokio::time::Instant;

use super::context::RabbitmqContext;
use super::health::QueueState;
use super::message::event_encoder;
use super::message::retry_headers::RetryHeaders;
use super::publish_error::RabbitmqPublishError;
use super::queue::RabbitmqQueue;
use super::queue_publication::QueuePublication;
use crate::channel::subscription_queues::{FilterDecider, SubscriptionQueue, SubscriptionQueues};
use crate::channel::{ChannelPublisher, PublishError};
use crate::event::Event;

/// Longest time from a sender's request to the answer.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(10);

/// Publisher to the queues of one channel.
pub(super) struct RabbitmqPublisher {
    pub(super) queues: SubscriptionQueues<RabbitmqQueue>,
    pub(super) context: Arc<RabbitmqContext>,
}

/// An event, and the queues of the subscriptions that want it.
struct MatchedEvent<'e> {
    event: &'e Event,
    queues: Vec<&'e SubscriptionQueue<RabbitmqQueue>>,
}

impl RabbitmqPublisher {
    /// Finds the queues of the subscriptions that want the event.
    async fn match_event<'e>(
        &'e self,
        event: &'e Event,
        filters: &mut FilterDecider<'_>,
    ) -> MatchedEvent<'e> {
        let mut queues = Vec::new();
        for to in self.queues.candidates(event) {
            if filters.passes(to, event).await {
                queues.push(to);
            }
        }
        MatchedEvent { event, queues }
    }

    /// Publishes one message to each of the queues that want an event.
    ///
    /// # Errors
    /// If one queue did not take it in time.
    async fn publish_event(&self, matched: &MatchedEvent<'_>) -> Result<(), PublishError> {
        let MatchedEvent { event, queues } = matched;
        if queues.is_empty() {
            self.context.counters.unrouted.increment();
            return Ok(());
        }
        // Refusals that are known beforehand come first, while no queue has the event yet.
        self.check_accepting(queues)?;
        let deadline = Instant::now() + PUBLISH_TIMEOUT;
        until_declared(queues, deadline).await?;
        let message = Arc::new(event_encoder::encode(event, RetryHeaders::default()));
        let publication = |to| QueuePublication::new(&self.context, to, &message, deadline);
        // Each is awaited, even if one fails: a message that is known to be stored need not be sent
        // again.
        let published = join_all(queues.iter().map(|to| publication(*to).run())).await;
        published.into_iter().collect()
    }

    /// Refuses an event before any queue has it, if it is known that one cannot take it.
    fn check_accepting(
        &self,
        wanted: &[&SubscriptionQueue<RabbitmqQueue>],
    ) -> Result<(), PublishError> {
        let publisher = &self.context.publisher;
        if !publisher.is_open() {
            return Err(unavailable_error(RabbitmqPublishError::NoConnection));
        }
        if publisher.is_blocked() {
            self.context.metrics.unconfirmed.increment();
            self.context.metrics.blocked.increment();
            return Err(unavailable_error(RabbitmqPublishError::Blocked));
        }
        for to in wanted {
            to.queue.places.check_room()?;
        }
        match wanted.iter().find(|to| to.queue.health.is_full()) {
            Some(to) => Err(PublishError::Full {
                subscription: to.subscription.key.clone(),
            }),
            None => Ok(()),
        }
    }
}

/// Waits until all of these queues have been declared. At the start, an event that waits in one
/// queue may have a reply for another.
async fn until_declared(
    wanted: &[&SubscriptionQueue<RabbitmqQueue>],
    deadline: Instant,
) -> Result<(), PublishError> {
    for SubscriptionQueue {
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

fn unavailable_error(failure: RabbitmqPublishError) -> PublishError {
    PublishError::Unavailable(failure.to_string())
}

impl ChannelPublisher for RabbitmqPublisher {
    fn publish<'a>(&'a self, events: &'a [Arc<Event>]) -> BoxFuture<'a, Result<(), PublishError>> {
        async move {
            let mut all = Vec::with_capacity(events.len());
            let mut filters = FilterDecider::new(&self.context.counters);
            // Filters are asked for one event after the other: side by side in one task, they would
            // have their turns before any other task.
            for event in events {
                all.push(self.match_event(event, &mut filters).await);
            }
            let published = join_all(all.iter().map(|matched| self.publish_event(matched))).await;
            published.into_iter().collect()
        }
        .boxed()
    }
}
