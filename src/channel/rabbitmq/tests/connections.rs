//! Tests of connections: as many as the channels need, given up when they hang, and no socket left
//! behind by one that was not made.

use std::sync::Mutex;

use futures_util::future::join_all;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event as Told, Level, Metadata, Subscriber};

use super::*;
use crate::channel::rabbitmq::message::amqp_value;
use crate::channel::rabbitmq::tests::fake::Settings;
use crate::channel::{DeferredDelivery, DeliveryOutcome, DeliveryStage};

/// Keeps what is said at WARN or worse.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl Warnings {
    fn told(&self) -> Vec<String> {
        self.0.lock().expect("a lock").clone()
    }
}

/// Takes the message of what is said.
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, told: &Told<'_>) {
        let mut message = Message(String::new());
        told.record(&mut message);
        self.0.lock().expect("a lock").push(message.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Sockets of clients that are connected to a port of this machine.
fn sockets_to(port: u16) -> usize {
    let connected = format!(":{port:04X} 01 ");
    let table = std::fs::read_to_string("/proc/self/net/tcp").expect("the sockets");
    table
        .lines()
        .filter(|line| line.contains(&connected))
        .count()
}

/// Threads of connections.
fn threads() -> usize {
    let names = std::fs::read_dir("/proc/self/task")
        .expect("the threads")
        .flatten();
    let names = names.filter_map(|thread| std::fs::read_to_string(thread.path().join("comm")).ok());
    names.filter(|name| name.starts_with("lapin-io")).count()
}

/// Four consumers fit on each connection, since some of its channels are kept; nobody is told about
/// it.
#[tokio::test]
async fn few_channels_make_more_connections() {
    let warnings = Warnings::default();
    let _told = tracing::subscriber::set_default(warnings.clone());
    let server = FakeServer::start_with(Settings {
        channel_max: 12,
        ..Settings::default()
    })
    .await;
    let names: Vec<String> = (0..30).map(|number| format!("s{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut bench = Bench::begin(server, &names, DeliveryOrder::Unordered);
    bench.ready(&names).await;
    assert_eq!(bench.publish("1").await, Ok(()));
    for place in 0..names.len() {
        let message = bench.next(place).await;
        assert_eq!(message.event.id(), "1");
        message
            .settle(DeliveryOutcome::Deferred(DeferredDelivery {
                wait: Duration::from_secs(2),
                ..later()
            }))
            .await;
    }
    let wait = queue_names::delay_queue(4);
    bench
        .server
        .until("all of it waits", |server| {
            server.ready(&wait) == names.len()
        })
        .await;
    // What is consumed, with the queue of what has been moved, in fours; and what is published.
    assert_eq!(bench.server.connections_made(), 31_usize.div_ceil(4) + 2);
    assert_eq!(
        (
            warnings.told(),
            bench.backend.metrics().consumers_restarted.get()
        ),
        (Vec::new(), 0)
    );
}

/// Each connection that breaks is told, and none of the channels that were on it.
#[tokio::test]
async fn a_broken_connection_is_told_and_not_its_channels() {
    let warnings = Warnings::default();
    let _told = tracing::subscriber::set_default(warnings.clone());
    let bench = Bench::start(&["a"]).await;
    bench.server.refuse_connections();
    bench.server.drop_connections();
    eventually("all are gone", || {
        bench.backend.metrics().disconnections.get() == 3
    })
    .await;
    bench.server.accept_connections();
    bench.publish_at_last("1").await;
    let told = warnings.told();
    let count = |words: &str| told.iter().filter(|line| line.contains(words)).count();
    assert_eq!(
        (
            count("Connection to RabbitMQ is broken"),
            count("No channel to publish on")
        ),
        (3, 0),
        "{told:?}"
    );
}

fn later() -> DeferredDelivery {
    DeferredDelivery {
        stage: DeliveryStage::Subscriber,
        attempts: 1,
        wait: Duration::from_secs(2),
    }
}

/// It is left, and what came over it is somebody else's; others are tried. When it answers again,
/// all goes on.
#[tokio::test]
async fn a_connection_that_hangs_is_left() {
    let mut bench = Bench::start(&["a"]).await;
    assert_eq!(bench.publish("0").await, Ok(()));
    let held = bench.next(0).await;
    let before = Instant::now();
    bench.server.fall_silent_after_handshake();
    eventually("all are given up", || {
        bench.backend.metrics().disconnections.get() == 3
    })
    .await;
    held.until_revoked().await;
    assert!(
        before.elapsed() < Duration::from_secs(7),
        "{:?}",
        before.elapsed()
    );
    eventually("they are made again", || {
        bench.server.connections_made() == 6
    })
    .await;
    assert!(
        before.elapsed() < Duration::from_secs(8),
        "{:?}",
        before.elapsed()
    );
    bench.server.speak();
    assert_eq!(bench.next(0).await.event.id(), "0");
    bench.publish_at_last("1").await;
    assert_eq!(bench.next(0).await.event.id(), "1");
}

/// A node that hangs accepts connections all the same.
#[tokio::test]
async fn another_node_is_tried_when_one_hangs() {
    let (hung, well) = (FakeServer::start().await, FakeServer::start().await);
    hung.fall_silent();
    let options = options(&format!("{},{}", hung.uri(), well.uri()));
    let before = Instant::now();
    let mut bench = Bench::begin_with(well, &["a"], DeliveryOrder::Unordered, options);
    bench.ready(&["a"]).await;
    assert!(
        before.elapsed() < Duration::from_secs(6),
        "{:?}",
        before.elapsed()
    );
    assert_eq!(bench.publish("1").await, Ok(()));
    assert_eq!(&*bench.next(0).await.event.id(), "1");
    bench
        .server
        .until("all are there", |server| server.connections().len() == 3)
        .await;
    assert!(hung.connections().is_empty());
}

/// Each look at a queue that is not there costs the connection the number of a channel, as `lapin`
/// counts.
#[tokio::test]
async fn looks_at_what_is_not_there_leave_channels_to_others() {
    let server = FakeServer::start_with(Settings {
        channel_max: 8,
        ..Settings::default()
    })
    .await;
    let address = RabbitmqAddress::new(&server.uri(), RabbitmqCredentials::default(), None)
        .expect("an address");
    let connection = address
        .connect("consuming", None)
        .await
        .expect("a connection")
        .connection;
    for _ in 0..6 {
        assert_eq!(
            queue_inspection::inspect_queue(&connection, "missing")
                .await
                .expect("an answer"),
            None
        );
    }
    let there = topology::RabbitmqTopology::new(RabbitmqQueueType::Quorum);
    for _ in 0..6 {
        there
            .declare_and_close(&connection, "there", queue_arguments::QueuePurpose::Parking)
            .await
            .expect("a channel");
        assert!(
            queue_inspection::inspect_queue(&connection, "there")
                .await
                .expect("an answer")
                .is_some()
        );
    }
}

/// The connections to publish on lead to two nodes, where there are two.
#[tokio::test]
async fn what_is_published_has_two_ways() {
    let (first, second) = (FakeServer::start().await, FakeServer::start().await);
    let options = options(&format!("{},{}", first.uri(), second.uri()));
    let publishing = |server: &FakeServer| {
        server
            .connections()
            .iter()
            .filter(|name| name.ends_with("publishing"))
            .count()
    };
    for _ in 0..4 {
        let backend = RabbitmqBackend::new(options.clone(), Arc::default());
        eventually("there are two", || {
            publishing(&first) + publishing(&second) == 2
        })
        .await;
        assert_eq!((publishing(&first), publishing(&second)), (1, 1));
        backend.shut_down().await;
        eventually("they are closed", || {
            publishing(&first) + publishing(&second) == 0
        })
        .await;
    }
}

/// A node that hangs while it is used is left for another one.
#[tokio::test]
async fn another_node_takes_over_from_one_that_hangs() {
    let (first, second) = (FakeServer::start().await, FakeServer::start().await);
    second.refuse_connections();
    let options = options(&format!("{},{}", first.uri(), second.uri()));
    let mut bench = Bench::begin_with(first, &["a"], DeliveryOrder::Unordered, options);
    bench.ready(&["a"]).await;
    let before = Instant::now();
    bench.server.fall_silent();
    second.accept_connections();
    second
        .until("all are there", |server| server.connections().len() == 3)
        .await;
    bench.publish_at_last("1").await;
    assert_eq!(bench.next(0).await.event.id(), "1");
    assert!(
        before.elapsed() < Duration::from_secs(12),
        "{:?}",
        before.elapsed()
    );
    assert_eq!(second.published(&queue("a")).len(), 1);
}

fn port_of(server: &FakeServer) -> u16 {
    let uri: lapin::uri::AMQPUri = server.uri().parse().expect("a URI");
    uri.authority.port
}

/// Each attempt has a socket and a thread of its own, which end with it.
#[tokio::test]
async fn attempts_that_fail_leave_nothing_behind() {
    let server = FakeServer::start().await;
    server.fall_silent();
    let (address, port) = (
        RabbitmqAddress::new(&server.uri(), RabbitmqCredentials::default(), None)
            .expect("an address"),
        port_of(&server),
    );
    let (sockets, running) = (sockets_to(port), threads());
    let attempts = join_all((0..10).map(|_| address.connect("publishing", None)));
    let (failed, seen) = tokio::join!(attempts, async {
        eventually("ten are tried", || sockets_to(port) == sockets + 10).await;
        threads()
    });
    assert!(failed.iter().all(Result::is_err) && seen >= 10, "{seen}");
    eventually("the sockets are closed", || sockets_to(port) == sockets).await;
    eventually("the threads have ended", || threads() <= running).await;
    server.speak();
    let connection = address
        .connect("publishing", None)
        .await
        .expect("a connection")
        .connection;
    connection
        .close(200, amqp_value::short_string("done"))
        .await
        .expect("closed");
    assert_eq!(
        server.connections_made(),
        11,
        "none is tried again behind our back"
    );
}
