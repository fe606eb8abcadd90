//! Subscriptions on RabbitMQ, and what RabbitMQ says of their queues, whatever sealpost says of
//! itself.

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
        let name =
            format!("sealpost:channel:default:{channel}:subscription:default:{channel}-{index}");
        ShortString::try_new(name).expect("a name")
    })
}

/// Waits until RabbitMQ says of each queue that so many consume it: how long that took since
/// `begun`.
pub(super) async fn until_consumed_by(
    consumers: u32,
    node: &Node,
    queues: &[ShortString],
    begun: Instant,
) -> Duration {
    let asked = (0..ASKED)
        .map(|first| until_each(consumers, node, queues.iter().skip(first).step_by(ASKED)));
    tokio::time::timeout(LIMIT, join_all(asked))
        .await
        .expect("all queues are consumed some day");
    begun.elapsed()
}

/// One queue after the other.
async fn until_each(consumers: u32, node: &Node, queues: impl Iterator<Item = &ShortString>) {
    let mut observer = Observer {
        node,
        connection: node.connect().await,
        channel: None,
    };
    for queue in queues {
        while observer.consumers(queue).await != Some(consumers) {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Asks RabbitMQ for queues.
struct Observer<'a> {
    node: &'a Node,
    connection: Connection,
    channel: Option<Channel>,
}

impl Observer<'_> {
    /// How many consume a queue, if there is one. Without it, RabbitMQ closes the channel.
    async fn consumers(&mut self, queue: &ShortString) -> Option<u32> {
        let channel = match self.channel.take() {
            Some(open) => open,
            None => self.open().await,
        };
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let queue = channel
            .queue_declare(queue.clone(), passive, FieldTable::default())
            .await
            .ok()?;
        self.channel = Some(channel);
        Some(queue.consumer_count())
    }

    /// A new channel. lapin gives the number of a channel that RabbitMQ has closed to another one,
    /// together with the error of the first; then there is a new connection.
    async fn open(&mut self) -> Channel {
        loop {
            match self.connection.create_channel().await {
                Ok(channel) => return channel,
                Err(_of_another) => self.connection = self.node.connect().await,
            }
        }
    }
}
