//! One pass over a parking queue that leaves the messages that stay as they were, however often it
//! is done.
//!
//! A message that is requeued counts as a delivery that failed, of which RabbitMQ allows some
//! before it drops the message; and it comes back to the head of the queue or to its end, depending
//! on the queue's limits. So nothing is requeued: messages that stay are published again to the
//! same queue, and acknowledged when that is confirmed. Since a message comes to the end of the
//! queue, all that are behind it have to follow, so that the order stays.

use std::collections::VecDeque;

use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions,
};
use lapin::types::FieldTable;
use lapin::{
    Acker, BasicProperties, Channel, Confirmation, Connection, Consumer, PublisherConfirm,
};
use tokio_util::sync::CancellationToken;

use super::answer::{LIMIT, await_answer, unavailable_error};
use super::queue_names::ParkingQueueNames;
use crate::channel::parked::ParkedError;
use crate::channel::rabbitmq::amqp_channel::open_amqp_channel;
use crate::channel::rabbitmq::message::amqp_message::PERSISTENT;
use crate::channel::rabbitmq::message::amqp_value::short_string;
use crate::channel::rabbitmq::message::parked_headers::without_parked_headers;

/// Messages that are held, wait for their confirm, and then are acknowledged together. If a channel
/// has more than 32 commands for a quorum queue under way, RabbitMQ keeps the others to itself, and
/// forgets them when the channel is closed.
const WINDOW: u16 = 16;
/// Largest size in bytes of messages that wait for their confirm.
const WINDOW_BYTES: usize = 16 * 1024 * 1024;
/// Headers that RabbitMQ adds when it delivers a message again.
const COUNTS: [&str; 2] = ["x-delivery-count", "x-acquired-count"];

/// A pass over a parking queue. It never holds a message beyond those that were there at its
/// beginning, which would have to be requeued: it acknowledges the last ones only when all have
/// come.
pub(super) struct ParkingQueuePass<'q> {
    channel: Channel,
    queues: &'q ParkingQueueNames<'q>,
    consumer: Consumer,
    /// Number of messages that are still to come, and of those that may still be acknowledged
    /// before all have come.
    expected: u64,
    acknowledgeable: u64,
    /// True if the consumer was cancelled, so that no more messages come.
    cancelled: bool,
    /// Messages that wait for their confirm, and their size in bytes.
    unconfirmed: VecDeque<PendingConfirm>,
    unconfirmed_bytes: usize,
    /// Messages that are stored elsewhere or discarded, and can be acknowledged.
    to_acknowledge: VecDeque<Acker>,
}

/// A message that was published again, to be acknowledged in its old place when that is confirmed.
struct PendingConfirm {
    target_queue: String,
    confirm: PublisherConfirm,
    acker: Acker,
}

