//! Publishing with confirms: each message waits for its own confirm, none for longer than a bounded time.
//!
//! There are two connections, to different nodes where there are several. A queue is published to on one of them; when
//! RabbitMQ confirms nothing for it there, what waits is published on the other one as well, and so is what comes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lapin::ErrorKind;
use lapin::types::ShortString;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use super::health::OncePerMinute;
use super::message::AmqpMessage;
use super::misdirected_returns::MisdirectedReturn;
use super::publish_route::PublishRoute;
use super::publishing_connection::{AmqpChannelSetKeeper, PublishingConnection};
use crate::telemetry::counters::ProcessCounters;

/// Messages on their way to RabbitMQ at once.
const WINDOW: usize = 1024;
/// How long a message counts as one of them. After that its queue is slow, which is to keep no other's messages back.
const HOLD_UP: Duration = Duration::from_secs(1);
/// From the request to the confirm. A channel that has published to a queue finds its new leader about 8 s after the node
/// of the old one has hung (RabbitMQ 3.10.8); giving up before that would need a new channel, which takes longer.
pub(super) const CONFIRM_TIMEOUT: Duration = Duration::from_secs(9);

/// How long nothing must have been wrong before channels get to know queues: RabbitMQ needs up to 45 s to give up a node
/// that hangs, and answers new channels before that only by chance.
const CALM: Duration = Duration::from_secs(60);

/// Why a message is not known to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RabbitmqPublishError {
    /// There is no channel to publish on; nothing was sent.
    #[error("there is no connection to RabbitMQ on which it lets us publish")]
    NoConnection,
    /// An alarm blocks publishers; nothing was sent.
    #[error("RabbitMQ is blocked by an alarm of memory or disk")]
    Blocked,
    /// RabbitMQ refused it: the queue has no leader at the moment, or it is full.
    #[error("RabbitMQ could not store it")]
    Nacked,
    /// There is no such queue.
    #[error("the queue is gone")]
    Unroutable,
    /// The channel broke before RabbitMQ confirmed it; perhaps it is stored.
    #[error("the connection to RabbitMQ broke before it was confirmed")]
    Interrupted,
    /// RabbitMQ did not confirm it in time; perhaps it is stored.
    #[error("RabbitMQ has not confirmed it within {CONFIRM_TIMEOUT:?}")]
    Unconfirmed,
}

/// Stray messages that may wait to be published again.
const STRAYS: usize = 64;

/// The way out.
pub(super) struct ConfirmingPublisher {
    connections: [PublishingConnection; 2],
    /// Limits how often it is said that a queue is published to on another one.
    log_limit: OncePerMinute,
    /// When a queue had to be published to on another connection last.
    last_rerouted: Mutex<Option<Instant>>,
    publish_window: Semaphore,
    counters: Arc<ProcessCounters>,
}

impl ConfirmingPublisher {
    /// An outbox, and what keeps the channels of its connections open; nothing is published before that runs.
    ///
    /// What comes out of the third has to be published again.
    pub(super) fn new(
        counters: Arc<ProcessCounters>,
    ) -> (Arc<Self>, [AmqpChannelSetKeeper; 2], mpsc::Receiver<MisdirectedReturn>) {
        let (strays, found) = mpsc::channel(STRAYS);
        let (first, first_keeper) = PublishingConnection::new(&counters, strays.clone());
        let (second, second_keeper) = PublishingConnection::new(&counters, strays);
        let (telling, window) = (OncePerMinute::default(), Semaphore::new(WINDOW));
        let outbox = Self {
            connections: [first, second],
            log_limit: telling,
            last_rerouted: Mutex::default(),
            publish_window: window,
            counters,
        };
        (Arc::new(outbox), [first_keeper, second_keeper], found)
    }

    /// Whether messages can be published now.
    pub(super) fn is_open(&self) -> bool {
        self.connections.iter().any(PublishingConnection::is_open)
    }

    /// Whether an alarm keeps RabbitMQ from taking messages.
    pub(super) fn is_blocked(&self) -> bool {
        self.connections.iter().any(PublishingConnection::is_blocked)
    }

    /// Waits until messages can be published.
    pub(super) async fn until_open(&self) {
        let [first, second] = &self.connections;
        tokio::select! {
            () = first.until_open() => {}
            () = second.until_open() => {}
        }
    }

