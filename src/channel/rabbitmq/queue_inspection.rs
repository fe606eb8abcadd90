//! Inspection of queues: how many messages wait in them, and who consumes them.

use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use lapin::{Channel, Connection};

use super::amqp_channel::open_amqp_channel;
use super::amqp_error::is_not_found;
use super::message::amqp_value::short_string;

/// Counts that a look at a queue has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct QueueCounts {
    /// Messages that wait in the queue, and are not with a consumer.
    pub(super) ready: u32,
    /// Consumers of the queue. If none is counted where there is one, the leader has not answered:
    /// RabbitMQ 3.10 gives 0 then.
    pub(super) consumers: u32,
}

impl QueueCounts {
    /// Takes the counts from RabbitMQ's answer to a declaration.
    fn from_declare_ok(queue: &lapin::Queue) -> Self {
        Self {
            ready: queue.message_count(),
            consumers: queue.consumer_count(),
        }
    }
}

/// Inspects a queue on an open channel, which RabbitMQ closes if there is no such queue.
///
/// # Errors
/// Those of the connection.
pub(super) async fn inspect_queue_on(channel: &Channel, name: &str) -> lapin::Result<QueueCounts> {
    let passive = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let queue = channel
        .queue_declare(short_string(name), passive, FieldTable::default())
        .await?;
    Ok(QueueCounts::from_declare_ok(&queue))
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
    match inspect_queue_on(&channel, name).await {
        Ok(counts) => {
            channel.close(200, short_string("looked")).await?;
            Ok(Some(counts))
        }
        Err(error) if is_not_found(&error) => Ok(None),
        Err(error) => Err(error),
    }
}
