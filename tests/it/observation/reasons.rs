//! Why an event did not arrive: what only the configuration, an answer or the next attempt tells.

use super::backends::explained;
use super::{on, text};
use crate::support::dispatcher::Dispatcher;
use crate::support::sender::{plain, send};
use crate::support::subscriber::{Reply, Subscriber};

/// A channel `c` that answers at once, and a channel `r` for replies.
const CHANNELS: &str = "
apiVersion: messaging.knative.dev/v1
kind: InMemoryChannel
metadata: {name: c, annotations: {messaging.knative.dev/async-handler: 'true'}}
---
apiVersion: messaging.knative.dev/v1
kind: InMemoryChannel
metadata: {name: r}
";

/// A Subscription of `c` with this name, annotations and rest of its `spec`.
fn subscription(name: &str, annotations: &str, rest: &str) -> String {
    format!(
        "---
apiVersion: messaging.knative.dev/v1
kind: Subscription
metadata: {{name: {name}, annotations: {{{annotations}}}}}
spec:
  channel: {{apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel, name: c}}
  {rest}
"
    )
}

fn subscriber(subscriber: &Subscriber, rest: &str) -> String {
    format!("subscriber: {{uri: '{}'}}\n  {rest}", subscriber.url())
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_tells_why() {
    let reply =
        "reply: {ref: {apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel, name: r}}";
    let old = Reply::event("priced", "reply-1").header("ce-time", "yesterday");
    let refused = Subscriber::answering(move |_| old.clone()).await;
    let silent = Subscriber::answering(|_| {
        Reply::text(200, r#"{"specversion": "1.0"}"#).header("content-type", "application/json")
    })
    .await;
    let late = Subscriber::answering(|_| Reply::status(503).header("retry-after", "10800")).await;
    let taking = Subscriber::ok().await;
    let later =
        "delivery: {retry: 2, backoffPolicy: linear, backoffDelay: PT0.5S, retryAfterMax: PT12H}";
    let yaml = [
        CHANNELS.to_owned(),
        subscription("refused", "", &subscriber(&refused, reply)),
        subscription("silent", "", &subscriber(&silent, reply)),
        subscription("late", "", &subscriber(&late, later)),
        subscription(
            "ordered",
            "sealpost.dev/delivery-order: ordered",
            &subscriber(&taking, ""),
        ),
        subscription("bad", "", &subscriber(&taking, "delivery: {timeout: 30s}")),
    ]
    .concat();
    let dispatcher = Dispatcher::standalone(&yaml).await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "e1").await,
        202
    );
    let to = format!("to {}", taking.url());
    for parts in [
        &[
            "attempt",
            "default/refused",
            "reply #1  400",
            "attribute time is not valid",
        ][..],
        &[
            "no reply",
            "default/silent",
            "application/json without ce- headers",
        ],
        &[
            "attempt",
            "default/late",
            "503",
            "the next attempt is in 10800.0s",
        ],
        &["wanted", "default/ordered", &to, "ordered: it waits"],
        &["not ready", "default/bad", "delivery.timeout"],
    ] {
        explained(&dispatcher, "e1", parts).await;
    }
    let reply = [
        "refused",
        "reply-1",
        "by channel default/r",
        "400",
        "attribute time is not valid",
    ];
    explained(&dispatcher, "reply-1", &reply).await;
    assert_eq!(dispatcher.counter("requests_refused_total").await, 1);
    let unknown = on(&dispatcher, &["explain", "e2"]).await;
    let told = text(&unknown.stderr);
    assert!(told.contains("This process started at 20"), "{told}");
}
