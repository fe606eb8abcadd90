//! Settings of traces that change while spans are in progress, and a queue of spans that is full:
//! no span is lost without a line.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;
use tokio::task::JoinSet;

use super::{named, traced};
use crate::support::collector::{Collector, Mood};
use crate::support::dispatcher::Dispatcher;
use crate::support::sender::{plain, send};
use crate::support::subscriber::{Reply, Subscriber};
use crate::support::{channel, eventually};

const EVENTS: usize = 3;

/// A channel with its subscriber, which is tried until it takes the event, and
/// `config-observability` with this protocol, collector and rate.
fn configured(sink: &Subscriber, protocol: &str, collector: &Collector, rate: &str) -> String {
    let spec = format!(
        "subscriber: {{uri: '{}'}}\ndelivery: {{retry: 1000, backoffPolicy: linear, backoffDelay: PT0.2S}}",
        sink.url()
    );
    let yaml = channel(&[("s", spec)]);
    format!(
        "{yaml}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: config-observability, namespace: knative-eventing}}\ndata:\n  tracing-protocol: {protocol}\n  tracing-endpoint: {}\n  tracing-sampling-rate: '{rate}'\n",
        collector.url()
    )
}

/// A subscriber that refuses events until it is to take them.
struct Gate {
    sink: Subscriber,
    takes: Arc<AtomicBool>,
}

impl Gate {
    async fn start() -> Self {
        let takes = Arc::new(AtomicBool::new(false));
        let open = Arc::clone(&takes);
        let status = move || {
            if open.load(Ordering::Relaxed) {
                200
            } else {
                503
            }
        };
        let sink = Subscriber::answering(move |_| Reply::status(status())).await;
        Self { sink, takes }
    }

    /// Sends events, and lets them end only after these manifests are applied and the exporter has
    /// logged `line` once more.
    async fn change_meanwhile(&self, dispatcher: &Dispatcher, yaml: &str, line: &str) {
        self.takes.store(false, Ordering::Relaxed);
        let (tried, told) = (self.sink.count(), dispatcher.logged(&[line]).len());
        let mut senders = JoinSet::new();
        for id in 0..EVENTS {
            let url = dispatcher.http_url("/default/c");
            senders.spawn(async move { send(&plain(), url, &id.to_string()).await });
        }
        self.sink.until(tried + EVENTS).await;
        let all_begun = || {
            let tried: HashSet<String> = self.sink.received()[tried..]
                .iter()
                .map(|got| got.id().to_owned())
                .collect();
            tried.len() == EVENTS
        };
        eventually("each event is on its way", all_begun).await;
        dispatcher.apply(yaml).await;
        eventually(line, || dispatcher.logged(&[line]).len() > told).await;
        self.takes.store(true, Ordering::Relaxed);
        while let Some(status) = senders.join_next().await {
            assert_eq!(status.expect("an answer"), 202);
        }
    }
}

/// Spans that have begun end in the collector that is current then; a change of the rate alone
/// does not touch it. Where traces are switched off, the spans in progress count as dropped.
#[tokio::test(flavor = "multi_thread")]
async fn spans_in_progress_outlive_a_change() {
    let (first, second) = (Collector::start().await, Collector::start().await);
    let gate = Gate::start().await;
    let with = |protocol, collector, rate| configured(&gate.sink, protocol, collector, rate);
    let dispatcher = Dispatcher::of(&with("http/protobuf", &first, "1"))
        .env("OTEL_BSP_SCHEDULE_DELAY", "50")
        .start()
        .await;
    let whole = |collector: &Collector| named(&collector.spans(), "deliver").len() == EVENTS;
    let sent = "Traces are sent";

    let rate = with("http/protobuf", &first, "0.9999999");
    gate.change_meanwhile(&dispatcher, &rate, sent).await;
    eventually("all end in the collector that stays", || whole(&first)).await;

    let moved = with("http/protobuf", &second, "1");
    gate.change_meanwhile(&dispatcher, &moved, sent).await;
    eventually("all end in the new collector", || whole(&second)).await;
    eventually("no request is lost", || {
        let of = |collector: &Collector| named(&collector.spans(), "publish").len();
        of(&first) + of(&second) == 2 * EVENTS
    })
    .await;
    assert_eq!(dispatcher.counter("spans_dropped_total").await, 0);

    let off = with("none", &second, "1");
    let no_longer = "Traces are no longer sent";
    gate.change_meanwhile(&dispatcher, &off, no_longer).await;
    eventually("it is said", || {
        dispatcher.logged(&["when traces were switched off"]).len() == 1
    })
    .await;
    assert!(dispatcher.counter("spans_dropped_total").await > 0);
}

