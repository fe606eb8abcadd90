//! Declaration of RabbitMQ's queues: a queue for each subscription, a parking queue for each that
//! needs one, and delay queues. Declaring a queue that exists changes nothing; one that exists with
//! other arguments is logged and used.
//!
//! No queue is left to RabbitMQ's defaults for what it may drop: the limit of deliveries is out of
//! reach, and messages that it gives up all the same go to [`queue_names::RETURNED`], confirmed,
//! and are forwarded from there.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ErrorKind};
use tokio::sync::OnceCell;

use super::confirming_publisher::{is_not_found, short_string};
use super::connection::{error_text, open_amqp_channel};
use super::consumer_watchdog::QueueCounts;
use super::message::text_value;
use super::publish_route::PublishRoute;
use super::queue_names;
use crate::model::{ChannelKey, DeliveryOrder, Subscription};

/// Powers of two of the seconds for which events can be delayed: 4 s, 8 s, up to 18 hours.
const DELAYS: std::ops::RangeInclusive<u32> = 2..=16;

/// Deliveries after which RabbitMQ gives a message up; it counts each stop, crash and lost
/// connection as a delivery. By default that are 20 from version 4 on. Its way to say "none" (-1)
/// means "at the first one" to versions before 4, so this is a number that is never reached.
const DELIVERY_LIMIT: i32 = 1_000_000_000;

/// Type of the queues, which decides how they are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RabbitmqQueueType {
    /// Replicated by Raft over the nodes; this is what RabbitMQ recommends.
    #[default]
    Quorum,
    /// Stored on one node only.
    Classic,
}

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
        let queue = queue_names::subscription_queue(channel, subscription);
        Self {
            order,
            parking_queue: queue_names::parking_queue(&queue),
            queue,
        }
    }
}

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

/// A queue that is declared when it is needed for the first time.
#[derive(Debug, Default)]
pub(super) struct OnDemandQueue {
    /// Set once the queue has been declared.
    pub(super) declared: OnceCell<()>,
    pub(super) publish_route: Arc<PublishRoute>,
}

/// Declares queues, and remembers which have been declared.
pub(super) struct RabbitmqTopology {
    queue_type: RabbitmqQueueType,
    /// Queues that are declared once, when they are needed, by name.
    on_demand: Mutex<HashMap<String, Arc<OnDemandQueue>>>,
    /// Names of queues that were found with other arguments.
    mismatched_queues: Mutex<HashSet<String>>,
}

impl RabbitmqTopology {
    pub(super) fn new(queue_type: RabbitmqQueueType) -> Self {
        Self {
            queue_type,
            on_demand: Mutex::default(),
            mismatched_queues: Mutex::default(),
        }
    }

