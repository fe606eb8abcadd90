//! Forwarding of single messages to their next queue: events whose wait is over, and messages that
//! RabbitMQ gave up. A message that cannot go to its queue waits again, or is parked.

use std::time::Duration;

use super::context::RabbitmqContext;
use super::dead_lettered_message::DeadLetteredMessage;
use super::message::amqp_message::AmqpMessage;
use super::message::parked_headers::{decode_parked_headers, parked_properties};
use super::publish_error::RabbitmqPublishError;
use super::queue_names;
use crate::wire_text::WireText;

/// Time in a delay queue of an event whose own queue does not take it.
const WAIT_AGAIN: Duration = Duration::from_secs(8);
/// Wait before a parked message that RabbitMQ gave up is parked again.
const PARKED_PAUSE: Duration = Duration::from_secs(5);
/// Number of times that RabbitMQ may give up a message for its deliveries before it is parked.
/// RabbitMQ counts stops and crashes, too, and a policy may allow a few deliveries only.
const MOST_GIVEN_UP: u32 = 100;
/// RabbitMQ's reason for messages that it dropped in favour of later ones, and the remedy for it.
const MAX_LENGTH: &str = "maxlen";
const NO_DROP_HEAD: &str = "take the overflow reject-publish instead of drop-head, with which RabbitMQ waits for no \
     confirm of what it moves, and may lose it when a node restarts";

/// Parking of a message: the queue that it goes to, the reason, and the remedy if there is one.
struct ParkingRequest<'p> {
    parking_queue: &'p str,
    reason: &'p str,
    remedy: Option<&'static str>,
}

/// Tries to forward a message. True if it is stored in its new queue.
pub(super) async fn try_forward(
    context: &RabbitmqContext,
    dead_lettered: &DeadLetteredMessage,
) -> bool {
    let DeadLetteredMessage {
        target_queue,
        dead_lettered_from,
        ..
    } = dead_lettered;
    let has_waited = dead_lettered_from
        .as_ref()
        .is_none_or(|(queue, _)| queue_names::is_delay_queue(queue));
    match (target_queue, dead_lettered_from) {
        (Some(queue), _) if has_waited => {
            forward_to_queue(context, queue, &dead_lettered.message).await
        }
        (_, Some((queue, reason))) => {
            let given_up = GivenUpMessage {
                dead_lettered,
                queue,
                reason,
            };
            given_up.requeue_or_park(context).await
        }
        (_, None) => park_without_queue(context, dead_lettered).await,
    }
}

/// Publishes an event whose wait is over to its queue; if that is gone, parks it, and if that does
/// not answer, lets it wait again. True if it is stored in one of them.
pub(super) async fn forward_to_queue(
    context: &RabbitmqContext,
    queue: &str,
    message: &AmqpMessage,
) -> bool {
    match context.publish_unless_refused(queue, message).await {
        Ok(()) => true,
        Err(RabbitmqPublishError::Unroutable) if !context.open_queues.contains(queue) => {
            let request = ParkingRequest {
                parking_queue: &queue_names::parking_queue(queue),
                reason: "its queue was deleted while it waited for the next attempt",
                remedy: None,
            };
            park(context, request, message).await
        }
        Err(failure) => {
            tracing::debug!(queue, %failure, "An event whose wait is over waits again");
            let message = message.clone().with_target_queue(queue);
            context.put_into_delay_queue(WAIT_AGAIN, &message).await
        }
    }
}

/// A message that RabbitMQ gave up, the queue that it was in, and RabbitMQ's reason.
struct GivenUpMessage<'m> {
    dead_lettered: &'m DeadLetteredMessage,
    queue: &'m str,
    reason: &'m str,
}

