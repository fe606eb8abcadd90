//! Deletion of the queues of a subscription that is gone.

use lapin::Connection;
use lapin::options::QueueDeleteOptions;

use super::amqp_channel::open_amqp_channel;
use super::message::amqp_value::short_string;
use super::queue_inspection::{QueueCounts, inspect_queue};
use super::queue_names::RabbitmqQueueNames;

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
    delete_queue_if(connection, &names.queue, |counts| counts.consumers == 0).await?;
    delete_queue_if(connection, &names.parking_queue, |counts| counts.ready == 0).await
}

async fn delete_queue_if(
    connection: &Connection,
    name: &str,
    condition: impl Fn(&QueueCounts) -> bool,
) -> lapin::Result<()> {
    let Some(counts) = inspect_queue(connection, name).await? else {
        return Ok(());
    };
    if !condition(&counts) {
        tracing::warn!(
            queue = name,
            messages = counts.ready,
            consumers = counts.consumers,
            "Queue of a subscription that is gone kept: it is in use"
        );
        return Ok(());
    }
    let channel = open_amqp_channel(connection).await?;
    let messages = channel
        .queue_delete(short_string(name), QueueDeleteOptions::default())
        .await?;
    log_deleted(name, messages);
    channel.close(200, short_string("deleted")).await
}

fn log_deleted(name: &str, messages: u32) {
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
}
