//! One trace through queues: the event's own, the one that holds it back, and to the dead letter
//! sink.

use super::{channel, on, subscription, take_events};
use crate::support::collector::{Collector, attribute, hex, outline, tree};
use crate::support::rabbitmq::{namespace, shared};
use crate::support::sender::{event, plain};
use crate::support::subscriber::{Received, Reply, Subscriber};

const TRACE: &str = "5bf92f3577b34da6a3ce929d0e0e4736";

/// The request; the first delivery, with what is logged of it, which is put off in a queue; the
/// second one, which ends in the dead letter sink.
const EXPECTED: &str = "\
POST [Server] http.response.status_code=202
  publish [Producer]
    deliver [Consumer] sealpost.outcome=deferred
      > WARN A destination fails
      send subscriber [Internal]
        * retry sealpost.attempts=1 sealpost.backoff=1
        POST [Client] http.response.status_code=503 error.type=503 ERROR
    deliver [Consumer] sealpost.outcome=dead_lettered
      send subscriber [Internal] ERROR
        POST [Client] http.response.status_code=503 http.request.resend_count=1 error.type=503 ERROR
      send dead letter sink [Internal]
        POST [Client] http.response.status_code=200
";

/// Readers see the tree that is tested.
#[test]
fn the_tree_is_documented() {
    let page = include_str!("../../../docs/TRACING.md");
    assert!(page.contains(EXPECTED), "docs/TRACING.md has another tree");
}

/// Contract OB-14, RQ-8, G-68. The retry is put off in a queue, and so belongs to another delivery.
#[tokio::test(flavor = "multi_thread")]
async fn one_trace_through_queues() {
    let (namespace, collector) = (namespace(), Collector::start().await);
    let fails = |got: &Received| Reply::status(if got.id() == "traced" { 503 } else { 200 });
    let (failing, dead) = (Subscriber::answering(fails).await, Subscriber::ok().await);
    let delivery = format!(
        "retry: 1, backoffDelay: PT1S, backoffPolicy: exponential, deadLetterSink: {{uri: '{}'}}",
        dead.url()
    );
    let yaml = channel(&namespace) + &subscription(&namespace, "s", &failing, &delivery);
    let builder = on(&shared(), &yaml)
        .arg("--rabbitmq-patience")
        .arg("PT0.5S")
        .arg("--log-level")
        .arg("debug");
    let builder = builder
        .arg("--tracing-endpoint")
        .arg(collector.url())
        .env("OTEL_BSP_SCHEDULE_DELAY", "50");
    let dispatcher = builder.start().await;
    let path = format!("/{namespace}/c");
    take_events(&dispatcher, &path).await;
    let request = event(&plain(), dispatcher.http_url(&path), "traced");
    let request = request
        .header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01"))
        .header("baggage", "k=v");
    assert_eq!(request.send().await.expect("an answer").status(), 202);
    let ended = |outcome: &str| {
        let outcome = Some(outcome.to_owned());
        move |span: &opentelemetry_proto::tonic::trace::v1::Span| {
            attribute(span, "sealpost.outcome") == outcome
        }
    };
    let spans = collector
        .trace(TRACE, |spans| spans.iter().any(ended("dead_lettered")))
        .await;
    println!("{}", tree(&spans));
    println!("{}", dispatcher.logged(&[TRACE]).join("\n"));
    assert_eq!(outline(&spans, &dispatcher.log()), EXPECTED);
    let publish = spans
        .iter()
        .find(|span| span.name == "publish")
        .expect("a span");
    for outcome in ["deferred", "dead_lettered"] {
        let deliver = spans
            .iter()
            .find(|span| ended(outcome)(span))
            .expect("a delivery");
        assert_eq!(deliver.parent_span_id, publish.span_id, "{}", tree(&spans));
    }
    let attempts: Vec<_> = spans
        .iter()
        .filter(|span| span.name == "POST" && span.parent_span_id.len() == 8)
        .collect();
    assert_eq!(
        attempts.len(),
        4,
        "the request, two attempts, the dead letter\n{}",
        tree(&spans)
    );
    let told = dead
        .received()
        .into_iter()
        .find(|got| got.id() == "traced")
        .expect("the dead letter");
    let last = attempts
        .iter()
        .max_by_key(|span| span.start_time_unix_nano)
        .expect("an attempt");
    assert_eq!(
        told.header("traceparent"),
        Some(format!("00-{TRACE}-{}-01", hex(&last.span_id)).as_str())
    );
    assert_eq!(told.header("baggage"), Some("k=v"));
}
