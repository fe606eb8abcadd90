//! Buffer of the messages that one consumer has received and not handed over, within the memory
//! budget.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable};
use tokio::time::Instant;

use super::amqp_error::error_text;
use super::consumed_channel::ConsumedChannel;
use super::message::amqp_value::short_string;
use super::prefetch_control::{PrefetchControl, PrefetchSituation, PrefetchStep};
use super::uncancelled_future::UncancelledFuture;
use crate::budget::{ConsumedShare, PER_EVENT};

/// Bytes that a message takes beside its body: its headers are a tree until they are decoded.
const PER_MESSAGE: usize = 4 * PER_EVENT;
/// Longest time for an answer of RabbitMQ.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Period in which a consumer that has stopped for want of memory looks for room, should it not be
/// notified.
const LOOK: Duration = Duration::from_millis(250);

/// A message that was received, and not decoded yet.
pub(super) struct ReceivedDelivery {
    pub(super) delivery: Delivery,
    pub(super) received_at: Instant,
    /// Share of the memory budget that the message holds.
    pub(super) memory_share: ConsumedShare,
}

/// Next event of a buffer.
pub(super) enum PrefetchBufferEvent {
    /// A message has come.
    Message(Box<Delivery>),
    /// There may be room in memory again, while no messages are asked for.
    RoomFreed,
    /// RabbitMQ has ended the consumer.
    Ended,
    /// The channel is broken, with this error.
    Broken(lapin::Error),
}

/// Receives messages of one queue, as many as there is room for in memory.
pub(super) struct PrefetchBuffer<'c> {
    consumed: &'c ConsumedChannel,
    deliveries: lapin::Consumer,
    pub(super) prefetch_control: PrefetchControl,
    pub(super) waiting: VecDeque<ReceivedDelivery>,
}

impl<'c> PrefetchBuffer<'c> {
    /// Makes the buffer of a consumer that has begun, with the first prefetch of its queue.
    pub(super) fn new(consumed: &'c ConsumedChannel, deliveries: lapin::Consumer) -> Self {
        let queue = &consumed.queue;
        Self {
            consumed,
            deliveries,
            prefetch_control: PrefetchControl::new(queue.names.order, queue.max_prefetch),
            waiting: VecDeque::new(),
        }
    }

    /// Takes the consumer out, if it is to outlive the buffer.
    pub(super) fn into_deliveries(self) -> lapin::Consumer {
        self.deliveries
    }

    /// Waits for the next event. Cancel-safe.
    pub(super) async fn next_event(&mut self) -> PrefetchBufferEvent {
        if self.prefetch_control.prefetch() == 0 {
            self.until_room().await;
            return PrefetchBufferEvent::RoomFreed;
        }
        match self.deliveries.next().await {
            Some(Ok(delivery)) => PrefetchBufferEvent::Message(Box::new(delivery)),
            Some(Err(error)) => PrefetchBufferEvent::Broken(error),
            None => PrefetchBufferEvent::Ended,
        }
    }

    /// Returns when there may be room in memory again.
    async fn until_room(&self) {
        let look = tokio::time::sleep(LOOK.mul_f64(0.5 + fastrand::f64()));
        tokio::select! {
            () = self.consumed.queue.budget.until_released() => {}
            () = look => {}
        }
    }

    /// Adds a message that has come.
    pub(super) fn push(&mut self, mut delivery: Delivery) {
        // The body was put together from frames, with a capacity for more.
        delivery.data.shrink_to_fit();
        let bytes = delivery.data.len() + headers_length(&delivery.properties) + PER_MESSAGE;
        self.prefetch_control.record_received(bytes);
        let consumed = self.consumed.queue.budget.consumed_share(bytes);
        self.waiting.push_back(ReceivedDelivery {
            delivery,
            received_at: Instant::now(),
            memory_share: consumed,
        });
    }

