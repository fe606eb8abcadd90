//! HTTP/1.1 against peers that send exact bytes: which bytes are a response, and which connections
//! are used again (RFC 9112).

use futures_util::future::OptionFuture;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::*;

/// A peer that does this on each connection, in the order in which they come: an answer to each
/// request, then it closes. Gives its port, and the number of the connection by which each request
/// came.
async fn scripted<A: AsRef<[u8]>>(script: &[&[A]]) -> (u16, mpsc::Receiver<usize>, JoinSet<()>) {
    let script: Vec<Vec<Vec<u8>>> = script
        .iter()
        .map(|one| one.iter().map(|answer| answer.as_ref().to_vec()).collect())
        .collect();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let ((seen, requests), mut peer) = (mpsc::channel(10), JoinSet::new());
    peer.spawn(async move {
        let mut connections = JoinSet::new();
        for (number, answers) in script.into_iter().enumerate() {
            let (stream, _) = listener.accept().await.expect("a connection");
            connections.spawn(answer(stream, answers, number, seen.clone()));
        }
        connections.join_all().await;
    });
    (port, requests, peer)
}

async fn answer(
    mut stream: TcpStream,
    answers: Vec<Vec<u8>>,
    number: usize,
    seen: mpsc::Sender<usize>,
) {
    for answer in answers {
        if read_request(&mut stream).await.is_err() {
            break;
        }
        seen.send(number).await.expect("somebody listens");
        if stream.write_all(&answer).await.is_err() {
            break;
        }
    }
}

/// A head, and the one byte of the body.
async fn read_request(stream: &mut (impl AsyncReadExt + Unpin)) -> std::io::Result<()> {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\nx") {
        read.push(stream.read_u8().await?);
    }
    Ok(())
}

async fn ask(clients: &ClientCache, port: u16) -> Result<Response<Bytes>, TransportError> {
    let to = to(&format!("http://127.0.0.1:{port}/"), &Arc::default());
    clients
        .send(
            || Request::new(Bytes::from_static(b"x")),
            &to,
            Duration::from_secs(10),
        )
        .await
}

/// Until the kernel has told this process what the peers have done.
async fn told() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

const ACCEPTED: &str = "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn an_answer_is_what_its_framing_says() {
    let event = "ce-specversion: 1.0\r\n";
    for (answer, body) in [
        (
            format!("HTTP/1.1 200 OK\r\n{event}content-length: 4\r\n\r\nfour"),
            "four",
        ),
        (
            format!(
                "HTTP/1.1 200 OK\r\n{event}transfer-encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n1\r\nd\r\n0\r\n\r\n"
            ),
            "abcd",
        ),
        (
            format!(
                "HTTP/1.1 200 OK\r\n{event}transfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\ntrailer: t\r\n\r\n"
            ),
            "ab",
        ),
        (
            format!("HTTP/1.1 200 OK\r\n{event}\r\nuntil the end"),
            "until the end",
        ),
        (format!("HTTP/1.0 200 OK\r\n{event}\r\nold"), "old"),
        (
            format!(
                "HTTP/1.1 100 Continue\r\nserver: a\r\n\r\nHTTP/1.1 103 Early\r\nlink: a\r\n\r\nHTTP/1.1 200 OK\r\n{event}content-length: 1\r\n\r\n1"
            ),
            "1",
        ),
        (
            "HTTP/1.1 204 No Content\r\ncontent-length: 3\r\n\r\n".to_owned(),
            "",
        ),
        (
            "HTTP/1.1 503 No\r\ncontent-length: 3\r\n\r\nwhy".to_owned(),
            "why",
        ),
    ] {
        let (port, _requests, _peer) = scripted(&[&[&answer]]).await;
        let got = ask(&cache(ClientLimits::default()), port).await;
        assert_eq!(got.expect("an answer").body(), body, "{answer}");
    }
}

#[tokio::test]
async fn what_is_no_answer_is_an_error_that_says_so() {
    for (answer, words) in [
        ("", "closed before the answer was whole"),
        ("HTTP/1.1 202 Acc", "closed before the answer was whole"),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
            "not HTTP/1.1",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
            "not HTTP/1.1",
        ),
        ("HTTP/1.1 099 No\r\n\r\n", "not HTTP/1.1"),
        ("SSH-2.0-OpenSSH_9.2\r\n", "not HTTP/1.1"),
        ("\u{15}\u{3}\u{1}\0\u{2}\u{2}", "not HTTP/1.1"),
    ] {
        let (port, _requests, _peer) = scripted(&[&[answer]]).await;
        let error = ask(&cache(ClientLimits::default()), port)
            .await
            .expect_err(answer);
        assert_eq!(error.reason(), "request", "{answer}: {error}");
        assert!(error.to_string().contains(words), "{answer}: {error}");
    }
}

