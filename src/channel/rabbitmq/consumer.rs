//! Consumer of one subscription's queue: messages are handed to the subscription's worker; when the
//! connection, the channel or the queue goes, everything is declared and begun again. Deliveries
//! that came over a channel which is gone are revoked, since RabbitMQ delivers them again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lapin::options::BasicQosOptions;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::acknowledger::RabbitmqAcknowledger;
use super::confirming_publisher::short_string;
use super::connection::{AmqpConnectionWatch, OpenAmqpConnection, error_text, has_no_channel_left};
use super::message::{self, AmqpMessage};
use super::prefetch_buffer::{PrefetchBuffer, consume};
use super::prefetch_control::PrefetchControl;
use super::receiver::RabbitmqReceiver;
use super::topology::{QueuePurpose, RabbitmqQueueNames};
use super::{RabbitmqContext, RabbitmqQueue};
use crate::channel::EventDelivery;
use crate::model::{DeliveryOrder, DestinationRole};
use crate::telemetry::series::Dropped;
use crate::wire_text::WireText;

/// Wait before a consumer is begun again; it doubles up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Wait before a queue that was deleted is declared again, or another connection is taken.
const SHORT_PAUSE: Duration = Duration::from_millis(250);
/// Longest time for the close of a channel.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(4);
/// Longest time for an answer of RabbitMQ. A queue without a leader does not answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Consumer of one queue, over all connections that this takes.
pub(super) struct RabbitmqConsumer {
    pub(super) queue: Arc<RabbitmqQueue>,
    pub(super) context: Arc<RabbitmqContext>,
    pub(super) messages: mpsc::Sender<Box<EventDelivery>>,
    /// True if it was logged that the queue is not consumed, and it still is not.
    pub(super) failure_logged: AtomicBool,
}

/// Reason for which a queue is not consumed.
pub(super) enum ConsumerFailure {
    /// The connection has no channel left, or only those that are reserved for other things.
    NoChannel,
    /// The queue was deleted, or RabbitMQ has cancelled the consumer; the channel is open.
    Cancelled,
    /// Another failure, in words.
    Other(String),
}

impl From<String> for ConsumerFailure {
    fn from(reason: String) -> Self {
        Self::Other(reason)
    }
}

impl From<lapin::Error> for ConsumerFailure {
    fn from(error: lapin::Error) -> Self {
        if has_no_channel_left(&error) {
            Self::NoChannel
        } else {
            Self::Other(error_text(&error))
        }
    }
}

