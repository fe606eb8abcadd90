//! What holds for every answer that a peer may give to the client of deliveries, over real sockets
//! on loopback.

use std::cell::OnceCell;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use sealpost::client::{ClientCache, ClientLimits, HttpTransport, ReplyError, TransportError};
use sealpost::model::{Addressable, DestinationRoute};
use sealpost::tls::{MinTlsVersion, SystemRoots};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

const ACCEPTED: &[u8] = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n";
/// Longer than a peer that closes its connections can make anybody wait.
const LONG: Duration = Duration::from_secs(5);
/// As long as a peer that does not close them is waited for.
const SHORT: Duration = Duration::from_millis(30);
/// Bytes that hyper's client may read of a body.
const LARGEST: usize = 1024 * 1024;

type Answer = Result<Response<Bytes>, TransportError>;

thread_local! {
    static STAGE: OnceCell<(Runtime, SystemRoots)> = const { OnceCell::new() };
}

fn on_stage(play: impl AsyncFnOnce(&SystemRoots)) {
    STAGE.with(|stage| {
        let (runtime, roots) = stage.get_or_init(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            (runtime, SystemRoots::load())
        });
        runtime.block_on(play(roots));
    });
}

fn clients(roots: &SystemRoots) -> ClientCache {
    ClientCache::new(roots.clone(), MinTlsVersion::Tls12, ClientLimits::default())
}

/// A peer that says these bytes to the requests on a connection, in turn, and then closes it. Of
/// connections, the last one is like all that follow.
async fn peer(scripts: Vec<Vec<Vec<u8>>>) -> (Addressable, JoinSet<()>) {
    let listener = TcpListener::bind((next_address(), 0))
        .await
        .expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"))
        .parse()
        .expect("a URL");
    let mut server = JoinSet::new();
    server.spawn(async move {
        let (mut all, mut number) = (JoinSet::new(), 0);
        while let Ok((stream, _)) = listener.accept().await {
            all.spawn(serve(
                stream,
                scripts[number.min(scripts.len() - 1)].clone(),
            ));
            number += 1;
        }
    });
    (
        Addressable {
            url,
            route: DestinationRoute::Remote { connect: None },
            trust: Arc::default(),
            audience: None,
        },
        server,
    )
}

/// Another address of loopback each time: ports that were used rest for a minute, and one address
/// has too few of them.
fn next_address() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let [_, a, b, c] = (NEXT.fetch_add(1, Ordering::Relaxed) % 0x00ff_fff0 + 1).to_be_bytes();
    Ipv4Addr::new(127, a, b, c)
}

async fn serve(mut stream: TcpStream, answers: Vec<Vec<u8>>) {
    for answer in answers {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\nx") {
            let Ok(byte) = stream.read_u8().await else {
                return;
            };
            head.push(byte);
        }
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

async fn ask(clients: &ClientCache, to: &Addressable, timeout: Duration) -> Answer {
    clients
        .send(|| Request::new(Bytes::from_static(b"x")), to, timeout)
        .await
}

/// Until this process knows what its peers have done.
async fn told() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

/// Whatever a peer says before it closes the connection is an answer or an error, at once, and what
/// comes after it is not harmed.
pub(crate) fn answer(data: &[u8]) {
    on_stage(async |roots| {
        let clients = clients(roots);
        let (to, _server) = peer(vec![vec![data.to_vec()]]).await;
        if let Err(error) = ask(&clients, &to, LONG).await {
            assert_eq!(error.reason(), "request", "{error}");
        }
        let scripts = vec![vec![data.to_vec()], vec![ACCEPTED.to_vec()]];
        let (to, _server) = peer(scripts).await;
        // A redirect is followed to the second connection.
        drop(ask(&clients, &to, LONG).await);
        told().await;
        assert_eq!(
            ask(&clients, &to, LONG).await.expect("an answer").status(),
            202
        );
    });
}

/// What hyper's client takes for an answer is the same answer.
pub(crate) fn differential(data: &[u8]) {
    on_stage(async |roots| {
        let (to, _server) = peer(vec![vec![data.to_vec()]]).await;
        let Some((status, headers, body)) = by_hyper(&to).await else {
            return;
        };
        // Of `chunked,` hyper sees the nothing behind the comma, and reads until the end; RFC 9110
        // (5.6.1.2) does not.
        let is_empty = |list: &HeaderValue| {
            list.to_str()
                .is_ok_and(|list| list.split(',').any(|it| it.trim().is_empty()))
        };
        if matches!(status, 307 | 308) || headers.get_all("transfer-encoding").iter().any(is_empty)
        {
            return;
        }
        let answer = ask(&clients(roots), &to, LONG)
            .await
            .expect("hyper has an answer");
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers(), &headers);
        let is_event = sealpost::event::http::is_event(&headers) && answer.status().is_success();
        match ReplyError::of_response(&answer) {
            Some(ReplyError::ContentEncoded(_)) => {
                assert!(
                    headers.contains_key("content-encoding")
                        || headers.contains_key("transfer-encoding")
                );
            }
            Some(error) => panic!("hyper has read it: {error}"),
            None if is_event => assert_eq!(answer.body(), &body),
            None => assert!(body.starts_with(answer.body())),
        }
    });
}

async fn by_hyper(to: &Addressable) -> Option<(u16, HeaderMap, Bytes)> {
    let address = to.url.socket_addrs(|| None).ok()?;
    let stream = TcpStream::connect(&*address).await.ok()?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .ok()?;
    let mut driver = JoinSet::new();
    driver.spawn(async move { drop(connection.await) });
    let request = Request::post("/")
        .header("host", "localhost")
        .body(Full::new(Bytes::from_static(b"x")))
        .ok()?;
    let (head, body) = sender.send_request(request).await.ok()?.into_parts();
    let body = Limited::new(body, LARGEST).collect().await.ok()?.to_bytes();
    Some((head.status.as_u16(), head.headers, body))
}

/// Two answers, which a byte of zero parts: where both come by one connection, the second one is
/// what it is alone.
pub(crate) fn reuse(data: &[u8]) {
    let at = data
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(data.len());
    let (first, second) = (
        data[..at].to_vec(),
        data.get(at + 1..).unwrap_or_default().to_vec(),
    );
    on_stage(async |roots| {
        let (alone, _server) = peer(vec![vec![second.clone()]]).await;
        let expected = told_of(&ask(&clients(roots), &alone, LONG).await);
        if first.starts_with(b"HTTP/1.1 30") || second.starts_with(b"HTTP/1.1 30") {
            return;
        }
        let again = clients(roots);
        let (to, _server) = peer(vec![vec![first, second], vec![ACCEPTED.to_vec()]]).await;
        drop(ask(&again, &to, SHORT).await);
        told().await;
        let answer = told_of(&ask(&again, &to, LONG).await);
        assert!(
            answer == expected || answer == Some((202, Bytes::new())),
            "{answer:?} is not {expected:?}"
        );
    });
}

fn told_of(answer: &Answer) -> Option<(u16, Bytes)> {
    answer
        .as_ref()
        .ok()
        .map(|answer| (answer.status().as_u16(), answer.body().clone()))
}