/// What a peer says without end is not kept without end.
#[tokio::test]
async fn a_head_that_does_not_end_is_given_up() {
    let endless = "HTTP/1.1 200 OK\r\na: ".to_owned() + &"1".repeat(100_000);
    let (port, _requests, _peer) = scripted(&[&[&endless, ACCEPTED]]).await;
    let error = ask(&cache(ClientLimits::default()), port)
        .await
        .expect_err("no answer");
    assert!(
        error.to_string().contains("more than 65536 bytes"),
        "{error}"
    );
}

/// Contract DP-20.
#[tokio::test]
async fn a_connection_is_used_again_if_all_was_whole() {
    for (first, again) in [
        (ACCEPTED, true),
        ("HTTP/1.1 204 No Content\r\n\r\n", true),
        (
            "HTTP/1.1 503 No\r\ntransfer-encoding: chunked\r\n\r\n3\r\nwhy\r\n0\r\n\r\n",
            true,
        ),
        (
            "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 1\r\n\r\na",
            true,
        ),
        (
            "HTTP/1.1 202 Accepted\r\nkeep-alive: timeout=60, max=9\r\ncontent-length: 0\r\n\r\n",
            true,
        ),
        (
            "HTTP/1.1 202 Accepted\r\nkeep-alive: timeout=0\r\ncontent-length: 0\r\n\r\n",
            false,
        ),
        (
            "HTTP/1.1 202 Accepted\r\nkeep-alive: timeout=60, max=0\r\ncontent-length: 0\r\n\r\n",
            false,
        ),
        (
            "HTTP/1.1 302 There\r\nlocation: /\r\ncontent-length: 0\r\n\r\n",
            true,
        ),
        (
            "HTTP/1.1 503 No\r\ntransfer-encoding: chunked\r\ncontent-length: 1\r\n\r\n1\r\na\r\n0\r\n\r\n",
            false,
        ),
        (
            "HTTP/1.1 503 No\r\ntransfer-encoding: chunked, chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
            false,
        ),
        (
            "HTTP/1.1 503 No\r\ntransfer-encoding: gzip\r\ncontent-length: 1\r\n\r\na",
            false,
        ),
        (
            "HTTP/1.0 503 No\r\nconnection: keep-alive\r\ntransfer-encoding: chunked\r\ncontent-length: 1\r\n\r\na",
            false,
        ),
        (
            "HTTP/1.1 202 Accepted\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
            false,
        ),
        ("HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n", false),
        (
            "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\nmore than was said",
            false,
        ),
        (
            "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\nHTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n",
            false,
        ),
    ] {
        let (port, mut requests, _peer) = scripted(&[&[first, ACCEPTED][..]; 2]).await;
        let clients = cache(ClientLimits::default());
        ask(&clients, port).await.expect("an answer");
        told().await;
        ask(&clients, port).await.expect("an answer");
        let connections = [requests.recv().await, requests.recv().await];
        assert_eq!(connections, [Some(0), Some(usize::from(!again))], "{first}");
    }
}

/// Gateways have some HTML in the body of a redirect.
#[tokio::test]
async fn a_redirect_with_a_body_costs_no_connection() {
    let redirect = "HTTP/1.1 307 There\r\nlocation: /there\r\ncontent-length: 4\r\n\r\nhtml";
    let (port, mut requests, _peer) = scripted(&[&[redirect, ACCEPTED, redirect, ACCEPTED]]).await;
    let clients = cache(ClientLimits::default());
    for _ in 0..2 {
        assert_eq!(ask(&clients, port).await.expect("an answer").status(), 202);
    }
    for _ in 0..4 {
        assert_eq!(requests.recv().await, Some(0));
    }
}

/// Peers close connections that are idle. No event may fail of it.
#[tokio::test]
async fn a_connection_that_the_peer_has_closed_is_not_used() {
    let (port, mut requests, mut peer) = scripted(&[&[ACCEPTED], &[ACCEPTED], &[ACCEPTED]]).await;
    let clients = cache(ClientLimits::default());
    for number in 0..3 {
        ask(&clients, port).await.expect("an answer");
        assert_eq!(requests.recv().await, Some(number));
        told().await;
    }
    peer.join_next()
        .await
        .expect("a peer")
        .expect("it has ended");
}

