//! What a hostile tenant does: its manifests, its subscribers, and its senders.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Its namespace, and its Broker.
const PATH: &str = "/hostile/b";
/// Connections of each of its kinds of senders.
const CONNECTIONS: usize = 16;
/// Connections that announce a body and do not send it.
const ANNOUNCED: usize = 200;
/// Bytes that a subscriber answers with which never ends, before it waits for the next request.
const HUGE: usize = 64 * 1024 * 1024;
/// How long a slow subscriber takes.
const SLOW: Duration = Duration::from_secs(20);

/// How a subscriber answers.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// After a long time.
    Slowly,
    /// With more than anybody reads.
    Hugely,
    /// With what is no HTTP.
    Falsely,
    /// With an event whose attribute is longer than the limit of a head.
    WithAnEvent,
}

/// Its subscribers, on loopback; ended when they are dropped.
pub(crate) struct Subscribers {
    urls: Vec<String>,
    _servers: JoinSet<()>,
}

impl Subscribers {
    pub(crate) async fn start() -> Self {
        let (mut urls, mut servers) = (Vec::new(), JoinSet::new());
        for answer in [
            Answer::Slowly,
            Answer::Hugely,
            Answer::Falsely,
            Answer::WithAnEvent,
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            urls.push(format!(
                "http://{}/",
                listener.local_addr().expect("an address")
            ));
            servers.spawn(serve(listener, answer));
        }
        Self {
            urls,
            _servers: servers,
        }
    }
}

async fn serve(listener: TcpListener, answer: Answer) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(converse(stream, answer));
        while connections.try_join_next().is_some() {}
    }
}

/// One answer to whatever has come, then the end of the connection.
async fn converse(mut stream: TcpStream, answer: Answer) {
    let mut request = vec![0; 4096];
    if stream.read(&mut request).await.is_err() {
        return;
    }
    let head =
        |length: usize| format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").into_bytes();
    let bytes = match answer {
        Answer::Slowly => {
            tokio::time::sleep(SLOW).await;
            head(0)
        }
        Answer::Hugely => head(HUGE),
        Answer::Falsely => b"HTTP/1.1 2oo ?\r\ncontent-length: 4, 5\r\n\r\n".to_vec(),
        Answer::WithAnEvent => {
            let json = format!(
                "{{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"{}\",\"type\":\"x\"}}",
                "s".repeat(512 * 1024)
            );
            let head =
                "HTTP/1.1 200 OK\r\ncontent-type: application/cloudevents+json\r\ncontent-length";
            format!("{head}: {}\r\n\r\n{json}", json.len()).into_bytes()
        }
    };
    let part = vec![b'x'; 16 * 1024];
    if stream.write_all(&bytes).await.is_ok() && matches!(answer, Answer::Hugely) {
        // Until nobody reads it any more.
        let mut left = HUGE;
        while left > 0 && stream.write_all(&part).await.is_ok() {
            left = left.saturating_sub(part.len());
        }
    }
}

/// Its Broker, with Triggers to each of its subscribers, and with filters that are as dear as
/// filters can be.
pub(crate) fn manifests(subscribers: &Subscribers) -> String {
    let mut yaml =
        "---\napiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: b, namespace: hostile}\n".to_owned();
    let likes = format!("x LIKE '{}b'", "%a".repeat(4_000));
    let concats = format!("LENGTH(CONCAT({})) > 0", vec!["x"; 4_000].join(", "));
    let filters = [
        String::new(),
        format!("filters: [{{cesql: \"{likes}\"}}]"),
        format!("filters: [{{cesql: \"{concats}\"}}]"),
    ];
    for (number, filter) in filters.iter().enumerate() {
        for (place, url) in subscribers.urls.iter().enumerate() {
            write!(
                yaml,
                "---\napiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {{name: h{number}-{place}, namespace: hostile}}\n\
                 spec:\n  broker: b\n  {filter}\n  subscriber: {{uri: '{url}'}}\n  delivery: {{retry: 2, backoffPolicy: linear, backoffDelay: PT1S}}\n"
            )
            .expect("a string");
        }
    }
    yaml
}

