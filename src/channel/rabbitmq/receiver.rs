//! Receiver of the messages that come over one AMQP channel: they are decoded and handed to the
//! worker, and the queue is watched.

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

use super::RabbitmqContext;
use super::acknowledger::{SettleAction, SettledDelivery};
use super::confirming_publisher::short_string;
use super::connection::OpenAmqpConnection;
use super::consumer::{ConsumerFailure, RabbitmqConsumer};
use super::consumer_watchdog::{ConsumerWatchdog, QueueBacklog, QueueCounts, StallReason};
use super::deferred_message;
use super::message::AmqpMessage;
use super::prefetch_buffer::{PrefetchBuffer, PrefetchBufferEvent, ReceivedDelivery};
use super::settlement::RabbitmqSettlement;
use super::topology::inspect_queue;
use crate::budget::ConsumedShare;
use crate::channel::{DeferredDelivery, DeliveryProgress, EventDelivery, HoldTime};
use crate::model::DeliveryOrder;

/// Period of the watchdog of the queue.
const WATCH: Duration = Duration::from_secs(2);
/// Number of such periods after which parked messages are counted.
const PARKED_PERIOD: u32 = 30;
/// Longest time for an inspection of the queue. One without a leader does not answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A message that is no event, and is to be parked.
struct UnreadableMessage {
    tag: u64,
    reason: String,
    message: AmqpMessage,
    memory_share: ConsumedShare,
}

/// Receives the messages of one channel.
pub(super) struct RabbitmqReceiver<'c> {
    consumer: &'c RabbitmqConsumer,
    connection: &'c OpenAmqpConnection,
    channel: lapin::Channel,
    settlements: mpsc::Sender<SettledDelivery>,
    revoked: CancellationToken,
    watchdog: ConsumerWatchdog,
    /// Periods that are left before parked messages are counted again.
    parked_count_due_in: u32,
}

impl<'c> RabbitmqReceiver<'c> {
    /// Makes a receiver of this channel. The deliveries are settled by way of the `settlements`
    /// sender.
    pub(super) fn new(
        consumer: &'c RabbitmqConsumer,
        connection: &'c OpenAmqpConnection,
        (channel, settlements): (lapin::Channel, mpsc::Sender<SettledDelivery>),
        revoked: CancellationToken,
    ) -> Self {
        Self {
            consumer,
            connection,
            channel,
            settlements,
            revoked,
            watchdog: ConsumerWatchdog::new(consumer.queue.names.order),
            parked_count_due_in: 0,
        }
    }