/// Whoever says for how long it waits closes the connection then, and what is on its way at that
/// moment is lost.
#[tokio::test]
async fn a_connection_is_not_used_when_its_peer_is_about_to_close_it() {
    let hint = "HTTP/1.1 202 Accepted\r\nkeep-alive: timeout=1\r\ncontent-length: 0\r\n\r\n";
    let (port, mut requests, _peer) = scripted(&[&[hint, ACCEPTED], &[ACCEPTED, ACCEPTED]]).await;
    let traffic = Arc::new(ConnectionMetrics::default());
    let clients = cache(ClientLimits::default()).with_metrics(Arc::clone(&traffic));
    ask(&clients, port).await.expect("an answer");
    until_closed(
        &clients,
        &traffic,
        "it is closed on this side, before the peer does",
    )
    .await;
    ask(&clients, port).await.expect("an answer");
    assert_eq!(
        [requests.recv().await, requests.recv().await],
        [Some(0), Some(1)]
    );
}

/// Waits until no connection is open.
async fn until_closed(clients: &ClientCache, traffic: &ConnectionMetrics, why: &str) {
    tokio::time::timeout(Duration::from_secs(10), async {
        while traffic.open.get() > 0 {
            clients.close_expired();
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect(why);
}

#[tokio::test]
async fn idle_connections_end() {
    for (answers, idle) in [
        (1, ClientLimits::default().pool_idle_timeout),
        (2, Duration::ZERO),
    ] {
        let (port, _requests, _peer) = scripted(&[&vec![ACCEPTED; answers]]).await;
        let traffic = Arc::new(ConnectionMetrics::default());
        let clients = cache(ClientLimits {
            pool_idle_timeout: idle,
            ..ClientLimits::default()
        })
        .with_metrics(Arc::clone(&traffic));
        ask(&clients, port).await.expect("an answer");
        until_closed(
            &clients,
            &traffic,
            "the peer closed it, or it was idle for too long",
        )
        .await;
    }
}

/// An answer may come before all of the request is written. One that refuses it, 413 say, ends the
/// exchange; after one that accepts it the peer still wants the rest.
#[tokio::test]
async fn an_early_answer_is_heard() {
    let body = Bytes::from(vec![b'x'; 32 * 1024 * 1024]);
    for (answer, status, is_read) in [
        (
            "HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno",
            413,
            false,
        ),
        (ACCEPTED, 202, true),
    ] {
        let (port, mut peer) = early(answer).await;
        let to = to(&format!("http://127.0.0.1:{port}/"), &Arc::default());
        let sent = cache(ClientLimits::default())
            .send(|| Request::new(body.clone()), &to, Duration::from_secs(10))
            .await;
        assert_eq!(sent.expect("an answer").status(), status);
        let read = peer
            .join_next()
            .await
            .expect("a peer")
            .expect("it has ended");
        assert_eq!(read == body.len(), is_read, "{read} bytes were read");
    }
}

/// A peer that answers a head at once, and then reads the body. Gives how much it has read.
async fn early(answer: &'static str) -> (u16, JoinSet<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let mut peer = JoinSet::new();
    peer.spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("a head"));
        }
        stream.write_all(answer.as_bytes()).await.expect("written");
        told().await;
        tokio::io::copy(&mut stream, &mut tokio::io::sink())
            .await
            .map_or(0, |read| usize::try_from(read).expect("a length"))
    });
    (port, peer)
}

/// Whoever takes no more connections serves those that there are.
#[tokio::test]
async fn a_connection_that_becomes_free_is_used_instead_of_one_that_does_not_come() {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket
        .bind("127.0.0.1:0".parse().expect("an address"))
        .expect("a port");
    let listener = socket.listen(1).expect("a listener");
    let address = listener.local_addr().expect("an address");
    let clients = cache(ClientLimits::default());
    let peer = async {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        read_request(&mut stream).await.expect("a request");
        let mut waiting = Vec::new();
        while let Ok(more) =
            tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await
        {
            waiting.push(more.expect("a connection that is not accepted"));
        }
        let second = async {
            told().await;
            stream
                .write_all(ACCEPTED.as_bytes())
                .await
                .expect("written");
            read_request(&mut stream).await.expect("the second request");
            stream
                .write_all(ACCEPTED.as_bytes())
                .await
                .expect("written");
        };
        let (answer, ()) = tokio::join!(ask(&clients, address.port()), second);
        assert_eq!(answer.expect("an answer").status(), 202);
    };
    let (answer, ()) = tokio::join!(ask(&clients, address.port()), peer);
    assert_eq!(answer.expect("an answer").status(), 202);
}

