//! A connection that is counted in the metrics while it is open, and holds its permit.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use hyper_rustls::MaybeHttpsStream;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use crate::telemetry::series::ConnectionMetrics;

type TokioTcpStream = TokioIo<TcpStream>;

/// A TCP or TLS stream; reads and writes go to the stream unchanged.
pub(super) struct CountedStream {
    /// A TLS stream is on the heap, since it is some twenty times as large as a TCP stream.
    stream: Either<TcpStream, Box<TlsStream<TokioIo<TokioTcpStream>>>>,
    metrics: Arc<ConnectionMetrics>,
    /// The connection permit, given back when the connection is closed.
    _permit: Option<OwnedSemaphorePermit>,
}

impl CountedStream {
    /// Counts a connection that was opened, and its handshake if it is encrypted.
    pub(super) fn new(
        stream: MaybeHttpsStream<TokioTcpStream>,
        descriptor: Option<OwnedSemaphorePermit>,
        traffic: &Arc<ConnectionMetrics>,
    ) -> Self {
        traffic.opened.increment();
        traffic.open.add(1);
        let stream = match stream {
            MaybeHttpsStream::Http(plain) => Either::Left(plain.into_inner()),
            MaybeHttpsStream::Https(tls) => {
                traffic.handshakes.increment();
                Either::Right(Box::new(tls.into_inner()))
            }
        };
        Self {
            stream,
            metrics: Arc::clone(traffic),
            _permit: descriptor,
        }
    }

    /// Returns true if both sides agreed on HTTP/2 by ALPN.
    pub(super) fn is_http2(&self) -> bool {
        match &self.stream {
            Either::Left(_) => false,
            Either::Right(tls) => tls.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }
}

impl Drop for CountedStream {
    /// Sends TLS' `close_notify`, so that the peer knows that the stream was not cut off (RFC 8446,
    /// 6.1), unless that would have to wait.
    fn drop(&mut self) {
        self.metrics.open.add(-1);
        if let Either::Right(tls) = &mut self.stream {
            drop(Pin::new(tls).poll_shutdown(&mut Context::from_waker(Waker::noop())));
        }
    }
}

impl AsyncRead for CountedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for CountedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
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
