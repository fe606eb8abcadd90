//! The way from a log line to the span of a trace.

use serde_json::Value;

use super::{SENDER, TRACE, only, send_traced, traced};
use crate::support::collector::{Collector, hex};
use crate::support::dispatcher::Dispatcher;
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
