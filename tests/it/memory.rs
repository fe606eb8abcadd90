//! What events take in memory, against `--max-buffered-bytes`: within one and a half times that,
//! and so much for each connection. `SEALPOST_TEST_MEMORY=64MiB` measures with another limit; what
//! is measured is printed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::dispatcher::Dispatcher;
use crate::support::pki::Ca;
use crate::support::rabbitmq::{namespace, shared};
use crate::support::sender::{event, plain, send};
use crate::support::subscriber::{Reply, Subscriber};
use crate::support::{block, channel, eventually_some};

/// What a connection may take beside what is counted, in or out (docs/CONFIGURATION.md).
const PER_CONNECTION: u64 = 64;
/// Sizes of bodies.
const SIZES: [usize; 3] = [1024, 64 * 1024, 1024 * 1024];
/// Who answers so late that a test is over.
const LATE: Duration = Duration::from_secs(600);

/// The limit in MiB.
fn limit() -> usize {
    let named = std::env::var("SEALPOST_TEST_MEMORY").ok();
    named.map_or(16, |named| {
        named.trim_end_matches("MiB").parse().expect("so many MiB")
    })
}

/// Checks that a process takes no more beyond what it took `before` than is allowed for so many
/// connections; what it takes.
fn taken(what: &str, dispatcher: &Dispatcher, before: u64, connections: u64) -> String {
    let (_, peak) = dispatcher.memory_kib();
    let limit = limit() as u64;
    let (took, allowed) = (
        peak.saturating_sub(before),
        limit * 1024 * 3 / 2 + connections * PER_CONNECTION,
    );
    assert!(took <= allowed, "{what}: {took} KiB, {allowed} are allowed");
    format!(
        "{what}: {} MiB with a limit of {limit} MiB and {connections} connections",
        took / 1024
    )
}

/// Sends events of that size by so many connections until each has been refused or has waited for a
/// while; each sender ends when `over` says so. Gives how many were refused.
async fn overload(url: String, size: usize, connections: usize, over: Duration) -> usize {
    let refused = Arc::new(AtomicUsize::new(0));
    let body = bytes::Bytes::from(vec![b'x'; size]);
    let senders = (0..connections).map(|sender| {
        let (url, refused, body) = (url.clone(), Arc::clone(&refused), body.clone());
        let sending = async move {
            let client = plain();
            for id in 0.. {
                let answer = event(&client, &url, &format!("{sender}-{id}"))
                    .body(body.clone())
                    .send()
                    .await;
                if answer.is_ok_and(|answer| answer.status() == 429) {
                    refused.fetch_add(1, Ordering::Relaxed);
                    return;
                }
            }
        };
        async move { drop(tokio::time::timeout(over, sending).await) }
    });
    futures_util::future::join_all(senders).await;
    refused.load(Ordering::Relaxed)
}

/// In memory, with a subscriber that never answers: of a channel that acknowledges at once, whose
/// queue fills, and of one whose senders wait.
#[tokio::test(flavor = "multi_thread")]
async fn events_in_memory() {
    let stuck = Subscriber::answering(|_| Reply::status(200).after(LATE)).await;
    let waiting = channel(&[("s", format!("subscriber: {{uri: '{}'}}", stuck.url()))]);
    let queued = waiting.replacen(
        "{name: c}",
        "{name: c, annotations: {messaging.knative.dev/async-handler: 'true'}}",
        1,
    );
    for (kind, yaml, connections) in [("queued", queued, 32), ("waited for", waiting, 400)] {
        for size in SIZES {
            let builder = Dispatcher::of(&yaml)
                .arg("--max-buffered-bytes")
                .arg(format!("{}MiB", limit()));
            let dispatcher = builder.arg("--queue-capacity").arg("1000000").start().await;
            let (before, _) = dispatcher.memory_kib();
            let over = Duration::from_secs(if kind == "queued" {
                20 + 2 * limit() as u64
            } else {
                3
            });
            let refused =
                overload(dispatcher.http_url("/default/c"), size, connections, over).await;
            let is_full = kind == "queued" || size * connections > limit() << 20;
            assert!(
                refused > 0 || !is_full,
                "{kind}, {size}: nobody was refused"
            );
            let (held, limit) = (
                dispatcher.counter("buffered_bytes").await,
                (limit() << 20) as u64,
            );
            assert_eq!(dispatcher.counter("buffered_bytes_limit").await, limit);
            assert!(
                held <= limit && (kind != "queued" || held > limit / 2),
                "{kind}, {size}: {held} of {limit} bytes"
            );
            let what = format!("in memory, {kind}, bodies of {size} bytes");
            println!(
                "{}",
                taken(&what, &dispatcher, before, connections as u64 + 256)
            );
        }
    }
}

