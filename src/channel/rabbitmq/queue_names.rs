//! Names of queues: of what they belong to, so that they stay the same across restarts, and when an object
//! is made anew (contract G-75). Names of Kubernetes hold no colon.

use sha2::{Digest, Sha256};

use crate::model::{ChannelKey, SubscriptionKey, SubscriptionKind};

/// AMQP allows 255 bytes; what is appended to a name has its place.
const LONGEST: usize = 220;

/// Where RabbitMQ puts what it gives up, and what has waited long enough; what is in there is moved on (`returned.rs`).
pub(super) const RETURNED: &str = "sealpost:returned";
/// Where RabbitMQ puts what it gives up of that queue itself.
pub(super) const RETURNED_PARKED: &str = "sealpost:returned:parked";
/// A queue that does not exist.
pub(super) const PROBE: &str = "sealpost:probe";
const WAIT: &str = "sealpost:wait:";
const PARKED: &str = ":parked";

/// A channel: `sealpost:channel:NAMESPACE:NAME`.
fn channel_prefix(channel: &ChannelKey) -> String {
    limit_name(format!("sealpost:{}:{}:{}", channel.kind.as_str(), channel.namespace, channel.name))
}

/// A subscription: `trigger:NAMESPACE:NAME`.
fn subscription_suffix(subscription: &SubscriptionKey) -> String {
    let kind = match subscription.kind {
        SubscriptionKind::Subscription => "subscription",
        SubscriptionKind::Trigger => "trigger",
        SubscriptionKind::Subscriber => "subscriber",
        SubscriptionKind::PingSource => "source",
    };
    limit_name(format!("{kind}:{}:{}", subscription.namespace, subscription.name))
}

/// The queue of a subscription: `sealpost:broker:NAMESPACE:NAME:trigger:NAMESPACE:NAME`.
pub(super) fn subscription_queue(channel: &ChannelKey, subscription: &SubscriptionKey) -> String {
    limit_name(format!("{}:{}", channel_prefix(channel), subscription_suffix(subscription)))
}

/// Where the events of a queue are parked that nobody took.
pub(super) fn parking_queue(queue: &str) -> String {
    format!("{queue}{PARKED}")
}

/// Whether a queue is a parking queue.
pub(super) fn is_parking_queue(queue: &str) -> bool {
    queue.ends_with(PARKED)
}

/// The queue whose events are parked in a parking queue; of another queue itself.
pub(super) fn queue_of_parking(parked: &str) -> &str {
    parked.strip_suffix(PARKED).unwrap_or(parked)
}

/// The queue that holds events back for so many seconds.
pub(super) fn delay_queue(seconds: u64) -> String {
    format!("{WAIT}{seconds}s")
}

/// Whether a queue is one that holds events back.
pub(super) fn is_delay_queue(queue: &str) -> bool {
    queue.starts_with(WAIT)
}

/// The start of a name that is too long, made unique by a hash of all of it.
fn limit_name(name: String) -> String {
    if name.len() <= LONGEST {
        return name;
    }
    let hash = Sha256::digest(name.as_bytes());
    let hash: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
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
        assert_eq!(parking_queue(&name), "sealpost:broker:orders:b.c:trigger:orders:t:parked");
        let long = "x".repeat(253);
        let (first, second) =
            (subscription_queue(&broker(&long), &trigger("a")), subscription_queue(&broker(&long), &trigger("b")));
        assert!(
            first != second && parking_queue(&first).len() <= 255 && first.starts_with("sealpost:broker:orders:xxx")
        );
    }
}
