//! A connection that is counted while it is open.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::telemetry::series::Traffic;

type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// Reads and writes as the connection does.
pub(super) struct Counted {
    stream: Stream,
    traffic: Arc<Traffic>,
}

impl Counted {
    /// Counts a connection that was made.
    pub(super) fn new(stream: Stream, traffic: &Arc<Traffic>) -> Self {
        traffic.accepted.increment();
        traffic.open.add(1);
        if matches!(stream, MaybeHttpsStream::Https(_)) {
            traffic.handshakes.increment();
        }
        Self { stream, traffic: Arc::clone(traffic) }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.traffic.open.add(-1);
    }
}

impl Connection for Counted {
    /// Without the note of both addresses that the streams below leave in every answer: nobody reads it.
    fn connected(&self) -> Connected {
        let protocol = match &self.stream {
            MaybeHttpsStream::Http(_) => None,
            MaybeHttpsStream::Https(tls) => tls.inner().get_ref().1.alpn_protocol(),
        };
        if protocol == Some(b"h2") { Connected::new().negotiated_h2() } else { Connected::new() }
    }
}

impl Read for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl Write for Counted {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, data)
    }
}
