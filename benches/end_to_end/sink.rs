//! A subscriber that takes everything and counts it.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
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

/// A server on loopback, ended when it is dropped.
pub(crate) struct Sink {
    url: String,
    ca: Option<String>,
    count: Arc<AtomicU64>,
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
        let count = Arc::new(AtomicU64::new(0));
        let mut server = JoinSet::new();
        server.spawn(serve(listener, tls, Arc::clone(&count)));
        Self { url: format!("{scheme}://localhost:{}/", address.port()), ca, count, _server: server }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn ca(&self) -> Option<&str> {
        self.ca.as_deref()
    }

    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

fn tls(protocols: &[&[u8]]) -> (Option<TlsAcceptor>, Option<String>) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()])
        .expect("parameters")
        .self_signed(&key)
        .expect("a certificate");
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let mut config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("a configuration");
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    (Some(TlsAcceptor::from(Arc::new(config))), Some(certificate.pem()))
}

async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, count: Arc<AtomicU64>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).expect("a socket");
        connections.spawn(converse(stream, tls.clone(), Arc::clone(&count)));
    }
}

async fn converse(stream: TcpStream, tls: Option<TlsAcceptor>, count: Arc<AtomicU64>) {
    match tls {
        None => answer(stream, count).await,
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                answer(stream, count).await;
            }
        }
    }
}

async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, count: Arc<AtomicU64>) {
    let service = service_fn(move |mut request: Request<Incoming>| {
        let count = Arc::clone(&count);
        async move {
            while request.body_mut().frame().await.is_some() {}
            count.fetch_add(1, Ordering::Relaxed);
            let mut response = Response::new(Empty::<Bytes>::new());
            *response.status_mut() = StatusCode::ACCEPTED;
            Ok::<_, Infallible>(response)
        }
    });
    drop(Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await);
}
