//! Subscriptions on RabbitMQ, and what RabbitMQ says of their queues, whatever sealpost says of itself.

use std::fmt::Write;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use lapin::options::QueueDeclareOptions;
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Connection};

use super::node::Node;

/// Queues that are asked for at once.
const ASKED: usize = 8;
/// How long a queue is left alone that is not as it should be.
const PAUSE: Duration = Duration::from_millis(100);
/// Nothing takes longer than this.
const LIMIT: Duration = Duration::from_secs(900);

/// A channel of this name, with so many subscriptions that this subscriber has.
pub(super) fn manifest(channel: &str, subscriptions: usize, url: &str) -> String {
    let mut yaml = format!(
        "---\napiVersion: messaging.knative.dev/v1alpha1\nkind: RabbitmqChannel\nmetadata: {{name: {channel}}}\n"
    );
    for index in 0..subscriptions {
        write!(
            yaml,
            "---\napiVersion: messaging.knative.dev/v1\nkind: Subscription\nmetadata: {{name: {channel}-{index}}}\n\
             spec:\n  channel: {{apiVersion: messaging.knative.dev/v1alpha1, kind: RabbitmqChannel, name: {channel}}}\n  \
             subscriber: {{uri: '{url}'}}\n"
        )
        .expect("a string");
    }
    yaml
}

/// The queues of that channel's subscriptions.
pub(super) fn names(channel: &str, subscriptions: usize) -> impl Iterator<Item = ShortString> {
    (0..subscriptions).map(move |index| {
        let name = format!("sealpost:channel:default:{channel}:subscription:default:{channel}-{index}");
        ShortString::try_new(name).expect("a name")
    })
}

/// Waits until RabbitMQ says of each queue that so many consume it: how long that took since `begun`.
pub(super) async fn until_consumed_by(consumers: u32, node: &Node, queues: &[ShortString], begun: Instant) -> Duration {
    let connection = node.connect().await;
    let asked = (0..ASKED).map(|first| until_each(consumers, &connection, queues.iter().skip(first).step_by(ASKED)));
    tokio::time::timeout(LIMIT, join_all(asked)).await.expect("all queues are consumed some day");
    begun.elapsed()
}

/// One queue after the other.
async fn until_each(consumers: u32, connection: &Connection, queues: impl Iterator<Item = &ShortString>) {
    let mut channel = None;
    for queue in queues {
        while asked(&mut channel, connection, queue).await != Some(consumers) {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// How many consume a queue, if there is one. Without it, RabbitMQ closes the channel, and may tell that to the next, too.
async fn asked(channel: &mut Option<Channel>, connection: &Connection, queue: &ShortString) -> Option<u32> {
    let open = match channel.take().filter(|channel| channel.status().connected()) {
        Some(open) => open,
        None => connection.create_channel().await.ok()?,
    };
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let queue = open.queue_declare(queue.clone(), passive, FieldTable::default()).await.ok()?;
    *channel = Some(open);
    Some(queue.consumer_count())
}
