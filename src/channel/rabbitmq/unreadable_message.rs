//! A message of a subscription's queue that is no event, and is parked before any delivery.

use std::time::Duration;

use super::context::RabbitmqContext;
use super::message::amqp_message::AmqpMessage;
use super::message::parked_headers::parked_properties;
use super::queue::RabbitmqQueue;
use crate::budget::ConsumedShare;
use crate::model::DestinationRole;
use crate::telemetry::series::Dropped;

/// Wait before the message is tried to be parked again.
const PAUSE: Duration = Duration::from_millis(500);

/// A message that is no event, and is to be parked.
pub(super) struct UnreadableMessage {
    /// Delivery tag of the message.
    pub(super) tag: u64,
    /// Reason for which the message is no event, in words.
    pub(super) reason: String,
    pub(super) message: AmqpMessage,
    /// Share of the memory budget that the message holds until it is parked.
    pub(super) memory_share: ConsumedShare,
}

impl UnreadableMessage {
    /// Parks the message, trying for ever. Gives its delivery tag.
    pub(super) async fn park(
        self: Box<Self>,
        queue: &RabbitmqQueue,
        context: &RabbitmqContext,
    ) -> u64 {
        self.log(queue);
        let Self {
            tag,
            reason,
            message: AmqpMessage { properties, body },
            memory_share,
        } = *self;
        let message = AmqpMessage {
            properties: parked_properties(properties, &reason, None),
            body,
        };
        while !context.park(&queue.names.parking_queue, &message).await {
            tokio::time::sleep(PAUSE).await;
        }
        context.counters.parked_messages.increment();
        queue
            .series
            .count_drop(Dropped::Parked, DestinationRole::Subscriber, "invalid");
        drop(memory_share);
        tag
    }

    fn log(&self, queue: &RabbitmqQueue) {
        let (name, reason) = (&queue.names.queue, &self.reason);
        if queue.series.is_first_parked() {
            tracing::warn!(queue = name, reason, "Message parked");
        } else {
            tracing::debug!(queue = name, reason, "Another message parked");
        }
    }
}
