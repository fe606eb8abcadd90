//! One pass over a parking queue that leaves what stays as it was, however often it is done.
//!
//! A message that is given back to its queue counts as a delivery that failed, of which RabbitMQ allows some before it
//! drops the message; and it comes back to the head of the queue or to its end, as there is a limit for that or not. So
//! nothing is given back: what stays is published again to the same queue, and acknowledged when that is confirmed. Since
//! it comes to the end of the queue, all that are behind it have to follow, so that the order stays.

use std::collections::VecDeque;

use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions,
};
use lapin::types::FieldTable;
use lapin::{Acker, BasicProperties, Channel, Confirmation, Connection, Consumer, PublisherConfirm};
use tokio_util::sync::CancellationToken;

use super::{LIMIT, Queues, answer, unavailable};
use crate::channel::parked::ParkedError;
use crate::channel::rabbitmq::connection::open_channel;
use crate::channel::rabbitmq::message;
use crate::channel::rabbitmq::outbox::short;

/// Messages that are held, and wait for their confirm, and then are acknowledged together. RabbitMQ keeps what a channel has told a
/// quorum queue beyond 32 things at once to itself, and forgets it when the channel is closed.
const WINDOW: u16 = 16;
/// Bytes of messages that wait for their confirm.
const WINDOW_BYTES: usize = 16 * 1024 * 1024;
/// Headers that RabbitMQ adds when it delivers a message again.
const COUNTS: [&str; 2] = ["x-delivery-count", "x-acquired-count"];

/// A pass over a parking queue. It never holds a message beyond those that were there at its beginning, which would have
/// to be given back: it acknowledges the last ones only when all have come.
pub(super) struct Visit<'q> {
    channel: Channel,
    queues: &'q Queues<'q>,
    messages: Consumer,
    /// Messages that are still to come, and that may still be acknowledged before all have.
    coming: u64,
    acknowledgeable: u64,
    /// Whether no more are let come.
    cancelled: bool,
    /// Those that wait for their confirm, and their bytes.
    published: VecDeque<Published>,
    bytes: usize,
    /// Those that are done with.
    done: VecDeque<Acker>,
}

/// A message that was published, to be acknowledged where it was when that is confirmed.
struct Published {
    to: String,
    confirm: PublisherConfirm,
    acker: Acker,
}

impl<'q> Visit<'q> {
    /// Begins at the head of the queue, which has so many messages.
    pub(super) async fn begin(
        connection: &Connection,
        queues: &'q Queues<'q>,
        messages: u64,
    ) -> Result<Self, ParkedError> {
        let channel = answer(open_channel(connection)).await?;
        answer(channel.confirm_select(ConfirmSelectOptions::default())).await?;
        let window = u16::try_from(messages).unwrap_or(WINDOW).clamp(1, WINDOW);
        answer(channel.basic_qos(window, BasicQosOptions::default())).await?;
        let (queue, options, arguments) =
            (short(&queues.parked), BasicConsumeOptions::default(), FieldTable::default());
        let consumer = answer(channel.basic_consume(queue, short("look"), options, arguments)).await?;
        let acknowledgeable = messages.saturating_sub(u64::from(window));
        Ok(Self {
            channel,
            queues,
            messages: consumer,
            coming: messages,
            acknowledgeable,
            cancelled: false,
            published: VecDeque::new(),
            bytes: 0,
            done: VecDeque::new(),
        })
    }

    /// The next message; `None` if all have come, or those that were on their way when it was told to stop.
    pub(super) async fn next(&mut self, stop: &CancellationToken) -> Result<Option<Delivery>, ParkedError> {
        if self.coming == 0 {
            return Ok(None);
        }
        if stop.is_cancelled() {
            self.let_none_come().await?;
        }
        let mut next = tokio::time::timeout(LIMIT, self.messages.next()).await;
        if next.is_err() {
            // Somebody has taken them.
            self.let_none_come().await?;
            next = Ok(self.messages.next().await);
        }
        let Ok(Some(message)) = next else { return Ok(None) };
        self.coming -= 1;
        if self.coming == 0 {
            self.let_none_come().await?;
        }
        message.map(Some).map_err(unavailable)
    }

    /// Whether it has not come to the last message.
    pub(super) fn is_cut_short(&self) -> bool {
        self.coming > 0
    }

    /// Lets no more messages come than those that are on their way already.
    async fn let_none_come(&mut self) -> Result<(), ParkedError> {
        if std::mem::replace(&mut self.cancelled, true) {
            return Ok(());
        }
        answer(self.channel.basic_cancel(short("look"), BasicCancelOptions::default())).await
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
        self.done.push_back(message.acker);
        self.acknowledge().await
    }

    /// Acknowledges what is done with, as far as that lets no further message come.
    async fn acknowledge(&mut self) -> Result<(), ParkedError> {
        while self.acknowledgeable > 0 {
            let Some(acker) = self.done.pop_front() else { break };
            self.acknowledgeable -= 1;
            answer(acker.ack(BasicAckOptions::default())).await?;
        }
        Ok(())
    }

    async fn publish(&mut self, to: String, properties: BasicProperties, message: Delivery) -> Result<(), ParkedError> {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let published = self.channel.basic_publish(short(""), short(&to), options, &message.data, properties);
        let confirm = answer(published).await?;
        self.bytes += message.data.len();
        self.published.push_back(Published { to, confirm, acker: message.acker });
        if self.published.len() >= usize::from(WINDOW) || self.bytes >= WINDOW_BYTES {
            self.confirmed().await
        } else {
            Ok(())
        }
    }

    /// Is done with what was published, each when its queue has it.
    async fn confirmed(&mut self) -> Result<(), ParkedError> {
        self.bytes = 0;
        let mut failed = None;
        while let Some(Published { to, confirm, acker }) = self.published.pop_front() {
            match answer(confirm).await? {
                Confirmation::Ack(None) => self.done.push_back(acker),
                Confirmation::Ack(Some(_)) => failed = Some(unavailable(format!("the queue {to} is gone"))),
                Confirmation::Nack(_) | Confirmation::NotRequested => {
                    failed = Some(unavailable(format!("the queue {to} did not take a message")));
                }
            }
        }
        self.acknowledge().await?;
        failed.map_or(Ok(()), Err)
    }

    /// Waits for what was published.
    pub(super) async fn end(mut self) -> Result<(), ParkedError> {
        self.confirmed().await?;
        self.let_none_come().await?;
        self.acknowledgeable = u64::MAX;
        self.acknowledge().await?;
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