impl<'q> ParkingQueuePass<'q> {
    /// Begins a pass at the head of the queue, which has this number of messages.
    pub(super) async fn begin(
        connection: &Connection,
        queues: &'q ParkingQueueNames<'q>,
        messages: u64,
    ) -> Result<Self, ParkedError> {
        let channel = await_answer(open_amqp_channel(connection)).await?;
        // Confirms come before the first message is published, or it would have none.
        await_answer(channel.confirm_select(ConfirmSelectOptions::default())).await?;
        // The prefetch is not larger than the queue, so that no later message is held.
        let window = u16::try_from(messages).unwrap_or(WINDOW).clamp(1, WINDOW);
        await_answer(channel.basic_qos(window, BasicQosOptions::default())).await?;
        let consuming = channel.basic_consume(
            short_string(&queues.parking_queue),
            short_string("look"),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let consumer = await_answer(consuming).await?;
        Ok(Self {
            channel,
            queues,
            consumer,
            expected: messages,
            acknowledgeable: messages.saturating_sub(u64::from(window)),
            cancelled: false,
            unconfirmed: VecDeque::new(),
            unconfirmed_bytes: 0,
            to_acknowledge: VecDeque::new(),
        })
    }

    /// Next message of the pass; `None` if all have come, or those that were on their way when
    /// `stop` was cancelled.
    pub(super) async fn next_message(
        &mut self,
        stop: &CancellationToken,
    ) -> Result<Option<Delivery>, ParkedError> {
        if self.expected == 0 {
            return Ok(None);
        }
        if stop.is_cancelled() {
            self.cancel_consumer().await?;
        }
        let mut next = tokio::time::timeout(LIMIT, self.consumer.next()).await;
        if next.is_err() {
            // Another consumer has taken the messages.
            self.cancel_consumer().await?;
            next = Ok(self.consumer.next().await);
        }
        let Ok(Some(message)) = next else {
            return Ok(None);
        };
        self.expected -= 1;
        if self.expected == 0 {
            self.cancel_consumer().await?;
        }
        message.map(Some).map_err(unavailable_error)
    }

    /// True if the pass has not come to the last message.
    pub(super) fn is_cut_short(&self) -> bool {
        self.expected > 0
    }

    /// Cancels the consumer: no more messages come than those that are on their way already.
    async fn cancel_consumer(&mut self) -> Result<(), ParkedError> {
        if std::mem::replace(&mut self.cancelled, true) {
            return Ok(());
        }
        await_answer(
            self.channel
                .basic_cancel(short_string("look"), BasicCancelOptions::default()),
        )
        .await
    }

    /// Leaves a message in the parking queue.
    pub(super) async fn leave_parked(&mut self, message: Delivery) -> Result<(), ParkedError> {
        let properties = without_delivery_counts(message.properties.clone());
        self.publish(self.queues.parking_queue.clone(), properties, message)
            .await
    }

    /// Puts a message back into the queue of its subscription.
    pub(super) async fn replay(&mut self, message: Delivery) -> Result<(), ParkedError> {
        let properties = without_delivery_counts(without_parked_headers(&message.properties));
        self.publish(self.queues.queue.clone(), properties, message)
            .await
    }

    /// Deletes a message from the parking queue.
    pub(super) async fn discard(&mut self, message: Delivery) -> Result<(), ParkedError> {
        self.to_acknowledge.push_back(message.acker);
        self.acknowledge().await
    }

    /// Acknowledges messages that are done with, as far as that lets no further message come.
    async fn acknowledge(&mut self) -> Result<(), ParkedError> {
        while self.acknowledgeable > 0 {
            let Some(acker) = self.to_acknowledge.pop_front() else {
                break;
            };
            self.acknowledgeable -= 1;
            await_answer(acker.ack(BasicAckOptions::default())).await?;
        }
        Ok(())
    }

    async fn publish(
        &mut self,
        to: String,
        properties: BasicProperties,
        message: Delivery,
    ) -> Result<(), ParkedError> {
        let options = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let published = self.channel.basic_publish(
            short_string(""),
            short_string(&to),
            options,
            &message.data,
            properties,
        );
        let confirm = await_answer(published).await?;
        self.unconfirmed_bytes += message.data.len();
        self.unconfirmed.push_back(PendingConfirm {
            target_queue: to,
            confirm,
            acker: message.acker,
        });
        if self.unconfirmed.len() >= usize::from(WINDOW) || self.unconfirmed_bytes >= WINDOW_BYTES {
            self.await_confirms().await
        } else {
            Ok(())
        }
    }

    /// Waits for the confirms of published messages; each is done with when its queue has it.
    ///
    /// # Errors
    /// If a queue is gone, or did not take a message.
    async fn await_confirms(&mut self) -> Result<(), ParkedError> {
        self.unconfirmed_bytes = 0;
        let mut failed = None;
        while let Some(PendingConfirm {
            target_queue: to,
            confirm,
            acker,
        }) = self.unconfirmed.pop_front()
        {
            match await_answer(confirm).await? {
                Confirmation::Ack(None) => self.to_acknowledge.push_back(acker),
                Confirmation::Ack(Some(_)) => {
                    failed = Some(unavailable_error(format!("the queue {to} is gone")))
                }
                Confirmation::Nack(_) | Confirmation::NotRequested => {
                    failed = Some(unavailable_error(format!(
                        "the queue {to} did not take a message"
                    )));
                }
            }
        }
        self.acknowledge().await?;
        failed.map_or(Ok(()), Err)
    }

    /// Ends the pass, after the confirms of everything that was published.
    pub(super) async fn finish(mut self) -> Result<(), ParkedError> {
        self.await_confirms().await?;
        self.cancel_consumer().await?;
        self.acknowledgeable = u64::MAX;
        self.acknowledge().await?;
        // The close is answered when RabbitMQ has read all acknowledgements before it.
        await_answer(self.channel.close(200, short_string("done"))).await
    }
}

/// Persistent properties without the delivery counts that RabbitMQ has added.
fn without_delivery_counts(properties: BasicProperties) -> BasicProperties {
    let mut headers = FieldTable::default();
    for (name, value) in properties
        .headers()
        .iter()
        .flat_map(|headers| headers.inner())
    {
        if !COUNTS.contains(&name.as_str()) {
            headers.insert(name.clone(), value.clone());
        }
    }
    properties
        .with_headers(headers)
        .with_delivery_mode(PERSISTENT)
}