/// What it was answered, by status; 0 is no answer.
type Answers = Arc<Mutex<BTreeMap<u16, u64>>>;

/// Sends for so long, as much as it can, and prints what it was answered.
pub(crate) async fn run(address: SocketAddr, time: Duration) {
    let (until, answers) = (Instant::now() + time, Answers::default());
    let mut senders = JoinSet::new();
    for _ in 0..CONNECTIONS {
        for request in [large_attribute(), long_text(), large_body(), nonsense()] {
            senders.spawn(flood(address, request, until, Arc::clone(&answers)));
        }
    }
    for _ in 0..ANNOUNCED {
        senders.spawn(announce(address, until));
    }
    while senders.join_next().await.is_some() {}
    println!("{:?}", answers.lock().expect("no panic"));
}

fn request(headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: broker-ingress.knative-eventing.svc.cluster.local\r\n{headers}content-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// An event whose attribute is as long as a body may be.
fn large_attribute() -> Vec<u8> {
    let source = "s".repeat(8 * 1024 * 1024);
    let json = format!(
        "{{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"{source}\",\"type\":\"dev.sealpost.bench\"}}"
    );
    request(
        "content-type: application/cloudevents+json\r\n",
        json.as_bytes(),
    )
}

/// An event with the longest attribute that a head has room for, which filters have to read.
fn long_text() -> Vec<u8> {
    let text = "a".repeat(60_000);
    request(
        &format!(
            "ce-specversion: 1.0\r\nce-id: 1\r\nce-source: /h\r\nce-type: dev.sealpost.bench\r\nce-x: {text}\r\n"
        ),
        b"",
    )
}

fn large_body() -> Vec<u8> {
    request(
        "ce-specversion: 1.0\r\nce-id: 1\r\nce-source: /h\r\nce-type: dev.sealpost.bench\r\nce-x: a\r\n",
        &vec![b'x'; 1024 * 1024],
    )
}

fn nonsense() -> Vec<u8> {
    request(
        "content-type: application/cloudevents-batch+json\r\n",
        "[".repeat(100_000).as_bytes(),
    )
}

/// One request after the other on one connection, and a new one whenever that ends.
async fn flood(address: SocketAddr, request: Vec<u8>, until: Instant, answers: Answers) {
    while Instant::now() < until {
        let Ok(mut stream) = TcpStream::connect(address).await else {
            continue;
        };
        while Instant::now() < until {
            let status = tokio::time::timeout(SLOW, ask(&mut stream, &request))
                .await
                .ok()
                .flatten();
            *answers
                .lock()
                .expect("no panic")
                .entry(status.unwrap_or(0))
                .or_default() += 1;
            if status.is_none_or(|status| status != 202) {
                break;
            }
        }
    }
}

/// The status of an answer, whose body is short enough to come with its head.
async fn ask(stream: &mut TcpStream, request: &[u8]) -> Option<u16> {
    let mut answer = vec![0; 16 * 1024];
    stream.write_all(request).await.ok()?;
    let length = stream.read(&mut answer).await.ok()?;
    std::str::from_utf8(answer.get(..length)?)
        .ok()?
        .split(' ')
        .nth(1)?
        .parse()
        .ok()
}

/// Announces a body of ten megabytes, and sends a byte of it each second.
async fn announce(address: SocketAddr, until: Instant) {
    while Instant::now() < until {
        let head = format!(
            "POST {PATH} HTTP/1.1\r\nhost: h\r\nce-specversion: 1.0\r\nce-id: 1\r\nce-source: /h\r\nce-type: t\r\ncontent-length: 10000000\r\n\r\n"
        );
        let Ok(mut stream) = TcpStream::connect(address).await else {
            continue;
        };
        let mut bytes = head.into_bytes();
        while Instant::now() < until && stream.write_all(&bytes).await.is_ok() {
            bytes = b"x".to_vec();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}
