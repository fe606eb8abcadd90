//! What collectors answer: that they took a part, or something that is no answer, or when to come
//! again.

use std::time::{Duration, Instant};

use super::{named, traced};
use crate::support::collector::{Collector, Mood};
use crate::support::dispatcher::Dispatcher;
use crate::support::sender::{plain, send};
use crate::support::subscriber::Subscriber;
use crate::support::{channel, eventually};

/// `google.rpc.Status` with a `RetryInfo` of 2 s, as gRPC writes it.
const RETRY_INFO: &str = "CAgaMAoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIECgIIAg";

async fn exporting(collector: &Collector, sink: &Subscriber, protocol: &str) -> Dispatcher {
    let yaml = channel(&[("s", format!("subscriber: {{uri: '{}'}}", sink.url()))]);
    let dispatcher = traced(&yaml, collector)
        .arg("--tracing-protocol")
        .arg(protocol)
        .env("OTEL_BSP_SCHEDULE_DELAY", "1000")
        .start()
        .await;
    send(&plain(), dispatcher.http_url("/default/c"), "1").await;
    dispatcher
}

async fn until_counted(dispatcher: &Dispatcher, spans: u64) -> (u64, u64) {
    let deadline = Instant::now() + crate::support::SOON;
    loop {
        let exported = dispatcher.counter("spans_exported_total").await;
        let dropped = dispatcher.counter("spans_dropped_total").await;
        if exported + dropped >= spans || Instant::now() > deadline {
            return (exported, dropped);
        }
    }
}

/// What a collector rejects counts as dropped, with its reason; a warning is told; what is no
/// message of OTLP counts as success, as its status says, and is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_is_rejected_is_dropped() {
    let sink = Subscriber::ok().await;
    for (protocol, mood, dropped, line) in [
        (
            "http/protobuf",
            Mood::Partial(3, "too old"),
            3,
            ["are rejected", "too old"],
        ),
        (
            "grpc",
            Mood::Partial(3, "too old"),
            3,
            ["are rejected", "too old"],
        ),
        (
            "http/protobuf",
            Mood::Partial(9999, "all"),
            5,
            ["are rejected", "all"],
        ),
        (
            "grpc",
            Mood::Partial(0, "beware"),
            0,
            ["with a warning", "beware"],
        ),
        (
            "http/protobuf",
            Mood::Partial(-5, "beware"),
            0,
            ["with a warning", "beware"],
        ),
        (
            "http/protobuf",
            Mood::Body(b"<html>hello</html>"),
            0,
            ["with a warning", "no message of OTLP"],
        ),
        (
            "http/protobuf",
            Mood::Body(&[b'x'; 70_000]),
            0,
            ["with a warning", "more than 64 KiB"],
        ),
    ] {
        let collector = Collector::start().await;
        collector.will(&[mood]);
        let dispatcher = exporting(&collector, &sink, protocol).await;
        let counted = until_counted(&dispatcher, 5).await;
        assert_eq!(counted, (5 - dropped, dropped), "{mood:?}");
        eventually("it is said", || dispatcher.logged(&line).len() == 1).await;
    }
}

/// Data points that are rejected are told, once a minute.
#[tokio::test(flavor = "multi_thread")]
async fn metrics_that_are_rejected_are_told() {
    let (collector, sink) = (Collector::start().await, Subscriber::ok().await);
    collector.will(&[Mood::Partial(7, "too many"); 2]);
    let yaml = channel(&[("s", format!("subscriber: {{uri: '{}'}}", sink.url()))]);
    let dispatcher = Dispatcher::of(&yaml)
        .arg("--metrics-endpoint")
        .arg(collector.url())
        .arg("--metrics-export-interval")
        .arg("PT0.1S")
        .start()
        .await;
    collector.metric("sealpost_events_accepted").await;
    let lines = dispatcher.logged(&["Metrics are rejected", "too many"]);
    assert_eq!(lines.len(), 1, "{}", dispatcher.log());
}

/// A date is obeyed as seconds are, and so is the wait of gRPC, with which an exhausted collector is
/// asked again. So is one that closed the connection instead of an answer.
#[tokio::test(flavor = "multi_thread")]
async fn waits_are_obeyed() {
    let sink = Subscriber::ok().await;
    for (protocol, mood, seconds) in [
        ("http/protobuf", Mood::Later(4), 2),
        ("grpc", Mood::GrpcWith(8, RETRY_INFO), 2),
        ("http/protobuf", Mood::Cut, 0),
        ("grpc", Mood::Cut, 0),
    ] {
        let collector = Collector::start().await;
        collector.will(&[mood]);
        let started = Instant::now();
        let dispatcher = exporting(&collector, &sink, protocol).await;
        eventually("it is asked", || collector.moods_left() == 0).await;
        eventually("spans come", || {
            named(&collector.spans(), "deliver").len() == 1
        })
        .await;
        assert!(
            started.elapsed() >= Duration::from_secs(seconds),
            "{mood:?}"
        );
        assert_eq!(until_counted(&dispatcher, 5).await, (5, 0), "{mood:?}");
    }
    for (protocol, mood) in [
        ("http/protobuf", Mood::Later(3600)),
        ("grpc", Mood::Grpc(8)),
    ] {
        let collector = Collector::start().await;
        collector.will(&[mood]);
        let dispatcher = exporting(&collector, &sink, protocol).await;
        assert_eq!(until_counted(&dispatcher, 5).await, (0, 5), "{mood:?}");
    }
}
