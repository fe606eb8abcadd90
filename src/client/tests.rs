//! Clients against real sockets: which connections are shared, which are evicted, what an error
//! says.

mod exchange;
mod http1;

use rcgen::{CertificateParams, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::tls::server_identity::ServerIdentity;

fn cache(limits: ClientLimits) -> ClientCache {
    ClientCache::new(SystemRoots::load(), MinTlsVersion::Tls12, limits)
}

fn to(url: &str, trust: &Arc<TrustBundle>) -> Addressable {
    let url = url.parse().expect("a URL");
    Addressable {
        url,
        route: DestinationRoute::Remote { connect: None },
        trust: Arc::clone(trust),
        audience: None,
    }
}

fn certificate() -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new(vec!["localhost".to_owned()])
        .expect("parameters")
        .self_signed(&key);
    (
        certificate.expect("a certificate").pem(),
        key.serialize_pem(),
    )
}

async fn send(clients: &ClientCache, to: &Addressable) -> Result<Response<Bytes>, TransportError> {
    clients
        .send(
            || Request::new(Bytes::from_static(b"x")),
            to,
            Duration::from_millis(500),
        )
        .await
}

/// A peer that writes these bytes to every connection once something was read. Ended with the set.
async fn peer(answer: &'static [u8], tls: Option<TlsAcceptor>) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let scheme = if tls.is_some() { "https" } else { "http" };
    let url = format!(
        "{scheme}://localhost:{}/",
        listener.local_addr().expect("an address").port()
    );
    let mut peer = JoinSet::new();
    peer.spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            match &tls {
                Some(tls) => drop(tls.accept(stream).await),
                None => {
                    if stream.read_u8().await.is_ok() {
                        stream.write_all(answer).await.expect("written");
                        kept.push(stream);
                    }
                }
            }
        }
    });
    (url, peer)
}

#[tokio::test]
async fn clients_are_shared_by_trust_and_evicted_when_idle() {
    let clients = cache(ClientLimits {
        client_idle_timeout: Duration::from_millis(50),
        ..ClientLimits::default()
    });
    let [a, b] = [certificate().0, certificate().0];
    let both = Arc::new(TrustBundle::from_pem(&(a.clone() + &b)).expect("a bundle"));
    let turned = Arc::new(TrustBundle::from_pem(&(b + &a)).expect("a bundle"));
    let one = Arc::new(TrustBundle::from_pem(&a).expect("a bundle"));
    for (trust, count) in [(&both, 1), (&turned, 1), (&one, 2)] {
        clients
            .client(&to("https://localhost/", trust))
            .await
            .expect("a client");
        assert_eq!(clients.client_count().await, count);
    }
    let elsewhere = DestinationRoute::Remote {
        connect: Some(([127, 0, 0, 1], 1).into()),
    };
    let moved = Addressable {
        route: elsewhere,
        ..to("https://localhost/", &one)
    };
    clients.client(&moved).await.expect("a client");
    assert_eq!(
        clients.client_count().await,
        3,
        "a client for another place is another client"
    );
    tokio::time::timeout(Duration::from_secs(10), async {
        while clients.client_count().await > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("idle clients are evicted");
}

#[tokio::test]
async fn errors_say_what_happened() {
    let none = Arc::new(TrustBundle::default());
    let (chain, key) = certificate();
    let identity = ServerIdentity::default();
    identity.replace(&chain, &key, 0).expect("an identity");
    let tls = TlsAcceptor::from(
        identity
            .server_config(MinTlsVersion::Tls12)
            .expect("a configuration"),
    );
    let (secure, _a) = peer(b"", Some(tls)).await;
    let (silent, _b) = peer(b"", None).await;
    let (babbling, _d) = peer(b"nonsense\r\n\r\n", None).await;
    let traffic = Arc::new(ConnectionMetrics::default());
    let clients = cache(ClientLimits::default()).with_metrics(Arc::clone(&traffic));
    for (url, reason, words) in [
        (secure.as_str(), "tls", "UnknownIssuer"),
        (silent.as_str(), "timeout", "no answer within 0.5 s"),
        (
            babbling.as_str(),
            "request",
            "the answer is not HTTP/1.1: invalid HTTP version",
        ),
        ("http://127.0.0.1:1/", "connect", "refused"),
        ("http://no-such-host.invalid/", "connect", ""),
    ] {
        let error = send(&clients, &to(url, &none))
            .await
            .expect_err("no answer");
        assert_eq!(
            (error.reason(), error.is_permanent()),
            (reason, false),
            "{error}"
        );
        let text = error.to_string();
        assert!(text.contains(words) && !text.contains('\n'), "{text}");
    }
    let counted = (
        traffic.opened.get(),
        traffic.handshakes.get(),
        traffic.handshakes_failed.get(),
    );
    assert_eq!(counted, (2, 0, 1), "made, shaken hands, failed to");
}

/// Contract DP-26.
#[tokio::test]
async fn answers_are_read_as_far_as_they_mean_something() {
    let none = Arc::new(TrustBundle::default());
    let clients = cache(ClientLimits {
        max_reply_bytes: 4,
        ..ClientLimits::default()
    });
    let (plain, _a) = peer(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", None).await;
    let (event, _b) = peer(
        b"HTTP/1.1 200 OK\r\nce-specversion: 1.0\r\ncontent-length: 4\r\n\r\nfour",
        None,
    )
    .await;
    let (large, _c) = peer(
        b"HTTP/1.1 200 OK\r\nce-specversion: 1.0\r\ncontent-length: 5\r\n\r\nhello",
        None,
    )
    .await;
    assert_eq!(
        send(&clients, &to(&plain, &none))
            .await
            .expect("an answer")
            .body(),
        "h",
        "there is something"
    );
    assert_eq!(
        send(&clients, &to(&event, &none))
            .await
            .expect("an answer")
            .body(),
        "four"
    );
    let answer = send(&clients, &to(&large, &none))
        .await
        .expect("the event was taken");
    assert_eq!(
        ReplyError::of_response(&answer),
        Some(&ReplyError::TooLarge { limit: 4 })
    );
}
