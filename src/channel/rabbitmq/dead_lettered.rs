//! Consumption of dead-lettered messages: events whose wait in a delay queue is over, and messages
//! that RabbitMQ gave up. All of them come through one queue that always exists and is always
//! consumed, so that no subscription's queue, be it deleted or without a leader, can hold up
//! RabbitMQ's own moving of messages for the others.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicGetOptions};

use super::amqp_channel::open_amqp_channel;
use super::amqp_error::error_text;
use super::connection::OpenAmqpConnection;
use super::consumer_watchdog::{ConsumerWatchdog, QueueBacklog};
use super::context::RabbitmqContext;
use super::dead_lettered_message::DeadLetteredMessage;
use super::delay_queue::{DIVERSION_DELAYS, delay_seconds};
use super::forwarding::try_forward;
use super::message::amqp_value::short_string;
use super::prefetch_buffer;
use super::queue_arguments::QueuePurpose;
use super::queue_inspection::inspect_queue;
use super::queue_names;
use crate::model::DeliveryOrder;

/// Messages that are forwarded at once.
const MAX_IN_FLIGHT: u16 = 256;
/// Wait before the consumer is begun again, or a message is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// Size in bytes that a message is assumed to have before it has come.
const ASSUMED_MESSAGE_BYTES: usize = 1024 * 1024;
/// Period in which [`queue_names::DEAD_LETTERED_PARKED`] is searched for messages that RabbitMQ gave
/// up.
const RESCUE_PERIOD: Duration = Duration::from_secs(10);
/// Period of the watchdog, see `consumer_watchdog.rs`.
const WATCH: Duration = Duration::from_secs(2);
/// Longest time for an answer of RabbitMQ.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Consumes [`queue_names::DEAD_LETTERED`] for ever, over as many connections as it takes.
pub(super) async fn forward_all(context: Arc<RabbitmqContext>) {
    let slot = context.pool.take_slot().await;
    let mut connections = slot.connection.clone();
    while let Ok(connection) = connections
        .wait_for(Option::is_some)
        .await
        .map(|current| current.clone())
    {
        if let Some(connection) = connection
            && let Err(error) = Box::pin(consume_until_broken(&context, &connection)).await
        {
            tracing::debug!(
                queue = queue_names::DEAD_LETTERED,
                error,
                "Consumer is gone, beginning again"
            );
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Largest number of messages that are forwarded at once: few where the memory budget is small,
/// since their size is not known before.
fn max_in_flight(context: &RabbitmqContext) -> u16 {
    let fit = context.options.budget.queue_limit() / ASSUMED_MESSAGE_BYTES;
    u16::try_from(fit)
        .unwrap_or(MAX_IN_FLIGHT)
        .clamp(2, MAX_IN_FLIGHT)
}

async fn declare_and_consume(
    context: &RabbitmqContext,
    connection: &OpenAmqpConnection,
) -> Result<lapin::Consumer, String> {
    let begun = async {
        let channel = declare_queues(context, connection).await?;
        prefetch_buffer::consume(&channel, queue_names::DEAD_LETTERED, max_in_flight(context)).await
    };
    connection.run_within(TIMEOUT, begun).await
}

/// Declares the queue of dead-lettered messages, and those that are needed together with it. Gives
/// the channel on which it was declared.
async fn declare_queues(
    context: &RabbitmqContext,
    connection: &OpenAmqpConnection,
) -> lapin::Result<lapin::Channel> {
    let (topology, connection) = (&context.topology, &connection.connection);
    // The queue that the next one dead-letters to is declared before it.
    let parking_queue = queue_names::DEAD_LETTERED_PARKED;
    topology
        .declare_and_close(connection, parking_queue, QueuePurpose::DeadLetteredParked)
        .await?;
    let queue = queue_names::DEAD_LETTERED;
    let channel = topology
        .declare(connection, queue, QueuePurpose::DeadLettered)
        .await?;
    // Delay queues are declared ahead that are needed while RabbitMQ may not be able to declare
    // any.
    for wait in DIVERSION_DELAYS {
        let seconds = delay_seconds(wait.as_secs());
        let (queue, purpose) = (
            queue_names::delay_queue(seconds),
            QueuePurpose::Delay(seconds),
        );
        topology.declare_once(connection, &queue, purpose).await?;
    }
    Ok(channel)
}

async fn consume_until_broken(
    context: &RabbitmqContext,
    connection: &OpenAmqpConnection,
) -> Result<(), String> {
    let mut deliveries = declare_and_consume(context, connection).await?;
    let mut moving = FuturesUnordered::new();
    let mut rescue = tokio::time::interval(RESCUE_PERIOD);
    let mut watch = ConsumerWatchdog::new(DeliveryOrder::Unordered);
    let mut period = tokio::time::interval(WATCH);
    let mut kept = 0;
    loop {
        tokio::select! {
            // Messages are forwarded at the same time, so that one slow queue holds up no other.
            next = deliveries.next() => {
                let next = next.ok_or("the queue was deleted, or the channel closed")?;
                let delivery = next.map_err(|error| error_text(&error))?;
                watch.record_received();
                moving.push(Box::pin(forward_delivery(context, delivery)));
            }
            Some(moved) = moving.next(), if !moving.is_empty() => {
                moved.map_err(|error| error_text(&error))?;
            }
            // The queue of what RabbitMQ gave up has no consumer: it is looked at now and then.
            _ = rescue.tick() => {
                let rescue = Box::pin(forward_parked(context, connection, kept));
                kept = connection.run_within(TIMEOUT, rescue).await?;
            }
            _ = period.tick() => {
                let room = usize::from(max_in_flight(context)).saturating_sub(moving.len());
                check_for_stall(&mut watch, connection, room).await?;
            }
            () = connection.broken.cancelled() => return Err("the connection is broken".to_owned()),
        }
    }
}

/// Looks at the queue from time to time: a consumer that gets nothing although messages wait is
/// begun again.
///
/// # Errors
/// If the consumer is to be begun again, or RabbitMQ does not answer.
async fn check_for_stall(
    watch: &mut ConsumerWatchdog,
    connection: &OpenAmqpConnection,
    remaining_prefetch: usize,
) -> Result<(), String> {
    if !watch.is_inspection_due(QueueBacklog::Possible) {
        return Ok(());
    }
    let look = Box::pin(inspect_queue(
        &connection.connection,
        queue_names::DEAD_LETTERED,
    ));
    let counts = connection.run_within(TIMEOUT, look).await?;
    match watch.find_stall(counts.unwrap_or_default(), remaining_prefetch) {
        Some(reason) => Err(format!("{reason:?}")),
        None => Ok(()),
    }
}

/// Forwards a message, trying for ever, and acknowledges it only when it is stored in its new
/// queue.
async fn forward_delivery(context: &RabbitmqContext, delivery: Delivery) -> lapin::Result<()> {
    let Delivery {
        properties,
        data,
        acker,
        ..
    } = delivery;
    let _held = context.options.budget.consumed_share(data.len());
    let returned = DeadLetteredMessage::decode(&properties, Bytes::from(data));
    while !try_forward(context, &returned).await {
        tokio::time::sleep(PAUSE).await;
    }
    acker.ack(BasicAckOptions::default()).await.map(drop)
}

/// Forwards messages that RabbitMQ gave up of [`queue_names::DEAD_LETTERED`] itself, if there are
/// more than the `kept` ones that belong nowhere. Gives the number of those now.
async fn forward_parked(
    context: &RabbitmqContext,
    connection: &OpenAmqpConnection,
    kept: u32,
) -> lapin::Result<u32> {
    let connection = &connection.connection;
    let count = inspect_queue(connection, queue_names::DEAD_LETTERED_PARKED)
        .await?
        .map_or(0, |look| look.ready);
    if count == kept {
        return Ok(kept);
    }
    let mut kept = 0;
    let channel = open_amqp_channel(connection).await?;
    for _ in 0..count {
        let queue = short_string(queue_names::DEAD_LETTERED_PARKED);
        let got = channel.basic_get(queue, BasicGetOptions::default()).await?;
        let Some(got) = got else { break };
        let Delivery {
            properties,
            data,
            acker,
            ..
        } = got.delivery;
        let message = DeadLetteredMessage::decode(&properties, Bytes::from(data));
        kept += u32::from(message.belongs_nowhere());
        if try_forward(context, &message).await {
            acker.ack(BasicAckOptions::default()).await?;
        }
    }
    channel.close(200, short_string("rescued")).await?;
    Ok(kept)
}
