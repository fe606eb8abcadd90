//! One message on its way to RabbitMQ.
//!
//! `lapin` gives a message that RabbitMQ returns to the publisher that is confirmed next on that
//! channel, not to the one that has published it. So each confirm is waited for to its end, even if
//! its publisher does not wait any more: it may bring a message of which nobody else knows that it
//! is not stored.

use std::sync::Arc;

use futures_util::FutureExt;
use lapin::message::BasicReturnMessage;
use lapin::options::BasicPublishOptions;
use lapin::{BasicProperties, Channel, Confirmation};
use tokio::sync::mpsc;

use super::amqp_channel::OpenAmqpChannel;
use super::message::amqp_message::AmqpMessage;
use super::message::amqp_value::short_string;
use super::misdirected_return::MisdirectedReturn;
use super::publish_error::{RabbitmqPublishError, is_answered};
use super::publish_route::PublishRoute;
use super::uncancelled_future::UncancelledFuture;

/// A message for a queue, with the route by which it gets there.
#[derive(Clone)]
pub(super) struct RoutedMessage<'m> {
    pub(super) queue: &'m str,
    pub(super) route: &'m Arc<PublishRoute>,
    pub(super) message: &'m Arc<AmqpMessage>,
}

/// A message that is published and not confirmed yet. If it is dropped before that, its confirm is
/// awaited in the background.
pub(super) type PendingPublication = UncancelledFuture<Result<(), RabbitmqPublishError>>;

/// Publishes a message for a queue, over the default exchange; its publish route records the
/// answer, however late that comes. Returned messages that are not this one go to
/// `misdirected_returns`.
pub(super) fn start_publication(
    open: Arc<OpenAmqpChannel>,
    routed: &RoutedMessage<'_>,
    misdirected_returns: mpsc::Sender<MisdirectedReturn>,
) -> PendingPublication {
    let queue = routed.queue.to_owned();
    let (route, message) = (Arc::clone(routed.route), Arc::clone(routed.message));
    let publishing = async move {
        let stored = publish_and_await_confirm(&open, &queue, &message, &misdirected_returns).await;
        if is_answered(stored) {
            route.record_answer();
        }
        if stored.is_ok() {
            route.record_confirm();
        }
        stored
    };
    UncancelledFuture::new(publishing, |_stored| std::future::ready(()).boxed())
}

/// Publishes a message for a queue over the default exchange, which is returned if there is no such
/// queue, and waits for its confirm.
///
/// # Errors
/// Those of the channel.
pub(super) async fn publish_confirmed(
    channel: &Channel,
    queue: &str,
    properties: BasicProperties,
    body: &[u8],
) -> lapin::Result<Confirmation> {
    let options = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    channel
        .basic_publish(
            short_string(""),
            short_string(queue),
            options,
            body,
            properties,
        )
        .await?
        .await
}

async fn publish_and_await_confirm(
    open: &OpenAmqpChannel,
    queue: &str,
    message: &AmqpMessage,
    misdirected_returns: &mpsc::Sender<MisdirectedReturn>,
) -> Result<(), RabbitmqPublishError> {
    let published = publish_confirmed(
        &open.channel,
        queue,
        message.properties.clone(),
        &message.body,
    );
    let (stored, returned) = match open.connection.broken.run_until_cancelled(published).await {
        Some(Ok(Confirmation::Ack(returned))) => (Ok(()), returned),
        Some(Ok(Confirmation::Nack(returned))) => (Err(RabbitmqPublishError::Nacked), returned),
        Some(Ok(Confirmation::NotRequested) | Err(_)) | None => {
            (Err(RabbitmqPublishError::Interrupted), None)
        }
    };
    if let Some(BasicReturnMessage { delivery, .. }) = returned {
        let returned = MisdirectedReturn::from_basic_return(delivery);
        if returned.is_message(queue, message) {
            return Err(RabbitmqPublishError::Unroutable);
        }
        if misdirected_returns.send(returned).await.is_err() {
            tracing::debug!("A message was returned while the process stops");
        }
    }
    stored
}
