//! What one consumer has received and not handed over, within what events may hold in memory.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable};
use tokio::time::Instant;

use super::connection::{OpenConnection, told};
use super::outbox::short;
use super::pace::{Pace, Situation, Step};
use super::to_its_end::ToItsEnd;
use super::{Queue, Shared};
use crate::budget::{Consumed, PER_EVENT};

/// What a message takes beside its body: its headers are a tree until it is read.
const PER_MESSAGE: usize = 4 * PER_EVENT;
/// For what is asked of RabbitMQ.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How often one that has stopped for want of room looks whether there is some, should it not be told.
const LOOK: Duration = Duration::from_millis(250);

/// A message that was received.
pub(super) struct Received {
    pub(super) delivery: Delivery,
    pub(super) came: Instant,
    /// The memory that it holds.
    pub(super) consumed: Consumed,
}

/// What happens next.
pub(super) enum Next {
    /// A message has come.
    Message(Box<Delivery>),
    /// There may be room again, while nothing is asked for.
    Room,
    /// RabbitMQ has ended the consumer.
    Ended,
    /// The channel is broken.
    Broken(lapin::Error),
}

/// Receives messages, as many as there is room for.
pub(super) struct Intake<'c> {
    queue: &'c Arc<Queue>,
    shared: &'c Shared,
    connection: &'c OpenConnection,
    channel: lapin::Channel,
    deliveries: lapin::Consumer,
    pub(super) pace: Pace,
    pub(super) waiting: VecDeque<Received>,
}

impl<'c> Intake<'c> {
    /// Of a consumer that has begun, with as many messages asked for as `queue` says.
    pub(super) fn new(
        (queue, shared): (&'c Arc<Queue>, &'c Shared),
        connection: &'c OpenConnection,
        channel: lapin::Channel,
        deliveries: lapin::Consumer,
    ) -> Self {
        let pace = Pace::new(queue.place.order, queue.prefetch);
        Self { queue, shared, connection, channel, deliveries, pace, waiting: VecDeque::new() }
    }

    /// The consumer, if it is to outlive this.
    pub(super) fn into_deliveries(self) -> lapin::Consumer {
        self.deliveries
    }

    /// What happens next. Cancel-safe.
    pub(super) async fn next(&mut self) -> Next {
        if self.pace.window() == 0 {
            self.room().await;
            return Next::Room;
        }
        match self.deliveries.next().await {
            Some(Ok(delivery)) => Next::Message(Box::new(delivery)),
            Some(Err(error)) => Next::Broken(error),
            None => Next::Ended,
        }
    }

    /// Returns when there may be room again.
    async fn room(&self) {
        let look = tokio::time::sleep(LOOK.mul_f64(0.5 + fastrand::f64()));
        tokio::select! {
            () = self.shared.options.budget.released() => {}
            () = look => {}
        }
    }

    /// Notes a message that has come.
    pub(super) fn push(&mut self, mut delivery: Delivery) {
        // It was put together of frames, with room for more.
        delivery.data.shrink_to_fit();
        let bytes = delivery.data.len() + headers_length(&delivery.properties) + PER_MESSAGE;
        self.pace.received(bytes);
        let consumed = self.shared.options.budget.consume(bytes);
        self.waiting.push_back(Received { delivery, came: Instant::now(), consumed });
    }

    /// Asks for more or fewer messages if that is called for.
    pub(super) async fn adjust(&mut self) -> Result<(), String> {
        let budget = &self.shared.options.budget;
        let active = self.shared.busy.load(Ordering::Relaxed).max(1);
        let situation = Situation {
            // What is known of sizes is about the past, so a part is left.
            allowance: budget.for_queues() / 4 * 3 / active,
            held: self.waiting.len() + self.queue.unsettled.load(Ordering::Acquire),
            has_room: budget.has_room_for_queues(),
            has_room_for_one: budget.has_room_for_one(),
        };
        match self.pace.step(situation) {
            Step::Stay => Ok(()),
            Step::Stop => self.stop().await,
            Step::Ask(window) => {
                if self.pace.window() > 0 {
                    self.stop().await?;
                }
                self.ask(window).await
            }
        }
    }

    /// Asks for nothing more. What is on the way comes, and stays as it is.
    async fn stop(&mut self) -> Result<(), String> {
        let tag = self.deliveries.tag();
        let cancelled = self.channel.basic_cancel(tag, BasicCancelOptions::default());
        self.connection.run_within(TIMEOUT, cancelled).await?;
        self.note(0);
        while let Some(delivery) = self.deliveries.next().await {
            self.push(delivery.map_err(|error| told(&error))?);
        }
        Ok(())
    }

    async fn ask(&mut self, window: u16) -> Result<(), String> {
        let consuming = consume(&self.channel, &self.queue.place.queue, window);
        self.deliveries = self.connection.run_within(TIMEOUT, consuming).await?;
        self.note(window);
        tracing::debug!(queue = self.queue.place.queue, window, "Asking for so many messages at once");
        Ok(())
    }

    fn note(&mut self, window: u16) {
        self.pace.set(window);
        self.queue.window_open.store(window, Ordering::Release);
    }
}

/// About how many bytes the headers of a message have: texts, and lists of texts such as what is forwarded.
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
    let headers = properties.headers().iter().flat_map(|headers| headers.inner());
    headers.map(|(name, value)| name.as_str().len() + length(value)).sum()
}

/// Consumes a queue, so many messages at once.
///
/// # Errors
/// Those of the connection.
pub(super) async fn consume(channel: &lapin::Channel, queue: &str, window: u16) -> lapin::Result<lapin::Consumer> {
    channel.basic_qos(window, BasicQosOptions::default()).await?;
    let (asked, late, queue) = (channel.clone(), channel.clone(), short(queue));
    let consumer = async move {
        asked.basic_consume(queue, short(""), BasicConsumeOptions::default(), FieldTable::default()).await
    };
    ToItsEnd::new(consumer, |consumer| close_late(late, consumer).boxed()).await
}

/// Closes the channel of a consumer for which nobody waits any more: it would be delivered messages that nobody settles, as
/// long as its connection lasts, and the close gives them back in their order. To close the channel before the answer has
/// come could meet RabbitMQ's own close of it, which `lapin` takes for the end of the connection.
async fn close_late(channel: lapin::Channel, consumer: lapin::Result<lapin::Consumer>) {
    // The consumer is dropped after its channel: a queue in order would go on behind what it was delivered.
    if let Ok(_consumer) = consumer
        && let Err(error) = channel.close(200, short("nobody waits for it")).await
    {
        tracing::debug!(%error, "The channel of a consumer that came too late was not closed in order");
    }
}
