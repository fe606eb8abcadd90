//! Arguments with which queues are declared, by their purpose.
//!
//! No queue is left to RabbitMQ's defaults for what it may drop: the limit of deliveries is out of
//! reach, and messages that it gives up all the same go to [`queue_names::DEAD_LETTERED`],
//! confirmed, and are forwarded from there.

use lapin::types::{AMQPValue, FieldTable};

use super::message::amqp_value::{short_string, text_value};
use super::options::RabbitmqQueueType;
use super::queue_names;
use crate::model::DeliveryOrder;

/// Deliveries after which RabbitMQ gives a message up; it counts each stop, crash and lost
/// connection as a delivery. By default that are 20 from version 4 on. Its way to say "none" (-1)
/// means "at the first one" to versions before 4, so this is a number that is never reached.
pub(super) const DELIVERY_LIMIT: i32 = 1_000_000_000;

/// Purpose of a queue, which decides its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QueuePurpose {
    /// Events of a subscription, in this order.
    Subscription(DeliveryOrder),
    /// Parked events, which nobody took.
    Parking,
    /// Events that wait for this number of seconds.
    Delay(u64),
    /// Messages that RabbitMQ has dead-lettered from other queues.
    DeadLettered,
    /// Messages that RabbitMQ has dead-lettered from that queue.
    DeadLetteredParked,
}

impl QueuePurpose {
    /// Arguments of a queue of this purpose.
    pub(super) fn arguments(self, queue_type: RabbitmqQueueType) -> FieldTable {
        let mut arguments = FieldTable::default();
        let mut insert = |name: &str, value| {
            arguments.insert(short_string(name), value);
        };
        let is_quorum = queue_type == RabbitmqQueueType::Quorum;
        let type_name = if is_quorum { "quorum" } else { "classic" };
        insert("x-queue-type", text_value(type_name));
        if let Self::Delay(seconds) = self {
            let millis = i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX);
            insert("x-message-ttl", AMQPValue::LongLongInt(millis));
        } else if is_quorum {
            insert("x-delivery-limit", AMQPValue::LongInt(DELIVERY_LIMIT));
        }
        if self == Self::Subscription(DeliveryOrder::Ordered) {
            insert("x-single-active-consumer", AMQPValue::Boolean(true));
        }
        // The sender of a message that is refused still has it; RabbitMQ's default is to drop the
        // oldest message.
        insert("x-overflow", text_value("reject-publish"));
        if let Some(queue) = self.dead_letter_queue() {
            insert("x-dead-letter-exchange", text_value(""));
            insert("x-dead-letter-routing-key", text_value(queue));
            if is_quorum {
                // A message that is moved is confirmed by its new queue before it leaves this one.
                insert("x-dead-letter-strategy", text_value("at-least-once"));
            }
        }
        if is_quorum {
            insert("x-queue-leader-locator", text_value("balanced"));
        }
        arguments
    }

    /// Queue to which RabbitMQ moves the messages that it gives up; `None` if it has none.
    fn dead_letter_queue(self) -> Option<&'static str> {
        match self {
            Self::DeadLetteredParked => None,
            Self::DeadLettered => Some(queue_names::DEAD_LETTERED_PARKED),
            _ => Some(queue_names::DEAD_LETTERED),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing that holds events can lose them by a default of RabbitMQ's.
    #[test]
    fn every_queue_has_a_way_out() {
        let order =
            [DeliveryOrder::Ordered, DeliveryOrder::Unordered].map(QueuePurpose::Subscription);
        for purpose in order.into_iter().chain([
            QueuePurpose::Parking,
            QueuePurpose::Delay(4),
            QueuePurpose::DeadLettered,
        ]) {
            let arguments = purpose.arguments(RabbitmqQueueType::Quorum);
            let has = |name: &str| arguments.inner().get(name).is_some();
            assert!(
                has("x-dead-letter-routing-key") && has("x-dead-letter-strategy"),
                "{purpose:?}"
            );
            assert!(
                has("x-delivery-limit") != has("x-message-ttl"),
                "{purpose:?}"
            );
        }
    }
}
