//! Publishing with confirms: each message waits for its own confirm, none for longer than a bounded time.
//!
//! There are two connections, to different nodes where there are several. One is published on. Where RabbitMQ confirms
//! nothing on it any more, what waits there is published on the other one as well, and so is what comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lapin::ErrorKind;
use lapin::types::ShortString;
use tokio::sync::{Semaphore, mpsc};

use super::health::TellLimit;
use super::message::Encoded;
use super::publishing::{ChannelsKeeper, PublishingConnection};
use super::strays::StrayMessage;
use crate::telemetry::counters::Counters;

/// Messages on their way to RabbitMQ at once.
const WINDOW: usize = 1024;
/// How long a message counts as one of them. After that its queue is slow, which is to keep no other's messages back.
const HOLD_UP: Duration = Duration::from_secs(1);
/// From the request to the confirm. A channel that has published to a queue finds its new leader about 8 s after the node
/// of the old one has hung (RabbitMQ 3.10.8); giving up before that would need a new channel, which takes longer.
pub(super) const CONFIRM_TIMEOUT: Duration = Duration::from_secs(9);

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

/// Stray messages that may wait to be published again.
const STRAYS: usize = 64;

/// The way out.
pub(super) struct Outbox {
    connections: [PublishingConnection; 2],
    /// Which of them is published on.
    preferred: AtomicUsize,
    /// Limits how often it is said that it is another one.
    telling: TellLimit,
    window: Semaphore,
    counters: Arc<Counters>,
}

impl Outbox {
    /// An outbox, and what keeps the channels of its connections open; nothing is published before that runs.
    ///
    /// What comes out of the third has to be published again.
    pub(super) fn new(counters: Arc<Counters>) -> (Arc<Self>, [ChannelsKeeper; 2], mpsc::Receiver<StrayMessage>) {
        let (strays, found) = mpsc::channel(STRAYS);
        let (first, first_keeper) = PublishingConnection::new(&counters, strays.clone());
        let (second, second_keeper) = PublishingConnection::new(&counters, strays);
        let (preferred, telling, window) = (AtomicUsize::new(0), TellLimit::default(), Semaphore::new(WINDOW));
        let outbox = Self { connections: [first, second], preferred, telling, window, counters };
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

    /// Publishes a persistent message to a queue; returns when RabbitMQ has confirmed it.
    ///
    /// # Errors
    /// Why it is not known to be stored.
    pub(super) async fn publish(&self, queue: &str, message: &Encoded) -> Result<(), PublishFailure> {
        let sent = tokio::time::timeout(CONFIRM_TIMEOUT, self.send(queue, message)).await;
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
        stored
    }

    async fn send(&self, queue: &str, message: &Encoded) -> Result<(), PublishFailure> {
        let Ok(turn) = self.window.acquire().await else { return Err(PublishFailure::NoConnection) };
        let [first, second] = self.in_order();
        let mut sent = std::pin::pin!(first.send(queue, message));
        if let Ok(stored) = tokio::time::timeout(HOLD_UP, &mut sent).await {
            return stored;
        }
        drop(turn);
        let other = async {
            first.confirms.until_silent().await;
            second.until_open().await;
        };
        tokio::select! {
            stored = &mut sent => return stored,
            () = other => {}
        }
        if second.confirms.is_silent() {
            return sent.await;
        }
        self.counters.rabbitmq_published_twice.increment();
        let again = second.send(queue, message);
        tokio::select! {
            stored = again => stored,
            Ok(()) = sent => Ok(()),
        }
    }

    /// The connection to publish on, and the other one.
    fn in_order(&self) -> [&PublishingConnection; 2] {
        let [first, second] = &self.connections;
        let preferred = self.preferred.load(Ordering::Relaxed);
        let (now, other) = if preferred == 0 { (first, second) } else { (second, first) };
        if now.fitness() >= other.fitness() {
            return [now, other];
        }
        if self.preferred.swap(1 - preferred, Ordering::Relaxed) == preferred && self.telling.is_due() {
            tracing::warn!(
                "RabbitMQ confirms nothing on a connection, or it is gone: events are published on another one"
            );
        }
        [other, now]
    }
}

/// Whether RabbitMQ closed the channel because something is not there (404).
pub(super) fn is_missing(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error) if error.get_id() == 404)
}

/// A name of ours; it fits by construction.
pub(super) fn short(name: &str) -> ShortString {
    ShortString::try_new(name).unwrap_or_default()
}
