//! Consuming one subscription's queue: what comes is handed to its worker; when the connection, the channel or the queue
//! goes, everything is declared and begun again. What came over a channel that is gone is revoked, since RabbitMQ delivers
//! it again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lapin::options::BasicQosOptions;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::acknowledger::Acknowledger;
use super::connection::{Current, OpenConnection, is_full, told};
use super::intake::{Intake, consume};
use super::message::{self, Encoded};
use super::outbox::short;
use super::pace::Pace;
use super::receiver::Receiver;
use super::topology::{Place, QueuePurpose};
use super::{Queue, Shared};
use crate::channel::Message;
use crate::model::Order;
use crate::telemetry::series::{Destination, Dropped};
use crate::wire_text::WireText;

/// The wait before a consumer is begun again; it doubles up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The wait before a queue that was deleted is declared again, or another connection is taken.
const SHORT_PAUSE: Duration = Duration::from_millis(250);
/// For the end of a channel.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(4);
/// For what is asked of RabbitMQ. A queue without a leader does not answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Consumes one queue.
pub(super) struct Consumer {
    pub(super) queue: Arc<Queue>,
    pub(super) shared: Arc<Shared>,
    pub(super) messages: mpsc::Sender<Box<Message>>,
    /// Whether it was said that the queue is not consumed, and it still is not.
    pub(super) told: AtomicBool,
}

/// Why a queue is not consumed.
pub(super) enum ConsumerFailure {
    /// The connection has no channel left, or only those that are kept for other things.
    NoChannel,
    /// The queue was deleted, or RabbitMQ has cancelled the consumer; the channel is open.
    Cancelled,
    /// Something else.
    Other(String),
}

impl From<String> for ConsumerFailure {
    fn from(reason: String) -> Self {
        Self::Other(reason)
    }
}

impl From<lapin::Error> for ConsumerFailure {
    fn from(error: lapin::Error) -> Self {
        if is_full(&error) { Self::NoChannel } else { Self::Other(told(&error)) }
    }
}

