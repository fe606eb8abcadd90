//! Fan-out: when the sender gets its answer, and that no subscriber delays another (contract FO-1
//! to FO-9).

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::dispatcher::Dispatcher;
use crate::support::sender::{event, plain, send};
use crate::support::subscriber::{Reply, Subscriber};
use crate::support::{channel, eventually};

fn to(subscriber: &Subscriber) -> String {
    format!("subscriber: {{uri: '{}'}}", subscriber.url())
}

fn asynchronous(yaml: &str) -> String {
    yaml.replacen(
        "{name: c}",
        "{name: c, annotations: {messaging.knative.dev/async-handler: 'true'}}",
        1,
    )
}

/// Contract FO-3 to FO-6, A-13, A-14: a sync channel answers when all have ended, with 500 if one
/// of them has failed for good.
#[tokio::test(flavor = "multi_thread")]
async fn a_sync_channel_waits_for_all() {
    let (good, bad, sink) = (
        Subscriber::ok().await,
        Subscriber::replying(&[400]).await,
        Subscriber::ok().await,
    );
    let slow =
        Subscriber::answering(|_| Reply::status(200).after(Duration::from_millis(300))).await;
    let dispatcher =
        Dispatcher::standalone(&channel(&[("good", to(&good)), ("slow", to(&slow))])).await;
    let (client, url) = (plain(), dispatcher.http_url("/default/c"));
    let started = Instant::now();
    assert_eq!(send(&client, &url, "1").await, 202);
    assert!(
        started.elapsed() >= Duration::from_millis(300),
        "contract FO-4"
    );

    dispatcher
        .apply(&channel(&[("good", to(&good)), ("bad", to(&bad))]))
        .await;
    dispatcher
        .until_object("subscriptions", "bad", |object| !object.is_null())
        .await;
    let answer = event(&client, &url, "2").send().await.expect("an answer");
    assert_eq!(answer.status(), 500);
    assert!(
        answer
            .text()
            .await
            .expect("text")
            .contains("1 of 2 deliveries failed")
    );
    assert_eq!(
        good.received()
            .iter()
            .filter(|received| received.id() == "2")
            .count(),
        1,
        "contract FO-6"
    );

    let rescued = to(&bad) + &format!("\ndelivery: {{deadLetterSink: {{uri: '{}'}}}}", sink.url());
    dispatcher
        .apply(&channel(&[("good", to(&good)), ("bad", rescued)]))
        .await;
    eventually("the sink is configured", || true).await;
    dispatcher
        .until_object("subscriptions", "bad", |object| {
            object["status"]["physicalSubscription"]["deadLetterSinkUri"].is_string()
        })
        .await;
    assert_eq!(send(&client, &url, "3").await, 202, "contract FO-5");
    assert_eq!(sink.until(1).await[0].id(), "3");
}

/// What waits holds what it is, not the buffer of 8 KiB that it came in.
#[tokio::test(flavor = "multi_thread")]
async fn small_events_that_wait_hold_little_memory() {
    const EVENTS: u64 = 5_000;
    let silent =
        Subscriber::answering(|_| Reply::status(200).after(Duration::from_secs(600))).await;
    let dispatcher =
        Dispatcher::standalone(&asynchronous(&channel(&[("silent", to(&silent))]))).await;
    let (client, url) = (plain(), dispatcher.http_url("/default/c"));
    let take = |events: std::ops::Range<u64>| {
        futures_util::stream::iter(events).for_each_concurrent(32, |number| {
            let (client, url) = (&client, &url);
            async move { assert_eq!(send(client, url, &number.to_string()).await, 202) }
        })
    };
    // As many attempts as can be under way are, so that what comes now waits.
    take(0..600).await;
    silent.until(256).await;
    let (before, _) = dispatcher.memory_kib();
    take(600..600 + EVENTS).await;
    let (after, _) = dispatcher.memory_kib();
    assert_eq!(
        dispatcher.counter("deliveries_unfinished").await,
        600 + EVENTS
    );
    let each = after.saturating_sub(before) * 1024 / EVENTS;
    assert!(each < 4096, "{each} bytes for each event that waits");
}

/// Contract FO-1, FO-9, A-14, but live (unlike contract FO-2).
#[tokio::test(flavor = "multi_thread")]
async fn an_async_channel_answers_at_once() {
    let slow = Subscriber::answering(|_| Reply::status(200).after(Duration::from_secs(2))).await;
    let yaml = channel(&[("slow", to(&slow))]);
    let dispatcher = Dispatcher::standalone(&asynchronous(&yaml)).await;
    let started = Instant::now();
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "1").await,
        202
    );
    assert!(started.elapsed() < Duration::from_secs(1));
    dispatcher.apply(&yaml).await;
    dispatcher
        .until_object("channels", "c", |object| {
            object["metadata"]["annotations"].is_null()
        })
        .await;
    let started = Instant::now();
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "2").await,
        202
    );
    assert!(
        started.elapsed() >= Duration::from_secs(2),
        "contract FO-2 is not copied"
    );
}

/// A slow subscriber delays its own events only.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_subscriber_delays_nobody() {
    let slow = Subscriber::answering(|_| Reply::status(200).after(Duration::from_secs(60))).await;
    let fast = Subscriber::ok().await;
    let yaml = asynchronous(&channel(&[("slow", to(&slow)), ("fast", to(&fast))]));
    let dispatcher = Dispatcher::of(&yaml)
        .arg("--concurrency")
        .arg("2")
        .start()
        .await;
    let (client, url) = (plain(), dispatcher.http_url("/default/c"));
    for id in 0..100 {
        assert_eq!(send(&client, &url, &id.to_string()).await, 202);
    }
    fast.until(100).await;
    assert_eq!(slow.count(), 2, "as many attempts as are allowed at once");
}

