//! Delivery to subscribers, replies and dead letter sinks over real sockets (contract DP-3 to
//! DP-33). Schedules in full are tested with time paused, beside the code.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::Version;

use crate::support::dispatcher::{Dispatcher, ready};
use crate::support::pki::Ca;
use crate::support::sender::{event, plain, send};
use crate::support::subscriber::{Received, Reply, Subscriber};
use crate::support::{block, channel, eventually, features};

/// A subscription with this subscriber and this delivery.
fn spec(subscriber: &str, delivery: &str) -> String {
    format!("subscriber: {{uri: '{subscriber}'}}\ndelivery: {{{delivery}}}")
}

fn sink(sink: &Subscriber) -> String {
    format!("deadLetterSink: {{uri: '{}'}}", sink.url())
}

fn gaps(received: &[Received]) -> Vec<u128> {
    received
        .windows(2)
        .map(|pair| pair[1].at.duration_since(pair[0].at).as_millis())
        .collect()
}

/// Contract A-40 to A-46, DP-14, DP-15: which statuses are success, which are retried, which are
/// final.
#[tokio::test(flavor = "multi_thread")]
async fn statuses() {
    let subscriber = Subscriber::answering(|received| {
        let status = received
            .header("ce-status")
            .expect("a status")
            .parse()
            .expect("a number");
        Reply::status(status).header("location", "http://localhost:1/elsewhere")
    })
    .await;
    let dispatcher =
        Dispatcher::standalone(&channel(&[("s", spec(&subscriber.url(), "retry: 1"))])).await;
    let mut expected = 0;
    for (status, answer, attempts) in [
        (200, 202, 1),
        (204, 202, 1),
        (299, 202, 1),
        (301, 500, 1),
        (302, 500, 1),
        (303, 500, 1),
        (304, 500, 1),
        (307, 500, 1),
        (400, 500, 1),
        (401, 500, 1),
        (403, 500, 1),
        (404, 500, 2),
        (408, 500, 2),
        (409, 500, 2),
        (410, 500, 1),
        (413, 500, 1),
        (422, 500, 1),
        (429, 500, 2),
        (500, 500, 2),
        (503, 500, 2),
        (599, 500, 2),
    ] {
        let request = event(&plain(), dispatcher.http_url("/default/c"), "i")
            .header("ce-status", status.to_string());
        assert_eq!(
            request.send().await.expect("an answer").status().as_u16(),
            answer,
            "{status}"
        );
        expected += attempts;
        assert_eq!(subscriber.count(), expected, "{status}");
        assert!(
            subscriber
                .received()
                .iter()
                .all(|received| received.method == http::Method::POST),
            "contract G-12"
        );
    }
}

/// Contract A-42, G-58: 307 and 308 repeat the request on the same host, and only there.
#[tokio::test(flavor = "multi_thread")]
async fn redirects_that_keep_the_request() {
    let subscriber = Subscriber::answering(|received| match received.path.as_str() {
        "/" => Reply::status(308).header("location", "/there"),
        _ => Reply::status(202),
    })
    .await;
    let dispatcher =
        Dispatcher::standalone(&channel(&[("s", spec(&subscriber.url(), "retry: 0"))])).await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "i").await,
        202
    );
    let received = subscriber.received();
    assert_eq!(
        (received[1].path.as_str(), received[1].id()),
        ("/there", "i")
    );
    assert_eq!(received[1].body, received[0].body);
}

/// Contract DP-16, DP-17, W-10, and exact sub-second delays (unlike contract DP-18).
#[tokio::test(flavor = "multi_thread")]
async fn backoff() {
    for (policy, expected) in [("linear", [0, 300, 600]), ("exponential", [300, 600, 1200])] {
        let subscriber = Subscriber::replying(&[503]).await;
        let delivery = format!("retry: 3, backoffPolicy: {policy}, backoffDelay: PT0.3S");
        let dispatcher =
            Dispatcher::standalone(&channel(&[("s", spec(&subscriber.url(), &delivery))])).await;
        assert_eq!(
            send(&plain(), dispatcher.http_url("/default/c"), "i").await,
            500
        );
        let gaps = gaps(&subscriber.received());
        assert_eq!(gaps.len(), 3);
        for (gap, expected) in gaps.iter().zip(expected) {
            assert!(
                (expected..expected + 290).contains(gap),
                "{policy}: {gaps:?}"
            );
        }
        assert_eq!(dispatcher.counter("delivery_retries_total").await, 3);
    }
}

