//! A connection that is published on. Messages for one queue share an AMQP channel with those for
//! some other queues.
//!
//! A channel that got a nack is opened anew: RabbitMQ remembers for each channel which node leads a
//! queue, and a channel that looked during an election is refused for the rest of its life.

use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use lapin::options::ConfirmSelectOptions;
use lapin::{BasicProperties, Channel};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;

use super::confirming_publisher::RabbitmqPublishError;
use super::connection::{AmqpConnectionWatch, OpenAmqpConnection, open_amqp_channel};
use super::message::AmqpMessage;
use super::metrics::RabbitmqMetrics;
use super::misdirected_returns::MisdirectedReturn;
use super::publication::{publish_confirmed, start_publication};
use super::publish_route::PublishRoute;
use super::queue_names;

/// Number of AMQP channels to publish on. A queue that is slow to confirm delays RabbitMQ's work on
/// its own channel only.
const CHANNELS: usize = 4;
/// Period in which the state of a channel is read.
const PERIOD: Duration = Duration::from_millis(50);
/// Shortest time between two openings of one channel.
const REOPEN_PERIOD: Duration = Duration::from_millis(200);
/// Longest wait between two attempts to open a channel.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
/// Longest time that a publisher which got a nack waits for the new channel.
const REOPEN_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest time for the opening of a channel.
const OPEN_TIMEOUT: Duration = Duration::from_secs(4);

/// An open channel, and the connection that it is on. It is shared, since a clone of a channel is a
/// dozen of counted pointers. It is closed when the last message that was published on it has been
/// confirmed.
pub(super) struct OpenAmqpChannel {
    pub(super) channel: Channel,
    pub(super) connection: Arc<OpenAmqpConnection>,
}