    /// Declares a queue, and gives the channel on which that was done. A queue that exists with
    /// other arguments is logged once, and used as it is.
    ///
    /// # Errors
    /// Those of the connection.
    pub(super) async fn declare(
        &self,
        connection: &Connection,
        name: &str,
        purpose: QueuePurpose,
    ) -> lapin::Result<Channel> {
        loop {
            let channel = open_amqp_channel(connection).await?;
            let passive = self.mismatched_queues().contains(name);
            let options = QueueDeclareOptions {
                durable: true,
                passive,
                ..QueueDeclareOptions::default()
            };
            match channel
                .queue_declare(short_string(name), options, self.queue_arguments(purpose))
                .await
            {
                Ok(_queue) => return Ok(channel),
                Err(error) if passive && is_not_found(&error) => {
                    drop(self.mismatched_queues().remove(name))
                }
                Err(error) if !passive && is_precondition_failed(&error) => {
                    self.mismatched_queues().insert(name.to_owned());
                    let vhost = connection.status().vhost();
                    log_mismatched_queue(name, vhost.as_str(), &error);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Declares a queue, and closes the channel on which that was done.
    ///
    /// # Errors
    /// Those of the connection.
    pub(super) async fn declare_and_close(
        &self,
        connection: &Connection,
        name: &str,
        purpose: QueuePurpose,
    ) -> lapin::Result<()> {
        self.declare(connection, name, purpose)
            .await?
            .close(200, short_string("declared"))
            .await
    }

    /// Gives the state of a queue that is declared on demand.
    pub(super) fn on_demand(&self, name: &str) -> Arc<OnDemandQueue> {
        Arc::clone(
            self.on_demand
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(name.to_owned())
                .or_default(),
        )
    }

    /// Declares a queue once in the life of this process. A declaration that hangs holds up no
    /// other.
    ///
    /// # Errors
    /// Those of the connection.
    pub(super) async fn declare_once(
        &self,
        connection: &Connection,
        name: &str,
        purpose: QueuePurpose,
    ) -> lapin::Result<()> {
        let queue = self.on_demand(name);
        queue
            .declared
            .get_or_try_init(|| self.declare_and_close(connection, name, purpose))
            .await
            .copied()
    }

    /// Forgets that a queue was declared, since somebody has deleted it.
    pub(super) fn forget_declared(&self, name: &str) {
        self.on_demand
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(name);
    }

    fn mismatched_queues(&self) -> MutexGuard<'_, HashSet<String>> {
        self.mismatched_queues
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn queue_arguments(&self, purpose: QueuePurpose) -> FieldTable {
        let mut arguments = FieldTable::default();
        let quorum = self.queue_type == RabbitmqQueueType::Quorum;
        arguments.insert(
            short_string("x-queue-type"),
            text_value(if quorum { "quorum" } else { "classic" }),
        );
        if let QueuePurpose::Delay(seconds) = purpose {
            let millis = i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX);
            arguments.insert(
                short_string("x-message-ttl"),
                AMQPValue::LongLongInt(millis),
            );
        } else if quorum {
            arguments.insert(
                short_string("x-delivery-limit"),
                AMQPValue::LongInt(DELIVERY_LIMIT),
            );
        }
        if purpose == QueuePurpose::Subscription(DeliveryOrder::Ordered) {
            arguments.insert(
                short_string("x-single-active-consumer"),
                AMQPValue::Boolean(true),
            );
        }
        // The sender of a message that is refused still has it; RabbitMQ's default is to drop the
        // oldest message.
        arguments.insert(short_string("x-overflow"), text_value("reject-publish"));
        let route = match purpose {
            QueuePurpose::DeadLetteredParked => None,
            QueuePurpose::DeadLettered => Some(queue_names::DEAD_LETTERED_PARKED),
            _ => Some(queue_names::DEAD_LETTERED),
        };
        if let Some(queue) = route {
            arguments.insert(short_string("x-dead-letter-exchange"), text_value(""));
            arguments.insert(short_string("x-dead-letter-routing-key"), text_value(queue));
        }
        if quorum {
            arguments.insert(
                short_string("x-queue-leader-locator"),
                text_value("balanced"),
            );
            if route.is_some() {
                // A message that is moved is confirmed by its new queue before it leaves this one.
                arguments.insert(
                    short_string("x-dead-letter-strategy"),
                    text_value("at-least-once"),
                );
            }
        }
        arguments
    }
}

/// Logs which arguments a queue lacks that somebody else, or an older version, has declared, and
/// the remedy.
fn log_mismatched_queue(name: &str, vhost: &str, error: &lapin::Error) {
    let reason = error_text(error);
    if reason.contains("x-single-active-consumer") || reason.contains("x-queue-type") {
        let remedy = format!("when it is empty: rabbitmqctl -p '{vhost}' delete_queue '{name}'");
        tracing::error!(
            queue = name,
            reason,
            remedy,
            "A queue is there with other arguments: it is used as it is"
        );
        return;
    }
    let remedy = format!(
        r#"rabbitmqctl -p '{vhost}' set_policy --priority 1 --apply-to queues sealpost '^sealpost:(channel|broker):' '{{"delivery-limit":{DELIVERY_LIMIT},"dead-letter-exchange":"","dead-letter-routing-key":"{}","dead-letter-strategy":"at-least-once","overflow":"reject-publish"}}'"#,
        queue_names::DEAD_LETTERED
    );
    tracing::error!(
        queue = name,
        reason,
        remedy,
        "A queue is there with other arguments, perhaps made by an older version: it is used \
         as it is, but RabbitMQ may drop messages of it, unless the policy of the remedy has \
         been set"
    );
}

fn is_precondition_failed(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error) if error.get_id() == 406)
}

/// Inspects a queue on a channel of its own; `None` if there is no such queue.
///
/// # Errors
/// Those of the connection.
pub(super) async fn inspect_queue(
    connection: &Connection,
    name: &str,
) -> lapin::Result<Option<QueueCounts>> {
    let channel = open_amqp_channel(connection).await?;
    let passive = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    match channel
        .queue_declare(short_string(name), passive, FieldTable::default())
        .await
    {
        Ok(queue) => {
            channel.close(200, short_string("looked")).await?;
            Ok(Some(QueueCounts::from_declare_ok(&queue)))
        }
        Err(error) if is_not_found(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Deletes a queue with the messages in it, unless it has a consumer, and its parking queue, if
/// that is empty.
///
/// # Errors
/// Those of the connection.
pub(super) async fn delete_queues(
    names: &RabbitmqQueueNames,
    connection: &Connection,
) -> lapin::Result<()> {
    // RabbitMQ knows such conditions of deletion for classic queues only.
    delete_queue_if(connection, &names.queue, |_messages, consumers| {
        consumers == 0
    })
    .await?;
    delete_queue_if(connection, &names.parking_queue, |messages, _consumers| {
        messages == 0
    })
    .await
}

async fn delete_queue_if(
    connection: &Connection,
    name: &str,
    condition: impl Fn(u32, u32) -> bool,
) -> lapin::Result<()> {
    let Some(QueueCounts {
        ready: messages,
        consumers,
    }) = inspect_queue(connection, name).await?
    else {
        return Ok(());
    };
    if !condition(messages, consumers) {
        tracing::warn!(
            queue = name,
            messages,
            consumers,
            "Queue of a subscription that is gone kept: it is in use"
        );
        return Ok(());
    }
    let channel = open_amqp_channel(connection).await?;
    let messages = channel
        .queue_delete(short_string(name), QueueDeleteOptions::default())
        .await?;
    if messages > 0 {
        tracing::error!(
            queue = name,
            messages,
            "Queue of a subscription that is gone deleted: its events are lost"
        );
    } else {
        tracing::warn!(
            queue = name,
            messages,
            "Queue of a subscription that is gone deleted"
        );
    }
    channel.close(200, short_string("deleted")).await
}

/// Delay in seconds for a wait in seconds: the longest delay that is not longer, and 4 s at least.
pub(super) fn delay_seconds(seconds: u64) -> u64 {
    DELAYS
        .rev()
        .map(|power| 1u64 << power)
        .find(|delay| *delay <= seconds)
        .unwrap_or(1 << DELAYS.start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_powers_of_two() {
        for (seconds, delay) in [
            (0, 4),
            (4, 4),
            (7, 4),
            (8, 8),
            (60, 32),
            (3600, 2048),
            (1_000_000, 65_536),
        ] {
            assert_eq!(delay_seconds(seconds), delay, "{seconds}");
        }
    }

    /// Nothing that holds events can lose them by a default of RabbitMQ's.
    #[test]
    fn every_queue_has_a_way_out() {
        let topology = RabbitmqTopology::new(RabbitmqQueueType::Quorum);
        let order =
            [DeliveryOrder::Ordered, DeliveryOrder::Unordered].map(QueuePurpose::Subscription);
        for purpose in order.into_iter().chain([
            QueuePurpose::Parking,
            QueuePurpose::Delay(4),
            QueuePurpose::DeadLettered,
        ]) {
            let arguments = topology.queue_arguments(purpose);
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
