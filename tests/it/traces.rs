//! Traces: one from the sender to the last attempt, as a collector gets it over OTLP; and numbers
//! by the same way.

mod answers;
mod collectors;
mod failures;
mod links;
mod switches;

use std::time::Duration;

use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

use crate::support::collector::{Collector, attribute, hex, of_event, tree};
use crate::support::dispatcher::{Builder, Dispatcher};
use crate::support::sender::{event, plain, send};
use crate::support::subscriber::{Reply, Subscriber};
use crate::support::{channel, eventually};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SENDER: &str = "00f067aa0ba902b7";

fn traceparent(sampled: &str) -> String {
    format!("00-{TRACE}-{SENDER}-{sampled}")
}

fn traced(yaml: &str, collector: &Collector) -> Builder {
    Dispatcher::of(yaml)
        .arg("--tracing-endpoint")
        .arg(collector.url())
        .env("OTEL_BSP_SCHEDULE_DELAY", "50")
}

async fn send_traced(dispatcher: &Dispatcher, path: &str, sampled: &str) {
    let request =
        event(&plain(), dispatcher.http_url(path), "1").header("traceparent", traceparent(sampled));
    let request = request
        .header("tracestate", "vendor=1")
        .header("baggage", "tenant=a");
    assert!(request.send().await.expect("an answer").status().as_u16() >= 202);
}

fn named<'s>(spans: &'s [Span], name: &str) -> Vec<&'s Span> {
    let mut named: Vec<&Span> = spans.iter().filter(|span| span.name == name).collect();
    named.sort_by_key(|span| span.start_time_unix_nano);
    named
}

fn only<'s>(spans: &'s [Span], name: &str) -> &'s Span {
    match named(spans, name)[..] {
        [span] => span,
        ref found => panic!("{} spans called {name} in\n{}", found.len(), tree(spans)),
    }
}

fn is_below(child: &Span, parent: &Span) -> bool {
    child.parent_span_id == parent.span_id && child.trace_id == parent.trace_id
}

/// The tree of a delivery that fails, is tried again, and ends in the dead letter sink.
fn check_buried(spans: &[Span], subscriber: &Subscriber, dead: &Subscriber) {
    let deliver = only(spans, "deliver");
    assert_eq!(
        attribute(deliver, "sealpost.outcome").as_deref(),
        Some("dead_lettered")
    );
    let (first, last) = (
        only(spans, "send subscriber"),
        only(spans, "send dead letter sink"),
    );
    assert!(
        is_below(first, deliver) && is_below(last, deliver),
        "{}",
        tree(spans)
    );
    let attempts = named(spans, "POST");
    let of_first: Vec<_> = attempts
        .iter()
        .filter(|attempt| is_below(attempt, first))
        .collect();
    let of_last: Vec<_> = attempts
        .iter()
        .filter(|attempt| is_below(attempt, last))
        .collect();
    let statuses = |of: &[&&&Span]| {
        of.iter()
            .map(|span| attribute(span, "http.response.status_code"))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        statuses(&of_first.iter().collect::<Vec<_>>()),
        [Some("503".into()), Some("503".into())]
    );
    assert_eq!(
        statuses(&of_last.iter().collect::<Vec<_>>()),
        [Some("200".into())]
    );
    assert_eq!(
        attribute(of_first[1], "http.request.resend_count").as_deref(),
        Some("1")
    );
    let [retry] = &first.events[..] else {
        panic!("one retry in\n{}", tree(spans))
    };
    assert_eq!(retry.name, "retry");
    assert!(
        of_event(retry, "sealpost.reason")
            .expect("a reason")
            .contains("503")
    );
    assert!(
        of_event(retry, "sealpost.backoff")
            .expect("a wait")
            .parse::<f64>()
            .expect("seconds")
            >= 0.01
    );
    assert!(
        first
            .status
            .as_ref()
            .is_some_and(|status| status.code() == StatusCode::Error),
        "a hop that failed says so"
    );
    for (got, sent) in [
        (&subscriber.received()[..], &of_first[..]),
        (&dead.received(), &of_last),
    ] {
        let told: Vec<_> = got
            .iter()
            .map(|got| got.header("traceparent").expect("a traceparent").to_owned())
            .collect();
        let spans: Vec<_> = sent
            .iter()
            .map(|span| format!("00-{TRACE}-{}-01", hex(&span.span_id)))
            .collect();
        assert_eq!(told, spans, "who is asked is told which attempt it is");
        assert!(
            got.iter()
                .all(|got| got.header("tracestate") == Some("vendor=1"))
        );
        assert!(
            got.iter()
                .all(|got| got.header("baggage") == Some("tenant=a"))
        );
    }
}

