//! Publishing with publisher confirms: each message waits for its own confirm, none for longer than
//! a limited time.
//!
//! There are two connections, to different nodes where there are several. A queue is published to
//! on one of them; when RabbitMQ confirms nothing for the queue there, the messages that wait are
//! published on the other connection as well, and so are those that come.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use super::channel_keeper::AmqpChannelSetKeeper;
use super::health::OncePerMinute;
use super::message::amqp_message::AmqpMessage;
use super::metrics::RabbitmqMetrics;
use super::misdirected_return::MisdirectedReturn;
use super::publication::RoutedMessage;
use super::publish_error::{CONFIRM_TIMEOUT, RabbitmqPublishError, is_answered};
use super::publish_route::PublishRoute;
use super::publishing_connection::PublishingConnection;

/// Messages of all queues that may be on their way to RabbitMQ at once.
const WINDOW: usize = 1024;
/// Time for which a message counts as one of them. After that its queue is slow, and must not keep
/// back messages of other queues.
const HOLD_UP: Duration = Duration::from_secs(1);
/// Time without a fault after which the second connection gets to know queues again: RabbitMQ needs
/// up to 45 s to give up a node that hangs, and answers new channels before that only by chance.
const CALM: Duration = Duration::from_secs(60);

/// Misdirected returns that may wait to be published again.
const MAX_MISDIRECTED_RETURNS: usize = 64;

/// Publisher of messages to all queues, over two connections.
pub(super) struct ConfirmingPublisher {
    connections: [PublishingConnection; 2],
    /// Limits the log line about a queue that is published to on the other connection.
    log_limit: OncePerMinute,
    /// Last time when a queue had to be published to on the other connection.
    last_rerouted: Mutex<Option<Instant>>,
    publish_window: Semaphore,
    metrics: Arc<RabbitmqMetrics>,
}

impl ConfirmingPublisher {
    /// Makes a publisher; the keepers of the channels of its two connections, without which nothing
    /// is published; and the receiver of misdirected returns, which have to be published again.
    pub(super) fn new(
        metrics: Arc<RabbitmqMetrics>,
    ) -> (
        Arc<Self>,
        [AmqpChannelSetKeeper; 2],
        mpsc::Receiver<MisdirectedReturn>,
    ) {
        let (misdirected, receiver) = mpsc::channel(MAX_MISDIRECTED_RETURNS);
        let (first, first_keeper) = PublishingConnection::new(&metrics, misdirected.clone());
        let (second, second_keeper) = PublishingConnection::new(&metrics, misdirected);
        let publisher = Self {
            connections: [first, second],
            log_limit: OncePerMinute::default(),
            last_rerouted: Mutex::default(),
            publish_window: Semaphore::new(WINDOW),
            metrics,
        };
        (Arc::new(publisher), [first_keeper, second_keeper], receiver)
    }

    /// True if messages can be published on one of the connections now.
    pub(super) fn is_open(&self) -> bool {
        self.connections.iter().any(PublishingConnection::is_open)
    }

    /// True if an alarm keeps RabbitMQ from taking messages.
    pub(super) fn is_blocked(&self) -> bool {
        self.connections
            .iter()
            .any(PublishingConnection::is_blocked)
    }

    /// Waits until messages can be published on one of the connections.
    pub(super) async fn until_open(&self) {
        let [first, second] = &self.connections;
        tokio::select! {
            () = first.until_open() => {}
            () = second.until_open() => {}
        }
    }

    /// Publishes a persistent message to a queue, by its publish route; returns when RabbitMQ has
    /// confirmed it.
    ///
    /// # Errors
    /// If it is not known that the message is stored.
    pub(super) async fn publish(
        &self,
        queue: &str,
        route: &Arc<PublishRoute>,
        message: &Arc<AmqpMessage>,
    ) -> Result<(), RabbitmqPublishError> {
        let routed = RoutedMessage {
            queue,
            route,
            message,
        };
        let sent = tokio::time::timeout(CONFIRM_TIMEOUT, self.publish_on_either(&routed)).await;
        let stored = sent.unwrap_or(Err(RabbitmqPublishError::Unconfirmed));
        self.count(stored);
        stored
    }

