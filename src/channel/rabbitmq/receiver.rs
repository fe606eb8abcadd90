//! Receiver of the messages that come over one AMQP channel: they are decoded and handed to the
//! worker, and the queue is watched.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lapin::message::Delivery;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::acknowledger::{SettleAction, SettledDelivery, UnsettledTag};
use super::consumed_channel::ConsumedChannel;
use super::consumer_failure::ConsumerFailure;
use super::consumer_watchdog::{ConsumerWatchdog, QueueBacklog, StallReason};
use super::deferred_message;
use super::message::amqp_message::AmqpMessage;
use super::prefetch_buffer::{PrefetchBuffer, PrefetchBufferEvent, ReceivedDelivery};
use super::queue_inspection::{QueueCounts, inspect_queue, inspect_queue_on};
use super::settlement::RabbitmqSettlement;
use super::unreadable_message::UnreadableMessage;
use crate::channel::{DeferredDelivery, DeliveryProgress, EventDelivery, HoldTime};
use crate::event::Event;
use crate::model::DeliveryOrder;

/// Period of the watchdog of the queue.
const WATCH: Duration = Duration::from_secs(2);
/// Number of such periods after which parked messages are counted.
const PARKED_PERIOD: u32 = 30;
/// Longest time for an inspection of the queue. One without a leader does not answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Receives the messages of one channel.
pub(super) struct RabbitmqReceiver<'c> {
    consumed: &'c ConsumedChannel,
    /// Sender of event deliveries to the worker of the subscription.
    messages: &'c mpsc::Sender<Box<EventDelivery>>,
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
        consumed: &'c ConsumedChannel,
        messages: &'c mpsc::Sender<Box<EventDelivery>>,
        settlements: mpsc::Sender<SettledDelivery>,
        revoked: CancellationToken,
    ) -> Self {
        Self {
            consumed,
            messages,
            settlements,
            revoked,
            watchdog: ConsumerWatchdog::new(consumed.queue.names.order),
            parked_count_due_in: 0,
        }
    }

    /// Hands messages to the worker until something breaks. Gives the reason for that.
    pub(super) async fn run(mut self, buffer: &mut PrefetchBuffer<'_>) -> ConsumerFailure {
        match self.receive_until_broken(buffer).await {
            Ok(never) => match never {},
            Err(failure) => failure,
        }
    }

    async fn receive_until_broken(
        &mut self,
        buffer: &mut PrefetchBuffer<'_>,
    ) -> Result<Infallible, ConsumerFailure> {
        let ConsumedChannel {
            queue,
            context,
            connection,
            ..
        } = self.consumed;
        let mut parking = FuturesUnordered::new();
        let mut watch = tokio::time::interval_at(Instant::now() + WATCH, WATCH);
        // After a pause of the whole process, RabbitMQ gets the time to send messages that wait.
        watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                next = buffer.next_event() => self.handle_event(next, buffer).await?,
                // A message leaves the buffer only when the worker has room for it, so that none is
                // lost here.
                place = self.messages.reserve(), if !buffer.waiting.is_empty() => {
                    let place = place.map_err(|_closed| "its worker has ended".to_owned())?;
                    let Some(received) = buffer.waiting.pop_front() else { continue };
                    match self.decode_delivery(received) {
                        Ok(message) => place.send(message),
                        Err(unreadable) => parking.push(Box::pin(unreadable.park(queue, context))),
                    }
                }
                Some(tag) = parking.next(), if !parking.is_empty() => {
                    self.acknowledge_parked(tag).await?;
                }
                // Publishers notice first that a queue is missing or does not answer.
                () = queue.missing_notify.notified() => return Err(self.missing_queue_failure()),
                () = queue.unanswered_notify.notified() => {
                    self.watchdog.record_unanswered();
                    self.inspect_queue().await?;
                }
                () = connection.broken.cancelled() => {
                    return Err("the connection is broken".to_owned().into());
                }
                _ = watch.tick() => {
                    buffer.prefetch_control.record_period();
                    buffer.adjust_prefetch().await?;
                    self.check_for_stall(buffer.prefetch_control.prefetch()).await?;
                }
            }
        }
    }

    /// Logs that the queue is missing, and gives the failure after which it is declared again.
    fn missing_queue_failure(&self) -> ConsumerFailure {
        tracing::warn!(
            queue = self.consumed.queue.names.queue,
            "A queue is missing, declaring it again"
        );
        ConsumerFailure::Cancelled
    }

    /// Takes what has come into the buffer. Each message may change the prefetch, since it tells how
    /// large messages are.
    async fn handle_event(
        &mut self,
        event: PrefetchBufferEvent,
        buffer: &mut PrefetchBuffer<'_>,
    ) -> Result<(), ConsumerFailure> {
        match event {
            PrefetchBufferEvent::Message(delivery) => {
                self.watchdog.record_received();
                buffer.push(*delivery);
                Ok(buffer.adjust_prefetch().await?)
            }
            PrefetchBufferEvent::RoomFreed => Ok(buffer.adjust_prefetch().await?),
            PrefetchBufferEvent::Broken(error) => Err(error.into()),
            PrefetchBufferEvent::Ended if self.consumed.channel.status().connected() => {
                Err(ConsumerFailure::Cancelled)
            }
            PrefetchBufferEvent::Ended => Err("the channel was closed".to_owned().into()),
        }
    }

    /// Has a parked message acknowledged, now that the parking queue has it.
    async fn acknowledge_parked(&self, tag: u64) -> Result<(), String> {
        let settled = SettledDelivery {
            tag,
            action: SettleAction::Ack,
        };
        let sent = self.settlements.send(settled).await;
        sent.map_err(|_closed| "the channel is broken".to_owned())
    }

    /// Inspects the queue from time to time. With a prefetch of 0, nothing can be concluded.
    async fn check_for_stall(&mut self, prefetch: u16) -> Result<(), String> {
        let queue = &self.consumed.queue;
        self.count_parked().await;
        if prefetch == 0 {
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
        let counts = self.inspect_queue().await?;
        match self.watchdog.find_stall(counts, queue.remaining_prefetch()) {
            None => Ok(()),
            Some(StallReason::NoDeliveries) => {
                self.consumed.context.metrics.consumers_silent.increment();
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
        let ConsumedChannel { queue, context, .. } = self.consumed;
        let Delivery {
            delivery_tag: tag,
            properties,
            data,
            ..
        } = received.delivery;
        let (body, memory_share) = (Bytes::from(data), received.memory_share);
        let limit = context.options.attributes.for_stored_events();
        let (event, retry_headers, stage) =
            match deferred_message::decode(&properties, body.clone(), limit) {
                Ok(decoded) => decoded,
                Err(error) => {
                    return Err(Box::new(UnreadableMessage {
                        tag,
                        reason: format!("not an event: {error}"),
                        message: AmqpMessage { properties, body },
                        memory_share,
                    }));
                }
            };
        let noted = DeferredDelivery {
            stage,
            attempts: retry_headers.attempts,
            wait: retry_headers.remaining_wait(),
        };
        let progress = self.delivery_progress(&event, noted, received.received_at);
        let unsettled_tag = UnsettledTag {
            tag,
            settlements: self.settlements.clone(),
        };
        let settlement =
            RabbitmqSettlement::new(unsettled_tag, self.revoked.clone(), &event, queue, context);
        let event = Arc::new(event.with_guard(Arc::new(memory_share)));
        Ok(EventDelivery::new(event, progress, settlement))
    }

    /// Progress of a delivery of which the headers have noted this much, with the limits of the
    /// queue.
    fn delivery_progress(
        &self,
        event: &Event,
        noted: DeferredDelivery,
        received_at: Instant,
    ) -> DeliveryProgress {
        let ConsumedChannel { queue, context, .. } = self.consumed;
        // Memory knows the progress of a requeued event better than its headers.
        let DeferredDelivery {
            stage,
            attempts,
            wait,
        } = queue.take_deferred(event).unwrap_or(noted);
        let longest = context.hold_limit.get();
        // In an ordered queue, a deferred event would come after those behind it.
        let is_unordered = queue.names.order == DeliveryOrder::Unordered;
        DeliveryProgress {
            stage,
            attempts,
            wait,
            max_wait: is_unordered.then_some(context.options.max_held_wait),
            hold_time: Some(HoldTime {
                until: received_at + longest,
                longest,
            }),
        }
    }

    /// Counts parked messages: once at the start, since there may be some from before, and every
    /// minute while there are any.
    async fn count_parked(&mut self) {
        let queue = &self.consumed.queue;
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
            &self.consumed.connection.connection,
            &queue.names.parking_queue,
        ));
        if let Ok(found) = self.consumed.connection.run_within(TIMEOUT, look).await {
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
        let ConsumedChannel {
            queue,
            connection,
            channel,
            ..
        } = self.consumed;
        let look = inspect_queue_on(channel, &queue.names.queue);
        let counts = connection.run_within(TIMEOUT, look).await?;
        if counts.consumers > 0 {
            queue.series.ready.set(counts.ready.into());
            let held = queue.unsettled.load(Ordering::Acquire);
            let ready = usize::try_from(counts.ready).unwrap_or(usize::MAX);
            queue.places.set(held.saturating_add(ready));
            queue.mark_answering();
        }
        if counts.ready == 0 {
            queue.published.store(0, Ordering::Release);
        }
        Ok(counts)
    }
}