/// Contract DP-19: `Retry-After` in both forms, bounded by `retryAfterMax`, ignored without it.
#[tokio::test(flavor = "multi_thread")]
async fn retry_after() {
    for (form, max, range) in [
        ("seconds", "retryAfterMax: PT10S", 1000..2500),
        ("date", "retryAfterMax: PT10S", 900..3500),
        ("seconds", "retryAfterMax: PT0.2S", 200..950),
        ("seconds", "timeout: PT10S", 0..900),
    ] {
        let subscriber = Subscriber::answering(move |received| {
            let later = SystemTime::now() + Duration::from_secs(2);
            let wait = if form == "date" {
                httpdate::fmt_http_date(later)
            } else {
                "1".to_owned()
            };
            Reply::status(if received.number == 0 { 429 } else { 200 }).header("retry-after", wait)
        })
        .await;
        let delivery = format!("retry: 1, {max}");
        let dispatcher =
            Dispatcher::standalone(&channel(&[("s", spec(&subscriber.url(), &delivery))])).await;
        assert_eq!(
            send(&plain(), dispatcher.http_url("/default/c"), "i").await,
            202
        );
        let gaps = gaps(&subscriber.received());
        assert!(range.contains(&gaps[0]), "{form} {max}: {gaps:?}");
    }
}

/// Contract DP-13, DP-30, W-5: the limit of each attempt; what did not answer is told as 500.
#[tokio::test(flavor = "multi_thread")]
async fn attempts_are_bounded_in_time() {
    let slow = Subscriber::answering(|_| Reply::status(200).after(Duration::from_secs(60))).await;
    let dead = Subscriber::ok().await;
    let delivery = format!("retry: 1, timeout: PT0.3S, {}", sink(&dead));
    let dispatcher = Dispatcher::standalone(&channel(&[("s", spec(&slow.url(), &delivery))])).await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "i").await,
        202
    );
    assert_eq!(slow.count(), 2);
    let letter = &dead.received()[0];
    assert_eq!(letter.header("ce-knativeerrorcode"), Some("500"));
    assert_eq!(error_data(letter), "dispatch error: no answer within 0.3 s");
}

fn error_data(letter: &Received) -> String {
    let data = letter.header("ce-knativeerrordata").expect("data");
    let bytes =
        base64::Engine::decode(&base64::engine::general_purpose::STANDARD, data).expect("base64");
    String::from_utf8(bytes).expect("text")
}

