//! Collectors over TLS, and collectors in trouble: nobody waits for them, and what they do not take
//! is counted. Without one, spans can be seen on standard output.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{named, traced};
use crate::support::collector::{Collector, Mood};
use crate::support::dispatcher::Dispatcher;
use crate::support::pki::Ca;
use crate::support::sender::{plain, send};
use crate::support::subscriber::Subscriber;
use crate::support::{SOON, channel, eventually};

const PROTOCOLS: [&str; 2] = ["http/protobuf", "grpc"];

fn to(sink: &Subscriber) -> String {
    channel(&[("s", format!("subscriber: {{uri: '{}'}}", sink.url()))])
}

async fn until_counted(dispatcher: &Dispatcher, name: &str) -> u64 {
    let deadline = Instant::now() + SOON;
    loop {
        let counted = dispatcher.counter(name).await;
        if counted > 0 {
            return counted;
        }
        assert!(
            Instant::now() < deadline,
            "{name} stays 0: {}",
            dispatcher.log()
        );
    }
}

/// A collector is verified by the CA that is named for it; one of another CA gets nothing, and
/// nobody waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn over_tls() {
    let (ca, other) = (Ca::new("collectors"), Ca::new("others"));
    let sink = Subscriber::ok().await;
    for protocol in PROTOCOLS {
        let collector = Collector::secure(&ca.issue(&["localhost"])).await;
        let start = async |trusted: &Ca| {
            let builder = traced(&to(&sink), &collector)
                .arg("--tracing-protocol")
                .arg(protocol);
            let builder = builder.file("collector.pem", &trusted.pem);
            let file = builder.path("collector.pem").display().to_string();
            builder
                .env("OTEL_EXPORTER_OTLP_CERTIFICATE", &file)
                .start()
                .await
        };
        let dispatcher = start(&ca).await;
        assert_eq!(
            send(&plain(), dispatcher.http_url("/default/c"), "1").await,
            202
        );
        eventually("spans come", || {
            named(&collector.spans(), "deliver").len() == 1
        })
        .await;
        until_counted(&dispatcher, "spans_exported_total").await;
        assert_eq!(dispatcher.counter("spans_dropped_total").await, 0);

        let (wrong, before) = (start(&other).await, collector.requests().len());
        assert_eq!(send(&plain(), wrong.http_url("/default/c"), "2").await, 202);
        until_counted(&wrong, "spans_dropped_total").await;
        assert_eq!(
            (
                wrong.counter("spans_exported_total").await,
                collector.requests().len()
            ),
            (0, before),
            "{protocol}"
        );
        assert!(
            !wrong
                .logged(&["could not be sent", "certificate"])
                .is_empty(),
            "{}",
            wrong.log()
        );
    }
}

/// What OTLP says to send again is sent again, not before the time that the collector asks for;
/// other things are not.
#[tokio::test(flavor = "multi_thread")]
async fn that_refuse() {
    let sink = Subscriber::ok().await;
    for (protocol, moods) in [
        (
            "http/protobuf",
            &[Mood::Status(503, Some(1)), Mood::Status(429, None)][..],
        ),
        ("grpc", &[Mood::Grpc(14), Mood::Status(502, None)]),
    ] {
        let collector = Collector::start().await;
        collector.will(moods);
        let dispatcher = traced(&to(&sink), &collector)
            .arg("--tracing-protocol")
            .arg(protocol)
            .start()
            .await;
        let (started, before) = (Instant::now(), sink.count());
        assert_eq!(
            send(&plain(), dispatcher.http_url("/default/c"), "1").await,
            202
        );
        assert_eq!(
            sink.count(),
            before + 1,
            "delivered, whatever the collector does"
        );
        eventually("spans come", || {
            named(&collector.spans(), "deliver").len() == 1
        })
        .await;
        assert!(
            started.elapsed() >= Duration::from_secs(1),
            "{protocol}: {:?}",
            started.elapsed()
        );
        until_counted(&dispatcher, "spans_exported_total").await;
        assert_eq!(dispatcher.counter("spans_dropped_total").await, 0);
    }
    for (protocol, mood) in [
        ("http/protobuf", Mood::Status(400, None)),
        ("http/protobuf", Mood::Status(503, Some(3600))),
        ("grpc", Mood::Grpc(3)),
    ] {
        let collector = Collector::start().await;
        collector.will(&[mood]);
        let dispatcher = traced(&to(&sink), &collector)
            .arg("--tracing-protocol")
            .arg(protocol)
            .start()
            .await;
        assert_eq!(
            send(&plain(), dispatcher.http_url("/default/c"), "1").await,
            202
        );
        until_counted(&dispatcher, "spans_dropped_total").await;
        assert!(collector.moods_left() == 0, "{mood:?}");
    }
}

/// A collector that does not answer delays no event; what it keeps waiting for too long is dropped
/// and counted.
#[tokio::test(flavor = "multi_thread")]
async fn that_are_silent() {
    let (collector, sink) = (Collector::start().await, Subscriber::ok().await);
    collector.will(&[Mood::Silent; 64]);
    let dispatcher = traced(&to(&sink), &collector)
        .env("OTEL_EXPORTER_OTLP_TIMEOUT", "3000")
        .start()
        .await;
    let (client, started) = (plain(), Instant::now());
    for id in 0..100 {
        assert_eq!(
            send(&client, dispatcher.http_url("/default/c"), &id.to_string()).await,
            202
        );
    }
    assert_eq!(sink.count(), 100);
    let took = started.elapsed();
    assert!(
        took < Duration::from_secs(3),
        "{took:?}, which is as long as one answer is waited for"
    );
    until_counted(&dispatcher, "spans_dropped_total").await;
}

/// Contract OB-1: a line of JSON for each span. Metrics are not written there.
#[tokio::test(flavor = "multi_thread")]
async fn none_but_standard_output() {
    let sink = Subscriber::ok().await;
    let builder = Dispatcher::of(&to(&sink))
        .arg("--tracing-protocol")
        .arg("stdout");
    let dispatcher = builder.env("OTEL_BSP_SCHEDULE_DELAY", "50").start().await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "1").await,
        202
    );
    eventually("spans are printed", || {
        dispatcher.printed().lines().count() == 5
    })
    .await;
    let printed = dispatcher.printed();
    let spans: Vec<Value> = printed
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let one = |name: &str| {
        spans
            .iter()
            .find(|span| span["name"] == name)
            .expect("a span")
    };
    let (publish, deliver) = (one("publish"), one("deliver"));
    assert_eq!(
        (&deliver["parentSpanId"], &deliver["traceId"]),
        (&publish["spanId"], &publish["traceId"])
    );
    assert_eq!(
        (
            deliver["kind"].as_str(),
            deliver["attributes"]["sealpost.outcome"].as_str()
        ),
        (Some("consumer"), Some("delivered"))
    );
    assert_eq!(deliver["resource"]["service.name"], "sealpost");
    until_counted(&dispatcher, "spans_exported_total").await;
}
