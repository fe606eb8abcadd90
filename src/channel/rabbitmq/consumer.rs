//! Consumer of one subscription's queue: messages are handed to the subscription's worker; when the
//! connection, the channel or the queue goes, everything is declared and begun again. Deliveries
//! that came over a channel which is gone are revoked, since RabbitMQ delivers them again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::acknowledger::RabbitmqAcknowledger;
use super::connection::{AmqpConnectionWatch, OpenAmqpConnection};
use super::connection_pool::AmqpConnectionSlot;
use super::consumed_channel::ConsumedChannel;
use super::consumer_failure::ConsumerFailure;
use super::context::RabbitmqContext;
use super::prefetch_buffer::{PrefetchBuffer, consume};
use super::prefetch_control::PrefetchControl;
use super::queue::RabbitmqQueue;
use super::queue_arguments::QueuePurpose;
use super::queue_names::RabbitmqQueueNames;
use super::receiver::RabbitmqReceiver;
use crate::channel::EventDelivery;
use crate::doubling_wait::DoublingWait;
use crate::model::DeliveryOrder;
use crate::wire_text::WireText;

/// Wait before a consumer is begun again; it doubles up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Wait before a queue that was deleted is declared again, or another connection is taken.
const SHORT_PAUSE: Duration = Duration::from_millis(250);
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

/// A consumer that has begun: the channel, and the messages that come over it.
struct StartedConsumer {
    consumed: ConsumedChannel,
    deliveries: lapin::Consumer,
}

impl RabbitmqConsumer {
    /// Consumes until the queue is given up, over as many connections as it takes.
    pub(super) async fn run(self) {
        // The slot is kept as long as its connection has a channel for this consumer.
        let Some(mut slot) = self.take_slot().await else {
            return;
        };
        let mut pause = DoublingWait::new(PAUSE, LONGEST_PAUSE);
        let mut finishing = JoinSet::new();
        while let Some(connection) = self.until_connected(&mut slot.connection.clone()).await {
            // Read before consuming, to tell a consumer that had begun from one that could not
            // begin.
            let starts = self.queue.consumer_starts.load(Ordering::Acquire);
            while finishing.try_join_next().is_some() {}
            let consumed = if slot.exceeds_capacity() {
                Err(ConsumerFailure::NoChannel)
            } else {
                self.consume(&connection, &mut finishing).await
            };
            match consumed {
                Ok(()) => pause.reset(),
                Err(ConsumerFailure::Cancelled) => {
                    self.log_failure("the queue was deleted, or its consumer cancelled");
                    self.wait(SHORT_PAUSE).await;
                    continue;
                }
                Err(ConsumerFailure::NoChannel) => {
                    // The slot is given back first, so that the next one may be on another
                    // connection.
                    drop(slot);
                    self.wait(SHORT_PAUSE).await;
                    let Some(another) = self.take_slot().await else {
                        return;
                    };
                    slot = another;
                    continue;
                }
                Err(ConsumerFailure::Other(reason)) => {
                    if self.queue.consumer_starts.load(Ordering::Acquire) != starts {
                        pause.reset();
                    }
                    self.log_failure(&reason);
                }
            }
            self.wait(pause.take_jittered()).await;
        }
        // Deliveries of deleted queues are finished before the consumer counts as ended.
        while finishing.join_next().await.is_some() {}
    }

    /// Takes a slot on a connection; `None` when the queue is given up.
    async fn take_slot(&self) -> Option<AmqpConnectionSlot> {
        let slot = self.context.pool.take_slot();
        self.queue.stop.run_until_cancelled(slot).await
    }

    /// Waits for this time, or until the queue is given up.
    async fn wait(&self, time: Duration) {
        let wait = tokio::time::sleep(time);
        self.queue.stop.run_until_cancelled(wait).await;
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
        let start = self.declare_and_consume(connection);
        let started = self.queue.stop.run_until_cancelled(start).await;
        match started.transpose()? {
            Some(started) => {
                self.log_success();
                self.deliver_until_broken(started, finishing).await
            }
            None => Ok(()),
        }
    }

    /// Lets the worker deliver what comes over the channel, until that breaks or is not needed any
    /// more.
    async fn deliver_until_broken(
        &self,
        started: StartedConsumer,
        finishing: &mut JoinSet<()>,
    ) -> Result<(), ConsumerFailure> {
        let StartedConsumer {
            consumed,
            deliveries,
        } = started;
        let revoked = CancellationToken::new();
        // However this function ends, deliveries that are not settled by then go to another
        // consumer.
        let revoke = revoked.clone().drop_guard();
        // The acknowledger exists before the first delivery, which needs its sender.
        let (acknowledger, settlements) = RabbitmqAcknowledger::new(
            consumed.channel.clone(),
            self.queue.max_prefetch,
            Arc::clone(&self.context.metrics),
        );
        let mut acknowledged = Box::pin(acknowledger.run());
        let mut buffer = PrefetchBuffer::new(&consumed, deliveries);
        let receiver =
            RabbitmqReceiver::new(&consumed, &self.messages, settlements, revoked.clone());
        let receive = receiver.run(&mut buffer);
        let failure = tokio::select! {
            received = self.queue.stop.run_until_cancelled(receive) => received,
            // An event of an ordered queue is requeued, in its place: by closing the channel.
            () = revoked.cancelled() => None,
            acknowledged = &mut acknowledged => return Ok(acknowledged?),
        };
        match failure {
            None => finish(&consumed, buffer, acknowledged).await,
            Some(ConsumerFailure::Cancelled) => {
                finishing.spawn(finish_deleted(consumed.clone(), acknowledged, revoke));
                Err(ConsumerFailure::Cancelled)
            }
            Some(failure) => {
                // Deliveries under way end before another consumer gets their messages.
                drop(revoke);
                consumed.close_ordered().await;
                Err(failure)
            }
        }
    }

