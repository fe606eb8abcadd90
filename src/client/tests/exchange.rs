//! Requests as they are sent, and how often each is sent.

use std::sync::Mutex;

use http::header::{AUTHORIZATION, HeaderValue};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::*;

type Log = Arc<Mutex<Vec<String>>>;

/// A peer that keeps the heads of requests, each on a connection of its own, and answers them in
/// turn; the last answer is for all that come after. Ended with the set.
async fn recorder(answers: &'static [&'static str]) -> (u16, Log, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (mut peer, log) = (JoinSet::new(), Log::default());
    let heads = Arc::clone(&log);
    peer.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let head = head(&mut stream).await;
            let number = {
                let mut heads = heads.lock().expect("lock");
                heads.push(head);
                heads.len()
            };
            let answer = answers[number.min(answers.len()) - 1];
            let text =
                format!("HTTP/1.1 {answer}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(text.as_bytes()).await.expect("written");
        }
    });
    (port, log, peer)
}

/// The head of a request with a body of one byte, in lower case, which is read, too.
async fn head(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        read.push(stream.read_u8().await.expect("more"));
    }
    assert_eq!(stream.read_u8().await.expect("a body"), b'x');
    String::from_utf8(read).expect("text").to_ascii_lowercase()
}

fn with_token() -> Request<Bytes> {
    let mut request = Request::new(Bytes::from_static(b"x"));
    request
        .headers_mut()
        .insert(AUTHORIZATION, HeaderValue::from_static("Bearer secret"));
    request
}

#[tokio::test]
async fn a_host_that_is_elsewhere_keeps_its_name() {
    let (port, log, _peer) = recorder(&["307 Again\r\nlocation: /again", "202 Accepted"]).await;
    let clients = cache(ClientLimits::default());
    let connect = Some(([127, 0, 0, 1], port).into());
    let to = to(
        "http://user:password@sink.ns:8080/a%20b?c=d#e",
        &Arc::default(),
    );
    let to = Addressable {
        route: DestinationRoute::Remote { connect },
        ..to
    };
    let answer = clients
        .send(with_token, &to, Duration::from_secs(10))
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 202);
    let heads = log.lock().expect("lock").clone();
    for (head, path) in heads.iter().zip(["/a%20b?c=d", "/again"]) {
        assert!(
            head.starts_with(&format!("post {path} http/1.1\r\n")),
            "{head}"
        );
        assert!(head.contains("\r\nhost: sink.ns:8080\r\n"), "{head}");
        assert!(
            head.contains("\r\nauthorization: bearer secret\r\n"),
            "the same origin: {head}"
        );
        assert!(
            head.contains(concat!(
                "\r\nuser-agent: sealpost/",
                env!("CARGO_PKG_VERSION"),
                "\r\n"
            )),
            "{head}"
        );
        assert!(
            head.contains("\r\naccept-encoding: identity\r\n"),
            "nothing compressed: {head}"
        );
        assert!(
            !head.contains("password") && !head.contains("referer"),
            "{head}"
        );
    }
    assert_eq!(heads.len(), 2);
}

#[tokio::test]
async fn an_event_may_bring_a_user_agent() {
    let (port, log, _peer) = recorder(&["202 Accepted"]).await;
    let mut request = with_token();
    request
        .headers_mut()
        .insert(http::header::USER_AGENT, HeaderValue::from_static("other"));
    let to = to(&format!("http://127.0.0.1:{port}/"), &Arc::default());
    cache(ClientLimits::default())
        .send(|| request.clone(), &to, Duration::from_secs(10))
        .await
        .expect("an answer");
    let head = log.lock().expect("lock")[0].clone();
    assert_eq!(head.matches("user-agent: ").count(), 1, "{head}");
    assert!(head.contains("\r\nuser-agent: other\r\n"), "{head}");
}

/// It is moved more than once with the future of a delivery.
#[test]
fn the_future_of_an_attempt_is_small() {
    let (clients, to) = (
        cache(ClientLimits::default()),
        to("http://sink/", &Arc::default()),
    );
    let attempt = clients.send(with_token, &to, Duration::from_secs(10));
    let size = std::mem::size_of_val(&attempt);
    assert!(size <= 2048, "{size} bytes");
}