/// Contract DP-29 to DP-31, G-1: the answer's start goes with the dead letter, 768 bytes at most,
/// whatever its size.
#[tokio::test(flavor = "multi_thread")]
async fn failing_answers_of_any_size() {
    let subscriber = Subscriber::answering(|received| {
        let size: usize = received
            .header("ce-size")
            .expect("a size")
            .parse()
            .expect("a number");
        Reply::text(400, vec![b'x'; size])
    })
    .await;
    let dead = Subscriber::ok().await;
    let url = subscriber.url() + "path?query=1";
    let dispatcher = Dispatcher::standalone(&channel(&[("s", spec(&url, &sink(&dead)))])).await;
    for (count, size) in [0, 1, 768, 769, 5000, 1024 * 1024].into_iter().enumerate() {
        let request = event(&plain(), dispatcher.http_url("/default/c"), "i")
            .header("ce-size", size.to_string());
        assert_eq!(
            request.send().await.expect("an answer").status(),
            202,
            "{size}"
        );
        let letter = &dead.received()[count];
        assert_eq!(error_data(letter), "x".repeat(size.min(768)));
        assert_eq!(letter.header("ce-knativeerrordest"), Some(url.as_str()));
        assert_eq!(letter.header("ce-knativeerrorcode"), Some("400"));
        assert!(letter.header("ce-knativeerrordata").expect("data").len() <= 1024);
        assert_eq!(
            (letter.id(), letter.body.clone()),
            ("i", Bytes::from_static(br#"{"a":"b"}"#))
        );
        assert_eq!(letter.header("prefer"), None, "contract DP-7");
    }
}

/// Contract DP-6, DP-21 to DP-25, W-2, W-3, W-7, W-8.
#[tokio::test(flavor = "multi_thread")]
async fn replies() {
    let structured = r#"{"specversion":"1.0","id":"r","source":"/a b","type":"rt","time":"2020-01-01T10:00:00+02:00","flag":true,"data":"x"}"#;
    let subscriber = Subscriber::answering(move |received| match received.id() {
        "binary" => Reply {
            body: Bytes::from_static(b"hello"),
            ..Reply::event("rt", "r1")
        }
        .header("content-type", "text/plain")
        .header("x-request-id", "resp-rid")
        .header("x-other", "no"),
        "structured" => {
            Reply::text(200, structured).header("content-type", "application/cloudevents+json")
        }
        "empty" => Reply {
            status: 204,
            ..Reply::event("rt", "r2")
        },
        "broken" => Reply::text(200, "{").header("content-type", "application/cloudevents+json"),
        _ => Reply::text(200, "thanks"),
    })
    .await;
    let (reply, dead) = (Subscriber::ok().await, Subscriber::ok().await);
    let yaml =
        spec(&subscriber.url(), &sink(&dead)) + &format!("\nreply: {{uri: '{}'}}", reply.url());
    let dispatcher = Dispatcher::standalone(&channel(&[("s", yaml)])).await;
    for id in ["binary", "structured", "empty", "none", "broken"] {
        assert_eq!(
            send(&plain(), dispatcher.http_url("/default/c"), id).await,
            202,
            "{id}"
        );
    }
    let replies = reply.received();
    assert_eq!(replies.len(), 3);
    assert_eq!(
        (replies[0].id(), replies[0].header("content-type")),
        ("r1", Some("text/plain"))
    );
    assert_eq!(
        (
            replies[0].header("x-request-id"),
            replies[0].header("x-other")
        ),
        (Some("resp-rid"), None)
    );
    assert_eq!(
        (
            replies[0].header("kn-namespace"),
            replies[0].header("prefer")
        ),
        (Some("default"), None)
    );
    assert_eq!(replies[0].body, "hello");
    assert_eq!(
        (replies[1].header("ce-source"), replies[1].header("ce-flag")),
        (Some("/a%20b"), Some("true"))
    );
    assert_eq!(
        replies[1].header("ce-time"),
        Some("2020-01-01T10:00:00+02:00"),
        "contract G-42"
    );
    assert_eq!(replies[2].id(), "r2", "contract W-8");
    let letters = dead.received();
    assert_eq!(
        (
            letters.len(),
            letters[0].id(),
            letters[0].header("ce-knativeerrorcode")
        ),
        (1, "broken", Some("-1"))
    );
}

/// Contract DP-27: a reply that fails for good sends the original to the dead letter sink.
#[tokio::test(flavor = "multi_thread")]
async fn the_dead_letter_of_a_failed_reply() {
    let subscriber = Subscriber::answering(|_| Reply::event("rt", "r")).await;
    let reply = Subscriber::answering(|_| Reply::text(400, "bad reply")).await;
    let dead = Subscriber::ok().await;
    let yaml =
        spec(&subscriber.url(), &sink(&dead)) + &format!("\nreply: {{uri: '{}'}}", reply.url());
    let dispatcher = Dispatcher::standalone(&channel(&[("s", yaml)])).await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "i").await,
        202
    );
    let letter = &dead.received()[0];
    assert_eq!(
        (letter.id(), letter.header("ce-knativeerrordest")),
        ("i", Some(reply.url().as_str()))
    );
    assert_eq!(letter.header("ce-knativeerrordata"), Some("YmFkIHJlcGx5"));
    assert_eq!(subscriber.count(), 1);
}

