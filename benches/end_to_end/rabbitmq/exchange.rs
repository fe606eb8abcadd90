//! RabbitMQ without sealpost: an event for many queues, as a message and a confirm for each queue,
//! and as one message to a fanout exchange with one confirm. Either way each queue is consumed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::join_all;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ExchangeKind};
use tokio::task::JoinSet;

use super::beside::{Subject, in_turn, print_head};
use super::node::Node;

const QUEUES: [usize; 3] = [1, 10, 100];
/// Events that wait for their confirms at once, as many as a load of `end_to_end` has.
const CONCURRENCY: usize = 64;
/// Channels to publish on. A quorum queue that has not confirmed more than 32 messages of one
/// channel stops that channel.
const CHANNELS: usize = 4;
const EXCHANGE: &str = "fanout";
const WARM_UP: Duration = Duration::from_secs(1);

/// How an event is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// A message for each queue.
    Each,
    /// One message to an exchange that all queues are bound to.
    Fanout,
}

pub(super) async fn measure(rounds: u16, time: Duration) {
    let ways: [Subject<Way>; 2] = [
        ("one message each", Way::Each),
        ("fanout exchange", Way::Fanout),
    ];
    print_head(
        "queues",
        &[
            "events/s confirmed",
            "deliveries/s",
            "CPU µs of RabbitMQ per event",
        ],
    );
    for queues in QUEUES {
        in_turn(queues, &ways, rounds, async |way| {
            one(*way, queues, time).await
        })
        .await;
    }
}

/// Events confirmed and deliveries a second, and the processor time of RabbitMQ for an event, in
/// microseconds.
async fn one(way: Way, queues: usize, time: Duration) -> [f64; 3] {
    let node = Node::start();
    let [publishing, consuming] = [node.connect().await, node.connect().await];
    let (delivered, mut consumers) = (Arc::new(AtomicU64::new(0)), JoinSet::new());
    let names: Vec<ShortString> = (0..queues)
        .map(|index| short(&format!("q{index}")))
        .collect();
    declare_exchange(&publishing).await;
    for name in &names {
        let channel = declare(&consuming, name).await;
        consumers.spawn(consume(channel, name.clone(), Arc::clone(&delivered)));
    }
    let publisher = Arc::new(Publisher::new(&publishing, way, names).await);
    let warm_up = publisher.run(WARM_UP).await;
    until(&delivered, warm_up * queues as u64).await;

    let (begun, cpu, before) = (
        Instant::now(),
        node.cpu(),
        delivered.load(Ordering::Relaxed),
    );
    let confirmed = publisher.run(time).await;
    let (took, came) = (
        begun.elapsed().as_secs_f64(),
        delivered.load(Ordering::Relaxed) - before,
    );
    until(&delivered, before + confirmed * queues as u64).await;
    let cost = (node.cpu() - cpu).as_secs_f64() * 1e6 / confirmed as f64;
    [confirmed as f64 / took, came as f64 / took, cost]
}

fn short(text: &str) -> ShortString {
    ShortString::try_new(text).expect("a short text")
}

async fn declare_exchange(connection: &Connection) {
    let channel = connection.create_channel().await.expect("a channel");
    let durable = ExchangeDeclareOptions {
        durable: true,
        ..ExchangeDeclareOptions::default()
    };
    let declared = channel.exchange_declare(
        short(EXCHANGE),
        ExchangeKind::Fanout,
        durable,
        FieldTable::default(),
    );
    declared.await.expect("declared");
}

/// Declares a quorum queue, bound to the exchange.
async fn declare(connection: &Connection, name: &ShortString) -> Channel {
    let channel = connection.create_channel().await.expect("a channel");
    let durable = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let mut arguments = FieldTable::default();
    arguments.insert(
        short("x-queue-type"),
        AMQPValue::LongString("quorum".into()),
    );
    channel
        .queue_declare(name.clone(), durable, arguments)
        .await
        .expect("declared");
    let (exchange, options) = (short(EXCHANGE), QueueBindOptions::default());
    let bound = channel.queue_bind(
        name.clone(),
        exchange,
        ShortString::default(),
        options,
        FieldTable::default(),
    );
    bound.await.expect("bound");
    channel
}

/// Takes what comes, and acknowledges what came at once together.
async fn consume(channel: Channel, name: ShortString, delivered: Arc<AtomicU64>) {
    channel
        .basic_qos(128, BasicQosOptions::default())
        .await
        .expect("a prefetch");
    let (tag, options) = (ShortString::default(), BasicConsumeOptions::default());
    let deliveries = channel
        .basic_consume(name, tag, options, FieldTable::default())
        .await
        .expect("a consumer");
    let mut deliveries = deliveries.ready_chunks(64);
    while let Some(chunk) = deliveries.next().await {
        let last = chunk
            .last()
            .expect("never empty")
            .as_ref()
            .expect("a message")
            .delivery_tag;
        channel
            .basic_ack(last, BasicAckOptions { multiple: true })
            .await
            .expect("acknowledged");
        delivered.fetch_add(chunk.len() as u64, Ordering::Relaxed);
    }
}

/// Publishes events to all queues.
struct Publisher {
    channels: Vec<Channel>,
    way: Way,
    queues: Vec<ShortString>,
    body: Vec<u8>,
}

impl Publisher {
    async fn new(connection: &Connection, way: Way, queues: Vec<ShortString>) -> Self {
        let mut channels = Vec::new();
        for _ in 0..CHANNELS {
            let channel = connection.create_channel().await.expect("a channel");
            channel
                .confirm_select(ConfirmSelectOptions::default())
                .await
                .expect("confirms");
            channels.push(channel);
        }
        Self {
            channels,
            way,
            queues,
            body: vec![b'x'; 1024],
        }
    }

    /// As many events as go, for so long: how many.
    async fn run(self: &Arc<Self>, time: Duration) -> u64 {
        let (end, mut senders) = (Instant::now() + time, JoinSet::new());
        for sender in 0..CONCURRENCY {
            let publisher = Arc::clone(self);
            senders.spawn(async move {
                let mut confirmed = 0;
                while Instant::now() < end {
                    publisher
                        .publish(&publisher.channels[sender % CHANNELS])
                        .await;
                    confirmed += 1;
                }
                confirmed
            });
        }
        senders.join_all().await.into_iter().sum()
    }

    /// One event: until all queues have confirmed it.
    async fn publish(&self, channel: &Channel) {
        match self.way {
            Way::Fanout => {
                self.publish_to(channel, short(EXCHANGE), ShortString::default())
                    .await
            }
            Way::Each => {
                let each = self
                    .queues
                    .iter()
                    .map(|name| self.publish_to(channel, ShortString::default(), name.clone()));
                join_all(each).await;
            }
        }
    }

    async fn publish_to(&self, channel: &Channel, exchange: ShortString, key: ShortString) {
        let (options, properties) = (
            BasicPublishOptions::default(),
            BasicProperties::default().with_delivery_mode(2),
        );
        let confirm = channel
            .basic_publish(exchange, key, options, &self.body, properties)
            .await
            .expect("published");
        assert!(matches!(
            confirm.await.expect("an answer"),
            Confirmation::Ack(_)
        ));
    }
}

/// Waits until so many messages have come.
async fn until(delivered: &AtomicU64, count: u64) {
    while delivered.load(Ordering::Relaxed) < count {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
