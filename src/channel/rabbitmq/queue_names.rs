//! Names of queues: made from what they belong to, so that they stay the same across restarts, and
//! when an object is created anew (contract G-75). Names of Kubernetes hold no colon.

use sha2::{Digest, Sha256};

use crate::model::{ChannelKey, DeliveryOrder, Subscription, SubscriptionKey, SubscriptionKind};

/// Longest name in bytes that is not shortened. AMQP allows 255 bytes; the rest is for what is
/// appended to a name.
const LONGEST: usize = 220;

/// Queue to which RabbitMQ dead-letters messages that it gives up, and those that have waited long
/// enough; they are forwarded from there (`dead_lettered.rs`).
pub(super) const DEAD_LETTERED: &str = "sealpost:returned";
/// Queue to which RabbitMQ dead-letters messages that it gives up of that queue itself.
pub(super) const DEAD_LETTERED_PARKED: &str = "sealpost:returned:parked";
/// Name of a queue that does not exist.
pub(super) const PROBE: &str = "sealpost:probe";
const WAIT: &str = "sealpost:wait:";
const PARKED: &str = ":parked";

/// Names and order of one subscription's queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RabbitmqQueueNames {
    pub(super) queue: String,
    pub(super) parking_queue: String,
    /// Order of delivery; ordered queues are consumed by one process at a time.
    pub(super) order: DeliveryOrder,
}

impl RabbitmqQueueNames {
    pub(super) fn new(channel: &ChannelKey, subscription: &Subscription) -> Self {
        let (order, subscription) = (subscription.delivery.order, &subscription.key);
        let queue = subscription_queue(channel, subscription);
        Self {
            order,
            parking_queue: parking_queue(&queue),
            queue,
        }
    }
}

/// Part of a name for a channel: `sealpost:channel:NAMESPACE:NAME`.
fn channel_prefix(channel: &ChannelKey) -> String {
    limit_name(format!(
        "sealpost:{}:{}:{}",
        channel.kind.as_str(),
        channel.namespace,
        channel.name
    ))
}

/// Part of a name for a subscription: `trigger:NAMESPACE:NAME`.
fn subscription_suffix(subscription: &SubscriptionKey) -> String {
    let kind = match subscription.kind {
        SubscriptionKind::Subscription => "subscription",
        SubscriptionKind::Trigger => "trigger",
        SubscriptionKind::Subscriber => "subscriber",
        SubscriptionKind::PingSource => "source",
    };
    limit_name(format!(
        "{kind}:{}:{}",
        subscription.namespace, subscription.name
    ))
}

/// Name of the queue of a subscription: `sealpost:broker:NAMESPACE:NAME:trigger:NAMESPACE:NAME`.
pub(super) fn subscription_queue(channel: &ChannelKey, subscription: &SubscriptionKey) -> String {
    limit_name(format!(
        "{}:{}",
        channel_prefix(channel),
        subscription_suffix(subscription)
    ))
}

/// Name of the parking queue of a subscription's queue.
pub(super) fn parking_queue(queue: &str) -> String {
    format!("{queue}{PARKED}")
}

/// True if a queue is a parking queue, by its name.
pub(super) fn is_parking_queue(queue: &str) -> bool {
    queue.ends_with(PARKED)
}

/// Name of the queue that a parking queue belongs to; of another queue its own name.
pub(super) fn queue_of_parking(parked: &str) -> &str {
    parked.strip_suffix(PARKED).unwrap_or(parked)
}

/// Name of the delay queue for a wait in seconds.
pub(super) fn delay_queue(seconds: u64) -> String {
    format!("{WAIT}{seconds}s")
}

/// True if a queue is a delay queue, by its name.
pub(super) fn is_delay_queue(queue: &str) -> bool {
    queue.starts_with(WAIT)
}

/// Shortens a name that is too long to its start and a hash of all of it, which makes it unique.
fn limit_name(name: String) -> String {
    if name.len() <= LONGEST {
        return name;
    }
    let hash = Sha256::digest(name.as_bytes());
    let hash: String = hash
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let start: String = name.chars().take(LONGEST - 20).collect();
    format!("{start}~{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ChannelKind;

    /// Contract G-75.
    #[test]
    fn names_are_readable_and_fit() {
        let broker = |name: &str| ChannelKey {
            kind: ChannelKind::Broker,
            namespace: "orders".to_owned(),
            name: name.to_owned(),
        };
        let trigger = |name: &str| SubscriptionKey {
            kind: SubscriptionKind::Trigger,
            namespace: "orders".to_owned(),
            name: name.to_owned(),
        };
        let name = subscription_queue(&broker("b.c"), &trigger("t"));
        assert_eq!(name, "sealpost:broker:orders:b.c:trigger:orders:t");
        assert_eq!(
            parking_queue(&name),
            "sealpost:broker:orders:b.c:trigger:orders:t:parked"
        );
        let long = "x".repeat(253);
        let (first, second) = (
            subscription_queue(&broker(&long), &trigger("a")),
            subscription_queue(&broker(&long), &trigger("b")),
        );
        assert!(
            first != second
                && parking_queue(&first).len() <= 255
                && first.starts_with("sealpost:broker:orders:xxx")
        );
    }
}