/// On RabbitMQ, with a subscriber that never answers: what waits there does not come here.
#[tokio::test(flavor = "multi_thread")]
async fn events_from_rabbitmq() {
    for size in SIZES {
        let (namespace, is_late) = (namespace(), Arc::new(AtomicBool::new(true)));
        let late = Arc::clone(&is_late);
        let stuck = Subscriber::answering(move |_| {
            Reply::status(200).after(if late.load(Ordering::Relaxed) {
                LATE
            } else {
                Duration::ZERO
            })
        })
        .await;
        let (metadata, kind) = (
            format!("namespace: {namespace}"),
            "messaging.knative.dev/v1alpha1",
        );
        let mut yaml = format!(
            "apiVersion: {kind}\nkind: RabbitmqChannel\nmetadata: {{name: c, {metadata}}}\n"
        );
        for name in ["a", "b"] {
            yaml.push_str(&format!(
                "---\napiVersion: messaging.knative.dev/v1\nkind: Subscription\nmetadata: {{name: {name}, {metadata}}}\nspec:\n  channel: {{apiVersion: {kind}, kind: RabbitmqChannel, name: c}}\n  subscriber: {{uri: '{}'}}\n",
                stuck.url()
            ));
        }
        let start = || {
            let builder = Dispatcher::of(&yaml).env("SEALPOST_RABBITMQ_URI", &shared());
            builder
                .arg("--max-buffered-bytes")
                .arg(format!("{}MiB", limit()))
                .arg("--drain-timeout")
                .arg("PT0.5S")
        };
        let dispatcher = start().start().await;
        let url = dispatcher.http_url(&format!("/{namespace}/c"));
        let count = (limit() << 21).div_ceil(size).min(3000);
        let body = bytes::Bytes::from(vec![b'x'; size]);
        let client = plain();
        for id in 0..count {
            let accepted = || async {
                let answer = event(&client, &url, &id.to_string())
                    .body(body.clone())
                    .send()
                    .await;
                answer.expect("an answer").status() == 202
            };
            let deadline = Instant::now() + Duration::from_secs(30);
            while !accepted().await {
                assert!(Instant::now() < deadline, "event {id} is not accepted");
            }
        }
        drop(dispatcher);
        let came = stuck.count();
        let dispatcher = start().start().await;
        let (before, _) = dispatcher.memory_kib();
        // It has what it takes when no more comes for a while.
        let mut last = (0, Instant::now());
        eventually_some("no more comes", || {
            let now = stuck.count() - came;
            if now != last.0 {
                last = (now, Instant::now());
            }
            (now > 0 && last.1.elapsed() > Duration::from_secs(2)).then_some(())
        })
        .await;
        println!(
            "{}",
            taken(
                &format!("from RabbitMQ, bodies of {size} bytes"),
                &dispatcher,
                before,
                512
            )
        );
        is_late.store(false, Ordering::Relaxed);
    }
}

/// Over HTTP/2, what differs from event to event does not stay with each connection.
/// `SEALPOST_TEST_SUBSCRIBERS=1000` makes it larger.
#[tokio::test(flavor = "multi_thread")]
async fn events_that_differ_over_http2() {
    rlimit::increase_nofile_limit(u64::MAX).expect("a limit");
    let count = std::env::var("SEALPOST_TEST_SUBSCRIBERS")
        .map_or(50, |count| count.parse().expect("a number"));
    let (mut subscribers, mut named) = (Vec::new(), Vec::new());
    for at in 0..count {
        let ca = Ca::new(&format!("CA {at}"));
        let subscriber =
            Subscriber::secure(&ca.issue(&["localhost"]), |_| Reply::status(200)).await;
        let spec = format!(
            "subscriber:\n  uri: '{}'\n  CACerts: {}",
            subscriber.url(),
            block(&ca.pem, 4)
        );
        named.push((format!("s{at}"), spec));
        subscribers.push(subscriber);
    }
    let named: Vec<_> = named
        .iter()
        .map(|(name, spec)| (name.as_str(), spec.clone()))
        .collect();
    let dispatcher = Dispatcher::standalone(&channel(&named)).await;
    let url = dispatcher.http_url("/default/c");
    let client = plain();
    assert_eq!(send(&client, &url, "first").await, 202);
    let (before, _) = dispatcher.memory_kib();
    for id in 0..100 {
        let event = event(&client, &url, &format!("{id}-{}", uuid::Uuid::new_v4()));
        let event = event.header("x-request-id", uuid::Uuid::new_v4().to_string());
        let event = event
            .header("ce-number", format!("{id:040}"))
            .header("ce-subject", format!("subject {id}"));
        assert_eq!(event.send().await.expect("an answer").status(), 202);
    }
    let (after, peak) = dispatcher.memory_kib();
    println!(
        "{count} over HTTP/2: {} MiB after one event, {} after 100, {} at most",
        before / 1024,
        after / 1024,
        peak / 1024
    );
    assert!(
        subscribers
            .iter()
            .all(|subscriber| subscriber.connections() == 1),
        "one connection each"
    );
    let grew = after.saturating_sub(before);
    assert!(grew < 4 * 1024 + 16 * count, "it grew by {grew} KiB");
}
