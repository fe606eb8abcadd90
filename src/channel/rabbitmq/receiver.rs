//! Receiving what comes over one AMQP channel: messages are read and handed to the worker, and the queue is watched.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use lapin::message::Delivery;
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::acknowledger::{Settled, Verdict};
use super::connection::OpenConnection;
use super::consumer::{Consumer, ConsumerFailure};
use super::intake::{Intake, Next, Received};
use super::message::Encoded;
use super::outbox::short;
use super::queue_watch::{Backlog, QueueLook, QueueWatch, Suspicion};
use super::settlement::RabbitmqSettlement;
use super::stage;
use super::topology::look;
use crate::budget::Consumed;
use crate::channel::{Deferral, HoldTime, Message, Progress};
use crate::model::Order;

/// How often a consumer thinks of its queue.
const WATCH: Duration = Duration::from_secs(2);
/// After how many of these times what is parked is counted.
const PARKED_PERIOD: u32 = 30;
/// For a look at the queue. One without a leader does not answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A message that is no event.
struct Unreadable {
    tag: u64,
    reason: String,
    message: Encoded,
    consumed: Consumed,
}

/// Receives what comes over one channel.
pub(super) struct Receiver<'c> {
    consumer: &'c Consumer,
    connection: &'c OpenConnection,
    channel: lapin::Channel,
    settled: mpsc::Sender<Settled>,
    revoked: CancellationToken,
    watch: QueueWatch,
    /// How often it is thought of the queue before what is parked is counted again.
    parked_in: u32,
}

impl<'c> Receiver<'c> {
    /// A receiver of what comes over this channel. What is settled is told to `settled`.
    pub(super) fn new(
        consumer: &'c Consumer,
        connection: &'c OpenConnection,
        (channel, settled): (lapin::Channel, mpsc::Sender<Settled>),
        revoked: CancellationToken,
    ) -> Self {
        Self {
            consumer,
            connection,
            channel,
            settled,
            revoked,
            watch: QueueWatch::new(consumer.queue.place.order),
            parked_in: 0,
        }
    }