/// Contract OB-12, OB-14, G-68, OB-13.
#[tokio::test(flavor = "multi_thread")]
async fn one_trace_from_the_sender_to_the_dead_letter_sink() {
    for protocol in ["http/protobuf", "grpc"] {
        let (collector, failing, dead) = (
            Collector::start().await,
            Subscriber::replying(&[503]).await,
            Subscriber::ok().await,
        );
        let spec = format!(
            "subscriber: {{uri: '{}'}}\ndelivery: {{retry: 1, backoffDelay: PT0.02S, backoffPolicy: exponential, deadLetterSink: {{uri: '{}'}}}}",
            failing.url(),
            dead.url()
        );
        let builder = traced(&channel(&[("s", spec)]), &collector)
            .arg("--tracing-protocol")
            .arg(protocol);
        let builder = builder.env(
            "OTEL_EXPORTER_OTLP_HEADERS",
            "authorization=Bearer%20hidden",
        );
        let dispatcher = builder.start().await;
        send_traced(&dispatcher, "/default/c", "01").await;
        let spans = collector.trace(TRACE, |spans| {
            named(spans, "POST").len() == 4 && !named(spans, "deliver").is_empty()
        });
        let spans = spans.await;
        let server = named(&spans, "POST")
            .into_iter()
            .find(|span| hex(&span.parent_span_id) == SENDER);
        let server = server.expect("the request's span, below the sender's");
        let publish = only(&spans, "publish");
        assert!(
            is_below(publish, server) && is_below(only(&spans, "deliver"), publish),
            "{}",
            tree(&spans)
        );
        check_buried(&spans, &failing, &dead);
        for (key, value) in [
            ("messaging.system", "knative"),
            ("kn.channel.name", "c"),
            ("kn.channel.namespace", "default"),
            ("cloudevents.event_id", "1"),
            ("cloudevents.type", "test.event"),
        ] {
            assert_eq!(
                attribute(publish, key).as_deref(),
                Some(value),
                "{key} of\n{}",
                tree(&spans)
            );
        }
        assert_eq!(
            attribute(only(&spans, "deliver"), "messaging.destination.name").as_deref(),
            Some("subscription:s.default")
        );
        assert_eq!(server.trace_state, "vendor=1");
        assert_eq!(
            collector.resource("service.name").as_deref(),
            Some("sealpost")
        );
        let secret =
            |(_, headers): &(String, http::HeaderMap)| headers["authorization"] == "Bearer hidden";
        assert!(collector.requests().iter().all(secret));
        assert!(!dispatcher.log().contains("hidden"));
        println!("{protocol}\n{}", tree(&spans));
    }
}

/// A reply that goes into another channel of the process stays in its trace.
#[tokio::test(flavor = "multi_thread")]
async fn replies_stay_in_their_trace() {
    let collector = Collector::start().await;
    let (asked, told) = (
        Subscriber::answering(|_| Reply::event("answer", "2")).await,
        Subscriber::ok().await,
    );
    let first = format!(
        "subscriber: {{uri: '{}'}}\nreply: {{ref: {{apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel, name: d}}}}",
        asked.url()
    );
    let second = format!(
        "---\napiVersion: messaging.knative.dev/v1\nkind: InMemoryChannel\nmetadata: {{name: d}}\n---\napiVersion: messaging.knative.dev/v1\nkind: Subscription\nmetadata: {{name: t}}\nspec:\n  channel: {{apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel, name: d}}\n  subscriber: {{uri: '{}'}}\n",
        told.url()
    );
    let dispatcher = traced(&(channel(&[("s", first)]) + &second), &collector)
        .start()
        .await;
    send_traced(&dispatcher, "/default/c", "01").await;
    told.until(1).await;
    let spans = collector
        .trace(TRACE, |spans| {
            named(spans, "POST").len() == 3 && named(spans, "deliver").len() == 2
        })
        .await;
    let reply = only(&spans, "send reply");
    let enter = only(&spans, "enter channel");
    let [_, publish] = named(&spans, "publish")[..] else {
        panic!("two\n{}", tree(&spans))
    };
    assert!(
        is_below(enter, reply) && is_below(publish, enter),
        "{}",
        tree(&spans)
    );
    assert!(
        named(&spans, "deliver")
            .iter()
            .any(|deliver| is_below(deliver, publish))
    );
}

/// Contract OB-14, OB-15: what is not recorded is passed on; a sender that says not to record is
/// heard.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_recorded_is_passed_on() {
    let (collector, sink) = (Collector::start().await, Subscriber::ok().await);
    let yaml = channel(&[("s", format!("subscriber: {{uri: '{}'}}", sink.url()))]);
    for builder in [Dispatcher::of(&yaml), traced(&yaml, &collector)] {
        let dispatcher = builder.start().await;
        let before = sink.count();
        send_traced(&dispatcher, "/default/c", "00").await;
        let got = sink.until(before + 1).await.remove(before);
        assert_eq!(got.header("traceparent"), Some(traceparent("00").as_str()));
        assert_eq!(
            (got.header("tracestate"), got.header("baggage")),
            (Some("vendor=1"), Some("tenant=a"))
        );
    }
    assert!(collector.spans().is_empty());
}