async fn serve_three(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin)) {
    for _ in 0..3 {
        read_request(stream).await.expect("a request");
        stream
            .write_all(ACCEPTED.as_bytes())
            .await
            .expect("written");
    }
}

#[tokio::test]
async fn encrypted_connections_are_used_again() {
    let (chain, key) = certificate();
    let identity = ServerIdentity::default();
    identity.replace(&chain, &key, 0).expect("an identity");
    let mut tls = (*identity
        .server_config(MinTlsVersion::Tls12)
        .expect("a configuration"))
    .clone();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let tls = TlsAcceptor::from(Arc::new(tls));
    let trust = Arc::new(TrustBundle::from_pem(&chain).expect("a bundle"));
    for says_so in [true, false] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let to = to(
            &format!(
                "https://localhost:{}/",
                listener.local_addr().expect("an address").port()
            ),
            &trust,
        );
        let (tls, mut peer) = (tls.clone(), JoinSet::new());
        peer.spawn(async move {
            for _ in 0..2 {
                let (stream, _) = listener.accept().await.expect("a connection");
                let mut stream = tls.accept(stream).await.expect("TLS");
                serve_three(&mut stream).await;
                OptionFuture::from(says_so.then(|| stream.shutdown()))
                    .await
                    .transpose()
                    .expect("close_notify");
            }
        });
        let clients = cache(ClientLimits::default());
        for _ in 0..6 {
            let sent = clients
                .send(
                    || Request::new(Bytes::from_static(b"x")),
                    &to,
                    Duration::from_secs(10),
                )
                .await;
            assert_eq!(sent.expect("an answer").status(), 202);
            told().await;
        }
        peer.join_next()
            .await
            .expect("a peer")
            .expect("it has served both");
    }
}

/// One that takes its time to read, in pieces of its own.
#[tokio::test]
async fn a_large_body_arrives_whole() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let sent: Bytes = (0..4_000_000u32).map(|n| (n % 251) as u8).collect();
    let length = sent.len();
    let mut peer = JoinSet::new();
    peer.spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut read = vec![0; 1];
        stream.read_exact(&mut read).await.expect("a request");
        while !read.ends_with(b"\r\n\r\n") {
            read.push(stream.read_u8().await.expect("a head"));
        }
        let head = String::from_utf8(read).expect("text");
        assert!(
            head.contains(&format!("content-length: {length}\r\n")),
            "{head}"
        );
        let mut body = vec![0; length];
        for piece in body.chunks_mut(100_000) {
            stream.read_exact(piece).await.expect("more");
            told().await;
        }
        stream
            .write_all(ACCEPTED.as_bytes())
            .await
            .expect("written");
        body
    });
    let to = to(&format!("http://127.0.0.1:{port}/"), &Arc::default());
    let answer = cache(ClientLimits::default())
        .send(|| Request::new(sent.clone()), &to, Duration::from_secs(10))
        .await;
    assert_eq!(answer.expect("an answer").status(), 202);
    assert_eq!(
        peer.join_next().await.expect("a peer").expect("a body"),
        sent
    );
}

/// Answers, and such with some bytes replaced.
fn near_answers() -> impl Strategy<Value = Vec<u8>> {
    let answers = [
        ACCEPTED,
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 OK\r\nce-specversion: 1.0\r\n\r\nuntil the end",
        "HTTP/1.1 200 OK\r\nce-specversion: 1.0\r\ntransfer-encoding: gzip, chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nt: u\r\n\r\n",
        "HTTP/1.1 503 No\r\nconnection: close\r\nretry-after: 1\r\ncontent-length: 3, 3\r\n\r\nwhy",
        "HTTP/1.1 307 There\r\nlocation: http://[\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    ];
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..8),
        "[ -~\r\n]{0,8}".prop_map(String::into_bytes)
    ];
    (select(answers.to_vec()), any::<Index>(), 0usize..8, bytes).prop_map(
        |(answer, at, length, bytes)| {
            let mut answer = answer.as_bytes().to_vec();
            let at = at.index(answer.len() + 1);
            answer.splice(at..(at + length).min(answer.len()), bytes);
            answer
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever a peer says before it closes is an answer or an error, and the next request does
    /// not suffer from it.
    #[test]
    fn every_answer_ends(answer in near_answers()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (port, _requests, _peer) = scripted(&[&[&answer[..]], &[ACCEPTED.as_bytes()], &[ACCEPTED.as_bytes()]]).await;
            let clients = cache(ClientLimits::default());
            if let Err(error) = ask(&clients, port).await {
                assert_eq!(error.reason(), "request", "{error}");
            }
            told().await;
            ask(&clients, port).await.expect("an answer");
        });
    }
}
