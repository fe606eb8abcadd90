//! What a sender may cost (contract IF-5, G-54).

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::dispatcher::Dispatcher;
use crate::support::sender::{event, plain, raw, read_response, send};
use crate::support::subscriber::{Reply, Subscriber};
use crate::support::{SOON, channel};

const HEAD: &str = "POST /default/c HTTP/1.1\r\nHost: localhost\r\nce-specversion: 1.0\r\nce-id: i1\r\nce-source: /s\r\nce-type: t\r\n";

/// A body of 100 MiB is refused and not kept (contract G-54).
#[tokio::test(flavor = "multi_thread")]
async fn a_huge_body() {
    let dispatcher = Dispatcher::standalone(&channel(&[])).await;
    let huge = Bytes::from(vec![b'x'; 100 * 1024 * 1024]);
    let (before, _) = dispatcher.memory_kib();
    let announced = event(&plain(), dispatcher.http_url("/default/c"), "i").body(huge.clone());
    let answer = announced.send().await.expect("an answer");
    assert_eq!(answer.status(), 413);
    assert!(
        answer
            .text()
            .await
            .expect("text")
            .contains("larger than 10485760 bytes")
    );
    let pieces = (0..100)
        .map(|at| Ok::<_, std::io::Error>(huge.slice(at * 1024 * 1024..(at + 1) * 1024 * 1024)));
    let chunked =
        reqwest::Body::wrap_stream(futures_util::stream::iter(pieces.collect::<Vec<_>>()));
    let answer = event(&plain(), dispatcher.http_url("/default/c"), "i")
        .body(chunked)
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 413);
    let (_, peak) = dispatcher.memory_kib();
    assert!(
        peak - before < 32 * 1024,
        "memory grew by {} KiB",
        peak - before
    );
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "i").await,
        202
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_the_allowed_size() {
    let dispatcher = Dispatcher::of(&channel(&[]))
        .arg("--max-body-bytes")
        .arg("1KiB")
        .start()
        .await;
    for (size, status) in [(1024, 202), (1025, 413)] {
        let request =
            event(&plain(), dispatcher.http_url("/default/c"), "i").body(vec![b'x'; size]);
        assert_eq!(
            request.send().await.expect("an answer").status().as_u16(),
            status,
            "{size}"
        );
    }
}

/// Contract CR-25 with a limit of our own.
#[tokio::test(flavor = "multi_thread")]
async fn a_huge_head() {
    let dispatcher = Dispatcher::standalone(&channel(&[])).await;
    let request = format!(
        "{HEAD}ce-ext: {}\r\nContent-Length: 0\r\n\r\n",
        "x".repeat(100 * 1024)
    );
    assert!(
        raw(dispatcher.http, request.as_bytes())
            .await
            .starts_with("HTTP/1.1 431")
    );
    let many: String = (0..500).map(|at| format!("x-{at}: 1\r\n")).collect();
    let request = format!("{HEAD}{many}Content-Length: 0\r\n\r\n");
    assert!(
        raw(dispatcher.http, request.as_bytes())
            .await
            .starts_with("HTTP/1.1 431")
    );
}

/// A head that comes byte by byte, a body that stalls, and a connection that does nothing end in
/// their time (contract A-8).
#[tokio::test(flavor = "multi_thread")]
async fn slow_senders() {
    let builder = Dispatcher::of(&channel(&[]))
        .arg("--header-read-timeout")
        .arg("PT0.3S");
    let dispatcher = builder
        .arg("--body-read-timeout")
        .arg("PT0.3S")
        .arg("--idle-timeout")
        .arg("PT1S")
        .start()
        .await;
    let connect = || TcpStream::connect(dispatcher.http);

    let mut head = connect().await.expect("connected");
    head.write_all(b"POST /default/c HT")
        .await
        .expect("written");
    assert_eq!(closed_after(&mut head).await, "", "a head that stalls");

    let mut body = connect().await.expect("connected");
    body.write_all(format!("{HEAD}Content-Length: 10\r\n\r\nabc").as_bytes())
        .await
        .expect("written");
    let answer = read_response(&mut body).await;
    assert!(
        answer.starts_with("HTTP/1.1 408") && answer.contains("--body-read-timeout"),
        "{answer}"
    );

    let mut idle = connect().await.expect("connected");
    assert_eq!(closed_after(&mut idle).await, "", "an idle connection");

    let mut used = connect().await.expect("connected");
    used.write_all(format!("{HEAD}Content-Length: 0\r\n\r\n").as_bytes())
        .await
        .expect("written");
    assert!(read_response(&mut used).await.starts_with("HTTP/1.1 202"));
    assert_eq!(
        closed_after(&mut used).await,
        "",
        "a connection that has become idle"
    );
}

