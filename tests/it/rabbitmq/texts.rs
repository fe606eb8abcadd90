//! Messages that somebody else has put into a queue: what they say is bounded, shown with nothing
//! hidden, and becomes no header that an event has not.

use std::sync::{Arc, Mutex};

use lapin::types::{AMQPValue, FieldArray};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::{channel, on, queue, take_events};
use crate::support::rabbitmq::{Client, header, namespace, shared};
use crate::support::subscriber::Subscriber;
use crate::support::{binary, eventually, eventually_some};

const HOSTILE: &str =
    "x\n2026-01-01T00:00:00Z ERROR sealpost: FORGED\u{1b}[31m\u{9b}2J\u{202e}\u{2028}\u{200b}";

/// A subscriber that keeps the bytes of requests as they come.
struct RawSubscriber {
    url: String,
    requests: Arc<Mutex<Vec<String>>>,
    _server: JoinSet<()>,
}

impl RawSubscriber {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (requests, mut server) = (Arc::<Mutex<Vec<String>>>::default(), JoinSet::new());
        let kept = Arc::clone(&requests);
        server.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                // Whatever else frames a message would have its end elsewhere.
                while !request.windows(4).any(|end| end == b"\r\n\r\n")
                    && stream.read_buf(&mut request).await.is_ok()
                {}
                kept.lock()
                    .expect("lock")
                    .push(String::from_utf8_lossy(&request).into_owned());
                drop(
                    stream
                        .write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
                        .await,
                );
            }
        });
        Self {
            url,
            requests,
            _server: server,
        }
    }

    /// The request with the event of this id.
    async fn request(&self, id: &str) -> String {
        eventually_some(&format!("the event {id} comes"), || {
            let requests = self.requests.lock().expect("lock");
            requests
                .iter()
                .find(|request| request.contains(&format!("\r\nce-id: {id}\r\n")))
                .cloned()
        })
        .await
    }
}

