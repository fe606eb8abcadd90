//! What is declared in RabbitMQ: per channel an exchange, per subscription a queue and a parking queue, and queues that
//! hold events back. Declaring what is there changes nothing; what is there with other arguments is reported and used.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, ErrorKind, ExchangeKind, Queue};

use super::message::text;
use super::names;
use super::outbox::{is_missing, short};
use crate::model::{ChannelKey, Order, Subscription};

/// The lengths of time for which events can be held back: 4 s, 8 s, up to 18 hours.
const DELAYS: std::ops::RangeInclusive<u32> = 2..=16;

/// How queues are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueueType {
    /// Replicated by Raft; what RabbitMQ recommends.
    #[default]
    Quorum,
    /// On one node.
    Classic,
}

impl QueueType {
    fn arguments(self) -> FieldTable {
        let name = match self {
            Self::Quorum => "quorum",
            Self::Classic => "classic",
        };
        let mut arguments = FieldTable::default();
        arguments.insert(short("x-queue-type"), text(name));
        arguments
    }
}

/// The names of one subscription's part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) exchange: String,
    pub(super) routing_key: String,
    pub(super) queue: String,
    pub(super) parked: String,
    /// Ordered queues are consumed by one process at a time.
    pub(super) order: Order,
}

impl Place {
    pub(super) fn new(channel: &ChannelKey, subscription: &Subscription) -> Self {
        let (order, subscription) = (subscription.delivery.order, &subscription.key);
        let queue = names::queue(channel, subscription);
        Self {
            order,
            exchange: names::exchange(channel),
            routing_key: names::routing_key(subscription),
            parked: names::parked(&queue),
            queue,
        }
    }

    /// Declares exchange, queue, parking queue and binding.
    ///
    /// # Errors
    /// Those of the connection, and of an exchange that is there and is none of ours.
    pub(super) async fn declare(&self, connection: &Connection, queues: QueueType) -> lapin::Result<()> {
        let channel = connection.create_channel().await?;
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let exchange = short(&self.exchange);
        channel.exchange_declare(exchange.clone(), ExchangeKind::Direct, durable, FieldTable::default()).await?;
        let mut arguments = queues.arguments();
        if self.order == Order::Ordered {
            arguments.insert(short("x-single-active-consumer"), AMQPValue::Boolean(true));
        }
        declare_queue(connection, &self.queue, arguments).await?;
        declare_queue(connection, &self.parked, queues.arguments()).await?;
        let options = QueueBindOptions::default();
        let key = short(&self.routing_key);
        channel.queue_bind(short(&self.queue), exchange, key, options, FieldTable::default()).await?;
        channel.close(200, short("declared")).await
    }

    /// Takes the queue away from its exchange. It stays, with what is in it.
    ///
    /// # Errors
    /// Those of the connection.
    pub(super) async fn unbind(&self, connection: &Connection) -> lapin::Result<()> {
        let channel = connection.create_channel().await?;
        let (queue, exchange, key) = (short(&self.queue), short(&self.exchange), short(&self.routing_key));
        channel.queue_unbind(queue, exchange, key, FieldTable::default()).await?;
        channel.close(200, short("unbound")).await
    }
}

/// Deletes a queue with what is in it, unless somebody consumes it, and its parking queue, if that is empty.
///
/// # Errors
/// Those of the connection.
pub(super) async fn delete(place: &Place, connection: &Connection) -> lapin::Result<()> {
    // RabbitMQ knows such conditions for classic queues only.
    delete_if(connection, &place.queue, |queue| queue.consumer_count() == 0).await?;
    delete_if(connection, &place.parked, |queue| queue.message_count() == 0).await
}

async fn delete_if(connection: &Connection, name: &str, condition: impl Fn(&Queue) -> bool) -> lapin::Result<()> {
    let channel = connection.create_channel().await?;
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let queue = match channel.queue_declare(short(name), passive, FieldTable::default()).await {
        Ok(queue) => queue,
        Err(error) if is_missing(&error) => return Ok(()),
        Err(error) => return Err(error),
    };
    if condition(&queue) {
        let messages = channel.queue_delete(short(name), QueueDeleteOptions::default()).await?;
        tracing::warn!(queue = name, messages, "Queue of a subscription that is gone deleted");
    } else {
        let (messages, consumers) = (queue.message_count(), queue.consumer_count());
        tracing::warn!(queue = name, messages, consumers, "Queue of a subscription that is gone kept: it is in use");
    }
    channel.close(200, short("deleted")).await
}

/// One that is there with other arguments is reported and used as it is, on a channel of its own, since RabbitMQ closes
/// the channel of who asks for something else.
async fn declare_queue(connection: &Connection, name: &str, arguments: FieldTable) -> lapin::Result<()> {
    let channel = connection.create_channel().await?;
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    match channel.queue_declare(short(name), durable, arguments).await {
        Ok(_queue) => return channel.close(200, short("declared")).await,
        Err(error) if is_other(&error) => {
            tracing::error!(queue = name, %error, "A queue is there with other arguments: it is used as it is; move its messages and delete it to have it made anew");
        }
        Err(error) => return Err(error),
    }
    let channel = connection.create_channel().await?;
    let passive = QueueDeclareOptions { passive: true, ..durable };
    channel.queue_declare(short(name), passive, FieldTable::default()).await?;
    channel.close(200, short("declared")).await
}

fn is_other(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error) if error.get_id() == 406)
}

/// Seconds for which an event is held back that is to wait for so many: the longest delay that is not longer.
pub(super) fn delay_for(seconds: u64) -> u64 {
    DELAYS.rev().map(|power| 1u64 << power).find(|delay| *delay <= seconds).unwrap_or(1 << DELAYS.start())
}

/// Declares the exchange and the queue that hold events back for so long. When the time is over, RabbitMQ puts them into
/// the queue that is their routing key.
///
/// # Errors
/// Those of the connection.
pub(super) async fn declare_delay(connection: &Connection, seconds: u64, queues: QueueType) -> lapin::Result<()> {
    let name = names::delay(seconds);
    let channel = connection.create_channel().await?;
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare(short(&name), ExchangeKind::Fanout, durable, FieldTable::default()).await?;
    let mut arguments = queues.arguments();
    let millis = i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX);
    arguments.insert(short("x-message-ttl"), AMQPValue::LongLongInt(millis));
    arguments.insert(short("x-dead-letter-exchange"), text(""));
    if queues == QueueType::Quorum {
        // What is moved on is confirmed by its new queue before it leaves this one.
        arguments.insert(short("x-dead-letter-strategy"), text("at-least-once"));
        arguments.insert(short("x-overflow"), text("reject-publish"));
    }
    declare_queue(connection, &name, arguments).await?;
    let options = QueueBindOptions::default();
    channel.queue_bind(short(&name), short(&name), short(""), options, FieldTable::default()).await?;
    channel.close(200, short("declared")).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_powers_of_two() {
        for (seconds, delay) in [(0, 4), (4, 4), (7, 4), (8, 8), (60, 32), (3600, 2048), (1_000_000, 65_536)] {
            assert_eq!(delay_for(seconds), delay, "{seconds}");
        }
    }
}