    fn log_success(&self) {
        if self.failure_logged.swap(false, Ordering::AcqRel) {
            tracing::info!(queue = self.queue.names.queue, "Consumer is back");
        }
    }

    /// Declares the queue, and begins to consume it. Only some are declared at once: a thousand
    /// queues that are declared anew would keep RabbitMQ from everything else.
    async fn declare_and_consume(
        &self,
        connection: &Arc<OpenAmqpConnection>,
    ) -> Result<StartedConsumer, ConsumerFailure> {
        let turn = self.context.declare_permits.acquire().await;
        let order = self.queue.names.order;
        let prefetch = PrefetchControl::new(order, self.queue.max_prefetch).prefetch();
        let start = connection
            .broken
            .run_until_cancelled(self.start(connection, prefetch));
        let started = tokio::time::timeout(TIMEOUT, start).await;
        drop(turn);
        self.queue
            .current_prefetch
            .store(prefetch, Ordering::Release);
        match started {
            Ok(Some(started)) => {
                let started = started.inspect_err(|error| self.record_refusal(error))?;
                self.record_start();
                Ok(started)
            }
            Ok(None) => Err("the connection is broken".to_owned().into()),
            Err(_elapsed) => {
                self.queue.mark_unconsumed();
                Err(format!("RabbitMQ has not answered for it within {TIMEOUT:?}").into())
            }
        }
    }

    async fn start(
        &self,
        connection: &Arc<OpenAmqpConnection>,
        prefetch: u16,
    ) -> lapin::Result<StartedConsumer> {
        let RabbitmqQueueNames { queue, order, .. } = &self.queue.names;
        let purpose = QueuePurpose::Subscription(*order);
        let topology = &self.context.topology;
        let channel = topology
            .declare(&connection.connection, queue, purpose)
            .await?;
        let deliveries = consume(&channel, queue, prefetch).await?;
        let consumed = ConsumedChannel {
            queue: Arc::clone(&self.queue),
            context: Arc::clone(&self.context),
            connection: Arc::clone(connection),
            channel,
        };
        Ok(StartedConsumer {
            consumed,
            deliveries,
        })
    }

    fn record_start(&self) {
        // What was found out about the queue before it was declared does not hold any more.
        self.queue.clear_notifications();
        self.queue.consumer_starts.fetch_add(1, Ordering::AcqRel);
        self.queue.mark_answering();
    }

    /// Records that RabbitMQ refuses the queue. Such a queue takes no messages either until an
    /// operator has mended it: its events wait in delay queues.
    fn record_refusal(&self, error: &lapin::Error) {
        if let lapin::ErrorKind::ProtocolError(refusal) = error.kind() {
            *self.queue.refusal() = Some(WireText::new(refusal.get_message()).into());
            self.queue.mark_unavailable();
        }
    }
}

/// Lets the deliveries under way be settled and acknowledged, before the channel of a queue that is
/// given up is closed.
async fn finish(
    consumed: &ConsumedChannel,
    buffer: PrefetchBuffer<'_>,
    acknowledged: impl Future<Output = lapin::Result<()>>,
) -> Result<(), ConsumerFailure> {
    // The next consumer of an ordered queue must not begin before the deliveries under way here
    // have ended: if the consumer were cancelled now, the next process would get the messages
    // behind those. The close of the channel cancels it.
    let is_ordered = consumed.queue.names.order == DeliveryOrder::Ordered;
    let kept = is_ordered.then_some(buffer.into_deliveries());
    let connection = &consumed.connection;
    let finished = connection.broken.run_until_cancelled(acknowledged).await;
    consumed.close_ordered().await;
    drop(kept);
    match finished {
        Some(acknowledged) => Ok(acknowledged?),
        None => Err("the connection is broken".to_owned().into()),
    }
}

/// Lets the deliveries of a queue that was deleted be settled; they are revoked after that.
async fn finish_deleted(
    consumed: ConsumedChannel,
    acknowledged: impl Future<Output = lapin::Result<()>>,
    revoke: DropGuard,
) {
    let connection = &consumed.connection;
    connection.broken.run_until_cancelled(acknowledged).await;
    consumed.flush_acknowledgements().await;
    drop(revoke);
}
