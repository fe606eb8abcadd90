//! A peer that answers every request with the same bytes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::rows::{End, Pace, Row};
use crate::support::pki::Ca;

/// How it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    Clear,
    Tls,
}

impl Wire {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Clear => "clear",
            Self::Tls => "TLS",
        }
    }
}

/// A peer on loopback; ended when it is dropped.
pub(crate) struct Peer {
    pub(crate) url: String,
    /// What its certificate is verified by; empty in the clear.
    pub(crate) ca: String,
    connections: Arc<AtomicUsize>,
    requests: Seen,
    _server: JoinSet<()>,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Peer {
    pub(crate) async fn start(row: &'static Row, wire: Wire) -> Self {
        let ca = Ca::new("peer");
        let tls = (wire == Wire::Tls).then(|| ca.issue(&["localhost"]).speaking(&[b"http/1.1"]));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let scheme = if wire == Wire::Tls { "https" } else { "http" };
        let url = format!(
            "{scheme}://localhost:{}/",
            listener.local_addr().expect("an address").port()
        );
        let ca = if wire == Wire::Tls {
            ca.pem
        } else {
            String::new()
        };
        let connections = Arc::new(AtomicUsize::new(0));
        let requests = Seen::default();
        let (mut server, counted, seen) = (
            JoinSet::new(),
            Arc::clone(&connections),
            Arc::clone(&requests),
        );
        server.spawn(async move {
            let mut all = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                all.spawn(serve(stream, tls.clone(), row, Arc::clone(&seen)));
            }
        });
        Self {
            url,
            ca,
            connections,
            requests,
            _server: server,
        }
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// When requests came.
    pub(crate) fn requests(&self) -> Vec<Instant> {
        self.requests.lock().expect("lock").clone()
    }

    /// Until what it has done is known to the kernel, and to this process.
    pub(crate) async fn told(&mut self) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

type Seen = Arc<Mutex<Vec<Instant>>>;

async fn serve(stream: TcpStream, tls: Option<TlsAcceptor>, row: &'static Row, seen: Seen) {
    stream.set_nodelay(true).expect("a socket");
    match tls {
        None => {
            let mut stream = stream;
            drop(answers(&mut stream, row, &seen).await);
            if row.end == End::Reset {
                // What is closed with unread bytes, or without lingering, is reset.
                stream.set_zero_linger().expect("a socket");
            }
        }
        Some(tls) => {
            let Ok(mut stream) = tls.accept(stream).await else {
                return;
            };
            drop(answers(&mut stream, row, &seen).await);
            if row.end == End::Close {
                drop(stream.shutdown().await);
            }
            if row.end == End::Reset {
                stream.get_ref().0.set_zero_linger().expect("a socket");
            }
        }
    }
}

async fn answers(stream: &mut impl Stream, row: &Row, seen: &Seen) -> std::io::Result<()> {
    loop {
        read_request(stream).await?;
        seen.lock().expect("lock").push(Instant::now());
        match row.pace {
            Pace::AtOnce => stream.write_all(row.answer.bytes().as_ref()).await?,
            Pace::ByteByByte => {
                for byte in row.answer.bytes().as_ref() {
                    stream.write_u8(*byte).await?;
                    stream.flush().await?;
                }
            }
        }
        stream.flush().await?;
        match row.end {
            End::Stay => {}
            End::Close | End::CutOff | End::Reset => return Ok(()),
        }
    }
}

/// A head, and as much of a body as it says.
async fn read_request(stream: &mut impl Stream) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![
        0;
        length
            .and_then(|length| length.trim().parse().ok())
            .unwrap_or(0)
    ];
    stream.read_exact(&mut body).await.map(drop)
}