/// A collector that is not there costs nobody anything; a stop sends what is left.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_a_collector() {
    let sink = Subscriber::ok().await;
    let yaml = channel(&[("s", format!("subscriber: {{uri: '{}'}}", sink.url()))]);
    let away = Dispatcher::of(&yaml)
        .arg("--tracing-endpoint")
        .arg("http://127.0.0.1:1");
    let mut dispatcher = away.env("OTEL_BSP_SCHEDULE_DELAY", "10").start().await;
    for id in 0..20 {
        assert_eq!(
            send(&plain(), dispatcher.http_url("/default/c"), &id.to_string()).await,
            202
        );
    }
    sink.until(20).await;
    eventually("it is said", || {
        !dispatcher.logged(&["could not be sent"]).is_empty()
    })
    .await;
    dispatcher.signal(rustix::process::Signal::TERM);
    assert!(dispatcher.ended().await.success());
    assert_eq!(
        dispatcher.logged(&["could not be sent"]).len(),
        1,
        "once in a while"
    );

    let collector = Collector::start().await;
    let late = traced(&yaml, &collector).env("OTEL_BSP_SCHEDULE_DELAY", "600000");
    let mut dispatcher = late.start().await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "1").await,
        202
    );
    sink.until(21).await;
    dispatcher.signal(rustix::process::Signal::TERM);
    assert!(dispatcher.ended().await.success());
    assert!(
        !named(&collector.spans(), "deliver").is_empty(),
        "what was recorded last"
    );
}

/// Metrics by OTLP are those of the admin port.
#[tokio::test(flavor = "multi_thread")]
async fn metrics_leave_by_otlp() {
    for protocol in ["http/protobuf", "grpc"] {
        let (collector, sink) = (Collector::start().await, Subscriber::ok().await);
        let yaml = channel(&[("s", format!("subscriber: {{uri: '{}'}}", sink.url()))]);
        let builder = Dispatcher::of(&yaml)
            .arg("--metrics-endpoint")
            .arg(collector.url());
        let builder = builder
            .arg("--metrics-export-interval")
            .arg("PT0.1S")
            .arg("--metrics-protocol")
            .arg(protocol);
        let dispatcher = builder.start().await;
        assert_eq!(
            send(&plain(), dispatcher.http_url("/default/c"), "1").await,
            202
        );
        let duration = collector.metric("kn.eventing.dispatch.duration").await;
        let Some(Data::Histogram(histogram)) = duration.data else {
            panic!("a histogram")
        };
        let point = &histogram.data_points[0];
        assert_eq!(
            (
                point.count,
                point.explicit_bounds.len(),
                point.bucket_counts.len()
            ),
            (1, 14, 15),
            "contract OB-6"
        );
        assert_eq!(
            (duration.unit.as_str(), histogram.aggregation_temporality),
            ("s", 2)
        );
        assert!(
            point
                .attributes
                .iter()
                .any(|label| label.key == "messaging.destination.name")
        );
        let Some(Data::Sum(sum)) = collector.metric("sealpost_events_accepted").await.data else {
            panic!("a sum")
        };
        assert!(sum.is_monotonic);
        for (name, unit) in [
            ("process_resident_memory_bytes", "By"),
            ("process_start_time_seconds", "s"),
            ("sealpost_events_accepted", ""),
        ] {
            assert_eq!(collector.metric(name).await.unit, unit, "{name}");
        }
    }
}

/// Contract 3.7: the ConfigMap switches traces on and off while the process runs.
#[tokio::test(flavor = "multi_thread")]
async fn the_config_map_is_followed() {
    let (collector, sink) = (Collector::start().await, Subscriber::ok().await);
    let yaml = channel(&[("s", format!("subscriber: {{uri: '{}'}}", sink.url()))]);
    let with = |protocol: &str| {
        format!(
            "{yaml}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: config-observability, namespace: knative-eventing}}\ndata:\n  tracing-protocol: {protocol}\n  tracing-endpoint: {}\n  tracing-sampling-rate: '1'\n",
            collector.url()
        )
    };
    let dispatcher = Dispatcher::of(&with("none"))
        .env("OTEL_BSP_SCHEDULE_DELAY", "10")
        .start()
        .await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "1").await,
        202
    );
    dispatcher.apply(&with("http/protobuf")).await;
    eventually("traces are sent", || {
        !dispatcher.logged(&["Traces are sent"]).is_empty()
    })
    .await;
    let deadline = std::time::Instant::now() + crate::support::SOON;
    while collector.spans().is_empty() {
        assert_eq!(
            send(&plain(), dispatcher.http_url("/default/c"), "2").await,
            202
        );
        assert!(std::time::Instant::now() < deadline, "no spans");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(
        collector
            .spans()
            .iter()
            .all(|span| attribute(span, "cloudevents.event_id").as_deref() != Some("1"))
    );
}
