//! Messages that RabbitMQ returned and `lapin` gave to somebody else than their publisher, who may believe that they are
//! stored: they are published again, as what is moved on is.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lapin::message::Delivery;
use tokio::sync::mpsc;

use super::message::{self, Encoded};
use super::publisher::AWAY_WAITS;
use super::returned::forward;
use super::returned_message::ReturnedMessage;
use super::{Shared, names};

/// The wait before a message is tried again.
const PAUSE: Duration = Duration::from_millis(200);

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
    pub(super) fn of(returned: Delivery) -> Self {
        let Delivery { routing_key, properties, data, .. } = returned;
        Self { queue: routing_key.as_str().to_owned(), message: Encoded { properties, body: Bytes::from(data) } }
    }

    /// Whether it is this message.
    pub(super) fn is(&self, queue: &str, message: &Encoded) -> bool {
        self.queue == queue && self.message == *message
    }
}

/// Publishes again what comes, for ever.
pub(super) async fn run(shared: Arc<Shared>, mut found: mpsc::Receiver<StrayMessage>) {
    let mut publishing = FuturesUnordered::new();
    loop {
        tokio::select! {
            stray = found.recv() => match stray {
                Some(stray) => publishing.push(Box::pin(publish(&shared, stray))),
                None => return,
            },
            Some(()) = publishing.next(), if !publishing.is_empty() => {}
        }
    }
}

async fn publish(shared: &Shared, stray: StrayMessage) {
    tracing::debug!(queue = stray.queue, "A message was returned to somebody else: it is published again");
    while !try_to_publish(shared, &stray).await {
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether it is where it belongs.
async fn try_to_publish(shared: &Shared, stray: &StrayMessage) -> bool {
    let StrayMessage { queue, message } = stray;
    if names::is_parked(queue) {
        return shared.park(queue, message).await;
    }
    let read = ReturnedMessage::read(&message.properties, message.body.clone());
    match (&read.to, AWAY_WAITS.first()) {
        (Some(to), Some(wait)) if names::is_wait(queue) => {
            shared.put_into_wait(*wait, &message::to_queue(read.message.clone(), to)).await
        }
        _ => forward(shared, queue, message).await,
    }
}
