//! Forwarding of dead-lettered messages: events whose wait in a delay queue is over go to their
//! queue, and messages that RabbitMQ gave up are put back or parked. All of them come through one
//! queue that always exists and is always consumed, so that no subscription's queue, be it deleted
//! or without a leader, can hold up RabbitMQ's own moving of messages for the others.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicGetOptions};

use super::confirming_publisher::{RabbitmqPublishError, short_string};
use super::connection::{OpenAmqpConnection, error_text, open_amqp_channel};
use super::consumer_watchdog::{ConsumerWatchdog, QueueBacklog};
use super::dead_lettered_message::DeadLetteredMessage;
use super::message::{self, AmqpMessage};
use super::prefetch_buffer;
use super::publisher::DIVERSION_DELAYS;
use super::topology::{QueuePurpose, delay_seconds, inspect_queue};
use super::{RabbitmqContext, queue_names};
use crate::model::DeliveryOrder;
use crate::wire_text::WireText;

/// Messages that are forwarded at once.
const MAX_IN_FLIGHT: u16 = 256;
/// Wait before the consumer is begun again, or a message is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// Time in a delay queue of an event whose own queue does not take it.
const WAIT_AGAIN: Duration = Duration::from_secs(8);
/// Wait before a parked message that RabbitMQ gave up is parked again.
const PARKED_PAUSE: Duration = Duration::from_secs(5);
/// Number of times that RabbitMQ may give up a message for its deliveries before it is parked.
/// RabbitMQ counts stops and crashes, too, and a policy may allow a few deliveries only.
const MOST_GIVEN_UP: u32 = 100;
/// Size in bytes that a message is assumed to have before it has come.
const ASSUMED_MESSAGE_BYTES: usize = 1024 * 1024;
/// Period in which [`queue_names::RETURNED_PARKED`] is searched for messages that RabbitMQ gave up.
const RESCUE_PERIOD: Duration = Duration::from_secs(10);
/// Period of the watchdog, see `consumer_watchdog.rs`.
const WATCH: Duration = Duration::from_secs(2);
/// RabbitMQ's reason for messages that it dropped in favour of later ones, and the remedy for it.
const MAX_LENGTH: &str = "maxlen";
const NO_DROP_HEAD: &str = "take the overflow reject-publish instead of drop-head, with which RabbitMQ waits for no \
     confirm of what it moves, and may lose it when a node restarts";
/// Longest time for an answer of RabbitMQ.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Consumes [`queue_names::RETURNED`] for ever, over as many connections as it takes.
pub(super) async fn forward_all(context: Arc<RabbitmqContext>) {
    let seat = context.pool.take_slot().await;
    let mut connections = seat.connection.clone();
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
        let (topology, connection) = (&context.topology, &connection.connection);
        // The queue that the next one dead-letters to is declared before it.
        topology
            .declare_and_close(
                connection,
                queue_names::DEAD_LETTERED_PARKED,
                QueuePurpose::DeadLetteredParked,
            )
            .await?;
        let channel = topology
            .declare(
                connection,
                queue_names::DEAD_LETTERED,
                QueuePurpose::DeadLettered,
            )
            .await?;
        // Delay queues are declared ahead that are needed while RabbitMQ may not be able to declare
        // any.
        for wait in DIVERSION_DELAYS {
            let seconds = delay_seconds(wait.as_secs());
            topology
                .declare_once(
                    connection,
                    &queue_names::delay_queue(seconds),
                    QueuePurpose::Delay(seconds),
                )
                .await?;
        }
        prefetch_buffer::consume(&channel, queue_names::DEAD_LETTERED, max_in_flight(context)).await
    };
    connection.run_within(TIMEOUT, begun).await
}

