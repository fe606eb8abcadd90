//! Texts that others choose: attributes are small in whichever mode they come, nothing that
//! outlives a request is large, and a log says only what this program says.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::support::dispatcher::Dispatcher;
use crate::support::sender::{event, plain, read_response, send, trusting};
use crate::support::subscriber::{Reply, Subscriber};
use crate::support::{channel, eventually, features};

/// The limit without a flag.
const LIMIT: usize = 64 * 1024;

/// A line of somebody else's, a terminal's colours and cursor, and an order of letters that is not
/// theirs.
const HOSTILE: &str = "x\n2026-01-01T00:00:00.000000Z ERROR sealpost: FORGED\u{1b}[31m\r\u{9b}2J\u{7f}\u{202e}\u{2028}\u{200b}";

fn structured(attributes: &Value) -> Bytes {
    let mut event = json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "t"});
    for (name, value) in attributes.as_object().expect("an object") {
        event[name] = value.clone();
    }
    Bytes::from(event.to_string())
}

async fn post(dispatcher: &Dispatcher, content_type: &str, body: Bytes) -> (u16, String) {
    let request = plain()
        .post(dispatcher.http_url("/default/c"))
        .header("content-type", content_type)
        .body(body);
    let answer = request.send().await.expect("an answer");
    (answer.status().as_u16(), answer.text().await.expect("text"))
}

/// One limit, whichever mode an event comes in: 400 with the name of the attribute, as long as the
/// flag says.
#[tokio::test(flavor = "multi_thread")]
async fn attributes_are_small_in_each_mode() {
    const ONE: &str = "application/cloudevents+json";
    const BATCH: &str = "application/cloudevents-batch+json";
    let subscriber = Subscriber::ok().await;
    let yaml = channel(&[("s", format!("subscriber: {{uri: '{}'}}", subscriber.url()))])
        + "---\n"
        + &features("permissive");
    let dispatcher = Dispatcher::standalone(&yaml).await;
    let long = structured(&json!({"source": format!("/{}", "s".repeat(LIMIT))}));
    let many = structured(&json!({"a": "a".repeat(LIMIT / 2), "b": "b".repeat(LIMIT / 2 + 1)}));
    let batch = |event: &Bytes| {
        Bytes::from([b"[", &structured(&json!({}))[..], b",", &event[..], b"]"].concat())
    };
    for (content_type, body, before) in [
        (ONE, long.clone(), ""),
        (BATCH, batch(&long), "event 1 of the batch: "),
        (ONE, many.clone(), ""),
        (BATCH, batch(&many), "event 1 of the batch: "),
    ] {
        let (status, text) = post(&dispatcher, content_type, body).await;
        let name = if text.contains("attribute source") {
            "source"
        } else {
            "b"
        };
        assert_eq!(status, 400, "{text}");
        assert!(
            text.starts_with(&format!("{before}attribute {name} is too long: it has ")),
            "{text}"
        );
        assert!(
            text.contains("65536 are allowed") && text.len() < 400,
            "{text}"
        );
    }
    // By HTTP/2 a head has no lines, and its limit is reckoned otherwise.
    let secure = trusting(&dispatcher.ca());
    let answer = event(&secure, dispatcher.https_url("/default/c"), "1")
        .header("ce-x", "x".repeat(LIMIT))
        .send()
        .await;
    let answer = answer.expect("an answer");
    assert!(
        matches!(answer.status().as_u16(), 400 | 431),
        "{}",
        answer.status()
    );
    assert_eq!(subscriber.count(), 0);
    let fits = structured(&json!({"x": "x".repeat(LIMIT - 100)}));
    assert_eq!(post(&dispatcher, ONE, fits.clone()).await.0, 202);
    let got = subscriber.until(1).await.remove(0);
    assert_eq!(got.header("ce-x").map(str::len), Some(LIMIT - 100));
    let strict = Dispatcher::of(&yaml)
        .arg("--max-header-bytes")
        .arg("8KiB")
        .start()
        .await;
    let (status, text) = post(&strict, ONE, fits).await;
    assert!(
        status == 400
            && text.contains("attribute x is too long")
            && text.contains("8192 are allowed"),
        "{text}"
    );
}

