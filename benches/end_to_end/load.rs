//! A sender with 64 requests under way, a closed loop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::Wire;
use crate::dispatcher::Dispatcher;

const CONCURRENCY: usize = 64;
const HTTP2_CONNECTIONS: usize = 4;

/// What a run showed.
pub(crate) struct Report {
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
    pub(crate) elapsed: Duration,
    latencies: Vec<Duration>,
}

impl Report {
    /// The latency that this part of the answers did not exceed.
    pub(crate) fn percentile(&self, part: f64) -> Duration {
        self.latencies.get((self.latencies.len() as f64 * part) as usize).copied().unwrap_or_default()
    }
}

pub(crate) struct Load {
    address: SocketAddr,
    tls: Option<TlsConnector>,
    wire: Wire,
}

impl Load {
    pub(crate) fn new(dispatcher: &Dispatcher, wire: Wire) -> Self {
        let address = if wire == Wire::Plain { dispatcher.http } else { dispatcher.https };
        let tls = (wire != Wire::Plain).then(|| connector(&dispatcher.ca(), wire));
        Self { address, tls, wire }
    }

    pub(crate) async fn run(&self, time: Duration) -> Report {
        let started = Instant::now();
        let end = started + time;
        let mut senders = JoinSet::new();
        if self.wire == Wire::TlsHttp2 {
            for _ in 0..HTTP2_CONNECTIONS {
                let sender = self.connect_http2(&mut senders).await;
                for _ in 0..CONCURRENCY / HTTP2_CONNECTIONS {
                    senders.spawn(send_http2(sender.clone(), end));
                }
            }
        } else {
            for _ in 0..CONCURRENCY {
                let sender = self.connect_http1(&mut senders).await;
                senders.spawn(send_http1(sender, end));
            }
        }
        let mut report = Report { accepted: 0, refused: 0, elapsed: Duration::ZERO, latencies: Vec::new() };
        while let Some(part) = senders.join_next().await {
            let (latencies, refused) = part.expect("a sender");
            report.accepted += latencies.len() as u64;
            report.refused += refused;
            report.latencies.extend(latencies);
        }
        report.elapsed = started.elapsed();
        report.latencies.sort_unstable();
        report
    }

    async fn stream(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).await.expect("connected");
        stream.set_nodelay(true).expect("a socket");
        stream
    }

    async fn secured(&self) -> TlsStream<TcpStream> {
        let name = ServerName::try_from("localhost").expect("a name");
        self.tls.as_ref().expect("TLS").connect(name, self.stream().await).await.expect("a handshake")
    }

    async fn connect_http1(&self, tasks: &mut JoinSet<Part>) -> http1::SendRequest<Full<Bytes>> {
        if self.tls.is_some() {
            let (sender, connection) =
                http1::handshake(TokioIo::new(self.secured().await)).await.expect("a connection");
            tasks.spawn(async { (connection.await.map_or_else(|_| vec![], |()| vec![]), 0) });
            sender
        } else {
            let (sender, connection) = http1::handshake(TokioIo::new(self.stream().await)).await.expect("a connection");
            tasks.spawn(async { (connection.await.map_or_else(|_| vec![], |()| vec![]), 0) });
            sender
        }
    }

    async fn connect_http2(&self, tasks: &mut JoinSet<Part>) -> http2::SendRequest<Full<Bytes>> {
        let io = TokioIo::new(self.secured().await);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.expect("a connection");
        tasks.spawn(async { (connection.await.map_or_else(|_| vec![], |()| vec![]), 0) });
        sender
    }
}

/// Latencies of what was accepted, and how much was not.
type Part = (Vec<Duration>, u64);

fn connector(ca: &str, wire: Wire) -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).expect("a certificate")).expect("a root");
    let mut config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![if wire == Wire::TlsHttp2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    TlsConnector::from(Arc::new(config))
}

fn event() -> Request<Full<Bytes>> {
    let padding = "x".repeat(1024 - 11);
    Request::post("http://localhost/default/c")
        .header("host", "localhost")
        .header("content-type", "application/json")
        .header("ce-specversion", "1.0")
        .header("ce-id", "6cf17c7b-30b1-45a6-80b0-4cf58c92b947")
        .header("ce-source", "/bench")
        .header("ce-type", "dev.sealpost.bench")
        .header("ce-time", "2026-01-01T00:00:00Z")
        .body(Full::new(Bytes::from(format!("{{\"data\":\"{padding}\"}}"))))
        .expect("a request")
}

async fn send_http1(mut sender: http1::SendRequest<Full<Bytes>>, end: Instant) -> Part {
    let (event, mut latencies, mut refused) = (event(), Vec::new(), 0);
    while Instant::now() < end {
        sender.ready().await.expect("a connection");
        let started = Instant::now();
        let mut request = event.clone();
        *request.uri_mut() = "/default/c".parse().expect("a path");
        match finish(sender.send_request(request).await.expect("an answer")).await {
            StatusCode::ACCEPTED => latencies.push(started.elapsed()),
            _ => refused += 1,
        }
    }
    (latencies, refused)
}

async fn send_http2(mut sender: http2::SendRequest<Full<Bytes>>, end: Instant) -> Part {
    let (event, mut latencies, mut refused) = (event(), Vec::new(), 0);
    while Instant::now() < end {
        sender.ready().await.expect("a connection");
        let started = Instant::now();
        match finish(sender.send_request(event.clone()).await.expect("an answer")).await {
            StatusCode::ACCEPTED => latencies.push(started.elapsed()),
            _ => refused += 1,
        }
    }
    (latencies, refused)
}

async fn finish(mut response: Response<Incoming>) -> StatusCode {
    while response.body_mut().frame().await.is_some() {}
    response.status()
}