    /// Publishes a persistent message to a queue, on its way there; returns when RabbitMQ has confirmed it.
    ///
    /// # Errors
    /// Why it is not known to be stored.
    pub(super) async fn publish(
        &self,
        queue: &str,
        way: &Arc<PublishRoute>,
        message: &Arc<AmqpMessage>,
    ) -> Result<(), RabbitmqPublishError> {
        let sent = tokio::time::timeout(CONFIRM_TIMEOUT, self.publish_on_either(queue, way, message)).await;
        let stored = sent.unwrap_or(Err(RabbitmqPublishError::Unconfirmed));
        let counters = &self.counters;
        match stored {
            Ok(()) => counters.rabbitmq_confirmed.increment(),
            // Whether that is a fault or the first use of a queue, the caller knows.
            Err(RabbitmqPublishError::Unroutable) => {}
            Err(failure) => {
                counters.rabbitmq_unconfirmed.increment();
                match failure {
                    RabbitmqPublishError::Blocked => counters.rabbitmq_blocked.increment(),
                    RabbitmqPublishError::Nacked => counters.rabbitmq_nacked.increment(),
                    _ => {}
                }
            }
        }
        stored
    }

    async fn publish_on_either(
        &self,
        queue: &str,
        way: &Arc<PublishRoute>,
        message: &Arc<AmqpMessage>,
    ) -> Result<(), RabbitmqPublishError> {
        let Ok(turn) = self.publish_window.acquire().await else { return Err(RabbitmqPublishError::NoConnection) };
        let _under_way = way.track_message();
        self.warm_up_connections(queue, way);
        let ([first, second], other) = self.order_connections(way);
        let sent = Instant::now();
        let mut stored = std::pin::pin!(first.publish(queue, way, message));
        if let Ok(stored) = tokio::time::timeout(HOLD_UP, &mut stored).await {
            return stored;
        }
        drop(turn);
        let in_vain = async {
            way.until_unanswered(sent).await;
            second.until_open().await;
        };
        tokio::select! {
            stored = &mut stored => return stored,
            () = in_vain => {}
        }
        self.counters.rabbitmq_published_twice.increment();
        *self.last_rerouted() = Some(Instant::now());
        let again = tokio::select! {
            again = second.publish(queue, way, message) => again,
            Ok(()) = stored => return Ok(()),
        };
        // Not before that: where a leader hangs, a channel that knows its queue finds the next one long before others do.
        if is_answered(again) && way.prefer(other) && self.log_limit.is_due() {
            tracing::warn!(
                queue,
                "RabbitMQ has confirmed nothing for a queue for some seconds: it is published to on another connection"
            );
        }
        again
    }

    /// Lets a queue be published to on the other connection as well, once for each of its channels, so that this knows
    /// the queue before it is needed. Not while something is wrong: what one leader's loss has made new would ask for it.
    fn warm_up_connections(&self, queue: &str, way: &PublishRoute) {
        // A connection of which some channels are still to be opened is not published on: see `in_order`.
        let channels =
            self.connections.each_ref().map(|connection| connection.is_open().then(|| connection.channel(queue))?);
        way.warm_up_other_channel(&channels, || self.last_rerouted().is_none_or(|trouble| trouble.elapsed() > CALM));
    }

    fn last_rerouted(&self) -> MutexGuard<'_, Option<Instant>> {
        self.last_rerouted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection to publish to a queue on, the other one, and the place of that.
    fn order_connections(&self, way: &PublishRoute) -> ([&PublishingConnection; 2], usize) {
        let [first, second] = &self.connections;
        // One that is not there takes nothing; the other one may.
        let takes_second = if way.preferred() == 1 { second.is_open() } else { !first.is_open() };
        if takes_second { ([second, first], 0) } else { ([first, second], 1) }
    }
}

/// Whether RabbitMQ said what became of a message.
pub(super) fn is_answered(stored: Result<(), RabbitmqPublishError>) -> bool {
    matches!(stored, Ok(()) | Err(RabbitmqPublishError::Nacked | RabbitmqPublishError::Unroutable))
}

/// Whether RabbitMQ closed the channel because something is not there (404).
pub(super) fn is_not_found(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error) if error.get_id() == 404)
}

/// A name of ours; it fits by construction.
pub(super) fn short_string(name: &str) -> ShortString {
    ShortString::try_new(name).unwrap_or_default()
}
