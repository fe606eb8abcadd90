//! The listener by the book: hosts, the server as a whole, what a connection may do between
//! requests, and how one ends (RFC 9110, RFC 9112, RFC 9113).

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::channel;
use crate::support::dispatcher::Dispatcher;
use crate::support::sender::{raw, read_response};
use crate::support::subscriber::{Reply, Subscriber};
use crate::support::{SOON, eventually};

const EVENT: &str = "ce-specversion: 1.0\r\nce-id: i1\r\nce-source: /s\r\nce-type: t\r\n";
/// How a connection over HTTP/2 begins: the preface and empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const GOAWAY: u8 = 7;

fn post(version: &str, target: &str, hosts: &[&str]) -> String {
    let hosts: String = hosts
        .iter()
        .map(|host| format!("Host: {host}\r\n"))
        .collect();
    format!("POST {target} HTTP/{version}\r\n{hosts}{EVENT}Content-Length: 0\r\n\r\n")
}

async fn connect(dispatcher: &Dispatcher) -> TcpStream {
    TcpStream::connect(dispatcher.http)
        .await
        .expect("connected")
}

/// RFC 9112, 3.2: a request for no host, for two, or for something that is none, is refused before
/// anything else.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_for_one_host() {
    let dispatcher = Dispatcher::standalone(&channel(&[])).await;
    for (version, target, hosts, status) in [
        ("1.1", "/default/c", &["localhost"][..], 202),
        ("1.1", "/default/c", &["[::1]:8080"], 202),
        ("1.1", "/default/c", &[], 400),
        ("1.1", "/default/c", &["localhost", "localhost"], 400),
        ("1.1", "/default/c", &["localhost", "other"], 400),
        ("1.1", "/default/c", &[""], 400),
        ("1.1", "/default/c", &["local host"], 400),
        ("1.1", "/default/c", &["localhost:http"], 400),
        ("1.1", "/default/c", &["user@localhost"], 400),
        ("1.1", "/default/c", &["localhost/x"], 400),
        ("1.1", "http://localhost/default/c", &["localhost"], 202),
        ("1.1", "http://localhost/default/c", &[], 400),
        ("1.0", "/default/c", &[], 202),
        ("1.0", "/default/c", &["a", "b"], 400),
    ] {
        let answer = raw(dispatcher.http, post(version, target, hosts).as_bytes()).await;
        let wanted = format!("HTTP/{version} {status}");
        assert!(
            answer.starts_with(&wanted),
            "{version} {target} {hosts:?}: {answer}"
        );
    }
    let answer = raw(dispatcher.admin, b"GET /healthz HTTP/1.1\r\n\r\n").await;
    assert!(
        answer.starts_with("HTTP/1.1 400"),
        "the admin port, too: {answer}"
    );
}

/// Contract CR-7, RFC 9110, 9.3.7.
#[tokio::test(flavor = "multi_thread")]
async fn options_of_the_server_as_a_whole() {
    let dispatcher = Dispatcher::standalone(&channel(&[])).await;
    let answer = raw(
        dispatcher.http,
        b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
    )
    .await
    .to_ascii_lowercase();
    assert!(
        answer.starts_with("http/1.1 200") && answer.contains("content-length: 0"),
        "{answer}"
    );
    assert!(
        !answer.contains("webhook"),
        "those are a channel's: {answer}"
    );
    let answer = raw(
        dispatcher.http,
        b"POST * HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

/// Reads frames until one of that kind has come, or the peer closes. Whether it came.
async fn until_frame(stream: &mut TcpStream, wanted: u8) -> bool {
    let read = async {
        let mut head = [0; 9];
        while stream.read_exact(&mut head).await.is_ok() {
            let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
            if stream.read_exact(&mut payload).await.is_err() {
                break;
            }
            if head[3] == wanted {
                return true;
            }
        }
        false
    };
    tokio::time::timeout(SOON, read).await.expect("soon")
}

async fn until_closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    tokio::time::timeout(SOON, stream.read_to_end(&mut rest))
        .await
        .expect("closed soon")
        .ok();
}

/// A connection over HTTP/2 without a request, and empty lines between requests over HTTP/1.1, are
/// idle: they have no head that could be late.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_idle_is_not_late() {
    let builder = Dispatcher::of(&channel(&[]))
        .arg("--header-read-timeout")
        .arg("PT0.3S");
    let dispatcher = builder.arg("--idle-timeout").arg("PT1.5S").start().await;

    let started = Instant::now();
    let mut http2 = connect(&dispatcher).await;
    http2.write_all(PREFACE).await.expect("written");
    assert!(until_frame(&mut http2, GOAWAY).await, "it is told");
    assert!(
        started.elapsed() >= Duration::from_millis(1400),
        "after {:?}",
        started.elapsed()
    );

    let mut http1 = connect(&dispatcher).await;
    http1
        .write_all(post("1.1", "/default/c", &["h"]).as_bytes())
        .await
        .expect("written");
    assert!(read_response(&mut http1).await.starts_with("HTTP/1.1 202"));
    let started = Instant::now();
    http1.write_all(b"\r\n").await.expect("written");
    until_closed(&mut http1).await;
    assert!(
        started.elapsed() >= Duration::from_millis(1400),
        "after {:?}",
        started.elapsed()
    );

    let mut late = connect(&dispatcher).await;
    let started = Instant::now();
    late.write_all(b"\r\nPOST /").await.expect("written");
    until_closed(&mut late).await;
    assert!(
        started.elapsed() < Duration::from_millis(1400),
        "a head that has begun is late"
    );
}

