//! Moving on what RabbitMQ has moved: events whose wait is over go to their queue, and what RabbitMQ gave up is put back
//! or parked. One queue for all that is always there and always consumed, so that no subscription's queue, be it deleted
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
use super::publisher::AWAY_WAITS;
use super::topology::{QueuePurpose, delay_seconds, inspect_queue};
use super::{RabbitmqContext, queue_names};
use crate::model::DeliveryOrder;
use crate::wire_text::WireText;

/// Messages that are moved on at once.
const UNDER_WAY: u16 = 256;
/// The wait before it is begun again, or a message is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// How long an event waits again whose queue does not take it.
const WAIT_AGAIN: Duration = Duration::from_secs(8);
/// The wait before a parked message is parked again that RabbitMQ gave up.
const PARKED_PAUSE: Duration = Duration::from_secs(5);
/// How often RabbitMQ may give a message up for its deliveries before that is believed. It counts stops and crashes, and
/// a policy may allow a few only.
const MOST_GIVEN_UP: u32 = 100;
/// Bytes that a message is thought to have.
const LARGE: usize = 1024 * 1024;
/// How often it is looked for messages that RabbitMQ gave up here.
const RESCUE_PERIOD: Duration = Duration::from_secs(10);
/// How often it is thought of the queue.
const WATCH: Duration = Duration::from_secs(2);
/// What RabbitMQ says of messages that it dropped for those that came later, and what is to be done about it.
const MAX_LENGTH: &str = "maxlen";
const NO_DROP_HEAD: &str = "take the overflow reject-publish instead of drop-head, with which RabbitMQ waits for no confirm of what it moves, and may lose it when a node restarts";
/// For what is asked of RabbitMQ.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Consumes [`names::RETURNED`] for ever, over as many connections as it takes.
pub(super) async fn forward_all(shared: Arc<RabbitmqContext>) {
    let seat = shared.pool.take_slot().await;
    let mut connections = seat.connection.clone();
    while let Ok(connection) = connections.wait_for(Option::is_some).await.map(|current| current.clone()) {
        if let Some(connection) = connection
            && let Err(error) = Box::pin(consume_until_broken(&shared, &connection)).await
        {
            tracing::debug!(queue = queue_names::RETURNED, error, "Consumer is gone, beginning again");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Messages that are moved on at once: few where little may be held, since how large they are is not known.
fn max_in_flight(shared: &RabbitmqContext) -> u16 {
    let fit = shared.options.budget.queue_limit() / LARGE;
    u16::try_from(fit).unwrap_or(UNDER_WAY).clamp(2, UNDER_WAY)
}

async fn declare_and_consume(
    shared: &RabbitmqContext,
    connection: &OpenAmqpConnection,
) -> Result<lapin::Consumer, String> {
    let begun = async {
        let (topology, connection) = (&shared.topology, &connection.connection);
        topology.declare_and_close(connection, queue_names::RETURNED_PARKED, QueuePurpose::DeadLetteredParked).await?;
        let channel = topology.declare(connection, queue_names::RETURNED, QueuePurpose::DeadLettered).await?;
        // Those that are needed while RabbitMQ may not be able to declare any.
        for wait in AWAY_WAITS {
            let seconds = delay_seconds(wait.as_secs());
            topology.declare_once(connection, &queue_names::delay_queue(seconds), QueuePurpose::Delay(seconds)).await?;
        }
        prefetch_buffer::consume(&channel, queue_names::RETURNED, max_in_flight(shared)).await
    };
    connection.run_within(TIMEOUT, begun).await
}

async fn consume_until_broken(shared: &RabbitmqContext, connection: &OpenAmqpConnection) -> Result<(), String> {
    let mut deliveries = declare_and_consume(shared, connection).await?;
    let mut moving = FuturesUnordered::new();
    let mut rescue = tokio::time::interval(RESCUE_PERIOD);
    let (mut watch, mut period) = (ConsumerWatchdog::new(DeliveryOrder::Unordered), tokio::time::interval(WATCH));
    let mut kept = 0;
    loop {
        tokio::select! {
            next = deliveries.next() => match next {
                Some(Ok(delivery)) => {
                    watch.record_received();
                    moving.push(Box::pin(forward_delivery(shared, delivery)));
                }
                Some(Err(error)) => return Err(error_text(&error)),
                None => return Err("the queue was deleted, or the channel closed".to_owned()),
            },
            Some(moved) = moving.next(), if !moving.is_empty() => moved.map_err(|error| error_text(&error))?,
            _ = rescue.tick() => {
                let rescue = Box::pin(forward_parked(shared, connection, kept));
                kept = connection.run_within(TIMEOUT, rescue).await?;
            }
            _ = period.tick() => if watch.is_inspection_due(QueueBacklog::Possible) {
                let look = Box::pin(inspect_queue(&connection.connection, queue_names::RETURNED));
                let look = connection.run_within(TIMEOUT, look).await?.unwrap_or_default();
                if let Some(suspicion) = watch.find_stall(look, usize::from(max_in_flight(shared)).saturating_sub(moving.len())) {
                    return Err(format!("{suspicion:?}"));
                }
            },
            () = connection.broken.cancelled() => return Err("the connection is broken".to_owned()),
        }
    }
}

/// Moves a message on, and acknowledges it when it is where it belongs.
async fn forward_delivery(shared: &RabbitmqContext, delivery: Delivery) -> lapin::Result<()> {
    let Delivery { properties, data, acker, .. } = delivery;
    let _held = shared.options.budget.consumed_share(data.len());
    let returned = DeadLetteredMessage::decode(&properties, Bytes::from(data));
    while !try_forward(shared, &returned).await {
        tokio::time::sleep(PAUSE).await;
    }
    acker.ack(BasicAckOptions::default()).await.map(drop)
}

/// Whether it is where it belongs.
async fn try_forward(shared: &RabbitmqContext, returned: &DeadLetteredMessage) -> bool {
    match (&returned.target_queue, &returned.dead_lettered_from) {
        (Some(queue), from) if from.as_ref().is_none_or(|(queue, _)| queue_names::is_delay_queue(queue)) => {
            forward_to_queue(shared, queue, &returned.message).await
        }
        (_, Some((queue, reason))) => requeue_or_park(shared, returned, queue, reason).await,
        (_, None) => park_without_queue(shared, returned).await,
    }
}

/// Puts an event whose wait is over into its queue.
pub(super) async fn forward_to_queue(shared: &RabbitmqContext, queue: &str, message: &AmqpMessage) -> bool {
    match shared.publish_unless_refused(queue, message).await {
        Ok(()) => true,
        Err(RabbitmqPublishError::Unroutable) if !shared.has_open_queue(queue) => {
            let reason = "its queue was deleted while it waited for the next attempt";
            park(shared, &queue_names::parking_queue(queue), (reason, None), message).await
        }
        Err(failure) => {
            tracing::debug!(queue, %failure, "An event whose wait is over waits again");
            shared.put_into_delay_queue(WAIT_AGAIN, &message::with_target_queue(message.clone(), queue)).await
        }
    }
}

/// What RabbitMQ gave up: for its deliveries, it goes back to its queue; otherwise it is parked. It is counted and told
/// when it is there, which may take several tries.
async fn requeue_or_park(shared: &RabbitmqContext, returned: &DeadLetteredMessage, queue: &str, reason: &str) -> bool {
    let (is_done, done) = if queue_names::is_parking_queue(queue) {
        // A policy that limits what may be parked would do so at once again, without an end.
        tokio::time::sleep(PARKED_PAUSE).await;
        let is_parked = shared.park(queue, &returned.message).await;
        (is_parked, Some("RabbitMQ gave up a parked message: it was parked again"))
    } else if reason == "delivery_limit" && returned.given_up_count < MOST_GIVEN_UP {
        let is_back = forward_to_queue(shared, queue, &returned.clone().with_given_up_counted()).await;
        (is_back, Some("RabbitMQ gave up a message: it was put back into its queue"))
    } else {
        let told = format!("RabbitMQ gave it up: {}", WireText::new(reason));
        let remedy = (reason == MAX_LENGTH).then_some(NO_DROP_HEAD);
        // Which tells it itself.
        (park(shared, &queue_names::parking_queue(queue), (&told, remedy), &returned.message).await, None)
    };
    if is_done {
        shared.counters.rabbitmq_given_up.increment();
        if let Some(done) = done {
            log_given_up(shared, (queue, reason), done);
        }
    }
    is_done
}

/// Tells what was done with a message that RabbitMQ gave up: of those of a queue that is consumed here, once a minute at
/// WARN.
fn log_given_up(shared: &RabbitmqContext, (queue, reason): (&str, &str), done: &str) {
    let is_due =
        shared.open_queue(queue_names::queue_of_parking(queue)).is_none_or(|queue| queue.given_up_log_limit.is_due());
    let (queue, reason) = (WireText::new(queue), WireText::new(reason));
    if is_due {
        tracing::warn!(%queue, %reason, "{done}");
    } else {
        tracing::debug!(%queue, %reason, "{done}");
    }
}

/// Keeps a message that belongs nowhere. One that is kept already is not told of again.
async fn park_without_queue(shared: &RabbitmqContext, returned: &DeadLetteredMessage) -> bool {
    if message::decode_parked_headers(&returned.message.properties).reason.is_empty() {
        let reason = "its headers do not say where it belongs";
        return park(shared, queue_names::RETURNED_PARKED, (reason, None), &returned.message).await;
    }
    shared.park(queue_names::RETURNED_PARKED, &returned.message).await
}

/// Parks a message for a reason, for which there may be a remedy. Of those of a subscription that is served here, the first
/// of a minute is told, the others as a sum.
async fn park(
    shared: &RabbitmqContext,
    parked: &str,
    (reason, remedy): (&str, Option<&'static str>),
    message: &AmqpMessage,
) -> bool {
    let AmqpMessage { properties, body } = message.clone();
    let stored = shared
        .park(parked, &AmqpMessage { properties: message::parked_properties(properties, reason, None), body })
        .await;
    if stored {
        shared.counters.parked_messages.increment();
        let known = shared.open_queue(queue_names::queue_of_parking(parked));
        if known.is_none_or(|queue| queue.series.is_first_parked()) {
            tracing::warn!(queue = parked, reason, remedy, "Message parked");
        } else {
            tracing::debug!(queue = parked, reason, "Another message parked");
        }
    }
    stored
}

/// Moves on what RabbitMQ gave up of [`names::RETURNED`] itself, if there is more than what belongs nowhere and is kept.
/// Gives how many those are.
async fn forward_parked(shared: &RabbitmqContext, connection: &OpenAmqpConnection, kept: u32) -> lapin::Result<u32> {
    let connection = &connection.connection;
    let count = inspect_queue(connection, queue_names::RETURNED_PARKED).await?.map_or(0, |look| look.ready);
    if count == kept {
        return Ok(kept);
    }
    let mut kept = 0;
    let channel = open_amqp_channel(connection).await?;
    for _ in 0..count {
        let got = channel.basic_get(short_string(queue_names::RETURNED_PARKED), BasicGetOptions::default()).await?;
        let Some(got) = got else { break };
        let Delivery { properties, data, acker, .. } = got.delivery;
        let returned = DeadLetteredMessage::decode(&properties, Bytes::from(data));
        kept += u32::from(returned.target_queue.is_none() && returned.dead_lettered_from.is_none());
        if try_forward(shared, &returned).await {
            acker.ack(BasicAckOptions::default()).await?;
        }
    }
    channel.close(200, short_string("rescued")).await?;
    Ok(kept)
}
