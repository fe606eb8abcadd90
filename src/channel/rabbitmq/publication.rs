//! One message on its way to RabbitMQ.
//!
//! `lapin` gives a message that RabbitMQ returns to whoever is confirmed next on that channel, not to the one that has
//! published it. So each confirm is waited for to its end, also if its publisher does not wait any more: it may bring a
//! message that nobody else knows not to be stored.

use std::sync::Arc;

use futures_util::FutureExt;
use lapin::message::BasicReturnMessage;
use lapin::options::BasicPublishOptions;
use lapin::{BasicProperties, Channel, Confirmation};
use tokio::sync::mpsc;

use super::message::Encoded;
use super::outbox::{PublishFailure, is_answer, short};
use super::publishing::OpenChannel;
use super::queue_way::QueueWay;
use super::strays::StrayMessage;
use super::to_its_end::ToItsEnd;

/// A message that is published and not answered yet. Where it is dropped before that, the rest is done in the background.
pub(super) type Publication = ToItsEnd<Result<(), PublishFailure>>;

/// Publishes a message for a queue, over the default exchange; its way is told of the answer, however late that comes. What
/// RabbitMQ returns and is not this message goes to `strays`.
pub(super) fn publication(
    open: Arc<OpenChannel>,
    (queue, way): (&str, Arc<QueueWay>),
    message: &Arc<Encoded>,
    strays: mpsc::Sender<StrayMessage>,
) -> Publication {
    let (queue, message) = (queue.to_owned(), Arc::clone(message));
    let publishing = async move {
        let stored = publish(&open, &queue, &message, &strays).await;
        if is_answer(stored) {
            way.answered();
        }
        if stored.is_ok() {
            way.confirmed();
        }
        stored
    };
    ToItsEnd::new(publishing, |_stored| std::future::ready(()).boxed())
}

/// Publishes a message for a queue over the default exchange, which is returned if there is no such queue, and waits for
/// its confirm.
///
/// # Errors
/// Those of the channel.
pub(super) async fn confirmed(
    channel: &Channel,
    queue: &str,
    properties: BasicProperties,
    body: &[u8],
) -> lapin::Result<Confirmation> {
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    channel.basic_publish(short(""), short(queue), options, body, properties).await?.await
}

async fn publish(
    open: &OpenChannel,
    queue: &str,
    message: &Encoded,
    strays: &mpsc::Sender<StrayMessage>,
) -> Result<(), PublishFailure> {
    let published = confirmed(&open.channel, queue, message.properties.clone(), &message.body);
    let (stored, returned) = match open.connection.broken.run_until_cancelled(published).await {
        Some(Ok(Confirmation::Ack(returned))) => (Ok(()), returned),
        Some(Ok(Confirmation::Nack(returned))) => (Err(PublishFailure::Nacked), returned),
        Some(Ok(Confirmation::NotRequested) | Err(_)) | None => (Err(PublishFailure::Interrupted), None),
    };
    if let Some(BasicReturnMessage { delivery, .. }) = returned {
        let returned = StrayMessage::of(delivery);
        if returned.is(queue, message) {
            return Err(PublishFailure::Unroutable);
        }
        if strays.send(returned).await.is_err() {
            tracing::debug!("A message was returned while the process stops");
        }
    }
    stored
}