/// Connections over HTTP/2 whose clients answer no `PING` do not hold up a stop.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_no_idle_connection() {
    let mut dispatcher = Dispatcher::standalone(&channel(&[])).await;
    let mut http2 = connect(&dispatcher).await;
    http2.write_all(PREFACE).await.expect("written");
    let mut http1 = connect(&dispatcher).await;
    http1
        .write_all(post("1.1", "/default/c", &["h"]).as_bytes())
        .await
        .expect("written");
    assert!(read_response(&mut http1).await.starts_with("HTTP/1.1 202"));
    let fresh = connect(&dispatcher).await;
    let started = Instant::now();
    dispatcher.signal(Signal::TERM);
    assert!(until_frame(&mut http2, GOAWAY).await, "it is told");
    until_closed(&mut http2).await;
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "closed after {:?}",
        started.elapsed()
    );
    assert!(dispatcher.ended().await.success());
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "ended after {:?}",
        started.elapsed()
    );
    drop(fresh);
}

/// What has begun before a stop is answered as it would have been without: a head that is half
/// there, on a new connection or on one that was used, and a body that is half there.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_answers_what_has_begun() {
    let subscriber = Subscriber::ok().await;
    let yaml = channel(&[("s", format!("subscriber: {{uri: '{}'}}", subscriber.url()))]);
    let mut dispatcher = Dispatcher::standalone(&yaml).await;
    let request =
        format!("POST /default/c HTTP/1.1\r\nHost: h\r\n{EVENT}Content-Length: 4\r\n\r\nbody");
    let in_the_head = request.find("ce-id").expect("a header");
    let in_the_body = request.len() - 2;
    let mut begun = Vec::new();
    for cut in [in_the_head, in_the_body, 1] {
        for is_used in [false, true] {
            let mut stream = connect(&dispatcher).await;
            if is_used {
                stream.write_all(request.as_bytes()).await.expect("written");
                assert!(read_response(&mut stream).await.starts_with("HTTP/1.1 202"));
            }
            stream
                .write_all(&request.as_bytes()[..cut])
                .await
                .expect("written");
            begun.push((stream, cut));
        }
    }
    // Written is not read yet; what comes after it on another connection is answered after it is.
    let mut idle = connect(&dispatcher).await;
    idle.write_all(request.as_bytes()).await.expect("written");
    assert!(read_response(&mut idle).await.starts_with("HTTP/1.1 202"));
    dispatcher.signal(Signal::TERM);
    until_closed(&mut idle).await;
    for (mut stream, cut) in begun {
        stream
            .write_all(&request.as_bytes()[cut..])
            .await
            .expect("written");
        let answer = read_response(&mut stream).await.to_ascii_lowercase();
        assert!(
            answer.starts_with("http/1.1 202") && answer.contains("connection: close"),
            "{cut}: {answer}"
        );
    }
    assert!(dispatcher.ended().await.success());
}

/// Replies into a channel of the process are taken until the last delivery has ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_takes_replies() {
    let slow =
        Subscriber::answering(|_| Reply::event("reply", "r").after(Duration::from_millis(800)))
            .await;
    let last = Subscriber::ok().await;
    let yaml = format!(
        "{}---\napiVersion: messaging.knative.dev/v1\nkind: InMemoryChannel\nmetadata: {{name: d}}\n---\n\
         apiVersion: messaging.knative.dev/v1\nkind: Subscription\nmetadata: {{name: t}}\nspec:\n  \
         channel: {{apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel, name: d}}\n  subscriber: {{uri: '{}'}}\n",
        channel(&[(
            "s",
            format!(
                "subscriber: {{uri: '{}'}}\nreply: {{ref: {{apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel, name: d}}}}",
                slow.url()
            )
        )])
        .replacen("{name: c}", "{name: c, annotations: {messaging.knative.dev/async-handler: 'true'}}", 1),
        last.url()
    );
    let mut dispatcher = Dispatcher::standalone(&yaml).await;
    assert!(
        raw(
            dispatcher.http,
            post("1.1", "/default/c", &["h"]).as_bytes()
        )
        .await
        .starts_with("HTTP/1.1 202")
    );
    slow.until(1).await;
    dispatcher.signal(Signal::TERM);
    assert!(dispatcher.ended().await.success());
    assert_eq!(last.count(), 1, "the reply was taken and delivered");
}

