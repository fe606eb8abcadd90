//! A sender: a closed loop with 64 requests under way, or events at a steady pace.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper::header::HeaderValue;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::Wire;
use crate::dispatcher::Dispatcher;
use crate::latency::{Latencies, clock};

/// Requests under way at once.
const CONCURRENCY: usize = 64;
const HTTP2_CONNECTIONS: usize = 4;

/// What is sent where.
#[derive(Clone, Debug)]
pub(crate) struct Mail {
    /// Events go to `/default/c0` and so on, in turn; with one channel to `/default/c`.
    pub(crate) channels: usize,
    /// Events go there instead.
    pub(crate) path: Option<String>,
    /// Bytes of JSON.
    pub(crate) body: usize,
    /// Requests that can be under way at once, each on a connection of its own with HTTP/1.1.
    pub(crate) concurrency: usize,
    /// Whether an event says when it was made, for the sink to see how long it took.
    pub(crate) stamped: bool,
    /// Whether an event is one JSON object, not headers and a body.
    pub(crate) structured: bool,
}

impl Default for Mail {
    fn default() -> Self {
        Self {
            channels: 1,
            path: None,
            body: 1024,
            concurrency: CONCURRENCY,
            stamped: false,
            structured: false,
        }
    }
}

/// Path of the channel with this number.
pub(crate) fn path(index: usize, channels: usize) -> String {
    if channels == 1 {
        "/default/c".to_owned()
    } else {
        format!("/default/c{index}")
    }
}

/// What a run showed.
pub(crate) struct Report {
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
    pub(crate) elapsed: Duration,
    latencies: Latencies,
}

impl Report {
    /// The latency that this part of the answers did not exceed.
    pub(crate) fn percentile(&self, part: f64) -> Duration {
        self.latencies.percentile(part)
    }
}

/// Connections that are open and wait for work.
pub(crate) struct Load {
    connections: Vec<Connection>,
    letters: Arc<Letters>,
    _drivers: JoinSet<()>,
}

impl Load {
    /// One that sends to this process.
    pub(crate) async fn new(dispatcher: &Dispatcher, wire: Wire, mail: &Mail) -> Self {
        let (address, ca) = dispatcher.entrance(wire);
        Self::open(address, ca.as_deref(), wire, mail).await
    }

    /// One that sends to this address, whose certificate this authority (PEM) signed.
    pub(crate) async fn open(
        address: SocketAddr,
        ca: Option<&str>,
        wire: Wire,
        mail: &Mail,
    ) -> Self {
        let peer = Peer {
            address,
            tls: ca.map(|ca| connector(ca, wire)),
        };
        let (mut connections, mut drivers) = (Vec::new(), JoinSet::new());
        while connections.len() < mail.concurrency {
            if wire == Wire::TlsHttp2 {
                let connection = peer.connect_http2(&mut drivers).await;
                connections.extend(
                    (0..mail.concurrency / HTTP2_CONNECTIONS).map(|_| connection.another()),
                );
            } else {
                connections.push(peer.connect_http1(&mut drivers).await);
            }
        }
        Self {
            connections,
            letters: Arc::new(Letters::new(wire, mail)),
            _drivers: drivers,
        }
    }

    /// As many events as go, for so long.
    pub(crate) async fn run(&mut self, time: Duration) -> Report {
        self.follow(Plan::new(usize::MAX, Some(time), None)).await
    }

    /// So many events, as fast as it goes.
    pub(crate) async fn send(&mut self, count: usize) -> Report {
        self.follow(Plan::new(count, None, None)).await
    }

    /// So many events a second, for so long. Latencies count from when an event goes out.
    pub(crate) async fn paced(&mut self, rate: f64, time: Duration) -> Report {
        self.follow(Plan::new(usize::MAX, Some(time), Some(1.0 / rate)))
            .await
    }

    async fn follow(&mut self, plan: Plan) -> Report {
        let (plan, mut senders) = (Arc::new(plan), JoinSet::new());
        for connection in self.connections.drain(..) {
            senders.spawn(send(
                connection,
                Arc::clone(&self.letters),
                Arc::clone(&plan),
            ));
        }
        let mut report = Report {
            accepted: 0,
            refused: 0,
            elapsed: Duration::ZERO,
            latencies: Latencies::default(),
        };
        while let Some(part) = senders.join_next().await {
            let (connection, latencies, refused) = part.expect("a sender");
            self.connections.push(connection);
            report.refused += refused;
            report.latencies.merge(&latencies);
        }
        report.accepted = report.latencies.count();
        report.elapsed = plan.started.elapsed();
        report
    }
}

/// Who sends when, shared by all senders.
struct Plan {
    started: Instant,
    next: AtomicUsize,
    limit: usize,
    time: Option<Duration>,
    /// Seconds between two events.
    interval: Option<f64>,
}

impl Plan {
    fn new(limit: usize, time: Option<Duration>, interval: Option<f64>) -> Self {
        Self {
            started: Instant::now(),
            next: AtomicUsize::new(0),
            limit,
            time,
            interval,
        }
    }

    /// The number of the next event, when it is due; nothing at the end.
    async fn turn(&self) -> Option<usize> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let due = self
            .interval
            .map(|interval| Duration::from_secs_f64(turn as f64 * interval));
        let moment = due.unwrap_or_else(|| self.started.elapsed());
        if turn >= self.limit || self.time.is_some_and(|time| moment >= time) {
            return None;
        }
        if let Some(due) = due
            && due > self.started.elapsed()
        {
            tokio::time::sleep_until((self.started + due).into()).await;
        }
        Some(turn)
    }
}

