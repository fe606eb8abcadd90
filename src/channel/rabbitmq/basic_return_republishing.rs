//! Messages of a `basic.return` that `lapin` gave to another publisher than their own, which may
//! believe that they are stored: they are published again, as dead-lettered messages are forwarded.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;

use super::context::RabbitmqContext;
use super::dead_lettered_message::DeadLetteredMessage;
use super::delay_queue::DIVERSION_DELAYS;
use super::forwarding::forward_to_queue;
use super::misdirected_return::MisdirectedReturn;
use super::queue_names;

/// Wait before a message is tried again.
const PAUSE: Duration = Duration::from_millis(200);

/// Publishes misdirected returns again as they come, for ever.
pub(super) async fn republish_all(
    context: Arc<RabbitmqContext>,
    mut found: mpsc::Receiver<MisdirectedReturn>,
) {
    let mut publishing = FuturesUnordered::new();
    loop {
        tokio::select! {
            returned = found.recv() => match returned {
                Some(returned) => publishing.push(Box::pin(republish(&context, returned))),
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
            let message = read.message.clone().with_target_queue(to);
            context.put_into_delay_queue(*wait, &message).await
        }
        _ => forward_to_queue(context, queue, message).await,
    }
}
