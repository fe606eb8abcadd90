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

use super::connection::{OpenConnection, open_channel, told};
use super::intake;
use super::message::{self, Encoded};
use super::outbox::{PublishFailure, short};
use super::publisher::AWAY_WAITS;
use super::queue_watch::{Backlog, QueueWatch};
use super::returned_message::ReturnedMessage;
use super::topology::{QueuePurpose, delay_for, look};
use super::{Shared, names};
use crate::model::Order;
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
pub(super) async fn run(shared: Arc<Shared>) {
    let seat = shared.pool.seat().await;
    let mut connections = seat.current.clone();
    while let Ok(connection) = connections.wait_for(Option::is_some).await.map(|current| current.clone()) {
        if let Some(connection) = connection
            && let Err(error) = Box::pin(consume(&shared, &connection)).await
        {
            tracing::debug!(queue = names::RETURNED, error, "Consumer is gone, beginning again");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Messages that are moved on at once: few where little may be held, since how large they are is not known.
fn under_way(shared: &Shared) -> u16 {
    let fit = shared.options.budget.for_queues() / LARGE;
    u16::try_from(fit).unwrap_or(UNDER_WAY).clamp(2, UNDER_WAY)
}

async fn begin(shared: &Shared, connection: &OpenConnection) -> Result<lapin::Consumer, String> {
    let begun = async {
        let (topology, connection) = (&shared.topology, &connection.connection);
        topology.ensure(connection, names::RETURNED_PARKED, QueuePurpose::ReturnedParked).await?;
        let channel = topology.declare(connection, names::RETURNED, QueuePurpose::Returned).await?;
        // Those that are needed while RabbitMQ may not be able to declare any.
        for wait in AWAY_WAITS {
            let seconds = delay_for(wait.as_secs());
            topology.ensure_once(connection, &names::wait(seconds), QueuePurpose::Wait(seconds)).await?;
        }
        intake::consume(&channel, names::RETURNED, under_way(shared)).await
    };
    connection.run_within(TIMEOUT, begun).await
}

async fn consume(shared: &Shared, connection: &OpenConnection) -> Result<(), String> {
    let mut deliveries = begin(shared, connection).await?;
    let mut moving = FuturesUnordered::new();
    let mut rescue = tokio::time::interval(RESCUE_PERIOD);
    let (mut watch, mut period) = (QueueWatch::new(Order::Unordered), tokio::time::interval(WATCH));
    let mut kept = 0;
    loop {
        tokio::select! {
            next = deliveries.next() => match next {
                Some(Ok(delivery)) => {
                    watch.received();
                    moving.push(Box::pin(move_on(shared, delivery)));
                }
                Some(Err(error)) => return Err(told(&error)),
                None => return Err("the queue was deleted, or the channel closed".to_owned()),
            },
            Some(moved) = moving.next(), if !moving.is_empty() => moved.map_err(|error| told(&error))?,
            _ = rescue.tick() => {
                let rescue = Box::pin(rescue_parked(shared, connection, kept));
                kept = connection.run_within(TIMEOUT, rescue).await?;
            }
            _ = period.tick() => if watch.is_due(Backlog::Possible) {
                let look = Box::pin(look(&connection.connection, names::RETURNED));
                let look = connection.run_within(TIMEOUT, look).await?.unwrap_or_default();
                if let Some(suspicion) = watch.judge(look, usize::from(under_way(shared)).saturating_sub(moving.len())) {
                    return Err(format!("{suspicion:?}"));
                }
            },
            () = connection.broken.cancelled() => return Err("the connection is broken".to_owned()),
        }
    }
}

/// Moves a message on, and acknowledges it when it is where it belongs.
async fn move_on(shared: &Shared, delivery: Delivery) -> lapin::Result<()> {
    let Delivery { properties, data, acker, .. } = delivery;
    let _held = shared.options.budget.consume(data.len());
    let returned = ReturnedMessage::read(&properties, Bytes::from(data));
    while !try_to_move(shared, &returned).await {
        tokio::time::sleep(PAUSE).await;
    }
    acker.ack(BasicAckOptions::default()).await.map(drop)
}

/// Whether it is where it belongs.
async fn try_to_move(shared: &Shared, returned: &ReturnedMessage) -> bool {
    match (&returned.to, &returned.from) {
        (Some(queue), from) if from.as_ref().is_none_or(|(queue, _)| names::is_wait(queue)) => {
            forward(shared, queue, &returned.message).await
        }
        (_, Some((queue, reason))) => give_back(shared, returned, queue, reason).await,
        (_, None) => keep(shared, returned).await,
    }
}

/// Puts an event whose wait is over into its queue.
pub(super) async fn forward(shared: &Shared, queue: &str, message: &Encoded) -> bool {
    match shared.publish_known(queue, message).await {
        Ok(()) => true,
        Err(PublishFailure::Unroutable) if !shared.is_open_here(queue) => {
            let reason = "its queue was deleted while it waited for the next attempt";
            park(shared, &names::parked(queue), (reason, None), message).await
        }
        Err(failure) => {
            tracing::debug!(queue, %failure, "An event whose wait is over waits again");
            shared.put_into_wait(WAIT_AGAIN, &message::to_queue(message.clone(), queue)).await
        }
    }
}

/// What RabbitMQ gave up: for its deliveries, it goes back to its queue; otherwise it is parked. It is counted and told
/// when it is there, which may take several tries.
async fn give_back(shared: &Shared, returned: &ReturnedMessage, queue: &str, reason: &str) -> bool {
    let (is_done, done) = if names::is_parked(queue) {
        // A policy that limits what may be parked would do so at once again, without an end.
        tokio::time::sleep(PARKED_PAUSE).await;
        let is_parked = shared.park(queue, &returned.message).await;
        (is_parked, Some("RabbitMQ gave up a parked message: it was parked again"))
    } else if reason == "delivery_limit" && returned.given_up < MOST_GIVEN_UP {
        let is_back = forward(shared, queue, &returned.clone().given_up_again()).await;
        (is_back, Some("RabbitMQ gave up a message: it was put back into its queue"))
    } else {
        let told = format!("RabbitMQ gave it up: {}", WireText::of(reason));
        let remedy = (reason == MAX_LENGTH).then_some(NO_DROP_HEAD);
        // Which tells it itself.
        (park(shared, &names::parked(queue), (&told, remedy), &returned.message).await, None)
    };
    if is_done {
        shared.counters.rabbitmq_given_up.increment();
        if let Some(done) = done {
            tell(shared, (queue, reason), done);
        }
    }
    is_done
}

/// Tells what was done with a message that RabbitMQ gave up: of those of a queue that is consumed here, once a minute at
/// WARN.
fn tell(shared: &Shared, (queue, reason): (&str, &str), done: &str) {
    let is_due = shared.opened_here(names::of_parked(queue)).is_none_or(|queue| queue.given_up.is_due());
    let (queue, reason) = (WireText::of(queue), WireText::of(reason));
    if is_due {
        tracing::warn!(%queue, %reason, "{done}");
    } else {
        tracing::debug!(%queue, %reason, "{done}");
    }
}

/// Keeps a message that belongs nowhere. One that is kept already is not told of again.
async fn keep(shared: &Shared, returned: &ReturnedMessage) -> bool {
    if message::remark(&returned.message.properties).reason.is_empty() {
        let reason = "its headers do not say where it belongs";
        return park(shared, names::RETURNED_PARKED, (reason, None), &returned.message).await;
    }
    shared.park(names::RETURNED_PARKED, &returned.message).await
}

/// Parks a message for a reason, for which there may be a remedy. Of those of a subscription that is served here, the first
/// of a minute is told, the others as a sum.
async fn park(
    shared: &Shared,
    parked: &str,
    (reason, remedy): (&str, Option<&'static str>),
    message: &Encoded,
) -> bool {
    let Encoded { properties, body } = message.clone();
    let stored = shared.park(parked, &Encoded { properties: message::parked(properties, reason, None), body }).await;
    if stored {
        shared.counters.parked_messages.increment();
        let known = shared.opened_here(names::of_parked(parked));
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
async fn rescue_parked(shared: &Shared, connection: &OpenConnection, kept: u32) -> lapin::Result<u32> {
    let connection = &connection.connection;
    let count = look(connection, names::RETURNED_PARKED).await?.map_or(0, |look| look.ready);
    if count == kept {
        return Ok(kept);
    }
    let mut kept = 0;
    let channel = open_channel(connection).await?;
    for _ in 0..count {
        let got = channel.basic_get(short(names::RETURNED_PARKED), BasicGetOptions::default()).await?;
        let Some(got) = got else { break };
        let Delivery { properties, data, acker, .. } = got.delivery;
        let returned = ReturnedMessage::read(&properties, Bytes::from(data));
        kept += u32::from(returned.to.is_none() && returned.from.is_none());
        if try_to_move(shared, &returned).await {
            acker.ack(BasicAckOptions::default()).await?;
        }
    }
    channel.close(200, short("rescued")).await?;
    Ok(kept)
}