async fn consume_until_broken(
    context: &RabbitmqContext,
    connection: &OpenAmqpConnection,
) -> Result<(), String> {
    let mut deliveries = declare_and_consume(context, connection).await?;
    let mut moving = FuturesUnordered::new();
    let mut rescue = tokio::time::interval(RESCUE_PERIOD);
    let (mut watch, mut period) = (
        ConsumerWatchdog::new(DeliveryOrder::Unordered),
        tokio::time::interval(WATCH),
    );
    let mut kept = 0;
    loop {
        tokio::select! {
            // Messages are forwarded at the same time, so that one slow queue holds up no other.
            next = deliveries.next() => match next {
                Some(Ok(delivery)) => {
                    watch.record_received();
                    moving.push(Box::pin(forward_delivery(context, delivery)));
                }
                Some(Err(error)) => return Err(error_text(&error)),
                None => return Err("the queue was deleted, or the channel closed".to_owned()),
            },
            Some(moved) = moving.next(), if !moving.is_empty() => moved.map_err(|error| error_text(&error))?,
            // The queue of what RabbitMQ gave up has no consumer: it is looked at now and then.
            _ = rescue.tick() => {
                let rescue = Box::pin(forward_parked(context, connection, kept));
                kept = connection.run_within(TIMEOUT, rescue).await?;
            }
            // A consumer that gets nothing although messages wait is begun again.
            _ = period.tick() => if watch.is_inspection_due(QueueBacklog::Possible) {
                let look = Box::pin(inspect_queue(&connection.connection, queue_names::DEAD_LETTERED));
                let look = connection.run_within(TIMEOUT, look).await?.unwrap_or_default();
                if let Some(suspicion) = watch.find_stall(look, usize::from(max_in_flight(context)).saturating_sub(moving.len())) {
                    return Err(format!("{suspicion:?}"));
                }
            },
            () = connection.broken.cancelled() => return Err("the connection is broken".to_owned()),
        }
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

/// Tries to forward a message. True if it is stored in its new queue.
async fn try_forward(context: &RabbitmqContext, returned: &DeadLetteredMessage) -> bool {
    match (&returned.target_queue, &returned.dead_lettered_from) {
        (Some(queue), from)
            if from
                .as_ref()
                .is_none_or(|(queue, _)| queue_names::is_delay_queue(queue)) =>
        {
            forward_to_queue(context, queue, &returned.message).await
        }
        (_, Some((queue, reason))) => requeue_or_park(context, returned, queue, reason).await,
        (_, None) => park_without_queue(context, returned).await,
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
        Err(RabbitmqPublishError::Unroutable) if !context.has_open_queue(queue) => {
            let reason = "its queue was deleted while it waited for the next attempt";
            park(
                context,
                &queue_names::parking_queue(queue),
                (reason, None),
                message,
            )
            .await
        }
        Err(failure) => {
            tracing::debug!(queue, %failure, "An event whose wait is over waits again");
            context
                .put_into_delay_queue(
                    WAIT_AGAIN,
                    &message::with_target_queue(message.clone(), queue),
                )
                .await
        }
    }
}

/// Handles a message that RabbitMQ gave up: because of its deliveries, it goes back to its queue;
/// otherwise it is parked. It is counted and logged when it is stored, which may take several
/// tries. True if it is.
async fn requeue_or_park(
    context: &RabbitmqContext,
    returned: &DeadLetteredMessage,
    queue: &str,
    reason: &str,
) -> bool {
    let (is_done, done) = if queue_names::is_parking_queue(queue) {
        // A policy that limits a parking queue would drop the message at once again, without an
        // end.
        tokio::time::sleep(PARKED_PAUSE).await;
        let is_parked = context.park(queue, &returned.message).await;
        (
            is_parked,
            Some("RabbitMQ gave up a parked message: it was parked again"),
        )
    } else if reason == "delivery_limit" && returned.given_up_count < MOST_GIVEN_UP {
        let is_back =
            forward_to_queue(context, queue, &returned.clone().with_given_up_counted()).await;
        (
            is_back,
            Some("RabbitMQ gave up a message: it was put back into its queue"),
        )
    } else {
        let told = format!("RabbitMQ gave it up: {}", WireText::new(reason));
        let remedy = (reason == MAX_LENGTH).then_some(NO_DROP_HEAD);
        // This logs the message itself.
        (
            park(
                context,
                &queue_names::parking_queue(queue),
                (&told, remedy),
                &returned.message,
            )
            .await,
            None,
        )
    };
    if is_done {
        context.metrics.given_up.increment();
        if let Some(done) = done {
            log_given_up(context, (queue, reason), done);
        }
    }
    is_done
}

/// Logs what was done with a message that RabbitMQ gave up, at WARN. Of a queue that is consumed in
/// this process, that is one message a minute; the others are logged at DEBUG.
fn log_given_up(context: &RabbitmqContext, (queue, reason): (&str, &str), done: &str) {
    let is_due = context
        .open_queue(queue_names::queue_of_parking(queue))
        .is_none_or(|queue| queue.given_up_log_limit.is_due());
    let (queue, reason) = (WireText::new(queue), WireText::new(reason));
    if is_due {
        tracing::warn!(%queue, %reason, "{done}");
    } else {
        tracing::debug!(%queue, %reason, "{done}");
    }
}

/// Parks a message that does not say where it belongs. One that is parked already is not logged
/// again.
async fn park_without_queue(context: &RabbitmqContext, returned: &DeadLetteredMessage) -> bool {
    if message::decode_parked_headers(&returned.message.properties)
        .reason
        .is_empty()
    {
        let reason = "its headers do not say where it belongs";
        return park(
            context,
            queue_names::DEAD_LETTERED_PARKED,
            (reason, None),
            &returned.message,
        )
        .await;
    }
    context
        .park(queue_names::DEAD_LETTERED_PARKED, &returned.message)
        .await
}

/// Parks a message for a reason, for which there may be a remedy. It is logged at WARN; of a
/// subscription that is served here, that is one message a minute, and the others are logged at
/// DEBUG. True if the message is stored.
async fn park(
    context: &RabbitmqContext,
    parked: &str,
    (reason, remedy): (&str, Option<&'static str>),
    message: &AmqpMessage,
) -> bool {
    let AmqpMessage { properties, body } = message.clone();
    let stored = context
        .park(
            parked,
            &AmqpMessage {
                properties: message::parked_properties(properties, reason, None),
                body,
            },
        )
        .await;
    if stored {
        context.counters.parked_messages.increment();
        let known = context.open_queue(queue_names::queue_of_parking(parked));
        if known.is_none_or(|queue| queue.series.is_first_parked()) {
            tracing::warn!(queue = parked, reason, remedy, "Message parked");
        } else {
            tracing::debug!(queue = parked, reason, "Another message parked");
        }
    }
    stored
}

/// Forwards messages that RabbitMQ gave up of [`queue_names::RETURNED`] itself, if there are more
/// than the `kept` ones that belong nowhere. Gives the number of those now.
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
        let got = channel
            .basic_get(
                short_string(queue_names::DEAD_LETTERED_PARKED),
                BasicGetOptions::default(),
            )
            .await?;
        let Some(got) = got else { break };
        let Delivery {
            properties,
            data,
            acker,
            ..
        } = got.delivery;
        let returned = DeadLetteredMessage::decode(&properties, Bytes::from(data));
        kept += u32::from(returned.target_queue.is_none() && returned.dead_lettered_from.is_none());
        if try_forward(context, &returned).await {
            acker.ack(BasicAckOptions::default()).await?;
        }
    }
    channel.close(200, short_string("rescued")).await?;
    Ok(kept)
}