    /// Counts what became of a message, once for both connections.
    fn count(&self, stored: Result<(), RabbitmqPublishError>) {
        let metrics = &self.metrics;
        match stored {
            Ok(()) => metrics.confirmed.increment(),
            // The caller knows if a missing queue is a fault or about to be declared.
            Err(RabbitmqPublishError::Unroutable) => {}
            Err(failure) => {
                metrics.unconfirmed.increment();
                match failure {
                    RabbitmqPublishError::Blocked => metrics.blocked.increment(),
                    RabbitmqPublishError::Nacked => metrics.nacked.increment(),
                    _ => {}
                }
            }
        }
    }

    async fn publish_on_either(
        &self,
        routed: &RoutedMessage<'_>,
    ) -> Result<(), RabbitmqPublishError> {
        let RoutedMessage { queue, route, .. } = *routed;
        // Holding a turn first limits all messages together; the message is tracked only while it
        // is sent.
        let Ok(permit) = self.publish_window.acquire().await else {
            return Err(RabbitmqPublishError::NoConnection);
        };
        let _under_way = route.track_message();
        // Before this message is sent, so that the channel on the other connection is ready when it
        // is needed.
        self.warm_up_connections(queue, route);
        let order = self.order_connections(route);
        // A message of a slow queue gives its turn back, so that other queues' messages are sent.
        let sent = Instant::now();
        let mut stored = std::pin::pin!(order.first.publish(routed));
        if let Ok(stored) = tokio::time::timeout(HOLD_UP, &mut stored).await {
            return stored;
        }
        drop(permit);
        // The other connection is tried only if nothing else was confirmed for the queue either.
        let in_vain = async {
            route.until_unanswered(sent).await;
            order.second.until_open().await;
        };
        tokio::select! {
            stored = &mut stored => return stored,
            () = in_vain => {}
        }
        tokio::select! {
            again = self.publish_again(routed, &order) => again,
            Ok(()) = stored => Ok(()),
        }
    }

    /// Publishes a message on the second connection, since it is in vain on the first one.
    async fn publish_again(
        &self,
        routed: &RoutedMessage<'_>,
        order: &ConnectionOrder<'_>,
    ) -> Result<(), RabbitmqPublishError> {
        self.metrics.published_twice.increment();
        *self.last_rerouted() = Some(Instant::now());
        let again = order.second.publish(routed).await;
        // The other connection is preferred only once it has answered: where a leader hangs, a
        // channel that knows its queue finds the next leader long before others do.
        let is_new = is_answered(again) && routed.route.prefer(order.second_index);
        if is_new && self.log_limit.is_due() {
            tracing::warn!(
                queue = routed.queue,
                "RabbitMQ has confirmed nothing for a queue for some seconds: it is \
                 published to on another connection"
            );
        }
        again
    }

    /// Lets a message of the queue take the other connection, once for each of its channels, so
    /// that the channel knows the queue before it is needed for it. Not while something is wrong:
    /// channels that are new because one leader was lost would be asked for.
    fn warm_up_connections(&self, queue: &str, route: &PublishRoute) {
        // A connection some of whose channels are still to be opened is not used: see
        // `order_connections`.
        let channels = self
            .connections
            .each_ref()
            .map(|connection| connection.is_open().then(|| connection.channel(queue))?);
        route.warm_up_other_channel(&channels, || {
            self.last_rerouted()
                .is_none_or(|trouble| trouble.elapsed() > CALM)
        });
    }

    fn last_rerouted(&self) -> MutexGuard<'_, Option<Instant>> {
        self.last_rerouted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The connections in the order in which they are tried for a queue.
    fn order_connections(&self, route: &PublishRoute) -> ConnectionOrder<'_> {
        let [first, second] = &self.connections;
        // A connection that is not there takes nothing, while the other one may.
        let takes_second = if route.preferred() == 1 {
            second.is_open()
        } else {
            !first.is_open()
        };
        let (first, second, second_index) = if takes_second {
            (second, first, 0)
        } else {
            (first, second, 1)
        };
        ConnectionOrder {
            first,
            second,
            second_index,
        }
    }
}

/// The two connections in the order in which they are tried for a queue.
struct ConnectionOrder<'p> {
    first: &'p PublishingConnection,
    second: &'p PublishingConnection,
    /// Index of the second one among the publisher's connections.
    second_index: usize,
}
