//! Events to all subscriptions of a channel: how many are accepted when 64 wait for the answer at
//! once, how many come out, and what that costs.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lapin::types::ShortString;

use super::beside::{Subject, in_turn, print_head};
use super::node::Node;
use super::queues;
use crate::Wire;
use crate::dispatcher::Dispatcher;
use crate::load::{Load, Mail};
use crate::sink::Sink;

const SUBSCRIPTIONS: [usize; 3] = [1, 10, 100];
const WARM_UP: Duration = Duration::from_secs(1);
/// For what is under way when nothing is sent any more.
const DRAINED: Duration = Duration::from_secs(120);

pub(super) async fn measure(versions: &[Subject<PathBuf>], rounds: u16, time: Duration) {
    let costs = [
        "CPU µs of sealpost per event",
        "CPU µs of RabbitMQ per event",
    ];
    print_head(
        "subscriptions",
        &["events/s accepted", "deliveries/s", costs[0], costs[1]],
    );
    for subscriptions in SUBSCRIPTIONS {
        in_turn(subscriptions, versions, rounds, async |program| {
            one(program, subscriptions, time).await
        })
        .await;
    }
}

/// Events accepted and delivered a second, and processor time of each process for an event that all
/// have, in microseconds.
async fn one(program: &Path, subscriptions: usize, time: Duration) -> [f64; 4] {
    let (node, sink) = (Node::start(), Sink::start(Wire::Plain).await);
    let yaml = queues::manifest("c", subscriptions, sink.url());
    let mut dispatcher =
        Dispatcher::of(program, &yaml, &[("SEALPOST_RABBITMQ_URI", &node.uri)]).await;
    let names: Vec<ShortString> = queues::names("c", subscriptions).collect();
    queues::until_consumed_by(1, &node, &names, Instant::now()).await;
    let mut load = Load::new(&dispatcher, Wire::Plain, &Mail::default()).await;
    let warm_up = load.run(WARM_UP).await;
    until(&sink, warm_up.accepted * subscriptions as u64).await;

    let (before, cpu) = (sink.count(), [dispatcher.process.cpu(), node.cpu()]);
    let report = load.run(time).await;
    let (delivered, took) = (sink.count() - before, report.elapsed.as_secs_f64());
    until(&sink, before + report.accepted * subscriptions as u64).await;
    let each = |spent: Duration| spent.as_secs_f64() * 1e6 / report.accepted as f64;
    let costs = [
        each(dispatcher.process.cpu() - cpu[0]),
        each(node.cpu() - cpu[1]),
    ];
    assert_eq!(report.refused, 0, "every event is accepted");
    drop(load);
    dispatcher.process.end().await;
    [
        report.accepted as f64 / took,
        delivered as f64 / took,
        costs[0],
        costs[1],
    ]
}

/// Waits until the sink has so many deliveries.
async fn until(sink: &Sink, count: u64) {
    let begun = Instant::now();
    while sink.count() < count {
        assert!(begun.elapsed() < DRAINED, "{} of {count}", sink.count());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
