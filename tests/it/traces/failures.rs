//! What failed, as its spans tell it.

use std::time::Duration;

use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use rustix::process::Signal;

use super::{SENDER, TRACE, named, only, send_traced, traced, traceparent};
use crate::support::channel;
use crate::support::collector::{Collector, attribute, tree};
use crate::support::dispatcher::Builder;
use crate::support::sender::{plain, send};
use crate::support::subscriber::{Reply, Subscriber};

fn to(sink: &Subscriber) -> String {
    channel(&[("s", format!("subscriber: {{uri: '{}'}}", sink.url()))])
}

/// The description of the error of a span.
fn description(span: &Span) -> &str {
    let status = span.status.as_ref().expect("a status");
    assert_eq!(status.code(), StatusCode::Error, "{}", span.name);
    &status.message
}

/// The spans of an event whose delivery a stop leaves unfinished, with a channel of this kind.
async fn stopped_in_a_delivery(kind: &str) -> Vec<Span> {
    let (collector, slow) = (
        Collector::start().await,
        Subscriber::answering(|_| Reply::status(200).after(Duration::from_secs(60))).await,
    );
    let yaml = to(&slow).replace("InMemoryChannel", "Channel");
    let builder = traced(&yaml, &collector);
    let directory = builder.path("data").display().to_string();
    let options = ["--default-channel", kind, "--drain-timeout", "PT0.2S"];
    let builder = options.into_iter().fold(builder, Builder::arg);
    let builder = builder.arg("--data-dir").arg(directory);
    let mut dispatcher = builder.start().await;
    let url = dispatcher.http_url("/default/c");
    let sending = tokio::spawn(async move { send(&plain(), url, "1").await });
    slow.until(1).await;
    dispatcher.signal(Signal::TERM);
    dispatcher.ended().await;
    sending.abort();
    let spans = collector.spans();
    assert!(description(only(&spans, "send subscriber")).contains("given up"));
    let is_abandoned = |span: &&Span| attribute(span, "error.type").as_deref() == Some("abandoned");
    let attempts = named(&spans, "POST");
    let attempt = attempts.into_iter().find(is_abandoned);
    description(attempt.unwrap_or_else(|| panic!("{}", tree(&spans))));
    spans
}

/// A delivery that a stop leaves unfinished says so, and its send and attempt have an error. It is
/// an error of its own only where the event is lost by it.
#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_a_stop_leaves() {
    for (kind, outcome, code) in [
        ("inmemory", "abandoned", StatusCode::Error),
        ("disk", "returned", StatusCode::Unset),
    ] {
        let spans = stopped_in_a_delivery(kind).await;
        let deliver = only(&spans, "deliver");
        let told = attribute(deliver, "sealpost.outcome");
        assert_eq!(told.as_deref(), Some(outcome), "{}", tree(&spans));
        let status = deliver.status.clone().unwrap_or_default();
        assert_eq!(status.code(), code, "{}", tree(&spans));
    }
}

/// By OpenTelemetry's conventions the status of a failed request is its `error.type`, and nothing
/// describes what the status says.
#[tokio::test(flavor = "multi_thread")]
async fn a_status_is_the_type_of_an_error() {
    let (collector, failing) = (Collector::start().await, Subscriber::replying(&[418]).await);
    let dispatcher = traced(&to(&failing), &collector).start().await;
    send_traced(&dispatcher, "/default/c", "01").await;
    let spans = collector.trace(TRACE, |spans| named(spans, "POST").len() == 2);
    let spans = spans.await;
    let attempts = named(&spans, "POST");
    let is_failed = |span: &&&Span| attribute(span, "error.type").as_deref() == Some("418");
    let attempt = attempts.iter().find(is_failed);
    let attempt = attempt.unwrap_or_else(|| panic!("{}", tree(&spans)));
    assert_eq!(description(attempt), "");
    for (key, value) in [
        ("telemetry.sdk.name", "opentelemetry"),
        ("telemetry.sdk.language", "rust"),
    ] {
        assert_eq!(collector.resource(key).as_deref(), Some(value));
    }
}

/// A rate of 0 records nothing, and tells those after it so: the trace is the sender's, the span is
/// not.
#[tokio::test(flavor = "multi_thread")]
async fn a_rate_of_nothing_is_told() {
    let (collector, sink) = (Collector::start().await, Subscriber::ok().await);
    let builder = traced(&to(&sink), &collector)
        .arg("--tracing-sampling-rate")
        .arg("0");
    let dispatcher = builder.start().await;
    send_traced(&dispatcher, "/default/c", "01").await;
    let got = sink.until(1).await.remove(0);
    let told = got.header("traceparent").expect("a traceparent");
    assert!(told.starts_with(&format!("00-{TRACE}-")) && told.ends_with("-00"));
    assert!(!told.contains(SENDER), "{told}");
    send_traced(&dispatcher, "/default/c", "00").await;
    let got = sink.until(2).await.remove(1);
    assert_eq!(got.header("traceparent"), Some(&*traceparent("00")));
    assert!(collector.spans().is_empty());
}
