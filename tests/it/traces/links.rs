//! The ways from a log line, and from a bucket of a histogram, to the span of a trace.

use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use serde_json::Value;

use super::{SENDER, TRACE, only, send_traced, traced};
use crate::support::collector::{Collector, hex};
use crate::support::dispatcher::Dispatcher;
use crate::support::sender::plain;
use crate::support::subscriber::Subscriber;
use crate::support::{channel, eventually};

fn failing(subscriber: &Subscriber) -> String {
    let spec = format!(
        "subscriber: {{uri: '{}'}}\ndelivery: {{retry: 1, backoffDelay: PT0.01S}}",
        subscriber.url()
    );
    channel(&[("s", spec)])
}

/// What is logged of a delivery carries the trace that the sender began, and the span that a
/// collector gets; what is logged of no span carries neither, nor does anything while nothing is
/// recorded.
#[tokio::test(flavor = "multi_thread")]
async fn lines_of_a_delivery_carry_its_span() {
    let (collector, subscriber) = (Collector::start().await, Subscriber::replying(&[503]).await);
    let dispatcher = traced(&failing(&subscriber), &collector).start().await;
    send_traced(&dispatcher, "/default/c", "01").await;
    let spans = collector.trace(TRACE, |spans| {
        spans.iter().any(|span| span.name == "deliver")
    });
    let spans = spans.await;
    let deliver = hex(&only(&spans, "deliver").span_id);
    eventually("the loss is logged", || {
        !dispatcher.logged(&["lost", TRACE]).is_empty()
    })
    .await;
    let log = dispatcher.log();
    let lines: Vec<Value> = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let of_trace = lines.iter().filter(|line| line["trace_id"] == TRACE);
    let span_ids: Vec<&str> = of_trace
        .map(|line| line["span_id"].as_str().expect("a span"))
        .collect();
    assert!(span_ids.contains(&deliver.as_str()), "{log}");
    assert!(!span_ids.contains(&SENDER), "spans of this process: {log}");
    assert!(
        lines
            .iter()
            .any(|line| line.get("trace_id").is_none() && line.get("span_id").is_none()),
        "{log}"
    );

    let untraced = Dispatcher::of(&failing(&subscriber)).start().await;
    send_traced(&untraced, "/default/c", "01").await;
    eventually("the loss is logged", || {
        !untraced.logged(&["lost"]).is_empty()
    })
    .await;
    assert!(!untraced.log().contains(TRACE), "{}", untraced.log());
}

/// OpenMetrics has, beside a bucket, the span that fell into it last; the older text has not. OTLP
/// tells the same.
#[tokio::test(flavor = "multi_thread")]
async fn buckets_name_a_span() {
    let (collector, subscriber) = (Collector::start().await, Subscriber::ok().await);
    let yaml = channel(&[("s", format!("subscriber: {{uri: '{}'}}", subscriber.url()))]);
    let builder = traced(&yaml, &collector)
        .arg("--metrics-endpoint")
        .arg(collector.url());
    let dispatcher = builder
        .arg("--metrics-export-interval")
        .arg("PT0.1S")
        .start()
        .await;
    send_traced(&dispatcher, "/default/c", "01").await;
    let whole = |spans: &[_]| spans.len() == 5;
    let spans = collector.trace(TRACE, whole).await;
    let deliver = &only(&spans, "deliver").span_id;

    let text = async |format: &str| {
        let request = plain()
            .get(format!("http://{}/metrics", dispatcher.admin))
            .header("accept", format);
        let answer = request.send().await.expect("an answer");
        answer.text().await.expect("a text")
    };
    let open_metrics = text("application/openmetrics-text;version=1.0.0").await;
    for name in [
        "kn_eventing_dispatch_duration",
        "http_client_request_duration",
        "http_server_request_duration",
    ] {
        let exemplar = format!("# {{trace_id=\"{TRACE}\",span_id=\"");
        let is_exemplar = |line: &str| line.starts_with(name) && line.contains(&exemplar);
        assert!(
            open_metrics.lines().any(is_exemplar),
            "{name}: {open_metrics}"
        );
    }
    assert!(open_metrics.contains(&hex(deliver)), "{open_metrics}");
    let older = text("text/plain").await;
    assert!(!older.contains(TRACE), "{older}");

    eventually("OTLP has the exemplar", || {
        let metric = collector.newest_metric("kn.eventing.dispatch.duration");
        let Some(Data::Histogram(histogram)) = metric.and_then(|metric| metric.data) else {
            return false;
        };
        let points = histogram.data_points.iter();
        points
            .flat_map(|point| &point.exemplars)
            .any(|exemplar| exemplar.span_id == *deliver && hex(&exemplar.trace_id) == TRACE)
    })
    .await;
}
