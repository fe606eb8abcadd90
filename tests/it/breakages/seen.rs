//! What broke, as the page's data and the metrics tell it: the table of docs/OPERATIONS.md.

use std::time::Instant;

use serde_json::Value;
use time::{Duration, OffsetDateTime};

use super::{NOBODY, with_sink};
use crate::support::dispatcher::Dispatcher;
use crate::support::pki::Ca;
use crate::support::sender::{plain, send};
use crate::support::subscriber::{Reply, Subscriber};
use crate::support::{SOON, block, channel};

/// The subscription `s`, as the page is told of it, when that satisfies a condition.
async fn row(dispatcher: &Dispatcher, condition: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + SOON;
    loop {
        let (code, text) = dispatcher.admin_text("/api/v1/status").await;
        assert_eq!(code, 200);
        let status: Value = serde_json::from_str(&text).expect("JSON");
        let rows = status["groups"]
            .as_array()
            .expect("groups")
            .iter()
            .flat_map(|group| group["subscriptions"].as_array());
        let row = rows
            .flatten()
            .find(|row| row["name"] == "s")
            .expect("the subscription")
            .clone();
        if condition(&row) {
            return row;
        }
        assert!(Instant::now() < deadline, "it stays {row:#}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// The sum of a metric's samples whose labels contain all of these.
async fn sample(dispatcher: &Dispatcher, metric: &str, labels: &[&str]) -> f64 {
    let (_, text) = dispatcher.admin_text("/metrics").await;
    let is_it = |line: &&str| {
        line.strip_prefix(metric)
            .is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label))
    };
    text.lines()
        .filter(is_it)
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        .sum()
}

fn https(uri: &str, ca: &Ca) -> String {
    format!(
        "subscriber:\n  uri: {uri}\n  CACerts: {}",
        block(&ca.pem, 4).trim_end()
    )
}

/// Destinations that fail: by what they fail, on the page and in the metrics.
#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_fails() {
    let (ca, sink) = (Ca::new("good"), Subscriber::ok().await);
    let outdated = Ca::valid("outdated", OffsetDateTime::now_utc() - Duration::days(1));
    let named = Subscriber::secure(&ca.issue(&["other.example"]), |_| Reply::status(200)).await;
    for (spec, reason, result) in [
        (
            format!("subscriber: {{uri: '{NOBODY}'}}"),
            "could not connect: Connection refused",
            "connect",
        ),
        (
            "subscriber: {uri: 'http://nowhere.invalid/'}".to_owned(),
            "could not connect",
            "connect",
        ),
        (
            https("https://localhost:1/", &outdated),
            "no certificate of CACerts is valid now",
            "trust",
        ),
        (
            https(&named.url(), &ca),
            "certificate not valid for name",
            "tls",
        ),
    ] {
        let dispatcher = Dispatcher::standalone(&with_sink(&spec, &sink)).await;
        assert_eq!(
            send(&plain(), dispatcher.http_url("/default/c"), "1").await,
            202
        );
        let row = row(&dispatcher, |row| row["counts"]["deadLettered"] == 1).await;
        let told = row["lastError"]["reason"].as_str().expect("a reason");
        assert!(told.contains(reason), "{told}");
        assert!(!row["lastDeadLetter"].is_null(), "{row:#}");
        let labels = [
            &format!("result=\"{result}\"")[..],
            "destination=\"subscriber\"",
        ];
        assert_eq!(
            sample(&dispatcher, "sealpost_subscription_attempts_total", &labels).await,
            1.0,
            "{reason}"
        );
        let buried = sample(
            &dispatcher,
            "sealpost_subscription_deliveries_total",
            &["outcome=\"dead_lettered\""],
        )
        .await;
        assert_eq!(buried, 1.0, "{reason}");
        assert_eq!(
            dispatcher
                .logged(&["A destination fails", reason, "\"WARN\""])
                .len(),
            1,
            "{}",
            dispatcher.log()
        );
    }
}

/// Without a dead letter sink the event is lost, and that is what is seen.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_lost() {
    let dispatcher = Dispatcher::standalone(&channel(&[(
        "s",
        format!("subscriber: {{uri: '{NOBODY}'}}"),
    )]))
    .await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "1").await,
        500
    );
    let row = row(&dispatcher, |row| row["counts"]["lost"] == 1).await;
    assert!(!row["lastLost"].is_null(), "{row:#}");
    assert_eq!(
        sample(&dispatcher, "sealpost_deliveries_lost_total", &[]).await,
        1.0
    );
    assert_eq!(
        sample(
            &dispatcher,
            "sealpost_subscription_dropped_total",
            &["reason=\"connect\""]
        )
        .await,
        1.0
    );
}

/// A subscriber whose own certificate expires while the process runs: what was connected goes on,
/// and the next handshake says it.
#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_whose_certificate_expires() {
    let (ca, sink) = (Ca::new("good"), Subscriber::ok().await);
    let until = OffsetDateTime::now_utc() + Duration::seconds(4);
    let identity = ca.issue_until(&["localhost"], until);
    // Each connection carries one request, so that the next event needs a handshake.
    let subscriber = Subscriber::secure_http1(&identity, |_| {
        Reply::status(200).header("connection", "close")
    })
    .await;
    let dispatcher =
        Dispatcher::standalone(&with_sink(&https(&subscriber.url(), &ca), &sink)).await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "1").await,
        202
    );
    assert_eq!(
        row(&dispatcher, |row| row["counts"]["delivered"] == 1).await["lastError"],
        Value::Null
    );
    crate::support::eventually("it expires", || {
        OffsetDateTime::now_utc() > until + Duration::seconds(1)
    })
    .await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "2").await,
        202
    );
    let row = row(&dispatcher, |row| row["counts"]["deadLettered"] == 1).await;
    let told = row["lastError"]["reason"].as_str().expect("a reason");
    assert!(told.contains("expired"), "{told}");
    assert_eq!(
        sample(
            &dispatcher,
            "sealpost_subscription_attempts_total",
            &["result=\"tls\""]
        )
        .await,
        1.0
    );
    assert_eq!(
        dispatcher
            .logged(&["A destination fails", "expired", "\"WARN\""])
            .len(),
        1,
        "{}",
        dispatcher.log()
    );
}

/// A manifest with a mistake: what was good stays in use, and the mistake is counted and shown with
/// its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_is_wrong() {
    let subscriber = Subscriber::ok().await;
    let good = channel(&[("s", format!("subscriber: {{uri: '{}'}}", subscriber.url()))]);
    let dispatcher = Dispatcher::standalone(&good).await;
    dispatcher
        .apply(&good.replace("subscriber:", "subscribr:"))
        .await;
    let row = row(&dispatcher, |row| row["ready"]["status"] == "False").await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "1").await,
        202
    );
    assert_eq!(subscriber.until(1).await.len(), 1, "{row:#}");
    assert!(
        sample(
            &dispatcher,
            "sealpost_configuration_problems",
            &["severity=\"error\""]
        )
        .await
            >= 1.0
    );
    assert!(
        !dispatcher
            .logged(&["Configuration has an error", "\"ERROR\""])
            .is_empty(),
        "{}",
        dispatcher.log()
    );
}