    /// Hands messages to the worker until something breaks.
    pub(super) async fn run(
        mut self,
        buffer: &mut PrefetchBuffer<'_>,
    ) -> Result<(), ConsumerFailure> {
        let RabbitmqConsumer {
            queue,
            context: shared,
            messages,
            ..
        } = self.consumer;
        let mut parking: FuturesUnordered<BoxFuture<'_, u64>> = FuturesUnordered::new();
        let mut watch = tokio::time::interval_at(Instant::now() + WATCH, WATCH);
        // After a pause of the whole process, RabbitMQ gets the time to send messages that wait.
        watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // Each message may change the prefetch, since it tells how large messages are.
                next = buffer.next_event() => match next {
                    PrefetchBufferEvent::Message(delivery) => {
                        self.watchdog.record_received();
                        buffer.push(*delivery);
                        buffer.adjust_prefetch().await?;
                    }
                    PrefetchBufferEvent::RoomFreed => buffer.adjust_prefetch().await?,
                    PrefetchBufferEvent::Broken(error) => return Err(error.into()),
                    PrefetchBufferEvent::Ended if self.channel.status().connected() => return Err(ConsumerFailure::Cancelled),
                    PrefetchBufferEvent::Ended => return Err("the channel was closed".to_owned().into()),
                },
                // A message leaves the buffer only when the worker has room for it, so that none is
                // lost here.
                place = messages.reserve(), if !buffer.waiting.is_empty() => {
                    let place = place.map_err(|_closed| "its worker has ended".to_owned())?;
                    let Some(received) = buffer.waiting.pop_front() else { continue };
                    match self.decode_delivery(received) {
                        Ok(message) => place.send(message),
                        Err(unreadable) => parking.push(Box::pin(async move {
                            let UnreadableMessage { tag, reason, message, memory_share } = *unreadable;
                            self.consumer.park_unreadable(reason, message).await;
                            drop(memory_share);
                            tag
                        })),
                    }
                }
                // A parked message is acknowledged only when the parking queue has it.
                Some(tag) = parking.next(), if !parking.is_empty() => {
                    let told = self.settlements.send((tag, SettleAction::Ack)).await;
                    told.map_err(|_closed| "the channel is broken".to_owned())?;
                }
                // Publishers notice first that a queue is missing or does not answer.
                () = queue.missing_notify.notified() => {
                    tracing::warn!(
                        queue = queue.names.queue,
                        "A queue is missing, declaring it again"
                    );
                    return Err(ConsumerFailure::Cancelled);
                }
                () = queue.unanswered_notify.notified() => {
                    self.watchdog.record_unanswered();
                    self.inspect_queue().await?;
                }
                () = self.connection.broken.cancelled() => return Err("the connection is broken".to_owned().into()),
                _ = watch.tick() => {
                    buffer.prefetch_control.record_period();
                    buffer.adjust_prefetch().await?;
                    self.check_for_stall(shared, buffer.prefetch_control.prefetch()).await?;
                }
            }
        }
    }

    /// Inspects the queue from time to time. With a prefetch of 0, nothing can be concluded.
    async fn check_for_stall(
        &mut self,
        context: &RabbitmqContext,
        window: u16,
    ) -> Result<(), String> {
        let queue = &self.consumer.queue;
        self.count_parked().await;
        if window == 0 {
            return Ok(());
        }
        let is_known =
            queue.published.load(Ordering::Acquire) > 0 || queue.remaining_prefetch() == 0;
        let backlog = if is_known {
            QueueBacklog::Possible
        } else {
            QueueBacklog::Unlikely
        };
        if !self.watchdog.is_inspection_due(backlog) {
            return Ok(());
        }
        let look = self.inspect_queue().await?;
        match self.watchdog.find_stall(look, queue.remaining_prefetch()) {
            None => Ok(()),
            Some(StallReason::NoDeliveries) => {
                context.metrics.consumers_silent.increment();
                Err("messages wait, but none comes".to_owned())
            }
            Some(StallReason::Recovered) => {
                Err("RabbitMQ did not answer for it for a while".to_owned())
            }
        }
    }

    /// Decodes a message as the event delivery for its worker.
    ///
    /// # Errors
    /// If the message is no event: it is to be parked.
    fn decode_delivery(
        &self,
        received: ReceivedDelivery,
    ) -> Result<Box<EventDelivery>, Box<UnreadableMessage>> {
        let RabbitmqConsumer {
            queue,
            context: shared,
            ..
        } = self.consumer;
        let ReceivedDelivery {
            delivery,
            received_at: came,
            memory_share: consumed,
        } = received;
        let Delivery {
            delivery_tag,
            properties,
            data,
            ..
        } = delivery;
        let data = Bytes::from(data);
        let (event, retry_headers, stage) = match deferred_message::decode(
            &properties,
            data.clone(),
            shared.options.attributes.for_stored_events(),
        ) {
            Ok(decoded) => decoded,
            Err(error) => {
                let (reason, message) = (
                    format!("not an event: {error}"),
                    AmqpMessage {
                        properties,
                        body: data,
                    },
                );
                return Err(Box::new(UnreadableMessage {
                    tag: delivery_tag,
                    reason,
                    message,
                    memory_share: consumed,
                }));
            }
        };
        // Memory knows the progress of a requeued event better than its headers.
        let noted = DeferredDelivery {
            stage,
            attempts: retry_headers.attempts,
            wait: retry_headers.remaining_wait(),
        };
        let DeferredDelivery {
            stage,
            attempts,
            wait,
        } = queue.take_deferred(&event).unwrap_or(noted);
        let longest = shared.hold_limit.get();
        let held = Some(HoldTime {
            until: came + longest,
            longest,
        });
        // In an ordered queue, a deferred event would come after those behind it.
        let patience =
            (queue.names.order == DeliveryOrder::Unordered).then_some(shared.options.max_held_wait);
        let progress = DeliveryProgress {
            stage,
            attempts,
            wait,
            max_wait: patience,
            hold_time: held,
        };
        let settlement = RabbitmqSettlement::new(
            (delivery_tag, self.settlements.clone()),
            self.revoked.clone(),
            queue,
            shared,
        );
        let event = Arc::new(event.with_guard(Arc::new(consumed)));
        Ok(EventDelivery::new(event, progress, settlement))
    }

    /// Counts parked messages: once at the start, since there may be some from before, and every
    /// minute while there are any.
    async fn count_parked(&mut self) {
        let queue = &self.consumer.queue;
        let is_due = self.parked_count_due_in == 0
            && (queue.series.parked_now.get() > 0 || !queue.parked_counted.load(Ordering::Acquire));
        self.parked_count_due_in = if is_due {
            PARKED_PERIOD
        } else {
            self.parked_count_due_in.saturating_sub(1)
        };
        if !is_due {
            return;
        }
        let look = Box::pin(inspect_queue(
            &self.connection.connection,
            &queue.names.parking_queue,
        ));
        if let Ok(found) = self.connection.run_within(TIMEOUT, look).await {
            queue.parked_counted.store(true, Ordering::Release);
            queue
                .series
                .parked_now
                .set(found.map_or(0, |look| look.ready.into()));
        }
    }

    /// Inspects the queue, which may be gone. The count of published messages is reset when the
    /// queue is empty; messages that are published after that are looked for the next time.
    async fn inspect_queue(&self) -> Result<QueueCounts, String> {
        let queue = &self.consumer.queue;
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let look = self.channel.queue_declare(
            short_string(&queue.names.queue),
            passive,
            FieldTable::default(),
        );
        let look = QueueCounts::from_declare_ok(&self.connection.run_within(TIMEOUT, look).await?);
        if look.consumers > 0 {
            queue.series.ready.set(look.ready.into());
            queue.mark_answering();
        }
        if look.ready == 0 {
            queue.published.store(0, Ordering::Release);
        }
        Ok(look)
    }
}
