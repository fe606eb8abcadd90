//! A client connection that speaks HTTP/1.1 (RFC 9112): a request, its response, then the next
//! request.
//!
//! The meaning of the bytes is known by the modules below, which do no I/O. The task that wants a
//! response writes the request and reads the response itself, and a connection that waits for
//! either holds no buffers: there may be thousands of connections.

mod body_decoder;
mod framing;
mod head;
mod malformed_response;
mod request_head;

use std::future::poll_fn;
use std::io::{self, Cursor};
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut, buf};
use http::{HeaderValue, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop;

use self::body_decoder::BodyDecoder;
use self::head::{ResponseHead, ResponseHeadReader};
use self::malformed_response::MalformedResponse;
use super::TransportError;
use super::counted_stream::CountedStream;
use super::error::RequestFailure;
use super::response_progress::ResponseProgress;

/// Most bytes that are taken from the socket by one read.
const READ: usize = 8 * 1024;

/// The connections to a host that no request uses, to which a connection is given back when its
/// response has ended.
pub(super) trait Http1ConnectionPool: Send + Sync {
    /// Keeps a connection for the next request, at most for as long as the peer keeps it; a
    /// connection over the limit is closed.
    fn keep_idle(&self, connection: Http1Connection, keep_alive_timeout: Duration);
}

/// A connection and the request that is under way on it.
pub(super) struct Http1Connection {
    stream: CountedStream,
    /// The bytes of the request that are still to be written; `None` when all of them are written.
    outgoing: Option<buf::Chain<Cursor<Vec<u8>>, Bytes>>,
    /// The bytes that were read and not yet parsed.
    received: BytesMut,
    /// The error after which nothing more can be written.
    write_error: Option<io::Error>,
    /// True if a part of the request was written. After a failed write the rest of it may be on
    /// its way, too.
    is_request_begun: bool,
}

/// A request whose response head is waited for. It is on the heap, since the future that holds it
/// is moved.
pub(super) struct Http1Exchange {
    connection: Http1Connection,
    head_reader: ResponseHeadReader,
}

impl Http1Exchange {
    /// Waits for the head of the response and returns it with a body that is still to be read.
    /// `pool` gets the connection back at the end of the body.
    pub(super) async fn read_response(
        mut self: Box<Self>,
        pool: Arc<dyn Http1ConnectionPool>,
    ) -> Result<Response<Http1Body>, RequestFailure> {
        match poll_fn(|context| self.poll_head(context)).await {
            Ok(head) => Ok(Http1Body::start_response(head, self.connection, pool)),
            Err(error) if self.connection.is_request_begun => {
                Err(RequestFailure::MaybeProcessed(error))
            }
            Err(error) => Err(RequestFailure::NotSent(error)),
        }
    }

    fn poll_head(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<ResponseHead, TransportError>> {
        loop {
            let read = ready!(self.connection.poll_exchange(context))?;
            // A response such as 408 from a peer that has received nothing of the request is no
            // response to it.
            if read == 0
                || (!self.connection.is_request_begun && self.connection.write_error.is_some())
            {
                return Poll::Ready(Err(self.connection.connection_closed_error()));
            }
            if let Some(head) = self.head_reader.read(&mut self.connection.received)? {
                return Poll::Ready(Ok(head));
            }
        }
    }
}

impl Http1Connection {
    /// Makes a connection on which nothing was sent yet.
    pub(super) fn new(stream: CountedStream) -> Self {
        Self {
            stream,
            outgoing: None,
            received: BytesMut::new(),
            write_error: None,
            is_request_begun: false,
        }
    }

    /// Returns true if a request can be sent: the peer has neither closed the connection nor sent
    /// bytes that nobody asked for.
    pub(super) fn is_reusable(&mut self) -> bool {
        let said = pin!(coop::unconstrained(poll_fn(
            |context| self.poll_read(context)
        )));
        said.poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
    }

    /// Gives the connection back to `pool` for as long as the peer keeps it, if the request was
    /// written whole and nothing came after the response.
    fn return_to_pool(self, keep_alive_timeout: Option<Duration>, pool: &dyn Http1ConnectionPool) {
        let spotless =
            self.is_request_sent() && self.write_error.is_none() && self.received.is_empty();
        if let Some(keep_alive_timeout) = keep_alive_timeout.filter(|_| spotless) {
            pool.keep_idle(
                Self {
                    received: BytesMut::new(),
                    ..self
                },
                keep_alive_timeout,
            );
        }
    }

    /// Returns the error of a connection from which nothing more can be read: the failed write, if
    /// there was one, else the early end.
    fn connection_closed_error(&mut self) -> TransportError {
        let closed = || {
            io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the connection was closed before the answer was whole",
            )
        };
        TransportError::connection_lost(&self.write_error.take().unwrap_or_else(closed))
    }

    /// Puts a request with this `Host` field into the buffer from which it is written while the
    /// response is waited for. Nothing is written here.
    pub(super) fn start_request(
        mut self,
        request: Request<Bytes>,
        host_field: &HeaderValue,
    ) -> Box<Http1Exchange> {
        let (parts, body) = request.into_parts();
        let head = request_head::encode_request_head(&parts, body.len(), host_field);
        self.outgoing = Some(Cursor::new(head).chain(body));
        self.is_request_begun = false;
        Box::new(Http1Exchange {
            connection: self,
            head_reader: ResponseHeadReader::default(),
        })
    }

    /// Returns true if nothing of the request is left to be written.
    fn is_request_sent(&self) -> bool {
        self.outgoing.is_none()
    }

    /// Writes what can be written; ready with the number of bytes when something was read, with 0
    /// when the peer has closed the connection.
    fn poll_exchange(&mut self, context: &mut Context<'_>) -> Poll<Result<usize, TransportError>> {
        if let Poll::Ready(Err(error)) = self.poll_write(context) {
            // The bytes that the peer sent before are still to be read: they may be a response that
            // refuses the rest of the request.
            self.outgoing = None;
            self.write_error = Some(error);
        }
        self.poll_read(context)
            .map_err(|error| TransportError::connection_lost(&error))
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(outgoing) = &mut self.outgoing else {
            return Poll::Ready(Ok(()));
        };
        while outgoing.has_remaining() {
            let mut slices = [io::IoSlice::new(&[]); 2];
            let count = outgoing.chunks_vectored(&mut slices);
            let slices = slices.get(..count).unwrap_or_default();
            let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, slices))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.is_request_begun = true;
            outgoing.advance(written);
        }
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        self.outgoing = None;
        Poll::Ready(Ok(()))
    }

    /// Reads what is there. The bytes are copied out of a buffer on the stack, so that memory is
    /// allocated only when their number is known.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut chunk = [MaybeUninit::uninit(); READ];
        let mut chunk = ReadBuf::uninit(&mut chunk);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut chunk))?;
        self.received.extend_from_slice(chunk.filled());
        Poll::Ready(Ok(chunk.filled().len()))
    }
}