/// The events, ready to be sent.
struct Letters {
    event: Request<Full<Bytes>>,
    addresses: Vec<Uri>,
    stamped: bool,
}

impl Letters {
    fn new(wire: Wire, mail: &Mail) -> Self {
        let base = if wire == Wire::TlsHttp2 {
            "https://localhost"
        } else {
            ""
        };
        let paths = match &mail.path {
            Some(path) => vec![path.clone()],
            None => (0..mail.channels)
                .map(|index| path(index, mail.channels))
                .collect(),
        };
        let addresses = paths
            .iter()
            .map(|path| format!("{base}{path}").parse().expect("a path"))
            .collect();
        let mut event = if mail.structured {
            structured(mail.body)
        } else {
            event(mail.body)
        };
        if wire != Wire::TlsHttp2 {
            event
                .headers_mut()
                .insert("host", HeaderValue::from_static("localhost"));
        }
        Self {
            event,
            addresses,
            stamped: mail.stamped,
        }
    }

    /// The event with this number.
    fn letter(&self, turn: usize) -> Request<Full<Bytes>> {
        let mut letter = self.event.clone();
        *letter.uri_mut() = self.addresses[turn % self.addresses.len()].clone();
        if self.stamped {
            letter.headers_mut().insert("ce-sent", clock().into());
        }
        letter
    }
}

/// So many bytes of JSON.
fn data(bytes: usize) -> String {
    format!("{{\"data\":\"{}\"}}", "x".repeat(bytes - 11))
}

fn event(body: usize) -> Request<Full<Bytes>> {
    Request::post("/")
        .header("content-type", "application/json")
        .header("ce-specversion", "1.0")
        .header("ce-id", "6cf17c7b-30b1-45a6-80b0-4cf58c92b947")
        .header("ce-source", "/bench")
        .header("ce-type", "dev.sealpost.bench")
        .header("ce-time", "2026-01-01T00:00:00Z")
        .body(Full::new(Bytes::from(data(body))))
        .expect("a request")
}

/// The same event in structured mode.
fn structured(body: usize) -> Request<Full<Bytes>> {
    let json = format!(
        "{{\"specversion\":\"1.0\",\"id\":\"6cf17c7b-30b1-45a6-80b0-4cf58c92b947\",\"source\":\"/bench\",\
         \"type\":\"dev.sealpost.bench\",\"time\":\"2026-01-01T00:00:00Z\",\"datacontenttype\":\"application/json\",\
         \"data\":{}}}",
        data(body)
    );
    Request::post("/")
        .header("content-type", "application/cloudevents+json")
        .body(Full::new(Bytes::from(json)))
        .expect("a request")
}

async fn send(
    mut connection: Connection,
    letters: Arc<Letters>,
    plan: Arc<Plan>,
) -> (Connection, Latencies, u64) {
    let (mut latencies, mut refused) = (Latencies::default(), 0);
    while let Some(turn) = plan.turn().await {
        let letter = letters.letter(turn);
        let started = Instant::now();
        match connection.send(letter).await {
            StatusCode::ACCEPTED => latencies.record(started.elapsed()),
            _ => refused += 1,
        }
    }
    (connection, latencies, refused)
}

enum Connection {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    /// One more stream of the same connection.
    fn another(&self) -> Self {
        match self {
            Self::Http1(_) => unreachable!("HTTP/1.1 has no streams"),
            Self::Http2(sender) => Self::Http2(sender.clone()),
        }
    }

    async fn send(&mut self, letter: Request<Full<Bytes>>) -> StatusCode {
        let mut response = match self {
            Self::Http1(sender) => {
                sender.ready().await.expect("a connection");
                sender.send_request(letter).await.expect("an answer")
            }
            Self::Http2(sender) => {
                sender.ready().await.expect("a connection");
                sender.send_request(letter).await.expect("an answer")
            }
        };
        while response.body_mut().frame().await.is_some() {}
        response.status()
    }
}

struct Peer {
    address: SocketAddr,
    tls: Option<TlsConnector>,
}

impl Peer {
    async fn stream(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).await.expect("connected");
        stream.set_nodelay(true).expect("a socket");
        stream
    }

    async fn secured(&self, tls: &TlsConnector) -> TlsStream<TcpStream> {
        let name = ServerName::try_from("localhost").expect("a name");
        tls.connect(name, self.stream().await)
            .await
            .expect("a handshake")
    }

    async fn connect_http1(&self, drivers: &mut JoinSet<()>) -> Connection {
        Connection::Http1(if let Some(tls) = &self.tls {
            let io = TokioIo::new(self.secured(tls).await);
            let (sender, connection) = http1::handshake(io).await.expect("a connection");
            drivers.spawn(async { drop(connection.await) });
            sender
        } else {
            let (sender, connection) = http1::handshake(TokioIo::new(self.stream().await))
                .await
                .expect("a connection");
            drivers.spawn(async { drop(connection.await) });
            sender
        })
    }

    async fn connect_http2(&self, drivers: &mut JoinSet<()>) -> Connection {
        let io = TokioIo::new(self.secured(self.tls.as_ref().expect("TLS")).await);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io)
            .await
            .expect("a connection");
        drivers.spawn(async { drop(connection.await) });
        Connection::Http2(sender)
    }
}

fn connector(ca: &str, wire: Wire) -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(ca.as_bytes()).expect("a certificate"))
        .expect("a root");
    let mut config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![if wire == Wire::TlsHttp2 {
        b"h2".to_vec()
    } else {
        b"http/1.1".to_vec()
    }];
    TlsConnector::from(Arc::new(config))
}
