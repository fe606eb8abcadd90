//! One pass over a parking queue that leaves what stays as it was, however often it is done.
//!
//! A message that is given back to its queue counts as a delivery that failed, of which RabbitMQ allows some before it
//! drops the message; and it comes back to the head of the queue or to its end, as there is a limit for that or not. So
//! nothing is given back: what stays is published again to the same queue, and acknowledged when that is confirmed. Since
//! it comes to the end of the queue, all that are behind it have to follow, so that the order stays.

use std::collections::VecDeque;

use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::FieldTable;
use lapin::{Acker, BasicProperties, Channel, Confirmation, Connection, PublisherConfirm};

use super::{Queues, answer, unavailable};
use crate::channel::parked::ParkedError;
use crate::channel::rabbitmq::message;
use crate::channel::rabbitmq::outbox::short;

/// Messages that wait for their confirm, and then are acknowledged together. RabbitMQ keeps what a channel has told a
/// quorum queue beyond 32 things at once to itself, and forgets it when the channel is closed.
const WINDOW: usize = 16;
/// Bytes of messages that wait for their confirm.
const WINDOW_BYTES: usize = 16 * 1024 * 1024;
/// Headers that RabbitMQ adds when it delivers a message again.
const COUNTS: [&str; 2] = ["x-delivery-count", "x-acquired-count"];

/// A pass over a parking queue.
pub(super) struct Visit<'q> {
    channel: Channel,
    queues: &'q Queues<'q>,
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
    /// Begins at the head of the queue.
    pub(super) async fn begin(connection: &Connection, queues: &'q Queues<'q>) -> Result<Self, ParkedError> {
        let channel = answer(connection.create_channel()).await?;
        answer(channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok(Self { channel, queues, published: VecDeque::new(), bytes: 0 })
    }

    /// The next message; `None` if there is none.
    pub(super) async fn next(&self) -> Result<Option<Delivery>, ParkedError> {
        let got = self.channel.basic_get(short(&self.queues.parked), BasicGetOptions::default());
        Ok(answer(got).await?.map(|got| got.delivery))
    }

    /// Leaves a message where it is.
    pub(super) async fn leave(&mut self, message: Delivery) -> Result<(), ParkedError> {
        let properties = uncounted(message.properties.clone());
        self.publish(self.queues.parked.clone(), properties, message).await
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
        let published = self.channel.basic_publish(short(""), short(&to), options, &message.data, properties);
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

    /// Waits for what was published.
    pub(super) async fn end(mut self) -> Result<(), ParkedError> {
        self.confirmed().await?;
        // Answered when RabbitMQ has read all that was before.
        answer(self.channel.close(200, short("done"))).await
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