async fn closed_after(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    tokio::time::timeout(SOON, stream.read_to_string(&mut text))
        .await
        .expect("closed soon")
        .expect("closed");
    text
}

/// A body that breaks off is no event.
#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_goes_away_in_the_middle() {
    let dispatcher = Dispatcher::standalone(&channel(&[])).await;
    let mut stream = TcpStream::connect(dispatcher.http)
        .await
        .expect("connected");
    stream
        .write_all(format!("{HEAD}Content-Length: 10\r\n\r\nabc").as_bytes())
        .await
        .expect("written");
    drop(stream);
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "i").await,
        202
    );
    assert_eq!(dispatcher.counter("events_accepted_total").await, 1);
}

/// Two thousand connections that do nothing leave room for one that does, and cost little.
#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_idle_connections() {
    rlimit::increase_nofile_limit(u64::MAX).expect("a limit");
    let dispatcher = Dispatcher::standalone(&channel(&[])).await;
    let (before, _) = dispatcher.memory_kib();
    let mut connections = Vec::new();
    for _ in 0..2_000 {
        connections.push(
            TcpStream::connect(dispatcher.http)
                .await
                .expect("connected"),
        );
    }
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "i").await,
        202
    );
    let (after, _) = dispatcher.memory_kib();
    assert!(
        after.saturating_sub(before) < 64 * 1024,
        "memory grew by {} KiB",
        after - before
    );
    drop(connections);
}

/// Beyond the limit connections wait, and get their turn.
#[tokio::test(flavor = "multi_thread")]
async fn more_connections_than_allowed() {
    let dispatcher = Dispatcher::of(&channel(&[]))
        .arg("--max-connections")
        .arg("2")
        .start()
        .await;
    let held: Vec<_> = [
        TcpStream::connect(dispatcher.http).await,
        TcpStream::connect(dispatcher.http).await,
    ]
    .into();
    let mut waiting = TcpStream::connect(dispatcher.http)
        .await
        .expect("connected");
    waiting
        .write_all(format!("{HEAD}Content-Length: 0\r\n\r\n").as_bytes())
        .await
        .expect("written");
    let early = tokio::time::timeout(Duration::from_millis(200), waiting.read_u8()).await;
    assert!(early.is_err(), "it waits");
    drop(held);
    assert!(
        read_response(&mut waiting)
            .await
            .starts_with("HTTP/1.1 202")
    );
}

/// All events together may hold only so much, whether in bodies or in headers.
#[tokio::test(flavor = "multi_thread")]
async fn memory_for_events_is_bounded() {
    let dispatcher = Dispatcher::of(&channel(&[]))
        .arg("--max-buffered-bytes")
        .arg("1KiB")
        .start()
        .await;
    let event = || event(&plain(), dispatcher.http_url("/default/c"), "i");
    for request in [
        event().body(vec![b'x'; 2048]),
        event().header("ce-large", "x".repeat(2048)),
    ] {
        let answer = request.send().await.expect("an answer");
        assert_eq!(
            (
                answer.status().as_u16(),
                answer.headers().contains_key("retry-after")
            ),
            (413, false),
            "it would never fit"
        );
    }
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "i").await,
        202,
        "what was held is given back"
    );
}

/// Attributes that do not come in headers are copies of what stands in the body, and longer where
/// they have to be encoded: they count, too.
#[tokio::test(flavor = "multi_thread")]
async fn copied_attributes_count() {
    let dispatcher = Dispatcher::of(&channel(&[]))
        .arg("--max-buffered-bytes")
        .arg("64KiB")
        .start()
        .await;
    for (text, status) in [("x".repeat(30_000), 202), ("é".repeat(15_000), 413)] {
        let event = serde_json::json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "x": text});
        let request = plain()
            .post(dispatcher.http_url("/default/c"))
            .header("content-type", "application/cloudevents+json");
        let answer = request
            .body(event.to_string())
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status(), status);
    }
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "i").await,
        202,
        "what was held is given back"
    );
}