fn subscription(namespace: &str, url: &str) -> String {
    format!(
        "---\napiVersion: messaging.knative.dev/v1\nkind: Subscription\nmetadata: {{name: a, namespace: {namespace}}}\nspec:\n  channel: {{apiVersion: messaging.knative.dev/v1alpha1, kind: RabbitmqChannel, name: c}}\n  subscriber: {{uri: '{url}'}}\n"
    )
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

/// The headers of an event with this id, and others.
fn event<'h>(id: &'h str, others: &[(&'h str, AMQPValue)]) -> Vec<(&'h str, AMQPValue)> {
    let mut headers = vec![
        ("cloudEvents_specversion", text("1.0")),
        ("cloudEvents_id", text(id)),
        ("cloudEvents_source", text("/s")),
        ("cloudEvents_type", text("t")),
    ];
    headers.extend(others.iter().cloned());
    headers
}

/// What a message names as headers to be forwarded.
const LINES: &[&str] = &[
    "x-request-id:r",
    "x-b3-traceid:b",
    "knative-own:k",
    "retry-after:3",
    "authorization:Bearer stolen",
    "cookie:c=1",
    "x-forwarded-for:127.0.0.1",
    "forwarded:for=127.0.0.1",
    "host:other.example",
    "connection:x-b3-traceid",
    "content-length:3",
    "transfer-encoding:chunked",
    "te:trailers",
    "trailer:x",
    "upgrade:h2c",
    "expect:100-continue",
    "keep-alive:timeout=1",
    "proxy-authorization:Basic x",
    "proxy-connection:keep-alive",
    "http2-settings:x",
    "prefer:return=minimal",
    "kn-namespace:kube-system",
    "user-agent:kube-probe/1",
    "content-type:text/html",
    "accept-encoding:gzip",
    "ce-source:/forged",
    "x-original-url:/admin",
];

/// Contract CR-29, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn messages_make_no_headers() {
    let (namespace, subscriber) = (namespace(), RawSubscriber::start().await);
    let yaml = channel(&namespace) + &subscription(&namespace, &subscriber.url);
    let dispatcher = on(&shared(), &yaml).start().await;
    take_events(&dispatcher, &format!("/{namespace}/c")).await;
    let lines = AMQPValue::FieldArray(FieldArray::from(
        LINES.iter().map(|line| text(line)).collect::<Vec<_>>(),
    ));
    let client = Client::new(&shared()).await;
    let headers = event("forwarding", &[("x-sealpost-forwarded", lines)]);
    client
        .put(&queue(&namespace, "a"), "application/json", &headers, b"{}")
        .await;
    let request = subscriber.request("forwarding").await;
    let (head, _) = request.split_once("\r\n\r\n").expect("a head");
    let mut fields: Vec<&str> = head.split("\r\n").skip(1).collect();
    fields.sort_unstable();
    let host = subscriber.url.trim_start_matches("http://");
    let (host, namespace) = (
        format!("host: {host}"),
        format!("kn-namespace: {namespace}"),
    );
    let agent = concat!("user-agent: sealpost/", env!("CARGO_PKG_VERSION"));
    let expected = [
        "accept-encoding: identity",
        "ce-id: forwarding",
        "ce-source: /s",
        "ce-specversion: 1.0",
        "ce-type: t",
        "content-length: 2",
        "content-type: application/json",
        &host,
        &namespace,
        "knative-own: k",
        "prefer: reply",
        "retry-after: 3",
        agent,
        "x-b3-traceid: b",
        "x-request-id: r",
    ];
    assert_eq!(fields, expected);
}

/// One limit for attributes, in headers as in a body: a message beyond it is parked with the name
/// of the attribute. One that was let in is delivered, whatever has been added to it since.
#[tokio::test(flavor = "multi_thread")]
async fn long_attributes_are_parked() {
    let (namespace, subscriber) = (namespace(), Subscriber::ok().await);
    let yaml = channel(&namespace) + &subscription(&namespace, &subscriber.url());
    let dispatcher = on(&shared(), &yaml).start().await;
    take_events(&dispatcher, &format!("/{namespace}/c")).await;
    let (client, queue) = (Client::new(&shared()).await, queue(&namespace, "a"));
    let structured = |id: &str, bytes: usize| {
        let event = serde_json::json!({"specversion": "1.0", "id": id, "source": "/s", "type": "t", "long": "l".repeat(bytes)});
        event.to_string().into_bytes()
    };
    let json = "application/cloudevents+json";
    client
        .put(
            &queue,
            "text/plain",
            &event(
                "headers",
                &[("cloudEvents_long", text(&"l".repeat(80_000)))],
            ),
            b"",
        )
        .await;
    client
        .put(&queue, json, &[], &structured("body", 5_000_000))
        .await;
    client
        .put(&queue, json, &[], &structured("fits", 65_000))
        .await;
    eventually("the one that fits is delivered", || {
        subscriber
            .received()
            .iter()
            .any(|event| event.id() == "fits")
    })
    .await;
    dispatcher.until_counter("messages_parked_total", 2).await;
    let parked = format!("{queue}:parked");
    for _ in 0..2 {
        let (properties, _) = client.wait(&parked).await;
        let reason = header(&properties, "x-sealpost-reason").expect("a reason");
        assert!(
            reason.starts_with("not an event: attribute long is too long: it has "),
            "{reason}"
        );
        assert!(
            reason.contains("73728 are allowed") && reason.len() <= 1024,
            "{reason}"
        );
    }
    // Further ones within a minute are told as a sum.
    let lines = dispatcher.logged(&["Message parked", "attribute long is too long"]);
    assert!(
        lines.len() == 1 && lines.iter().all(|line| line.len() < 1024),
        "{lines:?}"
    );
}

/// What messages say, in the log and in what operators see of parked ones: one line each, with
/// nothing hidden.
#[tokio::test(flavor = "multi_thread")]
async fn messages_forge_nothing() {
    for format in ["text", "json"] {
        let (namespace, subscriber) = (namespace(), Subscriber::replying(&[400]).await);
        let yaml = channel(&namespace) + &subscription(&namespace, &subscriber.url());
        let dispatcher = on(&shared(), &yaml)
            .arg("--log-format")
            .arg(format)
            .arg("--log-level")
            .arg("debug")
            .start()
            .await;
        take_events(&dispatcher, &format!("/{namespace}/c")).await;
        let (client, queue) = (Client::new(&shared()).await, queue(&namespace, "a"));
        client
            .put(&queue, "text/plain", &event(HOSTILE, &[]), b"")
            .await;
        client
            .put(
                &queue,
                "text/plain",
                &event("1", &[("cloudEvents_specversion", text(HOSTILE))]),
                b"",
            )
            .await;
        client
            .put(
                &queue,
                "text/plain",
                &event("1", &[("cloudEvents_time", text(HOSTILE))]),
                b"",
            )
            .await;
        client.put(&queue, HOSTILE, &event("1", &[]), b"").await;
        dispatcher.until_counter("messages_parked_total", 2).await;
        // With the one that was sent to see whether the channel takes events.
        eventually("the events are parked, too", || {
            dispatcher.logged(&["vent parked"]).len() == 3
        })
        .await;
        let log = dispatcher.log();
        assert!(log.contains("FORGED"), "what was sent is told: {log}");
        for line in log.lines() {
            let is_json = serde_json::from_str::<serde_json::Value>(line)
                .is_ok_and(|line| line["message"].is_string());
            assert!(
                if format == "json" {
                    is_json
                } else {
                    !line.starts_with("2026-01-01")
                },
                "{line}"
            );
            assert!(!line.chars().any(is_hidden), "{line:?}");
        }
        let show = std::process::Command::new(binary())
            .args([
                "parked",
                "show",
                &format!("{namespace}/a"),
                "--admin",
                &format!("http://{}", dispatcher.admin),
            ])
            .output()
            .expect("it runs");
        let shown = String::from_utf8(show.stdout).expect("UTF-8");
        assert!(
            show.status.success() && shown.contains("FORGED"),
            "{shown} {}",
            String::from_utf8_lossy(&show.stderr)
        );
        assert!(
            shown
                .lines()
                .all(|line| !line.chars().any(is_hidden) && !line.starts_with("2026-01-01")),
            "{shown:?}"
        );
    }
}

fn is_hidden(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
}