/// A collector that hangs holds up no change: what comes after it goes to the new one. What it had
/// been sent is counted, and said at the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_hangs_is_left() {
    let (hangs, takes) = (Collector::start().await, Collector::start().await);
    hangs.will(&[Mood::Silent, Mood::Silent, Mood::Silent]);
    let sink = Subscriber::ok().await;
    let at = |collector: &Collector| {
        format!(
            "{}  metrics-protocol: http/protobuf\n  metrics-endpoint: {}\n  metrics-export-interval: 100ms\n",
            configured(&sink, "http/protobuf", collector, "1"),
            collector.url()
        )
    };
    let mut dispatcher = Dispatcher::of(&at(&hangs))
        .env("OTEL_BSP_SCHEDULE_DELAY", "50")
        .env("OTEL_EXPORTER_OTLP_TIMEOUT", "600000")
        .start()
        .await;
    let url = dispatcher.http_url("/default/c");
    assert_eq!(send(&plain(), url.clone(), "1").await, 202);
    // The collector is to hang with spans and with metrics.
    eventually("it is sent both", || hangs.moods_left() == 1).await;
    dispatcher.apply(&at(&takes)).await;
    assert_eq!(send(&plain(), url, "2").await, 202);
    eventually("spans go to the new one", || {
        named(&takes.spans(), "deliver").len() == 1
    })
    .await;
    takes.metric("sealpost_events_accepted").await;
    dispatcher.signal(Signal::TERM);
    dispatcher.ended().await;
    let told = dispatcher.logged(&["Spans were dropped: all since the start", "\"dropped\":5"]);
    assert_eq!(told.len(), 1, "{}", dispatcher.log());
}

/// A channel with so many subscriptions that an event makes 152 spans.
fn of_many_spans(sink: &Subscriber) -> String {
    let names: Vec<String> = (0..50).map(|number| format!("s{number}")).collect();
    let to = format!("subscriber: {{uri: '{}'}}", sink.url());
    let subscriptions: Vec<(&str, String)> = names
        .iter()
        .map(|name| (name.as_str(), to.clone()))
        .collect();
    channel(&subscriptions)
}

/// Sends more than may wait, which is 4,096 spans beside the 512 that are being sent, and expects
/// that this is said once.
async fn what_finds_no_room_is_told(dispatcher: &Dispatcher) {
    for id in 0..40 {
        let url = dispatcher.http_url("/default/c");
        assert_eq!(send(&plain(), url, &id.to_string()).await, 202);
    }
    let told = || dispatcher.logged(&["Spans are dropped: more wait"]);
    eventually("it is said", || !told().is_empty()).await;
    assert!(dispatcher.counter("spans_dropped_total").await > 0);
    assert_eq!(dispatcher.logged(&["Spans are dropped"]).len(), 1);
}

/// While a collector keeps the exporter waiting, what finds no room is said, once a minute.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_told() {
    let (collector, sink) = (Collector::start().await, Subscriber::ok().await);
    collector.will(&[Mood::Silent; 64]);
    let dispatcher = traced(&of_many_spans(&sink), &collector)
        .env("OTEL_EXPORTER_OTLP_TIMEOUT", "600000")
        .start()
        .await;
    what_finds_no_room_is_told(&dispatcher).await;
}

/// So it is where nobody reads the standard output that spans are printed to; neither events nor
/// the end of the process wait for a reader.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_output_is_told() {
    let sink = Subscriber::ok().await;
    let mut dispatcher = Dispatcher::of(&of_many_spans(&sink))
        .arg("--tracing-protocol")
        .arg("stdout")
        .unread_output()
        .start()
        .await;
    what_finds_no_room_is_told(&dispatcher).await;
    sink.until(40 * 50).await;
    dispatcher.signal(Signal::TERM);
    dispatcher.ended().await;
    assert!(!dispatcher.logged(&["all since the start"]).is_empty());
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