    /// Changes the prefetch if the memory budget calls for that.
    pub(super) async fn adjust_prefetch(&mut self) -> Result<(), String> {
        let budget = &self.consumed.queue.budget;
        let active = self
            .consumed
            .context
            .busy_queues
            .load(Ordering::Relaxed)
            .max(1);
        let situation = PrefetchSituation {
            // Known sizes are those of past messages, so a quarter of the budget is left free.
            allowance: budget.queue_limit() / 4 * 3 / active,
            held: self.waiting.len() + self.consumed.queue.unsettled.load(Ordering::Acquire),
            has_room: budget.has_room_for_queues(),
            has_room_for_one: budget.has_room_for_one(),
        };
        match self.prefetch_control.next_step(situation) {
            PrefetchStep::Keep => Ok(()),
            PrefetchStep::Cancel => self.cancel_consumer().await,
            PrefetchStep::Consume(window) => {
                if self.prefetch_control.prefetch() > 0 {
                    self.cancel_consumer().await?;
                }
                self.start_consumer(window).await
            }
        }
    }

    /// Cancels the consumer. Messages that are on the way still come, and stay in the buffer.
    async fn cancel_consumer(&mut self) -> Result<(), String> {
        let tag = self.deliveries.tag();
        let cancelled = self
            .consumed
            .channel
            .basic_cancel(tag, BasicCancelOptions::default());
        self.consumed
            .connection
            .run_within(TIMEOUT, cancelled)
            .await?;
        self.set_prefetch(0);
        while let Some(delivery) = self.deliveries.next().await {
            self.push(delivery.map_err(|error| error_text(&error))?);
        }
        Ok(())
    }

    async fn start_consumer(&mut self, window: u16) -> Result<(), String> {
        let consuming = consume(
            &self.consumed.channel,
            &self.consumed.queue.names.queue,
            window,
        );
        self.deliveries = self
            .consumed
            .connection
            .run_within(TIMEOUT, consuming)
            .await?;
        self.set_prefetch(window);
        tracing::debug!(
            queue = self.consumed.queue.names.queue,
            window,
            "Asking for so many messages at once"
        );
        Ok(())
    }

    fn set_prefetch(&mut self, window: u16) {
        self.prefetch_control.set_prefetch(window);
        self.consumed
            .queue
            .current_prefetch
            .store(window, Ordering::Release);
    }
}

/// Approximate size in bytes of a message's headers: texts, and lists of texts such as the
/// forwarded fields.
fn headers_length(properties: &BasicProperties) -> usize {
    let text = |value: &AMQPValue| match value {
        AMQPValue::LongString(text) => text.as_bytes().len(),
        AMQPValue::ShortString(text) => text.as_str().len(),
        AMQPValue::ByteArray(bytes) => bytes.as_slice().len(),
        _ => 0,
    };
    let length = |value: &AMQPValue| match value {
        AMQPValue::FieldArray(values) => values.as_slice().iter().map(text).sum(),
        value => text(value),
    };
    let headers = properties
        .headers()
        .iter()
        .flat_map(|headers| headers.inner());
    headers
        .map(|(name, value)| name.as_str().len() + length(value))
        .sum()
}

/// Begins to consume a queue with a prefetch of `window`.
///
/// # Errors
/// Those of the connection.
pub(super) async fn consume(
    channel: &lapin::Channel,
    queue: &str,
    window: u16,
) -> lapin::Result<lapin::Consumer> {
    channel
        .basic_qos(window, BasicQosOptions::default())
        .await?;
    let (asked, late, queue) = (channel.clone(), channel.clone(), short_string(queue));
    let consumer = async move {
        asked
            .basic_consume(
                queue,
                short_string(""),
                BasicConsumeOptions::default(),
                FieldTable::default(),
            )
            .await
    };
    UncancelledFuture::new(consumer, |consumer| {
        close_unclaimed_channel(late, consumer).boxed()
    })
    .await
}

/// Closes the channel of a consumer for which nobody waits any more: messages would be delivered to
/// it that nobody settles, as long as its connection lasts, and the close requeues them in their
/// order. A close before the answer has come could meet RabbitMQ's own close of the channel, which
/// `lapin` takes for the end of the connection.
async fn close_unclaimed_channel(
    channel: lapin::Channel,
    consumer: lapin::Result<lapin::Consumer>,
) {
    // The consumer is dropped after its channel: an ordered queue would go on behind the messages
    // that were delivered to it.
    if let Ok(_consumer) = consumer
        && let Err(error) = channel
            .close(200, short_string("nobody waits for it"))
            .await
    {
        tracing::debug!(
            %error,
            "The channel of a consumer that came too late was not closed in order"
        );
    }
}
