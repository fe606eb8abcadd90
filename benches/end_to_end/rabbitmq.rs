//! A queue on RabbitMQ that is full when sealpost starts, and the time until a fast subscriber has
//! all of it.
//!
//! Needs a RabbitMQ: `SEALPOST_TEST_RABBITMQ=$(tests/rabbitmq/node start DIR)`. What is measured
//! beside an earlier version starts its own.

pub(crate) mod beside;
mod exchange;
mod fan_out;
mod node;
mod queues;
mod start;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::join_all;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use tokio::task::JoinSet;

use crate::Wire;
use crate::dispatcher::Dispatcher;
use crate::load::{Load, Mail};
use crate::process::Process;
use crate::sink::Sink;

const EVENTS: usize = 50_000;
const QUEUE: &str = "sealpost:channel:default:c:subscription:default:s";

/// Prints a row for draining, one for taking events in and out, and one for draining with next to
/// nothing.
pub(crate) async fn measure(uri: &str) {
    let sink = Sink::start(Wire::Plain).await;
    let yaml = format!(
        "apiVersion: messaging.knative.dev/v1alpha1\nkind: RabbitmqChannel\nmetadata: {{name: c}}\n---\n\
         apiVersion: messaging.knative.dev/v1\nkind: Subscription\nmetadata: {{name: s}}\nspec:\n  channel: {{apiVersion: \
         messaging.knative.dev/v1alpha1, kind: RabbitmqChannel, name: c}}\n  subscriber: {{uri: '{}'}}\n",
        sink.url()
    );
    let connection = Connection::connect(uri, ConnectionProperties::default())
        .await
        .expect("RabbitMQ");
    let channel = connection.create_channel().await.expect("a channel");
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await
        .expect("confirms");
    declare(&yaml, uri, &channel).await;
    fill(&channel).await;
    let all = sink.count() + EVENTS as u64;
    let mut dispatcher = Dispatcher::start_on(&yaml, &[("SEALPOST_RABBITMQ_URI", uri)]).await;
    drain("rabbitmq out", &dispatcher.process, &sink, all).await;

    let mut load = Load::new(&dispatcher, Wire::Plain, &Mail::default()).await;
    load.run(Duration::from_secs(1)).await;
    let cpu = dispatcher.process.cpu();
    let report = load.run(Duration::from_secs(5)).await;
    let spent = dispatcher.process.cpu() - cpu;
    print(
        "rabbitmq both",
        &dispatcher.process,
        (spent, report.accepted as f64, report.elapsed),
    );
    drop(load);
    dispatcher.process.end().await;

    fill(&channel).await;
    let all = sink.count() + EVENTS as u64;
    let mut command = Process::pinned(&std::env::current_exe().expect("this program"));
    command.args(["--bare", uri, sink.url()]);
    drain("rabbitmq bare", &Process::start(command), &sink, all).await;
}

/// Waits until the sink has `all` events, and prints what that took.
async fn drain(name: &str, process: &Process, sink: &Sink, all: u64) {
    let (before, begun, cpu) = (sink.count(), Instant::now(), process.cpu());
    while sink.count() < all {
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "{} of {all}",
            sink.count()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    print(
        name,
        process,
        (
            process.cpu() - cpu,
            (sink.count() - before) as f64,
            begun.elapsed(),
        ),
    );
}

/// The least that can be done: consumes, posts 64 at once, acknowledges them.
pub(crate) async fn bare(uri: &str, url: &str) {
    let connection = Connection::connect(uri, ConnectionProperties::default())
        .await
        .expect("RabbitMQ");
    let channel = connection.create_channel().await.expect("a channel");
    channel
        .basic_qos(256, BasicQosOptions::default())
        .await
        .expect("a prefetch");
    let queue = ShortString::try_new(QUEUE).expect("a name");
    let options = BasicConsumeOptions::default();
    let deliveries = channel
        .basic_consume(
            queue,
            ShortString::default(),
            options,
            FieldTable::default(),
        )
        .await;
    let mut deliveries = deliveries.expect("a consumer").ready_chunks(64);
    let client = reqwest::Client::new();
    while let Some(chunk) = deliveries.next().await {
        let chunk: Vec<_> = chunk
            .into_iter()
            .map(|delivery| delivery.expect("a message"))
            .collect();
        let last = chunk.last().expect("never empty").delivery_tag;
        join_all(
            chunk
                .into_iter()
                .map(|delivery| post(&client, url, delivery)),
        )
        .await;
        channel
            .basic_ack(last, BasicAckOptions { multiple: true })
            .await
            .expect("acknowledged");
    }
}

async fn post(client: &reqwest::Client, url: &str, delivery: Delivery) {
    let headers = delivery.properties.headers().clone().unwrap_or_default();
    let attributes = headers.into_iter().filter_map(|(name, value)| match value {
        AMQPValue::LongString(text) => Some((
            name.to_string().replace("cloudEvents_", "ce-"),
            text.to_string(),
        )),
        _ => None,
    });
    let request = attributes.fold(client.post(url), |request, (name, value)| {
        request.header(name, value)
    });
    let answer = request.body(delivery.data).send().await.expect("an answer");
    assert!(answer.status().is_success());
}

fn print(name: &str, process: &Process, (cpu, events, elapsed): (Duration, f64, Duration)) {
    let (each, rate) = (
        cpu.as_secs_f64() * 1e6 / events,
        events / elapsed.as_secs_f64(),
    );
    let peak = process.peak_memory_kib() as f64 / 1024.0;
    println!(
        "{name:<13} {each:>13.1} {rate:>14.0} {:>9} {:>9} {peak:>10.1}",
        "", ""
    );
}

/// Lets sealpost declare the queue, and empties it.
async fn declare(yaml: &str, uri: &str, channel: &Channel) {
    let dispatcher = Dispatcher::start_on(yaml, &[("SEALPOST_RABBITMQ_URI", uri)]).await;
    let mut load = Load::new(&dispatcher, Wire::Plain, &Mail::default()).await;
    while load.run(Duration::from_millis(50)).await.accepted == 0 {}
    drop(dispatcher);
    let queue = ShortString::try_new(QUEUE).expect("a name");
    channel
        .queue_purge(queue, QueuePurgeOptions::default())
        .await
        .expect("emptied");
}

async fn fill(channel: &Channel) {
    let text = |text: &str| AMQPValue::LongString(text.into());
    let mut headers = FieldTable::default();
    for (name, value) in [
        ("specversion", "1.0"),
        ("id", "1"),
        ("source", "/bench"),
        ("type", "dev.sealpost.bench"),
    ] {
        let name = ShortString::try_new(format!("cloudEvents_{name}")).expect("a name");
        headers.insert(name, text(value));
    }
    let properties = BasicProperties::default()
        .with_headers(headers)
        .with_delivery_mode(2);
    let (next, mut fillers) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
    for _ in 0..256 {
        let (channel, properties, next) = (channel.clone(), properties.clone(), Arc::clone(&next));
        fillers.spawn(async move {
            let body = vec![b'x'; 1024];
            while next.fetch_add(1, Ordering::Relaxed) < EVENTS {
                let queue = ShortString::try_new(QUEUE).expect("a name");
                let (options, properties) = (BasicPublishOptions::default(), properties.clone());
                let confirm = channel.basic_publish(
                    ShortString::default(),
                    queue,
                    options,
                    &body,
                    properties,
                );
                confirm.await.expect("published").await.expect("confirmed");
            }
        });
    }
    fillers.join_all().await;
}
