//! One pass over a parking queue that leaves what stays as it was, however often it is done.
//!
//! A message that is given back counts as a delivery that failed, of which RabbitMQ allows some before it drops the
//! message. So a message that has none yet is given back, and one that has is published again instead, to the same queue,
//! and acknowledged when that is confirmed. Since such a message comes to the end of the queue, all that are behind it
//! have to follow, and those before it are given back to the head, so that the order stays. Only a few are given back, the
//! others are published again as well: RabbitMQ forgets the order of many.

use std::collections::VecDeque;

use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicGetOptions, BasicNackOptions, BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Acker, BasicProperties, Channel, Confirmation, Connection, PublisherConfirm};

use super::{Queues, answer, unavailable};
use crate::channel::parked::ParkedError;
use crate::channel::rabbitmq::message;
use crate::channel::rabbitmq::outbox::short;

/// Messages that a look gives back at most.
const HEAD: usize = WINDOW;
/// Messages that wait for their confirm, and then are acknowledged together. RabbitMQ keeps what a channel has told a
/// quorum queue beyond 32 things at once to itself: it does so in any order, and forgets it when the channel is closed.
const WINDOW: usize = 16;
/// Bytes of messages that wait for their confirm.
const WINDOW_BYTES: usize = 16 * 1024 * 1024;
/// Headers that RabbitMQ adds when it delivers a message again.
const COUNTS: [&str; 2] = ["x-delivery-count", "x-acquired-count"];

/// A pass over a parking queue.
pub(super) struct Visit<'q> {
    queues: &'q Queues<'q>,
    /// Where those come by that are given back; nothing else waits there that could change their order.
    head: Channel,
    /// Where all others come by.
    rest: Channel,
    /// Those that are given back at the end, in their order.
    back: Vec<Acker>,
    /// Whether those that stay are published again from now on.
    turning: bool,
    /// Those that wait for their confirm.
    published: VecDeque<Published>,
    bytes: usize,
}

/// A message that was published, to be acknowledged where it was when that is confirmed.
struct Published {
    to: String,
    confirm: PublisherConfirm,
    acker: Acker,
}

impl<'q> Visit<'q> {
    /// Begins at the head of the queue, to look only.
    pub(super) async fn to_look(connection: &Connection, queues: &'q Queues<'q>) -> Result<Self, ParkedError> {
        let (head, rest) = (open(connection).await?, open(connection).await?);
        Ok(Self { queues, head, rest, back: Vec::new(), turning: false, published: VecDeque::new(), bytes: 0 })
    }

    /// Begins at the head of the queue, to change something. What stays is published again.
    pub(super) async fn to_change(connection: &Connection, queues: &'q Queues<'q>) -> Result<Self, ParkedError> {
        Ok(Self { turning: true, ..Self::to_look(connection, queues).await? })
    }

    /// Whether what stays is published again from now on.
    pub(super) fn is_turning(&self) -> bool {
        self.turning
    }

    /// The next message; `None` if there is none.
    pub(super) async fn next(&self) -> Result<Option<Delivery>, ParkedError> {
        let channel = if self.turning { &self.rest } else { &self.head };
        let got = channel.basic_get(short(&self.queues.parked), BasicGetOptions::default());
        Ok(answer(got).await?.map(|got| got.delivery))
    }

    /// Leaves a message where it is.
    pub(super) async fn leave(&mut self, message: Delivery) -> Result<(), ParkedError> {
        self.turning |= self.back.len() >= HEAD || is_counted(&message.properties);
        if self.turning {
            let properties = uncounted(message.properties.clone());
            return self.publish(self.queues.parked.clone(), properties, message).await;
        }
        self.back.push(message.acker);
        Ok(())
    }

    /// Puts a message into the queue of its subscription.
    pub(super) async fn replay(&mut self, message: Delivery) -> Result<(), ParkedError> {
        let properties = uncounted(message::unparked(&message.properties));
        self.publish(self.queues.queue.clone(), properties, message).await
    }

    /// Deletes a message.
    pub(super) async fn discard(&mut self, message: Delivery) -> Result<(), ParkedError> {
        answer(message.acker.ack(BasicAckOptions::default())).await.map(drop)
    }

    async fn publish(&mut self, to: String, properties: BasicProperties, message: Delivery) -> Result<(), ParkedError> {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let published = self.rest.basic_publish(short(""), short(&to), options, &message.data, properties);
        let confirm = answer(published).await?;
        self.bytes += message.data.len();
        self.published.push_back(Published { to, confirm, acker: message.acker });
        if self.published.len() >= WINDOW || self.bytes >= WINDOW_BYTES { self.confirmed().await } else { Ok(()) }
    }

    /// Acknowledges what was published, each when its queue has it.
    async fn confirmed(&mut self) -> Result<(), ParkedError> {
        self.bytes = 0;
        let mut failed = None;
        while let Some(Published { to, confirm, acker }) = self.published.pop_front() {
            match answer(confirm).await? {
                Confirmation::Ack(None) => drop(answer(acker.ack(BasicAckOptions::default())).await?),
                Confirmation::Ack(Some(_)) => failed = Some(unavailable(format!("the queue {to} is gone"))),
                Confirmation::Nack(_) | Confirmation::NotRequested => {
                    failed = Some(unavailable(format!("the queue {to} did not take a message")));
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Gives back what is to be given back.
    pub(super) async fn end(mut self) -> Result<(), ParkedError> {
        self.confirmed().await?;
        for acker in std::mem::take(&mut self.back) {
            answer(acker.nack(BasicNackOptions { requeue: true, multiple: false })).await?;
        }
        // Answered when RabbitMQ has read all that was before.
        answer(self.head.close(200, short("done"))).await?;
        answer(self.rest.close(200, short("done"))).await
    }
}

async fn open(connection: &Connection) -> Result<Channel, ParkedError> {
    let channel = answer(connection.create_channel()).await?;
    answer(channel.confirm_select(ConfirmSelectOptions::default())).await?;
    Ok(channel)
}

/// Whether a delivery of the message has failed before.
fn is_counted(properties: &BasicProperties) -> bool {
    let headers = properties.headers().as_ref().map(FieldTable::inner);
    match headers.and_then(|headers| headers.get("x-delivery-count")) {
        None => false,
        Some(AMQPValue::LongLongInt(count)) => *count > 0,
        Some(AMQPValue::LongInt(count)) => *count > 0,
        Some(AMQPValue::LongUInt(count)) => *count > 0,
        Some(_) => true,
    }
}

/// The same properties, persistent, without what RabbitMQ has added.
fn uncounted(properties: BasicProperties) -> BasicProperties {
    let mut headers = FieldTable::default();
    for (name, value) in properties.headers().iter().flat_map(|headers| headers.inner()) {
        if !COUNTS.contains(&name.as_str()) {
            headers.insert(name.clone(), value.clone());
        }
    }
    properties.with_headers(headers).with_delivery_mode(message::PERSISTENT)
}
