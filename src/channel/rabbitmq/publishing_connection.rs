//! A connection that is published on. Messages for one queue share an AMQP channel with those for
//! some other queues.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};

use super::amqp_channel::OpenAmqpChannel;
use super::channel_keeper::{AmqpChannelKeeper, AmqpChannelSetKeeper};
use super::metrics::RabbitmqMetrics;
use super::misdirected_return::MisdirectedReturn;
use super::publication::{RoutedMessage, start_publication};
use super::publish_error::RabbitmqPublishError;

/// Number of AMQP channels to publish on. A queue that is slow to confirm delays RabbitMQ's work on
/// its own channel only.
const CHANNELS: usize = 4;
/// Longest time that a publisher which got a nack waits for the new channel.
const REOPEN_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection to publish on, with its channels.
pub(super) struct PublishingConnection {
    channels: Vec<watch::Receiver<Option<Arc<OpenAmqpChannel>>>>,
    reopen_requests: Vec<Arc<Notify>>,
    /// Sender of messages that RabbitMQ returned and that `lapin` gave to the wrong publisher.
    misdirected_returns: mpsc::Sender<MisdirectedReturn>,
}

impl PublishingConnection {
    /// Makes a publishing connection, and the keeper of its channels, without which nothing is
    /// published.
    pub(super) fn new(
        metrics: &Arc<RabbitmqMetrics>,
        misdirected_returns: mpsc::Sender<MisdirectedReturn>,
    ) -> (Self, AmqpChannelSetKeeper) {
        let (senders, channels): (Vec<_>, Vec<_>) =
            (0..CHANNELS).map(|_| watch::channel(None)).unzip();
        let reopen_requests: Vec<Arc<Notify>> = (0..CHANNELS).map(|_| Arc::default()).collect();
        let keepers = senders.into_iter().zip(&reopen_requests);
        let keepers = keepers.map(|(sender, request)| AmqpChannelKeeper {
            sender,
            reopen_request: Arc::clone(request),
        });
        let keeper = AmqpChannelSetKeeper {
            keepers: keepers.collect(),
            metrics: Arc::clone(metrics),
        };
        let connection = Self {
            channels,
            reopen_requests,
            misdirected_returns,
        };
        (connection, keeper)
    }

    /// True if every channel is open, so that messages can be published now.
    pub(super) fn is_open(&self) -> bool {
        self.channels
            .iter()
            .all(|channel| channel.borrow().is_some())
    }

    /// Channel that a queue is published to on, if it is open.
    pub(super) fn channel(&self, queue: &str) -> Option<Arc<OpenAmqpChannel>> {
        self.channels.get(channel_index(queue))?.borrow().clone()
    }

    /// True if an alarm keeps RabbitMQ from taking messages.
    pub(super) fn is_blocked(&self) -> bool {
        let is_blocked =
            |open: &Arc<OpenAmqpChannel>| open.connection.connection.status().blocked();
        self.channels
            .iter()
            .any(|channel| channel.borrow().as_ref().is_some_and(is_blocked))
    }

    /// Waits until every channel is open.
    pub(super) async fn until_open(&self) {
        for channel in &self.channels {
            if channel.clone().wait_for(Option::is_some).await.is_err() {
                // The process stops: the channels will not open any more.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Publishes a message over the default exchange, and waits for its confirm; after a nack also
    /// until another channel is open, so that the next message is not refused for the channel's
    /// sake.
    ///
    /// # Errors
    /// If it is not known that the message is stored.
    pub(super) async fn publish(
        &self,
        routed: &RoutedMessage<'_>,
    ) -> Result<(), RabbitmqPublishError> {
        let Some(open) = self.channel(routed.queue) else {
            return Err(RabbitmqPublishError::NoConnection);
        };
        // RabbitMQ does not read a blocked connection, so the message would only wait there.
        if open.connection.connection.status().blocked() {
            return Err(RabbitmqPublishError::Blocked);
        }
        let strays = self.misdirected_returns.clone();
        let stored = start_publication(Arc::clone(&open), routed, strays).await;
        if stored == Err(RabbitmqPublishError::Nacked) {
            self.reopen_channel(routed.queue, &open).await;
        }
        stored
    }

    /// Has the channel of a queue opened anew, which may know a node that leads the queue no more,
    /// and waits a while for that.
    async fn reopen_channel(&self, queue: &str, refused: &Arc<OpenAmqpChannel>) {
        let place = channel_index(queue);
        let (Some(channel), Some(request)) =
            (self.channels.get(place), self.reopen_requests.get(place))
        else {
            return;
        };
        request.notify_one();
        let is_another = |now: &Option<Arc<OpenAmqpChannel>>| {
            now.as_ref().is_some_and(|now| !Arc::ptr_eq(now, refused))
        };
        let mut channel = channel.clone();
        let reopened = tokio::time::timeout(REOPEN_TIMEOUT, channel.wait_for(is_another)).await;
        if !matches!(reopened, Ok(Ok(_))) {
            tracing::debug!(
                queue,
                "The channel that was told a nack is not opened anew yet"
            );
        }
    }
}

/// Index of the channel that the messages of a queue are published on: always the same, so that
/// they stay in order.
pub(super) fn channel_index(queue: &str) -> usize {
    let mut hasher = DefaultHasher::new();
    queue.hash(&mut hasher);
    usize::try_from(hasher.finish() % CHANNELS as u64).unwrap_or(0)
}