/// The body of a response over HTTP/1.1.
pub(super) struct Http1Body {
    /// Reads the body; `None` after its end, when the connection is given back or closed.
    reader: Option<Box<Http1BodyReader>>,
    is_unambiguous: bool,
}

struct Http1BodyReader {
    decoder: BodyDecoder,
    connection: Http1Connection,
    pool: Arc<dyn Http1ConnectionPool>,
    keep_alive_timeout: Option<Duration>,
    /// True if the response counts only when all of the request is written: a peer that has
    /// answered 202 is still to read the event.
    is_success: bool,
}

impl Http1Body {
    fn start_response(
        ResponseHead { response, framing }: ResponseHead,
        connection: Http1Connection,
        pool: Arc<dyn Http1ConnectionPool>,
    ) -> Response<Self> {
        let coming = Http1BodyReader {
            decoder: framing.length.into(),
            connection,
            pool,
            keep_alive_timeout: framing.keep_alive_timeout,
            is_success: response.status().is_success(),
        };
        let mut body = Self {
            reader: None,
            is_unambiguous: framing.is_unambiguous,
        };
        if coming.is_complete() {
            coming.release_connection();
        } else {
            body.reader = Some(Box::new(coming));
        }
        response.map(|()| body)
    }

    /// Returns true if every recipient reads the framing of the body in the same way.
    pub(super) fn is_unambiguous(&self) -> bool {
        self.is_unambiguous
    }

    /// Returns true if no more of the request will be written.
    pub(super) fn is_request_sent(&self) -> bool {
        self.reader
            .as_ref()
            .is_none_or(|reader| reader.connection.is_request_sent())
    }

    /// Returns the next piece of the body, or that the last byte of the request was written, or
    /// that the body has ended.
    pub(super) async fn next_progress(&mut self) -> Result<ResponseProgress, TransportError> {
        let was_sent = self.is_request_sent();
        loop {
            if let Some(piece) = self.take_received()? {
                return Ok(ResponseProgress::Data(piece));
            }
            let Some(reader) = &mut self.reader else {
                return Ok(ResponseProgress::End);
            };
            if !was_sent && reader.connection.is_request_sent() {
                return Ok(ResponseProgress::RequestSent);
            }
            match poll_fn(|context| reader.poll_progress(context)).await? {
                // A peer that has closed the connection reads no more of the request, either.
                Some(0) if reader.decoder.ends_with_connection() => self.reader = None,
                Some(0) => return Err(reader.connection.connection_closed_error()),
                Some(_) if reader.decoder.is_done() => reader.discard_received(),
                Some(_) | None => {}
            }
        }
    }

    /// Takes the next piece of the body out of the bytes that were received, and gives the
    /// connection back after the last piece.
    fn take_received(&mut self) -> Result<Option<Bytes>, TransportError> {
        let Some(reader) = &mut self.reader else {
            return Ok(None);
        };
        let piece = reader.decoder.decode(&mut reader.connection.received)?;
        if let Some(reader) = self.reader.take_if(|reader| reader.is_complete()) {
            reader.release_connection();
        }
        Ok(piece)
    }
}

impl Drop for Http1Body {
    /// Takes what was received and not read, since the connection can be used again if that was the
    /// rest of the body.
    fn drop(&mut self) {
        while let Ok(Some(_piece)) = self.take_received() {}
    }
}

impl Http1BodyReader {
    /// Ready with the number of bytes when something was read, or with `None` when the last byte of
    /// the request was written.
    fn poll_progress(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<usize>, TransportError>> {
        let was_written = self.connection.is_request_sent();
        match self.connection.poll_exchange(context) {
            Poll::Pending if !was_written && self.connection.is_request_sent() => {
                Poll::Ready(Ok(None))
            }
            read => read.map_ok(Some),
        }
    }

    fn is_complete(&self) -> bool {
        self.decoder.is_done() && (self.connection.is_request_sent() || !self.is_success)
    }

    /// Forgets the bytes that came after the response while the request was still being written,
    /// and gives up the keep-alive, since nobody can tell what those bytes were.
    fn discard_received(&mut self) {
        self.connection.received = BytesMut::new();
        self.keep_alive_timeout = None;
    }

    fn release_connection(self) {
        self.connection
            .return_to_pool(self.keep_alive_timeout, &*self.pool);
    }
}

impl From<MalformedResponse> for TransportError {
    fn from(MalformedResponse(reason): MalformedResponse) -> Self {
        Self::Request(format!("the answer is not HTTP/1.1: {reason}"))
    }
}
