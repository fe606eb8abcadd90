//! Publishing with confirms: messages for one queue share an AMQP channel with those for some other queues, and each waits
//! for its own confirm, none for longer than a bounded time.
//!
//! A channel that was told a nack is opened anew: RabbitMQ remembers for each channel which node leads a queue, and one
//! that looked during an election is refused for the rest of its life.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lapin::message::Delivery;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::{Channel, Confirmation, ErrorKind};
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use super::connection::{Current, OpenConnection};
use super::message::Encoded;
use crate::telemetry::counters::Counters;

/// Messages on their way to RabbitMQ at once.
const WINDOW: usize = 1024;
/// How long a message counts as one of them. After that its queue is slow, which is to keep no other's messages back.
const HOLD_UP: Duration = Duration::from_secs(1);
/// AMQP channels to publish on. A queue that is slow to confirm delays RabbitMQ's work on its own channel only.
const CHANNELS: usize = 4;
/// From the request to the confirm. A channel that has published to a queue finds its new leader about 8 s after the node
/// of the old one has hung (RabbitMQ 3.10.8); giving up before that would need a new channel, which takes longer.
pub(super) const CONFIRM_TIMEOUT: Duration = Duration::from_secs(9);
/// How often a channel is looked at.
const PERIOD: Duration = Duration::from_millis(50);
/// The shortest time between two openings of one channel.
const REOPEN_PERIOD: Duration = Duration::from_millis(200);
/// For the opening of a channel.
const OPEN_TIMEOUT: Duration = Duration::from_secs(4);

/// Why a message is not known to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PublishFailure {
    /// There is no channel to publish on; nothing was sent.
    #[error("there is no connection to RabbitMQ")]
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

/// The way out.
pub(super) struct Outbox {
    channels: Vec<watch::Receiver<Option<Arc<OpenChannel>>>>,
    suspects: Vec<Arc<Notify>>,
    window: Semaphore,
    /// Where messages go that RabbitMQ returned and that `lapin` gave to the wrong one.
    strays: mpsc::Sender<StrayMessage>,
    counters: Arc<Counters>,
}

/// A message that no queue has taken, although its publisher may have been told that it is stored: `lapin` gives a message
/// that RabbitMQ returns to whoever is confirmed next on that channel, not to the one that has published it.
#[derive(Clone, Debug)]
pub(super) struct StrayMessage {
    /// The queue that it is for.
    pub(super) queue: String,
    /// The message itself.
    pub(super) message: Encoded,
}

impl StrayMessage {
    fn of(returned: Delivery) -> Self {
        let Delivery { routing_key, properties, data, .. } = returned;
        Self { queue: routing_key.as_str().to_owned(), message: Encoded { properties, body: Bytes::from(data) } }
    }

    /// Whether it is this message.
    fn is(&self, queue: &str, message: &Encoded) -> bool {
        self.queue == queue && self.message == *message
    }
}

/// Stray messages that may wait to be published again.
const STRAYS: usize = 64;

/// A channel that is open, and the connection that it is on. Shared, since a clone of a channel is a dozen of counted
/// pointers. It is closed when the last message that was published on it has been confirmed.
struct OpenChannel {
    channel: Channel,
    connection: Arc<OpenConnection>,
}

impl Outbox {
    /// An outbox, and what keeps its channels open; nothing is published before that runs.
    ///
    /// What comes out of the third has to be published again.
    pub(super) fn new(counters: Arc<Counters>) -> (Arc<Self>, OutboxKeeper, mpsc::Receiver<StrayMessage>) {
        let (senders, channels): (Vec<_>, Vec<_>) = (0..CHANNELS).map(|_| watch::channel(None)).unzip();
        let suspects: Vec<Arc<Notify>> = (0..CHANNELS).map(|_| Arc::default()).collect();
        let keepers = senders.into_iter().zip(&suspects);
        let keepers = keepers.map(|(sender, suspect)| ChannelKeeper { sender, suspect: Arc::clone(suspect) }).collect();
        let keeper = OutboxKeeper { keepers, counters: Arc::clone(&counters) };
        let (strays, found) = mpsc::channel(STRAYS);
        (Arc::new(Self { channels, suspects, window: Semaphore::new(WINDOW), strays, counters }), keeper, found)
    }

    /// Whether messages can be published now.
    pub(super) fn is_open(&self) -> bool {
        self.channels.iter().all(|channel| channel.borrow().is_some())
    }

    /// Whether an alarm keeps RabbitMQ from taking messages.
    pub(super) fn is_blocked(&self) -> bool {
        let is_blocked = |open: &Arc<OpenChannel>| open.connection.connection.status().blocked();
        self.channels.iter().any(|channel| channel.borrow().as_ref().is_some_and(is_blocked))
    }

