//! Messages that RabbitMQ returned and `lapin` gave to another publisher than their own, which may
//! believe that they are stored: they are published again, as dead-lettered messages are forwarded.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lapin::message::Delivery;
use tokio::sync::mpsc;

use super::dead_lettered::forward_to_queue;
use super::dead_lettered_message::DeadLetteredMessage;
use super::message::{self, AmqpMessage};
use super::publisher::DIVERSION_DELAYS;
use super::{RabbitmqContext, queue_names};

/// Wait before a message is tried again.
const PAUSE: Duration = Duration::from_millis(200);

/// A message that no queue has taken, although its publisher may have been told that it is stored:
/// `lapin` gives a message that RabbitMQ returns to the publisher that is confirmed next on that
/// channel, not to the one that has published it.
#[derive(Clone, Debug)]
pub(super) struct MisdirectedReturn {
    /// Queue that the message was published to.
    pub(super) queue: String,
    /// The message itself, as it was published.
    pub(super) message: AmqpMessage,
}

impl MisdirectedReturn {
    pub(super) fn from_basic_return(returned: Delivery) -> Self {
        let Delivery {
            routing_key,
            properties,
            data,
            ..
        } = returned;
        Self {
            queue: routing_key.as_str().to_owned(),
            message: AmqpMessage {
                properties,
                body: Bytes::from(data),
            },
        }
    }

    /// True if this return is that of the given message, and so is not misdirected.
    pub(super) fn is_message(&self, queue: &str, message: &AmqpMessage) -> bool {
        self.queue == queue && self.message == *message
    }
}

/// Publishes misdirected returns again as they come, for ever.
pub(super) async fn republish_all(
    context: Arc<RabbitmqContext>,
    mut found: mpsc::Receiver<MisdirectedReturn>,
) {
    let mut publishing = FuturesUnordered::new();
    loop {
        tokio::select! {
            misdirected_return = found.recv() => match misdirected_return {
                Some(misdirected_return) => publishing.push(Box::pin(republish(&context, misdirected_return))),
                None => return,
            },
            Some(()) = publishing.next(), if !publishing.is_empty() => {}
        }
    }
}

async fn republish(context: &RabbitmqContext, misdirected_return: MisdirectedReturn) {
    tracing::debug!(
        queue = misdirected_return.queue,
        "A message was returned to somebody else: it is published again"
    );
    while !try_republish(context, &misdirected_return).await {
        tokio::time::sleep(PAUSE).await;
    }
}

/// Tries to publish a message again. True if it is stored in its queue.
async fn try_republish(context: &RabbitmqContext, misdirected_return: &MisdirectedReturn) -> bool {
    let MisdirectedReturn { queue, message } = misdirected_return;
    if queue_names::is_parking_queue(queue) {
        return context.park(queue, message).await;
    }
    let read = DeadLetteredMessage::decode(&message.properties, message.body.clone());
    match (&read.target_queue, DIVERSION_DELAYS.first()) {
        (Some(to), Some(wait)) if queue_names::is_delay_queue(queue) => {
            context
                .put_into_delay_queue(*wait, &message::with_target_queue(read.message.clone(), to))
                .await
        }
        _ => forward_to_queue(context, queue, message).await,
    }
}