impl fmt::Debug for OpenAmqpChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAmqpChannel")
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}

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
        strays: mpsc::Sender<MisdirectedReturn>,
    ) -> (Self, AmqpChannelSetKeeper) {
        let (senders, channels): (Vec<_>, Vec<_>) =
            (0..CHANNELS).map(|_| watch::channel(None)).unzip();
        let suspects: Vec<Arc<Notify>> = (0..CHANNELS).map(|_| Arc::default()).collect();
        let keepers = senders.into_iter().zip(&suspects);
        let keepers = keepers
            .map(|(sender, suspect)| AmqpChannelKeeper {
                sender,
                reopen_request: Arc::clone(suspect),
            })
            .collect();
        let keeper = AmqpChannelSetKeeper {
            keepers,
            metrics: Arc::clone(metrics),
        };
        (
            Self {
                channels,
                reopen_requests: suspects,
                misdirected_returns: strays,
            },
            keeper,
        )
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
        queue: &str,
        route: &Arc<PublishRoute>,
        message: &Arc<AmqpMessage>,
    ) -> Result<(), RabbitmqPublishError> {
        let place = channel_index(queue);
        let Some(channel) = self.channels.get(place) else {
            return Err(RabbitmqPublishError::NoConnection);
        };
        let Some(open) = channel.borrow().clone() else {
            return Err(RabbitmqPublishError::NoConnection);
        };
        // RabbitMQ does not read a blocked connection, so the message would only wait there.
        if open.connection.connection.status().blocked() {
            return Err(RabbitmqPublishError::Blocked);
        }
        let publishing = start_publication(
            Arc::clone(&open),
            (queue, Arc::clone(route)),
            message,
            self.misdirected_returns.clone(),
        );
        let stored = publishing.await;
        // This channel may know a node that leads the queue no more: the next one looks anew.
        if stored == Err(RabbitmqPublishError::Nacked) {
            self.reopen_requests
                .get(place)
                .inspect(|suspect| suspect.notify_one());
            let is_another = |now: &Option<Arc<OpenAmqpChannel>>| {
                now.as_ref().is_some_and(|now| !Arc::ptr_eq(now, &open))
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
        stored
    }
}

/// Index of the channel that the messages of a queue are published on: always the same, so that
/// they stay in order.
pub(super) fn channel_index(queue: &str) -> usize {
    let mut hasher = DefaultHasher::new();
    queue.hash(&mut hasher);
    usize::try_from(hasher.finish() % CHANNELS as u64).unwrap_or(0)
}

/// Keeps the channels of a [`PublishingConnection`] open.
pub(super) struct AmqpChannelSetKeeper {
    keepers: Vec<AmqpChannelKeeper>,
    metrics: Arc<RabbitmqMetrics>,
}

impl AmqpChannelSetKeeper {
    /// Opens the channels on each new connection, for ever, and counts the time in which all are
    /// open.
    pub(super) async fn run(self, connections: AmqpConnectionWatch) {
        let mut keeping = JoinSet::new();
        let channels: Vec<_> = self
            .keepers
            .iter()
            .map(|keeper| keeper.sender.subscribe())
            .collect();
        for keeper in self.keepers {
            keeping.spawn(keeper.run(connections.clone()));
        }
        loop {
            for mut channel in channels.clone() {
                if channel.wait_for(Option::is_some).await.is_err() {
                    return;
                }
            }
            let publishing = self.metrics.link.publishing.enter();
            while channels.iter().all(|channel| channel.borrow().is_some()) {
                tokio::time::sleep(PERIOD).await;
            }
            drop(publishing);
        }
    }
}

/// Keeps one channel open on the current connection.
struct AmqpChannelKeeper {
    sender: watch::Sender<Option<Arc<OpenAmqpChannel>>>,
    reopen_request: Arc<Notify>,
}

impl AmqpChannelKeeper {
    /// Opens a channel on each new connection, and again when it is closed by an error or got a
    /// nack, for ever.
    async fn run(self, mut connections: AmqpConnectionWatch) {
        while let Ok(connection) = connections
            .wait_for(Option::is_some)
            .await
            .map(|current| current.clone())
        {
            if let Some(connection) = connection {
                self.keep_open(&connection).await;
            }
            tokio::time::sleep(REOPEN_PERIOD).await;
        }
    }

    /// Keeps the channel open until the connection is broken.
    async fn keep_open(&self, connection: &Arc<OpenAmqpConnection>) {
        let mut pause = REOPEN_PERIOD;
        while !connection.broken.is_cancelled() {
            match self.open_confirm_channel(connection).await {
                Ok(channel) => {
                    pause = REOPEN_PERIOD;
                    let open = Arc::new(OpenAmqpChannel {
                        channel,
                        connection: Arc::clone(connection),
                    });
                    self.sender.send_replace(Some(Arc::clone(&open)));
                    // A channel is used for a while at least, however many nacks it gets.
                    tokio::time::sleep(REOPEN_PERIOD).await;
                    tokio::select! {
                        () = until_channel_closed(&open) => drop(self.sender.send_replace(None)),
                        () = self.reopen_request.notified() => {
                            tracing::debug!(
                                "RabbitMQ refused a message: a channel to publish on is opened anew"
                            );
                        }
                    }
                }
                Err(error) => {
                    self.sender.send_replace(None);
                    if pause == REOPEN_PERIOD {
                        tracing::warn!(error, "No channel to publish on, trying again");
                    } else {
                        tracing::debug!(error, "No channel to publish on, trying again");
                    }
                    connection
                        .broken
                        .run_until_cancelled(tokio::time::sleep(pause))
                        .await;
                    pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
                }
            }
        }
        self.sender.send_replace(None);
    }

    async fn open_confirm_channel(
        &self,
        connection: &OpenAmqpConnection,
    ) -> Result<Channel, String> {
        let opened = async {
            let channel = open_amqp_channel(&connection.connection).await?;
            channel
                .confirm_select(ConfirmSelectOptions::default())
                .await?;
            // The permission is tried before the channel is shown, so that no message fails for it.
            probe_permission(&channel).await?;
            Ok(channel)
        };
        connection.run_within(OPEN_TIMEOUT, opened).await
    }
}

/// Publishes to a queue that does not exist, which RabbitMQ returns: it checks permissions when
/// something is published, and closes the channel of a user who may not publish.
async fn probe_permission(channel: &Channel) -> lapin::Result<()> {
    publish_confirmed(channel, queue_names::PROBE, BasicProperties::default(), &[])
        .await
        .map(drop)
}

async fn until_channel_closed(open: &OpenAmqpChannel) {
    while open.channel.status().connected() && !open.connection.broken.is_cancelled() {
        tokio::time::sleep(PERIOD).await;
    }
}