/// When time is up, what has begun is told so, and nothing is taken that nobody would deliver.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_that_takes_too_long_takes_nothing() {
    let stuck = Subscriber::answering(|_| Reply::status(200).after(Duration::from_secs(60))).await;
    let yaml = channel(&[("s", format!("subscriber: {{uri: '{}'}}", stuck.url()))]).replacen(
        "{name: c}",
        "{name: c, annotations: {messaging.knative.dev/async-handler: 'true'}}",
        1,
    );
    let mut dispatcher = Dispatcher::of(&yaml)
        .arg("--drain-timeout")
        .arg("PT0.5S")
        .start()
        .await;
    let mut half = connect(&dispatcher).await;
    half.write_all(
        format!("POST /default/c HTTP/1.1\r\nHost: h\r\n{EVENT}Content-Length: 4\r\n\r\nbo")
            .as_bytes(),
    )
    .await
    .expect("written");
    assert!(
        raw(
            dispatcher.http,
            post("1.1", "/default/c", &["h"]).as_bytes()
        )
        .await
        .starts_with("HTTP/1.1 202")
    );
    stuck.until(1).await;
    dispatcher.signal(Signal::TERM);
    eventually("time is up", || {
        !dispatcher.logged(&["Time to drain is up"]).is_empty()
    })
    .await;
    half.write_all(b"dy").await.expect("written");
    let answer = read_response(&mut half).await;
    assert!(
        answer.starts_with("HTTP/1.1 503") || answer.is_empty(),
        "{answer}"
    );
    assert_eq!(dispatcher.ended().await.code(), Some(1));
    assert_eq!(
        dispatcher
            .logged(&["Stopped with deliveries left", "\"left\":1"])
            .len(),
        1
    );
}

/// A body that is too large is refused at once, however much of it is still to come, and the answer
/// arrives although the sender goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_is_refused_at_once() {
    let dispatcher = Dispatcher::standalone(&channel(&[])).await;
    let head =
        |framing: &str| format!("POST /default/c HTTP/1.1\r\nHost: h\r\n{EVENT}{framing}\r\n\r\n");

    let mut announced = connect(&dispatcher).await;
    announced
        .write_all(head("Content-Length: 1099511627776").as_bytes())
        .await
        .expect("written");
    announced
        .write_all(&[b'x'; 64 * 1024])
        .await
        .expect("written");
    let started = Instant::now();
    let answer = read_response(&mut announced).await.to_ascii_lowercase();
    assert!(
        answer.starts_with("http/1.1 413") && answer.contains("connection: close"),
        "{answer}"
    );
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "after {:?}",
        started.elapsed()
    );
    until_closed(&mut announced).await;
    assert!(
        started.elapsed() < Duration::from_secs(6),
        "closed after {:?}",
        started.elapsed()
    );

    let mut chunked = connect(&dispatcher).await;
    chunked
        .write_all(head("Transfer-Encoding: chunked").as_bytes())
        .await
        .expect("written");
    let chunk = [
        b"10000\r\n".to_vec(),
        vec![b'x'; 64 * 1024],
        b"\r\n".to_vec(),
    ]
    .concat();
    for _ in 0..40 * 16 {
        chunked
            .write_all(&chunk)
            .await
            .expect("the sender may go on");
    }
    let started = Instant::now();
    let answer = read_response(&mut chunked).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "after {:?}",
        started.elapsed()
    );
}

/// Other answers that come before the body arrive as well: no such channel, a method that is not
/// taken, a head that is no HTTP.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_before_the_body_arrives() {
    let dispatcher = Dispatcher::standalone(&channel(&[])).await;
    let body = vec![b'x'; 4 * 1024 * 1024];
    for (start, status) in [
        ("POST /default/none HTTP/1.1\r\nHost: h", 404),
        ("PUT /default/c HTTP/1.1\r\nHost: h", 405),
        ("POST /default/c HTTP/1.1", 400),
        ("POST /default/c HTTP/1.1\r\nHost: h\r\nno field", 400),
    ] {
        let mut stream = connect(&dispatcher).await;
        let head = format!("{start}\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).await.expect("written");
        stream.write_all(&body).await.expect("the sender may go on");
        let answer = read_response(&mut stream).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{start}: {answer}"
        );
    }
}