/// Full queue: 429 with `Retry-After`, and nothing enqueued anywhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue() {
    let slow = Subscriber::answering(|_| Reply::status(200).after(Duration::from_secs(60))).await;
    let fast = Subscriber::ok().await;
    let yaml = asynchronous(&channel(&[("fast", to(&fast)), ("slow", to(&slow))]));
    let dispatcher = Dispatcher::of(&yaml)
        .arg("--queue-capacity")
        .arg("3")
        .start()
        .await;
    let (client, url) = (plain(), dispatcher.http_url("/default/c"));
    for id in 0..3 {
        assert_eq!(send(&client, &url, &id.to_string()).await, 202);
        fast.until(id + 1).await;
    }
    let answer = event(&client, &url, "refused")
        .send()
        .await
        .expect("an answer");
    assert_eq!(
        (
            answer.status().as_u16(),
            answer.headers()["retry-after"].as_bytes()
        ),
        (429, &b"1"[..])
    );
    assert_eq!(
        answer.text().await.expect("text"),
        "the queue of subscription default/slow is full: try again later\n"
    );
    assert_eq!(
        dispatcher.counter("deliveries_enqueued_total").await,
        6,
        "nothing of the refused event"
    );
    assert_eq!(fast.count(), 3);
}

/// A batch that would not fit into an empty queue is refused for good, and one that would is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_larger_than_the_queue() {
    let fast = Subscriber::ok().await;
    let yaml = asynchronous(&channel(&[("fast", to(&fast))]));
    let builder = Dispatcher::of(&yaml).arg("--queue-capacity").arg("3");
    let dispatcher = builder.start().await;
    let batch = |count: usize| {
        let one = |id| format!(r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"t"}}"#);
        let events: Vec<String> = (0..count).map(one).collect();
        let request = plain().post(dispatcher.http_url("/default/c"));
        let request = request.header("content-type", "application/cloudevents-batch+json");
        request.body(format!("[{}]", events.join(","))).send()
    };
    let refused = batch(4).await.expect("an answer");
    let (status, again) = (
        refused.status(),
        refused.headers().get("retry-after").cloned(),
    );
    assert_eq!((status.as_u16(), again), (413, None));
    assert_eq!(
        refused.text().await.expect("text"),
        "this request has more events for subscription default/fast than its queue takes (3): send \
         fewer or smaller events in one request\n"
    );
    assert_eq!(batch(3).await.expect("an answer").status(), 202);
    fast.until(3).await;
}

/// Not contract FO-8: a sender that hangs up changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_hangs_up() {
    let slow = Subscriber::answering(|received| match received.number {
        0 => Reply::status(503).after(Duration::from_millis(300)),
        _ => Reply::status(400),
    })
    .await;
    let sink = Subscriber::ok().await;
    let spec = to(&slow)
        + &format!(
            "\ndelivery: {{retry: 1, deadLetterSink: {{uri: '{}'}}}}",
            sink.url()
        );
    let dispatcher = Dispatcher::standalone(&channel(&[("s", spec)])).await;
    let mut stream = TcpStream::connect(dispatcher.http)
        .await
        .expect("connected");
    let request = b"POST /default/c HTTP/1.1\r\nHost: x\r\nce-specversion: 1.0\r\nce-id: 1\r\nce-source: /s\r\nce-type: t\r\nContent-Length: 0\r\n\r\n";
    stream.write_all(request).await.expect("written");
    slow.until(1).await;
    drop(stream);
    assert_eq!(sink.until(1).await[0].id(), "1");
    assert_eq!(slow.count(), 2);
}

/// A retry that waits holds nobody up: one event in ten is poison, one attempt runs at a time.
#[tokio::test(flavor = "multi_thread")]
async fn a_poison_event_delays_nobody() {
    let subscriber = Subscriber::answering(|received| {
        Reply::status(if received.id() == "0" { 503 } else { 200 })
    })
    .await;
    let spec =
        to(&subscriber) + "\ndelivery: {retry: 1, backoffPolicy: exponential, backoffDelay: PT1M}";
    let yaml = asynchronous(&channel(&[("s", spec)]));
    let dispatcher = Dispatcher::of(&yaml)
        .arg("--concurrency")
        .arg("1")
        .start()
        .await;
    for id in 0..20 {
        assert_eq!(
            send(&plain(), dispatcher.http_url("/default/c"), &id.to_string()).await,
            202
        );
    }
    subscriber.until(20).await;
    // The last answer may still be on its way.
    dispatcher.until_counter("deliveries_unfinished", 1).await;
}

/// With one attempt at a time, those that try again get their turn although nothing new comes.
#[tokio::test(flavor = "multi_thread")]
async fn retries_need_no_new_events() {
    let subscriber = Subscriber::replying(&[503, 503, 200]).await;
    let spec = to(&subscriber)
        + "\ndelivery: {retry: 5, backoffPolicy: exponential, backoffDelay: PT0.05S}";
    let dispatcher = Dispatcher::of(&channel(&[("s", spec)]))
        .arg("--concurrency")
        .arg("1")
        .start()
        .await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "1").await,
        202
    );
    assert_eq!(subscriber.count(), 3);
}
