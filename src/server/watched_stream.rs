//! The stream of a connection as its protocol sees it: what it receives is noted in the activity of
//! the connection, and the stream below is kept for a lingering close.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection_activity::ConnectionActivity;

/// Most bytes that are read at once. hyper doubles its buffer when a read has filled it, and keeps
/// it as long as the connection lives; reads of less than 16 KiB leave the buffer at that.
const READ_AT_ONCE: usize = 16 * 1024 - 1;

/// The place where a stream is put when its protocol has ended.
pub(super) type ReleasedStream<S> = Arc<Mutex<Option<Box<S>>>>;

/// Takes the stream, if its protocol has ended and left it there.
pub(super) fn take_released<S>(left: &ReleasedStream<S>) -> Option<Box<S>> {
    left.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// A stream that reports what it receives to the activity of its connection. It leaves the inner
/// stream to a lingering close when it is dropped.
#[derive(Debug)]
pub(super) struct WatchedStream<S> {
    stream: Option<S>,
    activity: Arc<ConnectionActivity>,
    released: ReleasedStream<S>,
}

impl<S> WatchedStream<S> {
    pub(super) fn new(
        stream: S,
        activity: Arc<ConnectionActivity>,
        released: ReleasedStream<S>,
    ) -> Self {
        Self {
            stream: Some(stream),
            activity,
            released,
        }
    }

    /// Records that the peer, or the system for it, took some bytes.
    fn note_sent(&self, polled: &Poll<io::Result<usize>>) {
        if matches!(polled, Poll::Ready(Ok(_))) {
            self.activity.note_streamed();
        }
    }

    /// Records the result of a read or a write: after an error there is nothing to wait for from
    /// the peer.
    fn note_result<T>(&self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(_)) = &polled {
            self.activity.set_peer_gone();
        }
        polled
    }
}

impl<S> Drop for WatchedStream<S> {
    fn drop(&mut self) {
        let is_wanted = self.activity.is_body_unread() && !self.activity.is_peer_gone();
        if let Some(stream) = self.stream.take().filter(|_| is_wanted) {
            *self.released.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(stream));
        }
    }
}

/// Returns the inner stream, which is there until the watched stream is dropped.
fn open_stream<S: Unpin>(stream: &mut Option<S>) -> io::Result<Pin<&mut S>> {
    stream
        .as_mut()
        .map(Pin::new)
        .ok_or_else(|| io::ErrorKind::NotConnected.into())
}

/// Reads at most [`READ_AT_ONCE`] bytes.
fn read_bounded<S: AsyncRead>(
    stream: Pin<&mut S>,
    cx: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    let mut some = ReadBuf::new(buf.initialize_unfilled_to(READ_AT_ONCE));
    ready!(stream.poll_read(cx, &mut some))?;
    let came = some.filled().len();
    buf.advance(came);
    Poll::Ready(Ok(()))
}

impl<S: AsyncRead + Unpin> AsyncRead for WatchedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let stream = open_stream(&mut self.stream)?;
        let polled = if buf.remaining() > READ_AT_ONCE {
            read_bounded(stream, cx, buf)
        } else {
            stream.poll_read(cx, buf)
        };
        let came = buf.filled().get(before..).unwrap_or_default();
        if !came.is_empty() {
            self.activity.note_received(came);
        } else if matches!(polled, Poll::Ready(Ok(()))) {
            self.activity.set_peer_gone();
        }
        self.note_result(polled)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WatchedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.activity.note_written();
        let polled = open_stream(&mut self.stream)?.poll_write(cx, buf);
        self.note_sent(&polled);
        self.note_result(polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        open_stream(&mut self.stream)?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        open_stream(&mut self.stream)?.poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream
            .as_ref()
            .is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.activity.note_written();
        let polled = open_stream(&mut self.stream)?.poll_write_vectored(cx, bufs);
        self.note_sent(&polled);
        self.note_result(polled)
    }
}