    /// Hands messages to the worker until something breaks.
    pub(super) async fn run(mut self, intake: &mut Intake<'_>) -> Result<(), ConsumerFailure> {
        let Consumer { queue, shared, messages, .. } = self.consumer;
        let mut parking: FuturesUnordered<BoxFuture<'_, u64>> = FuturesUnordered::new();
        let mut watch = tokio::time::interval_at(Instant::now() + WATCH, WATCH);
        // After a pause of the whole process, RabbitMQ gets the time to send what waits.
        watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                next = intake.next() => match next {
                    Next::Message(delivery) => {
                        self.watch.received();
                        intake.push(*delivery);
                        intake.adjust().await?;
                    }
                    Next::Room => intake.adjust().await?,
                    Next::Broken(error) => return Err(error.into()),
                    Next::Ended if self.channel.status().connected() => return Err(ConsumerFailure::Cancelled),
                    Next::Ended => return Err("the channel was closed".to_owned().into()),
                },
                place = messages.reserve(), if !intake.waiting.is_empty() => {
                    let place = place.map_err(|_closed| "its worker has ended".to_owned())?;
                    let Some(received) = intake.waiting.pop_front() else { continue };
                    match self.read(received) {
                        Ok(message) => place.send(message),
                        Err(unreadable) => parking.push(Box::pin(async move {
                            let Unreadable { tag, reason, message, consumed } = *unreadable;
                            self.consumer.park(reason, message).await;
                            drop(consumed);
                            tag
                        })),
                    }
                }
                Some(tag) = parking.next(), if !parking.is_empty() => {
                    let told = self.settled.send((tag, Verdict::Done)).await;
                    told.map_err(|_closed| "the channel is broken".to_owned())?;
                }
                () = queue.missing.notified() => {
                    tracing::warn!(queue = queue.place.queue, "A queue is missing, declaring it again");
                    return Err(ConsumerFailure::Cancelled);
                }
                () = queue.doubted.notified() => {
                    self.watch.doubt();
                    self.look().await?;
                }
                () = self.connection.broken.cancelled() => return Err("the connection is broken".to_owned().into()),
                _ = watch.tick() => {
                    intake.pace.pass();
                    intake.adjust().await?;
                    self.watch(shared, intake.pace.window()).await?;
                }
            }
        }
    }

    /// Looks at the queue from time to time. One that asks for no messages at the moment has nothing to conclude.
    async fn watch(&mut self, shared: &Shared, window: u16) -> Result<(), String> {
        let queue = &self.consumer.queue;
        self.count_parked().await;
        if window == 0 {
            return Ok(());
        }
        let is_known = queue.published.load(Ordering::Acquire) > 0 || queue.room() == 0;
        let backlog = if is_known { Backlog::Possible } else { Backlog::Unlikely };
        if !self.watch.is_due(backlog) {
            return Ok(());
        }
        let look = self.look().await?;
        match self.watch.judge(look, queue.room()) {
            None => Ok(()),
            Some(Suspicion::Silent) => {
                shared.counters.rabbitmq_consumers_silent.increment();
                Err("messages wait, but none comes".to_owned())
            }
            Some(Suspicion::Recovered) => Err("RabbitMQ did not answer for it for a while".to_owned()),
        }
    }

    /// A message as its worker gets it, if it is an event.
    fn read(&self, received: Received) -> Result<Box<Message>, Box<Unreadable>> {
        let Consumer { queue, shared, .. } = self.consumer;
        let Received { delivery, came, consumed } = received;
        let Delivery { delivery_tag, properties, data, .. } = delivery;
        let data = Bytes::from(data);
        let (event, note, stage) = match stage::decode(&properties, data.clone(), shared.options.attributes.of_stored())
        {
            Ok(decoded) => decoded,
            Err(error) => {
                let (reason, message) = (format!("not an event: {error}"), Encoded { properties, body: data });
                return Err(Box::new(Unreadable { tag: delivery_tag, reason, message, consumed }));
            }
        };
        let noted = Deferral { stage, attempts: note.attempts, wait: note.wait() };
        let Deferral { stage, attempts, wait } = queue.recall(&event).unwrap_or(noted);
        let longest = shared.hold.get();
        let held = Some(HoldTime { until: came + longest, longest });
        // In an ordered queue, an event that is put off would come after those behind it.
        let patience = (queue.place.order == Order::Unordered).then_some(shared.options.patience);
        let progress = Progress { stage, attempts, wait, patience, held };
        let settlement =
            RabbitmqSettlement::new((delivery_tag, self.settled.clone()), self.revoked.clone(), queue, shared);
        let event = Arc::new(event.with_lease(Arc::new(consumed)));
        Ok(Message::new(event, progress, settlement))
    }

    /// Counts what is parked: once at the start, since there may be some of before, and every minute while there are any.
    async fn count_parked(&mut self) {
        let queue = &self.consumer.queue;
        let is_due =
            self.parked_in == 0 && (queue.series.parked_now.get() > 0 || !queue.parked_counted.load(Ordering::Acquire));
        self.parked_in = if is_due { PARKED_PERIOD } else { self.parked_in.saturating_sub(1) };
        if !is_due {
            return;
        }
        let look = Box::pin(look(&self.connection.connection, &queue.place.parked));
        if let Ok(found) = self.connection.run_within(TIMEOUT, look).await {
            queue.parked_counted.store(true, Ordering::Release);
            queue.series.parked_now.set(found.map_or(0, |look| look.ready.into()));
        }
    }

    /// Looks at the queue, which may be gone. Messages that were published are forgotten when it is empty; those that are
    /// put into it after that are looked for the next time.
    async fn look(&self) -> Result<QueueLook, String> {
        let queue = &self.consumer.queue;
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let look = self.channel.queue_declare(short(&queue.place.queue), passive, FieldTable::default());
        let look = QueueLook::of(&self.connection.run_within(TIMEOUT, look).await?);
        if look.consumers > 0 {
            queue.series.ready.set(look.ready.into());
            queue.answers();
        }
        if look.ready == 0 {
            queue.published.store(0, Ordering::Release);
        }
        Ok(look)
    }
}
