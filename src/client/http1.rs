//! One connection that speaks HTTP/1.1 (RFC 9112): a request, its answer, the next request.
//!
//! What the bytes mean is known by the modules below, which do no I/O. A request is written and its answer read by the
//! task that wants it, and a connection that waits for either holds no buffers: there may be thousands.

mod body;
mod framing;
mod head;
mod request;

use std::future::poll_fn;
use std::io::{self, Cursor};
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut, buf};
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop;

use self::body::Decoder;
use self::head::{Head, Heads, Malformed};
use super::TransportError;
use super::answer::Next;
use super::counted::Counted;
use super::error::Failure;
use super::pool::Host;

/// Bytes that are read at once.
const READ: usize = 8 * 1024;

/// A connection and what is under way on it.
pub(super) struct Connection {
    stream: Counted,
    /// What is left to write of a request; `None` when all of it is.
    outgoing: Option<buf::Chain<Cursor<Vec<u8>>, Bytes>>,
    /// Read, and not yet understood.
    received: BytesMut,
    /// Why no more can be written.
    broken: Option<io::Error>,
    /// Whether a part of the request was written. The rest may be on its way when writing has failed, too.
    begun: bool,
}

/// A request that waits for the head of its answer. On the heap, since the future that has it is moved.
pub(super) struct Exchange {
    connection: Connection,
    heads: Heads,
}

impl Exchange {
    /// The head of the answer, and its body to come. `host` keeps the connection after the end of that.
    pub(super) async fn answer(mut self: Box<Self>, host: &Arc<Host>) -> Result<Response<Body>, Failure> {
        match poll_fn(|context| self.poll_head(context)).await {
            Ok(head) => Ok(Body::begin(head, self.connection, host)),
            Err(error) if self.connection.begun => Err(Failure::Begun(error)),
            Err(error) => Err(Failure::NotBegun(error)),
        }
    }

    fn poll_head(&mut self, context: &mut Context<'_>) -> Poll<Result<Head, TransportError>> {
        loop {
            let read = ready!(self.connection.poll(context))?;
            // What a peer says that has seen nothing of the request, such as 408, is no answer to it.
            if read == 0 || (!self.connection.begun && self.connection.broken.is_some()) {
                return Poll::Ready(Err(self.connection.closed()));
            }
            if let Some(head) = self.heads.read(&mut self.connection.received)? {
                return Poll::Ready(Ok(head));
            }
        }
    }
}

impl Connection {
    /// A connection on which nothing was sent.
    pub(super) fn new(stream: Counted) -> Self {
        Self { stream, outgoing: None, received: BytesMut::new(), broken: None, begun: false }
    }

    /// Whether a request can be sent: the peer has not closed it, nor said something that nobody asked for.
    pub(super) fn is_silent(&mut self) -> bool {
        let said = pin!(coop::unconstrained(poll_fn(|context| self.poll_read(context))));
        said.poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    /// `host` keeps it for as long as the peer does, if this request was whole and nothing came after its answer.
    fn ended(self, patience: Option<Duration>, host: &Host) {
        let spotless = self.is_written() && self.broken.is_none() && self.received.is_empty();
        if let Some(patience) = patience.filter(|_| spotless) {
            host.keep(Self { received: BytesMut::new(), ..self }, patience);
        }
    }

    /// Why there is no more to read.
    fn closed(&mut self) -> TransportError {
        let closed =
            || io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed before the answer was whole");
        TransportError::broken_off(&self.broken.take().unwrap_or_else(closed))
    }

    /// Puts a request, which is to `host`, where it is written from when the answer is waited for.
    pub(super) fn begin(mut self, request: Request<Bytes>, host: &Host) -> Box<Exchange> {
        let (parts, body) = request.into_parts();
        let head = request::head(&parts, body.len(), &host.name);
        self.outgoing = Some(Cursor::new(head).chain(body));
        self.begun = false;
        Box::new(Exchange { connection: self, heads: Heads::default() })
    }

    /// Whether nothing of the request is left to be written.
    fn is_written(&self) -> bool {
        self.outgoing.is_none()
    }

    /// Writes what can be written; ready when something was read: so many bytes, none when the peer has closed.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<usize, TransportError>> {
        if let Poll::Ready(Err(error)) = self.poll_write(context) {
            // What the peer said before is still to be read: it may be an answer that refuses the rest.
            self.outgoing = None;
            self.broken = Some(error);
        }
        self.poll_read(context).map_err(|error| TransportError::broken_off(&error))
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(outgoing) = &mut self.outgoing else { return Poll::Ready(Ok(())) };
        while outgoing.has_remaining() {
            let mut slices = [io::IoSlice::new(&[]); 2];
            let count = outgoing.chunks_vectored(&mut slices);
            let slices = slices.get(..count).unwrap_or_default();
            let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, slices))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.begun = true;
            outgoing.advance(written);
        }
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        self.outgoing = None;
        Poll::Ready(Ok(()))
    }

    /// Reads what is there, into a buffer that is made when it is known how much that is.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut chunk = [MaybeUninit::uninit(); READ];
        let mut chunk = ReadBuf::uninit(&mut chunk);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut chunk))?;
        self.received.extend_from_slice(chunk.filled());
        Poll::Ready(Ok(chunk.filled().len()))
    }
}