/// Contract A-42: ten redirects, then one is the answer.
#[tokio::test]
async fn redirects_end() {
    let (port, log, _peer) = recorder(&["308 Again\r\nlocation: /"]).await;
    let to = to(&format!("http://127.0.0.1:{port}/"), &Arc::default());
    let answer = cache(ClientLimits::default())
        .send(with_token, &to, Duration::from_secs(10))
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 308);
    assert_eq!(log.lock().expect("lock").len(), 1 + 10);
}

/// A listener for connections over TLS: its URL, what it shows, and what verifies that.
async fn secure() -> (TcpListener, TlsAcceptor, String, Arc<TrustBundle>) {
    let (chain, key) = certificate();
    let identity = ServerIdentity::default();
    identity.replace(&chain, &key, 0).expect("an identity");
    let tls = TlsAcceptor::from(
        identity
            .server_config(MinTlsVersion::Tls12)
            .expect("a configuration"),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!(
        "https://localhost:{}/",
        listener.local_addr().expect("an address").port()
    );
    (
        listener,
        tls,
        url,
        Arc::new(TrustBundle::from_pem(&chain).expect("a bundle")),
    )
}

type Accepted = h2::server::Connection<TlsStream<TcpStream>, Bytes>;

/// The next connection over HTTP/2.
async fn accept_connection(listener: &TcpListener, tls: &TlsAcceptor) -> Accepted {
    let (stream, _) = listener.accept().await.expect("a connection");
    let stream = tls.accept(stream).await.expect("TLS");
    h2::server::handshake(stream).await.expect("HTTP/2")
}

/// Answers whatever comes, until the connection ends.
async fn accept_all(connection: &mut Accepted) {
    while let Some(Ok((_request, mut respond))) = connection.accept().await {
        respond.send_response(accepted(), true).expect("sent");
    }
}

fn accepted() -> Response<()> {
    Response::builder().status(202).body(()).expect("an answer")
}

/// RFC 9113, 8.7: a refused stream was not begun with.
#[tokio::test]
async fn what_a_peer_refuses_to_begin_with_is_sent_again() {
    let (listener, tls, url, trust) = secure().await;
    let mut peer = JoinSet::new();
    peer.spawn(async move {
        let mut connection = accept_connection(&listener, &tls).await;
        let mut refusals = 2;
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            assert_eq!(request.headers()[AUTHORIZATION], "Bearer secret");
            if refusals > 0 {
                refusals -= 1;
                respond.send_reset(h2::Reason::REFUSED_STREAM);
            } else {
                respond.send_response(accepted(), true).expect("sent");
            }
        }
    });
    let answer = cache(ClientLimits::default())
        .send(with_token, &to(&url, &trust), Duration::from_secs(10))
        .await;
    assert_eq!(answer.expect("an answer").status(), 202);
}

/// RFC 9113, 6.8: a peer that goes away finishes what it has begun with, and the rest goes to a new
/// connection meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_when_a_peer_goes_away_is_sent_elsewhere() {
    let (listener, tls, url, trust) = secure().await;
    let (begun, mut has_begun) = tokio::sync::mpsc::channel(2);
    let finish = Arc::new(tokio::sync::Notify::new());
    let (mut peer, may_finish) = (JoinSet::new(), Arc::clone(&finish));
    peer.spawn(async move {
        let mut first = accept_connection(&listener, &tls).await;
        let (_request, mut respond) = first.accept().await.expect("a request").expect("a stream");
        first.graceful_shutdown();
        begun.send(()).await.expect("somebody waits");
        let finished = async {
            may_finish.notified().await;
            respond.send_response(accepted(), true).expect("sent");
        };
        let elsewhere = async { accept_all(&mut accept_connection(&listener, &tls).await).await };
        tokio::join!(finished, accept_all(&mut first), elsewhere);
    });
    let (clients, to) = (Arc::new(cache(ClientLimits::default())), to(&url, &trust));
    let mut first = JoinSet::new();
    let (of_first, to_first) = (Arc::clone(&clients), to.clone());
    first.spawn(async move {
        of_first
            .send(with_token, &to_first, Duration::from_secs(10))
            .await
    });
    has_begun.recv().await.expect("the first one has begun");
    // The peer's GOAWAY is on the way; with or without it, each of these is answered.
    for _ in 0..20 {
        let next = clients.send(with_token, &to, Duration::from_secs(10)).await;
        assert_eq!(next.expect("an answer").status(), 202);
    }
    finish.notify_one();
    let first = first.join_next().await.expect("one").expect("no panic");
    assert_eq!(first.expect("an answer").status(), 202);
}