impl Consumer {
    /// Consumes until the queue is given up, over as many connections as it takes.
    pub(super) async fn run(self) {
        let stop = self.queue.stop.clone();
        let Some(mut seat) = stop.run_until_cancelled(self.shared.pool.seat()).await else { return };
        let (mut pause, mut finishing) = (PAUSE, JoinSet::new());
        while let Some(connection) = self.next_connection(&mut seat.current.clone()).await {
            let begun = self.queue.begun.load(Ordering::Acquire);
            while finishing.try_join_next().is_some() {}
            let consumed = if seat.is_beyond() {
                Err(ConsumerFailure::NoChannel)
            } else {
                self.consume(&connection, &mut finishing).await
            };
            match consumed {
                Ok(()) => pause = PAUSE,
                Err(ConsumerFailure::Cancelled) => {
                    self.tell("the queue was deleted, or its consumer cancelled");
                    stop.run_until_cancelled(tokio::time::sleep(SHORT_PAUSE)).await;
                    continue;
                }
                Err(ConsumerFailure::NoChannel) => {
                    drop(seat);
                    stop.run_until_cancelled(tokio::time::sleep(SHORT_PAUSE)).await;
                    let Some(another) = stop.run_until_cancelled(self.shared.pool.seat()).await else { return };
                    seat = another;
                    continue;
                }
                Err(ConsumerFailure::Other(reason)) => {
                    if self.queue.begun.load(Ordering::Acquire) != begun {
                        pause = PAUSE;
                    }
                    self.tell(&reason);
                }
            }
            stop.run_until_cancelled(tokio::time::sleep(pause.mul_f64(0.5 + 0.5 * fastrand::f64()))).await;
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
        while finishing.join_next().await.is_some() {}
    }

    /// Says why the queue is not consumed: once, until it is.
    fn tell(&self, reason: &str) {
        self.shared.counters.rabbitmq_consumers_restarted.increment();
        let queue = &self.queue.place.queue;
        if self.shared.hold.learn(reason) {
            tracing::warn!(queue, reason, held_at_most = ?self.shared.hold.get(), "RabbitMQ's consumer timeout is shorter than was known: messages are held for less time from now on");
        }
        if self.told.swap(true, Ordering::AcqRel) {
            tracing::debug!(queue, reason, "Consumer is gone, beginning again");
        } else {
            tracing::warn!(queue, reason, "Consumer is gone, beginning again");
        }
    }

    /// `None` when the queue is given up.
    async fn next_connection(&self, connections: &mut Current) -> Option<Arc<OpenConnection>> {
        let connected = self.queue.stop.run_until_cancelled(connections.wait_for(Option::is_some)).await;
        connected?.ok().and_then(|current| current.clone())
    }

    /// Consumes on one connection until something breaks, or the queue is given up and all that came is settled.
    /// What came from a queue that was deleted is nobody else's: it is finished in the background.
    async fn consume(
        &self,
        connection: &Arc<OpenConnection>,
        finishing: &mut JoinSet<()>,
    ) -> Result<(), ConsumerFailure> {
        let begun = self.queue.stop.run_until_cancelled(self.begin(connection)).await;
        let Some((channel, deliveries)) = begun.transpose()? else { return Ok(()) };
        if self.told.swap(false, Ordering::AcqRel) {
            tracing::info!(queue = self.queue.place.queue, "Consumer is back");
        }
        let revoked = CancellationToken::new();
        // Whatever way this ends, what is not settled by then is somebody else's.
        let revoke = revoked.clone().drop_guard();
        let counters = Arc::clone(&self.shared.counters);
        let (acknowledger, settled) = Acknowledger::new(channel.clone(), self.queue.prefetch, counters);
        let mut acknowledged = Box::pin(acknowledger.run());
        let mut intake = Intake::new((&self.queue, &self.shared), connection, channel.clone(), deliveries);
        let receive = Receiver::new(self, connection, (channel.clone(), settled), revoked.clone()).run(&mut intake);
        tokio::select! {
            received = self.queue.stop.run_until_cancelled(receive) => match received {
                Some(Err(ConsumerFailure::Cancelled)) => {
                    let (connection, channel) = (Arc::clone(connection), channel.clone());
                    finishing.spawn(async move {
                        let _revoke = revoke;
                        connection.broken.run_until_cancelled(acknowledged).await;
                        part(&channel, &connection).await;
                    });
                    return Err(ConsumerFailure::Cancelled);
                }
                Some(broken) => {
                    // What is under way ends before somebody else gets it.
                    drop(revoke);
                    self.give_up(&channel, connection).await;
                    return broken;
                }
                None => {}
            },
            // An event of an ordered queue is given back, in its place: with the channel.
            () = revoked.cancelled() => {}
            acknowledged = &mut acknowledged => return Ok(acknowledged?),
        }
        // Who consumes an ordered queue next must not begin before what is under way here has ended: giving up the
        // consumer now would have the next process get what lies behind that. The channel's end gives it up.
        let kept = (self.queue.place.order == Order::Ordered).then_some(intake.into_deliveries());
        let finished = connection.broken.run_until_cancelled(acknowledged).await;
        self.give_up(&channel, connection).await;
        drop(kept);
        match finished {
            Some(acknowledged) => Ok(acknowledged?),
            None => Err("the connection is broken".to_owned().into()),
        }
    }

    /// Closes the channel of an ordered queue before its consumer is given up: RabbitMQ would let the next consumer begin
    /// behind what this one holds, and puts that back only when the channel ends.
    async fn give_up(&self, channel: &lapin::Channel, connection: &OpenConnection) {
        if self.queue.place.order == Order::Unordered || !channel.status().connected() {
            return;
        }
        let closed = connection.run_within(CLOSE_TIMEOUT, channel.close(200, short("beginning again"))).await;
        if let Err(error) = closed {
            tracing::debug!(queue = self.queue.place.queue, error, "A channel was not closed in order");
        }
    }

    async fn begin(&self, connection: &OpenConnection) -> Result<(lapin::Channel, lapin::Consumer), ConsumerFailure> {
        // Some at once: a thousand queues that are made anew would keep RabbitMQ from everything else.
        let turn = self.shared.declaring.acquire().await;
        let Place { queue, order, .. } = &self.queue.place;
        let purpose = QueuePurpose::Subscription(*order);
        let window = Pace::new(*order, self.queue.prefetch).window();
        let begun = async {
            let channel = self.shared.topology.declare(&connection.connection, queue, purpose).await?;
            let deliveries = consume(&channel, queue, window).await?;
            Ok::<_, lapin::Error>((channel, deliveries))
        };
        let begun = tokio::time::timeout(TIMEOUT, connection.broken.run_until_cancelled(begun)).await;
        drop(turn);
        self.queue.window_open.store(window, Ordering::Release);
        match begun {
            Ok(Some(begun)) => {
                let begun = begun.inspect_err(|error| self.note_failure(error))?;
                // What was found out about it before it was declared is settled by that.
                self.queue.forget_doubts();
                self.queue.begun.fetch_add(1, Ordering::AcqRel);
                self.queue.answers();
                Ok(begun)
            }
            Ok(None) => Err("the connection is broken".to_owned().into()),
            Err(_elapsed) => {
                self.queue.is_not_consumed();
                Err(format!("RabbitMQ has not answered for it within {TIMEOUT:?}").into())
            }
        }
    }

    /// A queue that RabbitMQ refuses takes nothing, either, until somebody has mended that: its events wait elsewhere.
    fn note_failure(&self, error: &lapin::Error) {
        if let lapin::ErrorKind::ProtocolError(refusal) = error.kind() {
            *self.queue.refusal() = Some(WireText::of(refusal.get_message()).into());
            self.queue.does_not_answer();
        }
    }

    /// Parks a message that is no event.
    pub(super) async fn park(&self, reason: String, message: Encoded) {
        let queue = &self.queue.place.queue;
        if self.queue.series.is_first_parked() {
            tracing::warn!(queue, reason, "Message parked");
        } else {
            tracing::debug!(queue, reason, "Another message parked");
        }
        let Encoded { properties, body } = message;
        let message = Encoded { properties: message::parked(properties, &reason, None), body };
        while !self.shared.park(&self.queue.place.parked, &message).await {
            tokio::time::sleep(PAUSE).await;
        }
        self.shared.counters.parked_messages.increment();
        self.queue.series.dropped(Dropped::Parked, Destination::Subscriber, "invalid");
    }
}

/// Waits until RabbitMQ has read what was acknowledged on a channel, before that is given up. What a queue held that is
/// gone cannot be acknowledged: RabbitMQ closes the channel then, and where both sides close a channel at once, `lapin`
/// takes the whole connection for broken, with everybody's consumers.
async fn part(channel: &lapin::Channel, connection: &OpenConnection) {
    let asked = channel.basic_qos(1, BasicQosOptions::default());
    if let Err(error) = connection.run_within(CLOSE_TIMEOUT, asked).await {
        tracing::debug!(error, "RabbitMQ has closed the channel of a queue that is gone");
    }
}