/// What ends without a home is counted, and logged with subscription, event id and reason.
#[tokio::test(flavor = "multi_thread")]
async fn events_without_a_home() {
    let (subscriber, dead) = (
        Subscriber::replying(&[400]).await,
        Subscriber::replying(&[410]).await,
    );
    let url = subscriber.url() + "?token=secret";
    let yaml = channel(&[
        ("homeless", spec(&url, "retry: 0")),
        ("unlucky", spec(&url, &sink(&dead))),
    ]);
    let dispatcher = Dispatcher::of(&yaml)
        .arg("--log-format")
        .arg("json")
        .start()
        .await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "lost-one").await,
        500
    );
    assert_eq!(dispatcher.counter("deliveries_lost_total").await, 2);
    for (subscription, end) in [
        ("homeless", "there is no dead letter sink"),
        ("unlucky", "the dead letter sink failed too"),
    ] {
        let lines = dispatcher.logged(&[
            "\"level\":\"ERROR\"",
            &format!("subscription default/{subscription}"),
            "lost-one",
            "answered 400",
            end,
        ]);
        assert_eq!(lines.len(), 1, "{subscription}");
        let line: serde_json::Value = serde_json::from_str(&lines[0]).expect("JSON");
        assert_eq!(line["attempts"], 1);
    }
    assert!(
        !dispatcher.log().contains("secret"),
        "what a URL's query holds is not logged"
    );
}

/// A peer that refuses, or goes away in the middle.
#[tokio::test(flavor = "multi_thread")]
async fn peers_that_are_gone() {
    let mut gone = Subscriber::ok().await;
    let dead = Subscriber::ok().await;
    gone.stop().await;
    let cutting = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let cutting_url = format!("http://{}/", cutting.local_addr().expect("an address"));
    let cutter = tokio::spawn(async move {
        for _ in 0..2 {
            let (mut stream, _) = cutting.accept().await.expect("a connection");
            tokio::io::AsyncReadExt::read_u8(&mut stream)
                .await
                .expect("a byte");
        }
    });
    for (url, words) in [
        (gone.url(), "could not connect"),
        (cutting_url, "request failed"),
    ] {
        let delivery = format!("retry: 1, {}", sink(&dead));
        let dispatcher = Dispatcher::standalone(&channel(&[("s", spec(&url, &delivery))])).await;
        assert_eq!(
            send(&plain(), dispatcher.http_url("/default/c"), "i").await,
            202
        );
        let letters = dead.received();
        let letter = letters.last().expect("a letter");
        assert_eq!(
            letter.header("ce-knativeerrorcode"),
            Some("500"),
            "contract DP-30"
        );
        assert!(error_data(letter).contains(words), "{}", error_data(letter));
        assert_eq!(
            dispatcher.counter("delivery_retries_total").await,
            1,
            "contract A-47"
        );
    }
    cutter.await.expect("two connections");
}

/// HTTP/2 by ALPN, HTTP/1.1 without TLS; connections are used again.
#[tokio::test(flavor = "multi_thread")]
async fn connections_are_reused() {
    let ca = Ca::new("reuse");
    let secure = Subscriber::secure(&ca.issue(&["localhost"]), |_| Reply::status(200)).await;
    let simple = Subscriber::ok().await;
    let trusted = format!(
        "subscriber:\n  uri: {}\n  CACerts: {}",
        secure.url(),
        block(&ca.pem, 4)
    );
    let yaml = channel(&[
        ("secure", trusted),
        ("simple", spec(&simple.url(), "retry: 0")),
    ]);
    let dispatcher = Dispatcher::standalone(&yaml).await;
    for id in 0..20 {
        assert_eq!(
            send(&plain(), dispatcher.http_url("/default/c"), &id.to_string()).await,
            202
        );
    }
    assert_eq!((secure.connections(), simple.connections()), (1, 1));
    assert!(
        secure
            .received()
            .iter()
            .all(|received| received.version == Version::HTTP_2)
    );
    assert!(
        simple
            .received()
            .iter()
            .all(|received| received.version == Version::HTTP_11)
    );
}