/// A reply with such an attribute is a reply that failed: its cause goes to the dead letter sink,
/// the log tells why.
#[tokio::test(flavor = "multi_thread")]
async fn replies_are_small_too() {
    let long = structured(&json!({"source": format!("/{}", "s".repeat(1 << 20))}));
    let subscriber = Subscriber::answering(move |_| {
        Reply::text(200, long.clone()).header("content-type", "application/cloudevents+json")
    })
    .await;
    let (replies, dead) = (Subscriber::ok().await, Subscriber::ok().await);
    let spec = format!(
        "subscriber: {{uri: '{}'}}\nreply: {{uri: '{}'}}\ndelivery: {{deadLetterSink: {{uri: '{}'}}}}",
        subscriber.url(),
        replies.url(),
        dead.url()
    );
    let dispatcher = Dispatcher::standalone(&channel(&[("s", spec)])).await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "cause").await,
        202
    );
    let got = dead.until(1).await.remove(0);
    assert_eq!(
        (got.id(), got.header("ce-knativeerrorcode"), replies.count()),
        ("cause", Some("-1"), 0)
    );
    let lines = dispatcher.logged(&[
        "A subscriber's replies cannot be read",
        "attribute source is too long",
    ]);
    assert_eq!(lines.len(), 1, "{}", dispatcher.log());
    assert!(lines[0].len() < 1024, "{}", lines[0]);
}

/// Somebody who takes connections and says nothing.
async fn silent() -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            connections.spawn(async move { while stream.read_u8().await.is_ok() {} });
        }
    });
    (url, tasks)
}

/// Sends 500 structured events, of which every fiftieth is the second one; each has its status.
async fn send_many(url: String, [usual, rare]: [(Bytes, u16); 2]) {
    let client = plain();
    for number in 1..=500 {
        let (body, expected) = if number % 50 == 0 {
            rare.clone()
        } else {
            usual.clone()
        };
        let request = client
            .post(&url)
            .header("content-type", "application/cloudevents+json")
            .body(body);
        assert_eq!(request.send().await.expect("an answer").status(), expected);
    }
}

/// What is told of an event outlives it, and waits while a collector is silent: many events with
/// the longest attributes that are taken, and many with longer ones that are not, leave little
/// behind.
#[tokio::test(flavor = "multi_thread")]
async fn what_outlives_a_request_is_small() {
    let (collector, _silent) = silent().await;
    let failing = Subscriber::answering(|_| Reply::text(400, "e".repeat(100_000))).await;
    let yaml = channel(&[("s", format!("subscriber: {{uri: '{}'}}", failing.url()))]);
    let builder = Dispatcher::of(&yaml)
        .arg("--tracing-endpoint")
        .arg(&collector);
    let dispatcher = builder
        .arg("--max-buffered-bytes")
        .arg("32MiB")
        .arg("--log-level")
        .arg("debug")
        .start()
        .await;
    let (before, _) = dispatcher.memory_kib();
    let long = |bytes: usize| {
        structured(
            &json!({"id": "i".repeat(bytes), "type": "t".repeat(bytes), "source": "s".repeat(bytes), "subject": "u".repeat(bytes)}),
        )
    };
    let (longest, longer) = (long(LIMIT / 4 - 20), long(2_000_000));
    let mut senders = JoinSet::new();
    for _ in 0..4 {
        let url = dispatcher.http_url("/default/c");
        senders.spawn(send_many(
            url,
            [(longest.clone(), 500), (longer.clone(), 400)],
        ));
    }
    senders.join_all().await;
    assert!(
        dispatcher.counter("spans_dropped_total").await > 0,
        "more spans were made than may wait"
    );
    let (after, _) = dispatcher.memory_kib();
    // 16 MiB of spans and two requests with them, 32 MiB of bodies that may be there at once, and
    // what an allocator keeps of them: 29 to 63 MiB in nine runs. The attributes of all 2,000
    // events would be 450 MiB.
    let grown = after.saturating_sub(before);
    println!(
        "2,000 events with the longest attributes, traced to a silent collector: {} MiB more",
        grown / 1024
    );
    assert!(grown < 128 * 1024, "memory grew by {grown} KiB");
    let longest = dispatcher.log().lines().map(str::len).max();
    assert!(
        longest.is_some_and(|longest| longest < 4096),
        "a line of {longest:?} bytes"
    );
}

/// A subscriber that answers these bytes, whatever it is sent.
async fn saying(answer: Vec<u8>) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 64 * 1024];
            if stream.read(&mut request).await.is_ok() && stream.write_all(&answer).await.is_ok() {
                drop(stream.shutdown().await);
            }
        }
    });
    (url, tasks)
}

fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Sends what should not be in a log, wherever a sender may put it.
async fn confuse(dispatcher: &Dispatcher) {
    let encoded: String = HOSTILE.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let url = dispatcher.http_url("/default/c");
    let hostile = event(&plain(), &url, &encoded)
        .header("ce-source", &encoded)
        .header("ce-subject", &encoded);
    assert_eq!(hostile.send().await.expect("an answer").status(), 500);
    for attributes in [
        json!({"id": HOSTILE}),
        json!({"specversion": HOSTILE}),
        json!({"time": HOSTILE}),
        json!({HOSTILE: 1}),
        json!({"datacontenttype": HOSTILE}),
    ] {
        let (status, text) = post(
            dispatcher,
            "application/cloudevents+json",
            structured(&attributes),
        )
        .await;
        assert!(matches!(status, 400 | 500), "{status} {text}");
        assert!(
            !text.trim_end_matches('\n').chars().any(is_hidden) && text.len() < 700,
            "{text:?}"
        );
    }
    for head in [
        format!("POST /default/c{encoded} HTTP/1.1\r\nhost: {encoded}\r\n\r\n").into_bytes(),
        b"POST /default/\x1b[31m HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(),
        b"POST /default/c HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\ncontent-type: application/cloudevents\x9b2J\xe2\x80\xae\r\nuser-agent: \x9b31m\r\nauthorization: Bearer \x9b31m\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x1b[31m\nFORGED".to_vec(),
    ] {
        let mut stream = TcpStream::connect(dispatcher.http).await.expect("connected");
        stream.write_all(&head).await.expect("written");
        drop(tokio::time::timeout(Duration::from_secs(5), read_response(&mut stream)).await);
        let mut stream = TcpStream::connect(dispatcher.https).await.expect("connected");
        stream.write_all(&head).await.expect("written");
        stream.shutdown().await.expect("closed");
    }
}

/// Everything that a stranger may choose, in logs for people and for machines: each line is one of
/// this program's, and no byte of it controls a terminal.
#[tokio::test(flavor = "multi_thread")]
async fn logs_cannot_be_forged() {
    let odd = b"HTTP/1.1 400 Bad\x1b[31m\r\nx\x9b2J: \x1b[31m\r\ncontent-type: text/\x1b[31m\r\n\r\n\x1b[31mFORGED\n"
        .to_vec();
    let coded =
        b"HTTP/1.1 200 OK\r\nce-specversion: 1.0\r\nce-id: 1\r\ncontent-encoding: \x9b2J\xe2\x80\xae\r\n\r\nx".to_vec();
    let structured_reply = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/cloudevents+json\r\n\r\n{}",
        json!({"specversion": HOSTILE, "id": HOSTILE})
    );
    let mut subscriptions = Vec::new();
    let mut servers = Vec::new();
    for (name, answer) in [
        ("odd", odd),
        ("coded", coded),
        ("structured", structured_reply.into_bytes()),
        ("none", b"\x1b[31m\n\x9b".to_vec()),
    ] {
        let (url, server) = saying(answer).await;
        servers.push(server);
        subscriptions.push((
            name,
            format!("subscriber: {{uri: '{url}'}}\nreply: {{uri: '{url}'}}"),
        ));
    }
    for format in ["text", "json"] {
        let dispatcher = Dispatcher::of(&channel(&subscriptions))
            .arg("--log-format")
            .arg(format)
            .arg("--log-level")
            .arg("debug")
            .start()
            .await;
        confuse(&dispatcher).await;
        eventually("all is told", || {
            dispatcher.logged(&["TLS handshake failed"]).len() > 2
        })
        .await;
        let log = std::fs::read(dispatcher.path("stderr")).expect("a log");
        let log = String::from_utf8(log).expect("UTF-8");
        assert!(log.contains("FORGED"), "what was sent is told: {log}");
        for line in log.lines() {
            assert!(!line.chars().any(is_hidden), "{line:?}");
            assert!(is_ours(line, format) && line.len() < 4096, "{line:?}");
        }
    }
}

/// Whether a line begins as those of this program do: the time, and the level.
fn is_ours(line: &str, format: &str) -> bool {
    if format == "json" {
        let line: Value = serde_json::from_str(line).unwrap_or_default();
        return ["timestamp", "level", "message"]
            .iter()
            .all(|field| line[field].is_string());
    }
    // The forged one is of another year.
    let mut words = line.split_whitespace();
    words
        .next()
        .is_some_and(|time| time.ends_with('Z') && !time.starts_with("2026-01-01T00:00:00"))
        && words
            .next()
            .is_some_and(|level| ["ERROR", "WARN", "INFO", "DEBUG"].contains(&level))
}
