//! A subscriber that answers as it is told and remembers what it got.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::eventually;
use super::pki::Identity;

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    /// Of HTTP/2, where it stands for the header `Host`.
    pub(crate) authority: Option<String>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) version: Version,
    /// Which connection it came on, counted from 0.
    pub(crate) connection: usize,
    /// Which request it is, counted from 0.
    pub(crate) number: usize,
    pub(crate) at: Instant,
}

impl Received {
    /// A header's text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .get(name)
            .map(|value| value.to_str().expect("text"))
    }

    /// The event's id.
    pub(crate) fn id(&self) -> &str {
        self.header("ce-id").unwrap_or_default()
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Bytes,
    pub(crate) delay: Duration,
}

impl Reply {
    /// Only a status.
    pub(crate) fn status(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
            delay: Duration::ZERO,
        }
    }

    /// A status and a text.
    pub(crate) fn text(status: u16, body: impl Into<Bytes>) -> Self {
        Self {
            body: body.into(),
            ..Self::status(status)
        }
    }

    /// An event as the answer.
    pub(crate) fn event(ty: &str, id: &str) -> Self {
        let headers = vec![
            ("ce-specversion", "1.0".to_owned()),
            ("ce-type", ty.to_owned()),
            ("ce-source", "/reply".to_owned()),
            ("ce-id", id.to_owned()),
        ];
        Self {
            headers,
            ..Self::status(200)
        }
    }

    /// The same with another header.
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The same, later.
    pub(crate) fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }
}

type Answer = dyn Fn(&Received) -> Reply + Send + Sync;

struct State {
    answer: Box<Answer>,
    received: Mutex<Vec<Received>>,
    /// Requests that came.
    count: AtomicUsize,
    remembers: AtomicBool,
    connections: AtomicUsize,
}

/// A subscriber on loopback; ended when it is dropped.
pub(crate) struct Subscriber {
    address: SocketAddr,
    scheme: &'static str,
    state: Arc<State>,
    server: JoinSet<()>,
}

impl Subscriber {
    /// One that answers 200.
    pub(crate) async fn ok() -> Self {
        Self::answering(|_| Reply::status(200)).await
    }

    /// One that answers the statuses in turn, and the last one from then on.
    pub(crate) async fn replying(statuses: &'static [u16]) -> Self {
        Self::answering(move |received| {
            Reply::status(statuses[received.number.min(statuses.len() - 1)])
        })
        .await
    }

    /// One that answers as `answer` says.
    pub(crate) async fn answering(
        answer: impl Fn(&Received) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::start(None, answer).await
    }

    /// The same that remembers nothing: for very many requests.
    pub(crate) fn forgetful(self) -> Self {
        self.state.remembers.store(false, Ordering::Relaxed);
        self
    }

    /// One over TLS that answers as `answer` says.
    pub(crate) async fn secure(
        identity: &Identity,
        answer: impl Fn(&Received) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::start(Some(identity.acceptor()), answer).await
    }

    /// The same that speaks HTTP/1.1 only.
    pub(crate) async fn secure_http1(
        identity: &Identity,
        answer: impl Fn(&Received) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::start(Some(identity.speaking(&[b"http/1.1"])), answer).await
    }

    async fn start(
        tls: Option<TlsAcceptor>,
        answer: impl Fn(&Received) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let received = Mutex::default();
        let state = Arc::new(State {
            answer: Box::new(answer),
            received,
            count: AtomicUsize::new(0),
            remembers: AtomicBool::new(true),
            connections: AtomicUsize::new(0),
        });
        let mut server = JoinSet::new();
        server.spawn(serve(listener, tls, Arc::clone(&state)));
        Self {
            address,
            scheme,
            state,
            server,
        }
    }

    /// Its URL, by the name that its certificate holds.
    pub(crate) fn url(&self) -> String {
        format!("{}://localhost:{}/", self.scheme, self.address.port())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything that came, in the order of arrival.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.state.received.lock().expect("lock").clone()
    }

    /// How much came.
    pub(crate) fn count(&self) -> usize {
        self.state.count.load(Ordering::Relaxed)
    }

    /// How many connections were opened.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Relaxed)
    }

    /// Waits until so much has come.
    pub(crate) async fn until(&self, count: usize) -> Vec<Received> {
        eventually(&format!("{count} requests"), || self.count() >= count).await;
        self.received()
    }

    /// Stops listening and closes its connections.
    pub(crate) async fn stop(&mut self) {
        self.server.shutdown().await;
    }
}

async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let number = state.connections.fetch_add(1, Ordering::Relaxed);
        connections.spawn(connection(stream, tls.clone(), Arc::clone(&state), number));
    }
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, state: Arc<State>, number: usize) {
    stream.set_nodelay(true).expect("a socket");
    let stream: Pin<Box<dyn Stream>> = match tls {
        None => Box::pin(stream),
        Some(tls) => match tls.accept(stream).await {
            Ok(stream) => Box::pin(stream),
            Err(_) => return,
        },
    };
    let service = service_fn(move |request| answer(request, Arc::clone(&state), number));
    drop(
        Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service)
            .await,
    );
}

pub(crate) trait Stream: AsyncRead + AsyncWrite + Send {}
impl<S: AsyncRead + AsyncWrite + Send> Stream for S {}

async fn answer(
    request: Request<Incoming>,
    state: Arc<State>,
    connection: usize,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let reply = {
        let mut received = state.received.lock().expect("lock");
        let request = Received {
            method: parts.method,
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().map(str::to_owned),
            authority: parts.uri.authority().map(ToString::to_string),
            headers: parts.headers,
            body,
            version: parts.version,
            connection,
            number: state.count.fetch_add(1, Ordering::Relaxed),
            at: Instant::now(),
        };
        if state.remembers.load(Ordering::Relaxed) {
            received.push(request.clone());
        }
        (state.answer)(&request)
    };
    tokio::time::sleep(reply.delay).await;
    let mut response = Response::new(Full::new(reply.body));
    *response.status_mut() = StatusCode::from_u16(reply.status).expect("a status");
    for (name, value) in reply.headers {
        response
            .headers_mut()
            .append(name, HeaderValue::from_str(&value).expect("a value"));
    }
    Ok(response)
}