impl GivenUpMessage<'_> {
    /// Handles the message: because of its deliveries, it goes back to its queue; otherwise it is
    /// parked. It is counted and logged when it is stored, which may take several tries. True if it
    /// is.
    async fn requeue_or_park(&self, context: &RabbitmqContext) -> bool {
        let is_stored = if queue_names::is_parking_queue(self.queue) {
            self.park_again(context).await
        } else if self.reason == "delivery_limit"
            && self.dead_lettered.given_up_count < MOST_GIVEN_UP
        {
            self.requeue(context).await
        } else {
            self.park(context).await
        };
        if is_stored {
            context.metrics.given_up.increment();
        }
        is_stored
    }

    async fn park_again(&self, context: &RabbitmqContext) -> bool {
        // A policy that limits a parking queue would drop the message at once again, without an
        // end.
        tokio::time::sleep(PARKED_PAUSE).await;
        let is_parked = context.park(self.queue, &self.dead_lettered.message).await;
        if is_parked {
            self.log(
                context,
                "RabbitMQ gave up a parked message: it was parked again",
            );
        }
        is_parked
    }

    async fn requeue(&self, context: &RabbitmqContext) -> bool {
        let message = self.dead_lettered.clone().with_given_up_counted();
        let is_back = forward_to_queue(context, self.queue, &message).await;
        if is_back {
            self.log(
                context,
                "RabbitMQ gave up a message: it was put back into its queue",
            );
        }
        is_back
    }

    async fn park(&self, context: &RabbitmqContext) -> bool {
        let request = ParkingRequest {
            parking_queue: &queue_names::parking_queue(self.queue),
            reason: &format!("RabbitMQ gave it up: {}", WireText::new(self.reason)),
            remedy: (self.reason == MAX_LENGTH).then_some(NO_DROP_HEAD),
        };
        park(context, request, &self.dead_lettered.message).await
    }

    /// Logs what was done with the message, at WARN. Of a queue that is consumed in this process,
    /// that is one message a minute; the others are logged at DEBUG.
    fn log(&self, context: &RabbitmqContext, done: &str) {
        let is_due = context
            .open_queues
            .find(queue_names::queue_of_parking(self.queue))
            .is_none_or(|queue| queue.given_up_log_limit.is_due());
        let (queue, reason) = (WireText::new(self.queue), WireText::new(self.reason));
        if is_due {
            tracing::warn!(%queue, %reason, "{done}");
        } else {
            tracing::debug!(%queue, %reason, "{done}");
        }
    }
}

/// Parks a message that does not say where it belongs. One that is parked already is not logged
/// again.
async fn park_without_queue(context: &RabbitmqContext, returned: &DeadLetteredMessage) -> bool {
    let parking_queue = queue_names::DEAD_LETTERED_PARKED;
    let parked = decode_parked_headers(&returned.message.properties);
    if !parked.reason.is_empty() {
        return context.park(parking_queue, &returned.message).await;
    }
    let request = ParkingRequest {
        parking_queue,
        reason: "its headers do not say where it belongs",
        remedy: None,
    };
    park(context, request, &returned.message).await
}

/// Parks a message. It is logged at WARN; of a subscription that is served here, that is one message
/// a minute, and the others are logged at DEBUG. True if the message is stored.
async fn park(
    context: &RabbitmqContext,
    request: ParkingRequest<'_>,
    message: &AmqpMessage,
) -> bool {
    let ParkingRequest {
        parking_queue,
        reason,
        remedy,
    } = request;
    let AmqpMessage { properties, body } = message.clone();
    let message = AmqpMessage {
        properties: parked_properties(properties, reason, None),
        body,
    };
    let is_stored = context.park(parking_queue, &message).await;
    if is_stored {
        context.counters.parked_messages.increment();
        let known = context
            .open_queues
            .find(queue_names::queue_of_parking(parking_queue));
        if known.is_none_or(|queue| queue.series.is_first_parked()) {
            tracing::warn!(queue = parking_queue, reason, remedy, "Message parked");
        } else {
            tracing::debug!(queue = parking_queue, reason, "Another message parked");
        }
    }
    is_stored
}
