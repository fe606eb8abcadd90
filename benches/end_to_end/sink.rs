//! A subscriber that takes everything and counts it.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::Wire;
use crate::latency::{Latencies, clock};

/// How long [`Sink::slow_url`] takes to answer.
pub(crate) const SLOW: Duration = Duration::from_secs(2);

/// A server on loopback, ended when it is dropped.
pub(crate) struct Sink {
    port: u16,
    url: String,
    ca: Option<String>,
    seen: Arc<Seen>,
    _server: JoinSet<()>,
}

impl Sink {
    pub(crate) async fn start(wire: Wire) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (tls, ca) = match wire {
            Wire::Plain => (None, None),
            Wire::TlsHttp1 => tls(&[b"http/1.1"]),
            Wire::TlsHttp2 => tls(&[b"h2"]),
        };
        let scheme = if tls.is_some() { "https" } else { "http" };
        let seen = Arc::new(Seen::default());
        let mut server = JoinSet::new();
        server.spawn(serve(listener, tls, Arc::clone(&seen)));
        Self {
            port: address.port(),
            url: format!("{scheme}://localhost:{}/", address.port()),
            ca,
            seen,
            _server: server,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Where answers take a while.
    pub(crate) fn slow_url(&self) -> String {
        format!("{}slow", self.url)
    }

    /// Where there is no answer, and nothing is counted.
    pub(crate) fn silent_url(&self) -> String {
        format!("{}silent", self.url)
    }

    /// Where an answer is an event.
    pub(crate) fn replying_url(&self) -> String {
        format!("{}reply", self.url)
    }

    pub(crate) fn ca(&self) -> Option<&str> {
        self.ca.as_deref()
    }

    pub(crate) fn count(&self) -> u64 {
        self.seen.count.load(Ordering::Relaxed)
    }

    /// Waits until so many requests have come.
    pub(crate) async fn until(&self, count: u64) {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while self.count() < count {
            assert!(
                std::time::Instant::now() < deadline,
                "{} of {count} have come",
                self.count()
            );
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }

    /// How long stamped events took from the sender to here, without those for the slow address.
    /// Begins anew.
    pub(crate) fn take_arrivals(&self) -> Latencies {
        std::mem::take(&mut *self.seen.arrivals.lock().expect("no panic"))
    }
}

#[derive(Default)]
struct Seen {
    count: AtomicU64,
    arrivals: Mutex<Latencies>,
}

/// A certificate for `localhost` that nobody else signed, and its key.
pub(crate) fn certificate() -> (rcgen::Certificate, rcgen::KeyPair) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let parameters =
        rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
    (parameters.self_signed(&key).expect("a certificate"), key)
}

fn tls(protocols: &[&[u8]]) -> (Option<TlsAcceptor>, Option<String>) {
    let (certificate, key) = certificate();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let mut config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("a configuration");
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    (
        Some(TlsAcceptor::from(Arc::new(config))),
        Some(certificate.pem()),
    )
}

async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, seen: Arc<Seen>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).expect("a socket");
        connections.spawn(converse(stream, tls.clone(), Arc::clone(&seen)));
    }
}

async fn converse(stream: TcpStream, tls: Option<TlsAcceptor>, seen: Arc<Seen>) {
    match tls {
        None => answer(stream, seen).await,
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                answer(stream, seen).await;
            }
        }
    }
}

async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, seen: Arc<Seen>) {
    let service = service_fn(move |request: Request<Incoming>| take(request, Arc::clone(&seen)));
    drop(
        Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service)
            .await,
    );
}

async fn take(
    mut request: Request<Incoming>,
    seen: Arc<Seen>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    while request.body_mut().frame().await.is_some() {}
    if request.uri().path() == "/silent" {
        std::future::pending::<()>().await;
    }
    seen.count.fetch_add(1, Ordering::Relaxed);
    if request.uri().path() == "/slow" {
        tokio::time::sleep(SLOW).await;
    } else if let Some(sent) = request.headers().get("ce-sent") {
        let sent: u64 = sent
            .to_str()
            .ok()
            .and_then(|sent| sent.parse().ok())
            .expect("what the sender wrote");
        let took = Duration::from_micros(clock().saturating_sub(sent));
        seen.arrivals.lock().expect("no panic").record(took);
    }
    Ok(if request.uri().path() == "/reply" {
        reply()
    } else {
        accepted()
    })
}

fn accepted() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}

/// An event that nobody asked for.
fn reply() -> Response<Full<Bytes>> {
    Response::builder()
        .header("content-type", "application/json")
        .header("ce-specversion", "1.0")
        .header("ce-id", "1")
        .header("ce-source", "/bench/sink")
        .header("ce-type", "dev.sealpost.bench.reply")
        .body(Full::new(Bytes::from_static(b"{\"data\":\"taken\"}")))
        .expect("a response")
}
