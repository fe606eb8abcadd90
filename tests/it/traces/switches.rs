//! Settings of traces that change while spans are in progress, and a queue of spans that is full:
//! no span is lost without a line.

use std::time::Duration;

use tokio::task::JoinSet;

use super::{named, traced};
use crate::support::collector::{Collector, Mood, tree};
use crate::support::dispatcher::Dispatcher;
use crate::support::sender::{plain, send};
use crate::support::subscriber::{Reply, Subscriber};
use crate::support::{channel, eventually};

const EVENTS: usize = 3;

/// A channel with its subscriber, and `config-observability` with this protocol, collector and
/// rate.
fn configured(sink: &Subscriber, protocol: &str, collector: &Collector, rate: &str) -> String {
    let yaml = channel(&[("s", format!("subscriber: {{uri: '{}'}}", sink.url()))]);
    format!(
        "{yaml}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: config-observability, namespace: knative-eventing}}\ndata:\n  tracing-protocol: {protocol}\n  tracing-endpoint: {}\n  tracing-sampling-rate: '{rate}'\n",
        collector.url()
    )
}

/// Sends events, and applies these manifests while all of them are being delivered.
async fn change_meanwhile(dispatcher: &Dispatcher, sink: &Subscriber, yaml: &str) {
    let (before, mut senders) = (sink.count(), JoinSet::new());
    for id in 0..EVENTS {
        let url = dispatcher.http_url("/default/c");
        senders.spawn(async move { send(&plain(), url, &id.to_string()).await });
    }
    sink.until(before + EVENTS).await;
    dispatcher.apply(yaml).await;
    while let Some(status) = senders.join_next().await {
        assert_eq!(status.expect("an answer"), 202);
    }
}

/// Spans that have begun end in the collector that is current then; a change of the rate alone
/// does not touch it. Where traces are switched off, the spans in progress count as dropped.
#[tokio::test(flavor = "multi_thread")]
async fn spans_in_progress_outlive_a_change() {
    let slow = |_: &_| Reply::status(200).after(Duration::from_secs(2));
    let (first, second) = (Collector::start().await, Collector::start().await);
    let sink = Subscriber::answering(slow).await;
    let dispatcher = Dispatcher::of(&configured(&sink, "http/protobuf", &first, "1"))
        .env("OTEL_BSP_SCHEDULE_DELAY", "50")
        .start()
        .await;
    let whole = |collector: &Collector| named(&collector.spans(), "deliver").len() == EVENTS;

    let rate = configured(&sink, "http/protobuf", &first, "0.9999999");
    change_meanwhile(&dispatcher, &sink, &rate).await;
    eventually("all end in the collector that stays", || whole(&first)).await;
    assert_eq!(first.spans().len(), EVENTS * 5, "{}", tree(&first.spans()));

    let moved = configured(&sink, "http/protobuf", &second, "1");
    change_meanwhile(&dispatcher, &sink, &moved).await;
    eventually("all end in the new collector", || whole(&second)).await;
    eventually("nothing is lost", || {
        first.spans().len() + second.spans().len() == 2 * EVENTS * 5
    })
    .await;
    assert_eq!(dispatcher.counter("spans_dropped_total").await, 0);

    let off = configured(&sink, "none", &second, "1");
    change_meanwhile(&dispatcher, &sink, &off).await;
    eventually("it is said", || {
        dispatcher.logged(&["when traces were switched off"]).len() == 1
    })
    .await;
    assert!(dispatcher.counter("spans_dropped_total").await > 0);
}

/// While a collector keeps the exporter waiting, what finds no room is said, once a minute.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_told() {
    let (collector, sink) = (Collector::start().await, Subscriber::ok().await);
    collector.will(&[Mood::Silent; 64]);
    let names: Vec<String> = (0..50).map(|number| format!("s{number}")).collect();
    let to = format!("subscriber: {{uri: '{}'}}", sink.url());
    let subscriptions: Vec<(&str, String)> = names
        .iter()
        .map(|name| (name.as_str(), to.clone()))
        .collect();
    let dispatcher = traced(&channel(&subscriptions), &collector)
        .env("OTEL_EXPORTER_OTLP_TIMEOUT", "600000")
        .start()
        .await;
    // Each event makes 152 spans, of which 4,096 wait and 512 are being sent.
    for id in 0..40 {
        send(&plain(), dispatcher.http_url("/default/c"), &id.to_string()).await;
    }
    eventually("it is said", || {
        !dispatcher
            .logged(&["Spans are dropped: more wait"])
            .is_empty()
    })
    .await;
    assert!(dispatcher.counter("spans_dropped_total").await > 0);
    assert_eq!(dispatcher.logged(&["Spans are dropped"]).len(), 1);
}

/// A collector of `config-observability` that nobody can reach is a problem of the configuration,
/// with its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_bad_collector_is_a_problem_of_the_configuration() {
    let (collector, sink) = (Collector::start().await, Subscriber::ok().await);
    let yaml = configured(&sink, "grpc", &collector, "1");
    let bad = yaml.replace(&collector.url(), "http://h:99999");
    let dispatcher = Dispatcher::of(&bad).start().await;
    let parts = [".yaml", "data.tracing-endpoint", "invalid port number"];
    eventually("it is told", || !dispatcher.logged(&parts).is_empty()).await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "1").await,
        202
    );
}
