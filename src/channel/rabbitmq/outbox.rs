//! Publishing with confirms: many requests share one AMQP channel, each waits for its own confirm, none for longer than a
//! bounded time (gaps.md G-71).

use std::sync::Arc;
use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ErrorKind};
use tokio::sync::{Semaphore, watch};

use super::connection::Current;
use crate::telemetry::counters::Counters;

/// Messages on their way to RabbitMQ at once.
const WINDOW: usize = 512;
/// From the request to the confirm.
const LIMIT: Duration = Duration::from_secs(10);
/// How often a channel is looked at.
const PERIOD: Duration = Duration::from_millis(100);

/// What became of a message that RabbitMQ confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Confirmed {
    /// A queue has it.
    Stored,
    /// No queue is bound for it, or there is no such exchange; whoever shared the AMQP channel with it is told the same.
    Unroutable,
}

/// A message to publish.
pub(super) struct Letter<'l> {
    pub(super) exchange: &'l str,
    pub(super) routing_key: &'l str,
    pub(super) properties: BasicProperties,
    pub(super) body: &'l [u8],
}

/// The way out.
pub(super) struct Outbox {
    channel: watch::Receiver<Option<Arc<Open>>>,
    window: Semaphore,
    counters: Arc<Counters>,
}

/// An open channel, and the connection that it is on. Shared, since a clone of a channel is a dozen of counted pointers.
struct Open {
    channel: Channel,
    connection: Arc<Connection>,
}

impl Outbox {
    /// An outbox, and what keeps its channel open; nothing is published before that runs.
    pub(super) fn new(counters: Arc<Counters>) -> (Arc<Self>, Keeper) {
        let (sender, channel) = watch::channel(None);
        let keeper = Keeper { sender, counters: Arc::clone(&counters) };
        (Arc::new(Self { channel, window: Semaphore::new(WINDOW), counters }), keeper)
    }

    /// Whether messages can be published now.
    pub(super) fn is_open(&self) -> bool {
        self.channel.borrow().is_some()
    }

    /// Publishes a persistent message; returns when RabbitMQ has confirmed it.
    ///
    /// # Errors
    /// Why it is not known to be stored; perhaps it is.
    pub(super) async fn publish(&self, letter: Letter<'_>) -> Result<Confirmed, String> {
        let confirmed = match tokio::time::timeout(LIMIT, self.send(letter)).await {
            Ok(confirmed) => confirmed,
            Err(_elapsed) => Err(format!("RabbitMQ has not confirmed it within {LIMIT:?}")),
        };
        let counter = match confirmed {
            Ok(Confirmed::Stored) => &self.counters.rabbitmq_confirmed,
            Ok(Confirmed::Unroutable) => &self.counters.rabbitmq_unroutable,
            Err(_) => &self.counters.rabbitmq_unconfirmed,
        };
        counter.increment();
        confirmed
    }

    async fn send(&self, letter: Letter<'_>) -> Result<Confirmed, String> {
        let Ok(_place) = self.window.acquire().await else { return Err("RabbitMQ is closed".to_owned()) };
        let open = self.channel.borrow().clone();
        let Some(open) = open else {
            return Err("there is no connection to RabbitMQ".to_owned());
        };
        if open.connection.status().blocked() {
            self.counters.rabbitmq_blocked.increment();
            return Err("RabbitMQ is blocked by an alarm of memory or disk".to_owned());
        }
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let (exchange, key) = (short(letter.exchange), short(letter.routing_key));
        let published = open.channel.basic_publish(exchange, key, options, letter.body, letter.properties).await;
        let confirmed = match published {
            Ok(confirm) => confirm.await,
            Err(error) => Err(error),
        };
        match confirmed {
            Ok(Confirmation::Ack(None)) => Ok(Confirmed::Stored),
            Ok(Confirmation::Ack(Some(_returned))) => Ok(Confirmed::Unroutable),
            Ok(Confirmation::Nack(_)) => Err("RabbitMQ could not store it".to_owned()),
            Ok(Confirmation::NotRequested) => Err("confirms are not on".to_owned()),
            Err(error) if is_missing(&error) => Ok(Confirmed::Unroutable),
            Err(error) => Err(error.to_string()),
        }
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

/// Keeps the channel of an [`Outbox`] open.
pub(super) struct Keeper {
    sender: watch::Sender<Option<Arc<Open>>>,
    counters: Arc<Counters>,
}

impl Keeper {
    /// Opens a channel on each new connection, and again when it is closed by an error, for ever.
    pub(super) async fn run(self, mut connections: Current) {
        while let Ok(connection) = connections.wait_for(Option::is_some).await.map(|current| current.clone()) {
            if let Some(connection) = connection {
                self.serve(&connection).await;
            }
            tokio::time::sleep(PERIOD).await;
        }
    }

    async fn serve(&self, connection: &Arc<Connection>) {
        let opened = async {
            let channel = connection.create_channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            Ok::<_, lapin::Error>(channel)
        };
        match opened.await {
            Ok(channel) => {
                let publishing = self.counters.rabbitmq.publishing.enter();
                let open = Arc::new(Open { channel, connection: Arc::clone(connection) });
                self.sender.send_replace(Some(Arc::clone(&open)));
                while open.channel.status().connected() && connection.status().connected() {
                    tokio::time::sleep(PERIOD).await;
                }
                drop(publishing);
                self.sender.send_replace(None);
            }
            Err(error) => tracing::warn!(%error, "No channel to publish on, trying again"),
        }
    }
}
