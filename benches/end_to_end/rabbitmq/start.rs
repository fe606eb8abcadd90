//! The time from the start of sealpost until RabbitMQ says of the queues of 2,000 subscriptions
//! that all are consumed: when there are none yet, and when they are there from before. What lapin
//! alone takes to declare and consume as many is the least that there can be.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use lapin::options::{BasicConsumeOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Connection, Consumer};

use super::beside::{Subject, in_turn, print_head};
use super::node::Node;
use super::queues;
use crate::Wire;
use crate::dispatcher::Dispatcher;
use crate::sink::Sink;

const CHANNELS: usize = 20;
const SUBSCRIPTIONS: usize = 100;
/// Queues that lapin alone declares at once, and its connections.
const AT_ONCE: usize = 16;
const CONNECTIONS: usize = 4;
/// After all is consumed, before sealpost is stopped: it is not measured while it does what can
/// wait.
const CALM: Duration = Duration::from_secs(5);

/// Who consumes the queues.
enum Who<'a> {
    Sealpost(&'a Path),
    Lapin,
}

pub(super) async fn measure(versions: &[Subject<PathBuf>], rounds: u16) {
    let columns = [
        "s, no queues yet",
        "CPU s of sealpost",
        "of RabbitMQ",
        "s, queues exist",
        "CPU s of sealpost",
        "of RabbitMQ",
    ];
    print_head("subscriptions", &columns);
    let mut subjects: Vec<Subject<Who<'_>>> = versions
        .iter()
        .map(|(name, program)| (*name, Who::Sealpost(program)))
        .collect();
    subjects.insert(subjects.len() - 1, ("lapin alone", Who::Lapin));
    in_turn(CHANNELS * SUBSCRIPTIONS, &subjects, rounds, async |who| {
        one(who).await
    })
    .await;
}

/// Seconds, and those of the processor that either process had: the first time, and the second.
async fn one(who: &Who<'_>) -> [f64; 6] {
    let (node, sink) = (Node::start(), Sink::start(Wire::Plain).await);
    let (mut figures, mut filled) = ([0.0; 6], 0);
    for _ in 0..2 {
        let measured = match who {
            Who::Sealpost(program) => sealpost(program, &node, &sink).await,
            Who::Lapin => lapin_alone(&node).await,
        };
        for time in measured {
            figures[filled] = time.as_secs_f64();
            filled += 1;
        }
        queues::until_consumed_by(0, &node, &names(), Instant::now()).await;
    }
    figures
}

fn channels() -> impl Iterator<Item = String> {
    (0..CHANNELS).map(|index| format!("c{index}"))
}

fn names() -> Vec<ShortString> {
    channels()
        .flat_map(|name| queues::names(&name, SUBSCRIPTIONS).collect::<Vec<_>>())
        .collect()
}

/// Starts sealpost, and stops it when all is consumed.
async fn sealpost(program: &Path, node: &Node, sink: &Sink) -> [Duration; 3] {
    let yaml: String = channels()
        .map(|name| queues::manifest(&name, SUBSCRIPTIONS, sink.url()))
        .collect();
    let (begun, cpu) = (Instant::now(), node.cpu());
    let mut dispatcher =
        Dispatcher::of(program, &yaml, &[("SEALPOST_RABBITMQ_URI", &node.uri)]).await;
    let took = queues::until_consumed_by(1, node, &names(), begun).await;
    let figures = [took, dispatcher.process.cpu(), node.cpu() - cpu];
    tokio::time::sleep(CALM).await;
    dispatcher.process.end().await;
    figures
}

/// The same by lapin, as many at once as sealpost does, on as many connections.
async fn lapin_alone(node: &Node) -> [Duration; 3] {
    let (begun, cpu) = (Instant::now(), node.cpu());
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(node.connect().await);
    }
    let names = names();
    let consumers = names
        .iter()
        .enumerate()
        .map(|(at, name)| consumer(&connections[at % CONNECTIONS], name));
    let consumers: Vec<Consumer> = stream::iter(consumers)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let figures = [begun.elapsed(), Duration::ZERO, node.cpu() - cpu];
    drop(consumers);
    for connection in connections {
        connection
            .close(200, ShortString::default())
            .await
            .expect("closed");
    }
    figures
}

async fn consumer(connection: &Connection, name: &ShortString) -> Consumer {
    let channel = connection.create_channel().await.expect("a channel");
    let durable = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let mut arguments = FieldTable::default();
    arguments.insert(
        ShortString::try_new("x-queue-type").expect("a name"),
        AMQPValue::LongString("quorum".into()),
    );
    channel
        .queue_declare(name.clone(), durable, arguments)
        .await
        .expect("declared");
    let (tag, options) = (ShortString::default(), BasicConsumeOptions::default());
    channel
        .basic_consume(name.clone(), tag, options, FieldTable::default())
        .await
        .expect("a consumer")
}