/// A reply that waits to be sent again outlives the answer that it came in: it counts as long as it
/// waits.
#[tokio::test(flavor = "multi_thread")]
async fn replies_that_wait_count() {
    let large = Bytes::from(vec![b'r'; 1024 * 1024]);
    let subscriber = Subscriber::answering(move |_| Reply {
        body: large.clone(),
        ..Reply::event("reply", "r")
    })
    .await;
    let replies = Subscriber::replying(&[503, 200]).await;
    let spec = format!(
        "subscriber: {{uri: '{}'}}\nreply: {{uri: '{}'}}\ndelivery: {{retry: 1, backoffPolicy: exponential, backoffDelay: PT2S}}",
        subscriber.url(),
        replies.url()
    );
    let yaml = channel(&[("s", spec)]).replacen(
        "{name: c}",
        "{name: c, annotations: {messaging.knative.dev/async-handler: 'true'}}",
        1,
    );
    let dispatcher = Dispatcher::of(&yaml)
        .arg("--max-buffered-bytes")
        .arg("512KiB")
        .start()
        .await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "first").await,
        202
    );
    replies.until(1).await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "meanwhile").await,
        429
    );
    replies.until(2).await;
    dispatcher
        .until_counter("deliveries_delivered_total", 1)
        .await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "after").await,
        202
    );
}

/// Bodies that are announced and do not come take nothing from others, however many there are.
#[tokio::test(flavor = "multi_thread")]
async fn announced_bodies_take_nothing() {
    rlimit::increase_nofile_limit(u64::MAX).expect("a limit");
    let dispatcher = Dispatcher::of(&channel(&[]))
        .arg("--max-buffered-bytes")
        .arg("16MiB")
        .start()
        .await;
    let (before, _) = dispatcher.memory_kib();
    let head = format!("{HEAD}Content-Length: {}\r\n\r\n", 10 * 1024 * 1024);
    let mut announced = Vec::new();
    for _ in 0..1000 {
        let mut stream = TcpStream::connect(dispatcher.http)
            .await
            .expect("connected");
        stream.write_all(head.as_bytes()).await.expect("written");
        stream.write_all(b"some of it").await.expect("written");
        announced.push(stream);
    }
    for _ in 0..100 {
        let answer = event(&plain(), dispatcher.http_url("/default/c"), "i")
            .body(vec![b'x'; 64 * 1024])
            .send()
            .await;
        assert_eq!(answer.expect("an answer").status(), 202);
    }
    let (after, _) = dispatcher.memory_kib();
    assert!(
        after.saturating_sub(before) < 48 * 1024,
        "memory grew by {} KiB",
        after - before
    );
}

/// With few descriptors senders wait for a connection, all get their turn, and deliveries have
/// descriptors of their own.
#[tokio::test(flavor = "multi_thread")]
async fn few_descriptors() {
    let subscriber =
        Subscriber::answering(|_| Reply::status(200).after(Duration::from_millis(20))).await;
    let yaml = channel(&[("s", format!("subscriber: {{uri: '{}'}}", subscriber.url()))]);
    let asynchronous = yaml.replacen(
        "{name: c}",
        "{name: c, annotations: {messaging.knative.dev/async-handler: 'true'}}",
        1,
    );
    let dispatcher = Dispatcher::of(&asynchronous).descriptors(64).start().await;
    let url = dispatcher.http_url("/default/c");
    let senders = (0..200).map(|sender| {
        let (client, url) = (plain(), url.clone());
        async move {
            for id in 0..5 {
                assert_eq!(send(&client, &url, &format!("{sender}-{id}")).await, 202);
            }
        }
    });
    futures_util::future::join_all(senders).await;
    dispatcher
        .until_counter("deliveries_delivered_total", 1000)
        .await;
    assert_eq!(dispatcher.counter("deliveries_lost_total").await, 0);
    assert!(
        !dispatcher
            .logged(&["does not allow --max-connections"])
            .is_empty()
    );
}