/// The body of an answer.
pub(super) struct Body {
    /// What comes of it; nothing after the end.
    coming: Option<Box<Coming>>,
    is_clear: bool,
}

struct Coming {
    decoder: Decoder,
    connection: Connection,
    host: Arc<Host>,
    patience: Option<Duration>,
    /// Whether the answer counts only when all of the request is written: whoever has said 202 is still to read the event.
    is_success: bool,
}

impl Body {
    fn begin(Head { response, framing }: Head, connection: Connection, host: &Arc<Host>) -> Response<Self> {
        let coming = Coming {
            decoder: framing.length.into(),
            connection,
            host: Arc::clone(host),
            patience: framing.patience,
            is_success: response.status().is_success(),
        };
        let mut body = Self { coming: None, is_clear: framing.is_clear };
        if coming.is_whole() {
            coming.end();
        } else {
            body.coming = Some(Box::new(coming));
        }
        response.map(|()| body)
    }

    /// Whether it is clear what the bytes mean.
    pub(super) fn is_clear(&self) -> bool {
        self.is_clear
    }

    /// Whether the request is written as far as it ever will be.
    pub(super) fn is_sent(&self) -> bool {
        self.coming.as_ref().is_none_or(|coming| coming.connection.is_written())
    }

    /// The next piece, or that the last of the request is written, or that there is no more.
    pub(super) async fn next(&mut self) -> Result<Next, TransportError> {
        let was_sent = self.is_sent();
        loop {
            if let Some(piece) = self.received()? {
                return Ok(Next::Piece(piece));
            }
            let Some(coming) = &mut self.coming else { return Ok(Next::End) };
            if !was_sent && coming.connection.is_written() {
                return Ok(Next::Sent);
            }
            match poll_fn(|context| coming.poll(context)).await? {
                // One that has closed the connection reads no more, either.
                Some(0) if coming.decoder.ends_with_connection() => self.coming = None,
                Some(0) => return Err(coming.connection.closed()),
                Some(_) if coming.decoder.is_done() => coming.forget(),
                Some(_) | None => {}
            }
        }
    }

    /// What has come.
    fn received(&mut self) -> Result<Option<Bytes>, TransportError> {
        let Some(coming) = &mut self.coming else { return Ok(None) };
        let piece = coming.decoder.piece(&mut coming.connection.received)?;
        if let Some(coming) = self.coming.take_if(|coming| coming.is_whole()) {
            coming.end();
        }
        Ok(piece)
    }
}

impl Drop for Body {
    /// What nobody has read may have come all the same, and the connection can be used again then.
    fn drop(&mut self) {
        while let Ok(Some(_piece)) = self.received() {}
    }
}

impl Coming {
    /// Ready when something was read: so many bytes; or when the last of the request was written: `None`.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<usize>, TransportError>> {
        let was_written = self.connection.is_written();
        match self.connection.poll(context) {
            Poll::Pending if !was_written && self.connection.is_written() => Poll::Ready(Ok(None)),
            read => read.map_ok(Some),
        }
    }

    fn is_whole(&self) -> bool {
        self.decoder.is_done() && (self.connection.is_written() || !self.is_success)
    }

    /// Forgets what came after the answer, while the request is still written. Nobody can tell what that was.
    fn forget(&mut self) {
        self.connection.received = BytesMut::new();
        self.patience = None;
    }

    fn end(self) {
        self.connection.ended(self.patience, &self.host);
    }
}

impl From<Malformed> for TransportError {
    fn from(Malformed(reason): Malformed) -> Self {
        Self::Request(format!("the answer is not HTTP/1.1: {reason}"))
    }
}