    /// Waits until messages can be published.
    pub(super) async fn until_open(&self) {
        for channel in &self.channels {
            if channel.clone().wait_for(Option::is_some).await.is_err() {
                // The process stops: there will be none.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Publishes a persistent message to a queue; returns when RabbitMQ has confirmed it.
    ///
    /// # Errors
    /// Why it is not known to be stored.
    pub(super) async fn publish(&self, queue: &str, message: &Encoded) -> Result<(), PublishFailure> {
        let place = place(queue);
        let sent = tokio::time::timeout(CONFIRM_TIMEOUT, self.send(place, queue, message)).await;
        let stored = sent.unwrap_or(Err(PublishFailure::Unconfirmed));
        let counters = &self.counters;
        match stored {
            Ok(()) => counters.rabbitmq_confirmed.increment(),
            // Whether that is a fault or the first use of a queue, the caller knows.
            Err(PublishFailure::Unroutable) => {}
            Err(failure) => {
                counters.rabbitmq_unconfirmed.increment();
                match failure {
                    PublishFailure::Blocked => counters.rabbitmq_blocked.increment(),
                    PublishFailure::Nacked => counters.rabbitmq_nacked.increment(),
                    _ => {}
                }
            }
        }
        if stored == Err(PublishFailure::Nacked)
            && let Some(suspect) = self.suspects.get(place)
        {
            suspect.notify_one();
        }
        stored
    }

    async fn send(&self, place: usize, queue: &str, message: &Encoded) -> Result<(), PublishFailure> {
        let Ok(place_taken) = self.window.acquire().await else { return Err(PublishFailure::NoConnection) };
        let open = self.channels.get(place).and_then(|channel| channel.borrow().clone());
        let Some(open) = open else { return Err(PublishFailure::NoConnection) };
        if open.connection.connection.status().blocked() {
            return Err(PublishFailure::Blocked);
        }
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let published = async {
            let properties = message.properties.clone();
            open.channel.basic_publish(short(""), short(queue), options, &message.body, properties).await?.await
        };
        let mut published = std::pin::pin!(open.connection.broken.run_until_cancelled(published));
        let confirmed = match tokio::time::timeout(HOLD_UP, &mut published).await {
            Ok(confirmed) => confirmed,
            Err(_elapsed) => {
                drop(place_taken);
                published.await
            }
        };
        let (is_stored, returned) = match confirmed {
            Some(Ok(Confirmation::Ack(returned))) => (Ok(()), returned),
            Some(Ok(Confirmation::Nack(returned))) => (Err(PublishFailure::Nacked), returned),
            Some(Ok(Confirmation::NotRequested) | Err(_)) | None => (Err(PublishFailure::Interrupted), None),
        };
        match returned.map(|returned| StrayMessage::of(returned.delivery)) {
            Some(returned) if returned.is(queue, message) => Err(PublishFailure::Unroutable),
            Some(stray) => {
                if self.strays.send(stray).await.is_err() {
                    tracing::debug!("A message was returned while the process stops");
                }
                is_stored
            }
            None => is_stored,
        }
    }
}

/// Which channel the messages of a queue are published on: always the same, so that they stay in order.
fn place(queue: &str) -> usize {
    let mut hasher = DefaultHasher::new();
    queue.hash(&mut hasher);
    usize::try_from(hasher.finish() % CHANNELS as u64).unwrap_or(0)
}

/// Whether RabbitMQ closed the channel because something is not there (404).
pub(super) fn is_missing(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error) if error.get_id() == 404)
}

/// A name of ours; it fits by construction.
pub(super) fn short(name: &str) -> ShortString {
    ShortString::try_new(name).unwrap_or_default()
}

/// Keeps the channels of an [`Outbox`] open.
pub(super) struct OutboxKeeper {
    keepers: Vec<ChannelKeeper>,
    counters: Arc<Counters>,
}

impl OutboxKeeper {
    /// Opens the channels on each new connection, for ever.
    pub(super) async fn run(self, connections: Current) {
        let mut keeping = JoinSet::new();
        let channels: Vec<_> = self.keepers.iter().map(|keeper| keeper.sender.subscribe()).collect();
        for keeper in self.keepers {
            keeping.spawn(keeper.run(connections.clone()));
        }
        loop {
            for mut channel in channels.clone() {
                if channel.wait_for(Option::is_some).await.is_err() {
                    return;
                }
            }
            let publishing = self.counters.rabbitmq.publishing.enter();
            while channels.iter().all(|channel| channel.borrow().is_some()) {
                tokio::time::sleep(PERIOD).await;
            }
            drop(publishing);
        }
    }
}

/// Keeps one channel open.
struct ChannelKeeper {
    sender: watch::Sender<Option<Arc<OpenChannel>>>,
    suspect: Arc<Notify>,
}

impl ChannelKeeper {
    /// Opens a channel on each new connection, and again when it is closed by an error or told a nack, for ever.
    async fn run(self, mut connections: Current) {
        while let Ok(connection) = connections.wait_for(Option::is_some).await.map(|current| current.clone()) {
            if let Some(connection) = connection {
                self.serve(&connection).await;
            }
            tokio::time::sleep(REOPEN_PERIOD).await;
        }
    }

    /// Until there is no such connection any more.
    async fn serve(&self, connection: &Arc<OpenConnection>) {
        while !connection.broken.is_cancelled() {
            match self.open(connection).await {
                Ok(channel) => {
                    let open = Arc::new(OpenChannel { channel, connection: Arc::clone(connection) });
                    self.sender.send_replace(Some(Arc::clone(&open)));
                    tokio::time::sleep(REOPEN_PERIOD).await;
                    tokio::select! {
                        () = until_closed(&open) => drop(self.sender.send_replace(None)),
                        () = self.suspect.notified() => {
                            tracing::debug!("RabbitMQ refused a message: a channel to publish on is opened anew");
                        }
                    }
                }
                Err(error) => {
                    self.sender.send_replace(None);
                    tracing::warn!(error, "No channel to publish on, trying again");
                    tokio::time::sleep(REOPEN_PERIOD).await;
                }
            }
        }
        self.sender.send_replace(None);
    }

    async fn open(&self, connection: &OpenConnection) -> Result<Channel, String> {
        let opened = async {
            let channel = connection.connection.create_channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            Ok(channel)
        };
        connection.run_within(OPEN_TIMEOUT, opened).await
    }
}

async fn until_closed(open: &OpenChannel) {
    while open.channel.status().connected() && !open.connection.broken.is_cancelled() {
        tokio::time::sleep(PERIOD).await;
    }
}