/// Contract DP-8, G-35: `delivery.format: json`.
#[tokio::test(flavor = "multi_thread")]
async fn the_json_format() {
    let subscriber = Subscriber::ok().await;
    let dispatcher =
        Dispatcher::standalone(&channel(&[("s", spec(&subscriber.url(), "format: json"))])).await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "i").await,
        202
    );
    let received = &subscriber.received()[0];
    assert_eq!(
        received.header("content-type"),
        Some("application/cloudevents+json")
    );
    let json: serde_json::Value = serde_json::from_slice(&received.body).expect("JSON");
    let expected = serde_json::json!({"specversion":"1.0","id":"i","source":"/test","type":"test.event","datacontenttype":"application/json","data":{"a":"b"}});
    assert_eq!(json, expected);
}

/// Contract IF-1, IF-2: `--resolve` and endpoints say where a cluster host really is.
#[tokio::test(flavor = "multi_thread")]
async fn cluster_hosts_are_found() {
    let ca = Ca::new("resolve");
    let host = "sink.default.svc.cluster.local";
    let secure = Subscriber::secure(&ca.issue(&[host]), |_| Reply::status(200)).await;
    let simple = Subscriber::ok().await;
    let reference = "{ref: {apiVersion: v1, kind: Service, name: ";
    let service = format!(
        "---\napiVersion: v1\nkind: Service\nmetadata:\n  name: annotated\n  annotations: {{sealpost.dev/endpoint: '{}'}}\n",
        simple.url()
    );
    let subscriptions = [
        (
            "tls",
            format!(
                "subscriber:\n  uri: /in\n  ref: {{apiVersion: v1, kind: Service, name: sink}}\n  CACerts: {}",
                block(&ca.pem, 4)
            ),
        ),
        (
            "port",
            format!(
                "subscriber:\n  uri: https://{host}:8443/port\n  CACerts: {}",
                block(&ca.pem, 4)
            ),
        ),
        (
            "annotated",
            format!("subscriber: {reference}annotated}}, uri: /x}}"),
        ),
    ];
    let yaml = channel(&subscriptions) + &service;
    let dispatcher = Dispatcher::of(&yaml)
        .arg("--resolve")
        .arg(format!("{host}={}", secure.address()))
        .start()
        .await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "i").await,
        202
    );
    eventually("both", || secure.count() == 2 && simple.count() == 1).await;
    let mut paths: Vec<String> = secure
        .received()
        .iter()
        .map(|received| received.path.clone())
        .collect();
    paths.sort();
    assert_eq!(paths, ["/in", "/port"]);
    assert_eq!(simple.received()[0].path, "/x");
}

/// Contract DP-5: a Subscription of another namespace gets the channel's as `Kn-Namespace`.
#[tokio::test(flavor = "multi_thread")]
async fn across_namespaces() {
    let subscriber = Subscriber::ok().await;
    let foreign = format!(
        "---\napiVersion: messaging.knative.dev/v1\nkind: Subscription\nmetadata: {{name: outsider, namespace: analytics}}\nspec:\n  channel: {{apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel, name: c, namespace: default}}\n  subscriber: {{uri: '{}'}}\n",
        subscriber.url()
    );
    let links = format!(
        "---\n{}  cross-namespace-event-links: enabled\n",
        features("disabled")
    );
    let dispatcher = Dispatcher::standalone(&(channel(&[]) + &foreign + &links)).await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "i").await,
        202
    );
    assert_eq!(
        subscriber.received()[0].header("kn-namespace"),
        Some("default")
    );
    // It goes when the links go.
    let links = format!(
        "---\n{}  cross-namespace-event-links: disabled\n",
        features("disabled")
    );
    dispatcher.apply(&(channel(&[]) + &foreign + &links)).await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "nobody").await,
        202
    );
    assert_eq!(subscriber.count(), 1);
    let object = dispatcher.object("subscriptions", "outsider").await;
    assert_eq!(ready(&object)["status"], "False");
}

/// A request has its token in it: it is not logged, whatever is asked for.
#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_logged() {
    let subscriber = Subscriber::ok().await;
    let of = Dispatcher::of(&channel(&[("s", spec(&subscriber.url(), "retry: 0"))]));
    let dispatcher = of.arg("--log-level").arg("trace").start().await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "1").await,
        202
    );
    assert_eq!(subscriber.received().len(), 1);
    assert_eq!(dispatcher.logged(&["kn-namespace"]), [""; 0]);
    assert!(dispatcher.log().contains("TRACE"), "the level is that");
}
