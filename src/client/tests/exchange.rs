//! What is sent, and how often.

use std::sync::Mutex;

use http::header::{AUTHORIZATION, HeaderValue};
use tokio::net::TcpStream;

use super::*;

type Log = Arc<Mutex<Vec<String>>>;

/// A peer that keeps the heads of requests, each on a connection of its own, and answers them in turn; the last answer
/// is for all that come after. Ended with the set.
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
            let text = format!("HTTP/1.1 {answer}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
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
    request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_static("Bearer secret"));
    request
}

#[tokio::test]
async fn a_host_that_is_elsewhere_keeps_its_name() {
    let (port, log, _peer) = recorder(&["307 Again\r\nlocation: /again", "202 Accepted"]).await;
    let clients = cache(Limits::default());
    let connect = Some(([127, 0, 0, 1], port).into());
    let to = to("http://user:password@sink.ns:8080/a%20b?c=d#e", &Arc::default());
    let to = Addressable { target: Target::Remote { connect }, ..to };
    let answer = clients.send(with_token, &to, Duration::from_secs(10)).await.expect("an answer");
    assert_eq!(answer.status(), 202);
    let heads = log.lock().expect("lock").clone();
    for (head, path) in heads.iter().zip(["/a%20b?c=d", "/again"]) {
        assert!(head.starts_with(&format!("post {path} http/1.1\r\n")), "{head}");
        assert!(head.contains("\r\nhost: sink.ns:8080\r\n"), "{head}");
        assert!(head.contains("\r\nauthorization: bearer secret\r\n"), "the same origin: {head}");
        assert!(head.contains(concat!("\r\nuser-agent: sealpost/", env!("CARGO_PKG_VERSION"), "\r\n")), "{head}");
        assert!(head.contains("\r\naccept-encoding: identity\r\n"), "nothing compressed: {head}");
        assert!(!head.contains("password") && !head.contains("referer"), "{head}");
    }
    assert_eq!(heads.len(), 2);
}

#[tokio::test]
async fn an_event_may_bring_a_user_agent() {
    let (port, log, _peer) = recorder(&["202 Accepted"]).await;
    let mut request = with_token();
    request.headers_mut().insert(http::header::USER_AGENT, HeaderValue::from_static("other"));
    let to = to(&format!("http://127.0.0.1:{port}/"), &Arc::default());
    cache(Limits::default()).send(|| request.clone(), &to, Duration::from_secs(10)).await.expect("an answer");
    let head = log.lock().expect("lock")[0].clone();
    assert_eq!(head.matches("user-agent: ").count(), 1, "{head}");
    assert!(head.contains("\r\nuser-agent: other\r\n"), "{head}");
}

/// It is moved more than once with the future of a delivery.
#[test]
fn the_future_of_an_attempt_is_small() {
    let (clients, to) = (cache(Limits::default()), to("http://sink/", &Arc::default()));
    let attempt = clients.send(with_token, &to, Duration::from_secs(10));
    let size = std::mem::size_of_val(&attempt);
    assert!(size <= 2048, "{size} bytes");
}

/// data-plane.md A-42: ten redirects, then one is the answer.
#[tokio::test]
async fn redirects_end() {
    let (port, log, _peer) = recorder(&["308 Again\r\nlocation: /"]).await;
    let to = to(&format!("http://127.0.0.1:{port}/"), &Arc::default());
    let answer = cache(Limits::default()).send(with_token, &to, Duration::from_secs(10)).await.expect("an answer");
    assert_eq!(answer.status(), 308);
    assert_eq!(log.lock().expect("lock").len(), 1 + 10);
}

/// RFC 9113, 8.7: a refused stream was not begun with.
#[tokio::test]
async fn what_a_peer_refuses_to_begin_with_is_sent_again() {
    let (chain, key) = certificate();
    let identity = ServerIdentity::default();
    identity.replace(&chain, &key, 0).expect("an identity");
    let tls = TlsAcceptor::from(identity.server_config(MinVersion::Tls12).expect("a configuration"));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("https://localhost:{}/", listener.local_addr().expect("an address").port());
    let mut peer = JoinSet::new();
    peer.spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        let stream = tls.accept(stream).await.expect("TLS");
        let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
        let mut refusals = 2;
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            assert_eq!(request.headers()[AUTHORIZATION], "Bearer secret");
            if refusals > 0 {
                refusals -= 1;
                respond.send_reset(h2::Reason::REFUSED_STREAM);
            } else {
                let answer = Response::builder().status(202).body(()).expect("an answer");
                respond.send_response(answer, true).expect("sent");
            }
        }
    });
    let trust = Arc::new(TrustBundle::from_pem(&chain).expect("a bundle"));
    let answer = cache(Limits::default()).send(with_token, &to(&url, &trust), Duration::from_secs(10)).await;
    assert_eq!(answer.expect("an answer").status(), 202);
}