impl RabbitmqConsumer {
    /// Consumes until the queue is given up, over as many connections as it takes.
    pub(super) async fn run(self) {
        // The slot is kept as long as its connection has a channel for this consumer.
        let stop = self.queue.stop.clone();
        let Some(mut slot) = stop
            .run_until_cancelled(self.context.pool.take_slot())
            .await
        else {
            return;
        };
        let (mut pause, mut finishing) = (PAUSE, JoinSet::new());
        while let Some(connection) = self.until_connected(&mut slot.connection.clone()).await {
            // Read before consuming, to tell a consumer that had begun from one that could not
            // begin.
            let begun = self.queue.consumer_starts.load(Ordering::Acquire);
            while finishing.try_join_next().is_some() {}
            let consumed = if slot.exceeds_capacity() {
                Err(ConsumerFailure::NoChannel)
            } else {
                self.consume(&connection, &mut finishing).await
            };
            match consumed {
                Ok(()) => pause = PAUSE,
                Err(ConsumerFailure::Cancelled) => {
                    self.log_failure("the queue was deleted, or its consumer cancelled");
                    stop.run_until_cancelled(tokio::time::sleep(SHORT_PAUSE))
                        .await;
                    continue;
                }
                // The slot is given back first, so that the next one may be on another connection.
                Err(ConsumerFailure::NoChannel) => {
                    drop(slot);
                    stop.run_until_cancelled(tokio::time::sleep(SHORT_PAUSE))
                        .await;
                    let Some(another) = stop
                        .run_until_cancelled(self.context.pool.take_slot())
                        .await
                    else {
                        return;
                    };
                    slot = another;
                    continue;
                }
                Err(ConsumerFailure::Other(reason)) => {
                    if self.queue.consumer_starts.load(Ordering::Acquire) != begun {
                        pause = PAUSE;
                    }
                    self.log_failure(&reason);
                }
            }
            stop.run_until_cancelled(tokio::time::sleep(
                pause.mul_f64(0.5 + 0.5 * fastrand::f64()),
            ))
            .await;
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
        // Deliveries of deleted queues are finished before the consumer counts as ended.
        while finishing.join_next().await.is_some() {}
    }

    /// Logs why the queue is not consumed, as a warning once until it is consumed again, and learns
    /// the consumer timeout from the reason.
    fn log_failure(&self, reason: &str) {
        self.context.metrics.consumers_restarted.increment();
        let queue = &self.queue.names.queue;
        if self.context.hold_limit.learn_consumer_timeout(reason) {
            tracing::warn!(
                queue,
                reason,
                held_at_most = ?self.context.hold_limit.get(),
                "RabbitMQ's consumer timeout is shorter than was known: messages are held \
                 for less time from now on"
            );
        }
        if self.failure_logged.swap(true, Ordering::AcqRel) {
            tracing::debug!(queue, reason, "Consumer is gone, beginning again");
        } else {
            tracing::warn!(queue, reason, "Consumer is gone, beginning again");
        }
    }

    /// Waits for the connection to be open; `None` when the queue is given up.
    async fn until_connected(
        &self,
        connections: &mut AmqpConnectionWatch,
    ) -> Option<Arc<OpenAmqpConnection>> {
        let connected = self
            .queue
            .stop
            .run_until_cancelled(connections.wait_for(Option::is_some))
            .await;
        connected?.ok().and_then(|current| current.clone())
    }

    /// Consumes on one connection until something breaks, or the queue is given up and all
    /// deliveries are settled. Deliveries from a queue that was deleted can come to nobody else:
    /// they are finished in the background.
    async fn consume(
        &self,
        connection: &Arc<OpenAmqpConnection>,
        finishing: &mut JoinSet<()>,
    ) -> Result<(), ConsumerFailure> {
        // The queue is declared each time, since it may have been deleted meanwhile.
        let begun = self
            .queue
            .stop
            .run_until_cancelled(self.declare_and_consume(connection))
            .await;
        let Some((channel, deliveries)) = begun.transpose()? else {
            return Ok(());
        };
        if self.failure_logged.swap(false, Ordering::AcqRel) {
            tracing::info!(queue = self.queue.names.queue, "Consumer is back");
        }
        let revoked = CancellationToken::new();
        // However this function ends, deliveries that are not settled by then go to another
        // consumer.
        let revoke = revoked.clone().drop_guard();
        let metrics = Arc::clone(&self.context.metrics);
        // The acknowledger exists before the first delivery, which needs its sender.
        let (acknowledger, settled) =
            RabbitmqAcknowledger::new(channel.clone(), self.queue.max_prefetch, metrics);
        let mut acknowledged = Box::pin(acknowledger.run());
        let mut buffer = PrefetchBuffer::new(
            (&self.queue, &self.context),
            connection,
            channel.clone(),
            deliveries,
        );
        let receive = RabbitmqReceiver::new(
            self,
            connection,
            (channel.clone(), settled),
            revoked.clone(),
        )
        .run(&mut buffer);
        tokio::select! {
            received = self.queue.stop.run_until_cancelled(receive) => match received {
                Some(Err(ConsumerFailure::Cancelled)) => {
                    let (connection, channel) = (Arc::clone(connection), channel.clone());
                    finishing.spawn(async move {
                        let _revoke = revoke;
                        connection.broken.run_until_cancelled(acknowledged).await;
                        flush_acknowledgements(&channel, &connection).await;
                    });
                    return Err(ConsumerFailure::Cancelled);
                }
                Some(broken) => {
                    // Deliveries under way end before another consumer gets their messages.
                    drop(revoke);
                    self.close_ordered_channel(&channel, connection).await;
                    return broken;
                }
                None => {}
            },
            // An event of an ordered queue is requeued, in its place: by closing the channel.
            () = revoked.cancelled() => {}
            acknowledged = &mut acknowledged => return Ok(acknowledged?),
        }
        // The next consumer of an ordered queue must not begin before the deliveries under way here
        // have ended: if the consumer were cancelled now, the next process would get the messages
        // behind those. The close of the channel cancels it.
        let kept =
            (self.queue.names.order == DeliveryOrder::Ordered).then_some(buffer.into_deliveries());
        // Deliveries under way are settled and acknowledged before the channel is closed.
        let finished = connection.broken.run_until_cancelled(acknowledged).await;
        self.close_ordered_channel(&channel, connection).await;
        drop(kept);
        match finished {
            Some(acknowledged) => Ok(acknowledged?),
            None => Err("the connection is broken".to_owned().into()),
        }
    }

    /// Closes the channel of an ordered queue before its consumer is cancelled: RabbitMQ would let
    /// the next consumer begin behind the messages that this one holds, and requeues those only
    /// when the channel ends.
    async fn close_ordered_channel(
        &self,
        channel: &lapin::Channel,
        connection: &OpenAmqpConnection,
    ) {
        if self.queue.names.order == DeliveryOrder::Unordered || !channel.status().connected() {
            return;
        }
        let closed = connection
            .run_within(
                CLOSE_TIMEOUT,
                channel.close(200, short_string("beginning again")),
            )
            .await;
        if let Err(error) = closed {
            tracing::debug!(
                queue = self.queue.names.queue,
                error,
                "A channel was not closed in order"
            );
        }
    }

    async fn declare_and_consume(
        &self,
        connection: &OpenAmqpConnection,
    ) -> Result<(lapin::Channel, lapin::Consumer), ConsumerFailure> {
        // Only some are declared at once: a thousand queues that are declared anew would keep
        // RabbitMQ from everything else.
        let turn = self.context.declare_permits.acquire().await;
        let RabbitmqQueueNames { queue, order, .. } = &self.queue.names;
        let purpose = QueuePurpose::Subscription(*order);
        let window = PrefetchControl::new(*order, self.queue.max_prefetch).prefetch();
        let begun = async {
            let channel = self
                .context
                .topology
                .declare(&connection.connection, queue, purpose)
                .await?;
            let deliveries = consume(&channel, queue, window).await?;
            Ok::<_, lapin::Error>((channel, deliveries))
        };
        let begun =
            tokio::time::timeout(TIMEOUT, connection.broken.run_until_cancelled(begun)).await;
        drop(turn);
        self.queue.current_prefetch.store(window, Ordering::Release);
        match begun {
            Ok(Some(begun)) => {
                let begun = begun.inspect_err(|error| self.record_refusal(error))?;
                // What was found out about the queue before it was declared does not hold any more.
                self.queue.clear_notifications();
                self.queue.consumer_starts.fetch_add(1, Ordering::AcqRel);
                self.queue.mark_answering();
                Ok(begun)
            }
            Ok(None) => Err("the connection is broken".to_owned().into()),
            Err(_elapsed) => {
                self.queue.mark_unconsumed();
                Err(format!("RabbitMQ has not answered for it within {TIMEOUT:?}").into())
            }
        }
    }

    /// Records that RabbitMQ refuses the queue. Such a queue takes no messages either until an
    /// operator has mended it: its events wait in delay queues.
    fn record_refusal(&self, error: &lapin::Error) {
        if let lapin::ErrorKind::ProtocolError(refusal) = error.kind() {
            *self.queue.refusal() = Some(WireText::new(refusal.get_message()).into());
            self.queue.mark_unavailable();
        }
    }

    /// Parks a message that is no event.
    pub(super) async fn park_unreadable(&self, reason: String, message: AmqpMessage) {
        let queue = &self.queue.names.queue;
        if self.queue.series.is_first_parked() {
            tracing::warn!(queue, reason, "Message parked");
        } else {
            tracing::debug!(queue, reason, "Another message parked");
        }
        let AmqpMessage { properties, body } = message;
        let message = AmqpMessage {
            properties: message::parked_properties(properties, &reason, None),
            body,
        };
        while !self
            .context
            .park(&self.queue.names.parking_queue, &message)
            .await
        {
            tokio::time::sleep(PAUSE).await;
        }
        self.context.counters.parked_messages.increment();
        self.queue
            .series
            .count_drop(Dropped::Parked, DestinationRole::Subscriber, "invalid");
    }
}

/// Waits until RabbitMQ has read the acknowledgements of a channel, before the channel is given up.
/// Messages of a deleted queue cannot be acknowledged: RabbitMQ closes the channel then, and where
/// both sides close a channel at once, `lapin` takes the whole connection for broken, with the
/// consumers of all other queues.
async fn flush_acknowledgements(channel: &lapin::Channel, connection: &OpenAmqpConnection) {
    let asked = channel.basic_qos(1, BasicQosOptions::default());
    if let Err(error) = connection.run_within(CLOSE_TIMEOUT, asked).await {
        tracing::debug!(
            error,
            "RabbitMQ has closed the channel of a queue that is gone"
        );
    }
}
