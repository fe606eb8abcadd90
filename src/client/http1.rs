//! One connection that speaks HTTP/1.1 (RFC 9112): a request, its answer, the next request.
//!
//! What the bytes mean is ureq-proto's matter, which does no I/O. A request is written and its answer read by the task
//! that wants it, and a connection that waits for either holds no buffers: there may be thousands.

use std::future::poll_fn;
use std::io::{self, Cursor};
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes, BytesMut, buf};
use http::header::{CONTENT_LENGTH, HOST};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response};
use hyper::rt::{Read, ReadBuf, Write};
use tokio::task::coop;
use ureq_proto::BodyMode;
use ureq_proto::client::state::{Cleanup, RecvBody, RecvResponse};
use ureq_proto::client::{Call, RecvBodyResult, RecvResponseResult, SendRequestResult};

use super::TransportError;
use super::counted::Counted;
use super::error::Failure;
use super::pool::Host;

/// Bytes that are read at once.
const READ: usize = 8 * 1024;
/// Bytes of an answer's head, or between two pieces of its body, at most.
const MAX_HEAD: usize = 64 * 1024;
/// Bytes of a request's head that are not its path, its host, or a field of the request: more than enough.
const OTHER: usize = 128;

/// A connection and what is under way on it.
pub(super) struct Connection {
    stream: Box<Counted>,
    /// What is left to write of a request; `None` when all of it is.
    outgoing: Option<buf::Chain<Cursor<Vec<u8>>, Bytes>>,
    /// Read, and not yet understood.
    received: BytesMut,
    /// Why no more can be written.
    broken: Option<io::Error>,
    /// Whether something of the request was written.
    begun: bool,
}

/// A request that waits for the head of its answer. On the heap, since the future that has it is moved.
pub(super) struct Exchange {
    connection: Connection,
    call: Call<RecvResponse>,
}

impl Exchange {
    /// The head of the answer, and its body to come. `host` keeps the connection after the end of that.
    pub(super) async fn answer(mut self: Box<Self>, host: &Arc<Host>) -> Result<Response<Body>, Failure> {
        match poll_fn(|context| self.poll_head(context)).await {
            Ok(head) => Ok(Body::begin(head, *self, host)),
            Err(error) if self.connection.begun => Err(Failure::Begun(error)),
            Err(error) => Err(Failure::NotBegun(error)),
        }
    }

    fn poll_head(&mut self, context: &mut Context<'_>) -> Poll<Result<Response<()>, TransportError>> {
        loop {
            if ready!(self.connection.poll(context))? == 0 {
                let cause = self.connection.broken.take().unwrap_or_else(closed);
                return Poll::Ready(Err(TransportError::broken_off(&cause)));
            }
            if let Some(head) = self.head()? {
                return Poll::Ready(Ok(head));
            }
        }
    }

    /// The head if it is there; what only informs (1xx) is skipped.
    fn head(&mut self) -> Result<Option<Response<()>>, TransportError> {
        let received = &mut self.connection.received;
        loop {
            let (used, head) = self.call.try_response(received, false).map_err(|error| protocol(&error))?;
            received.advance(used);
            if head.is_some() || used == 0 {
                self.connection.bounded()?;
                return Ok(head);
            }
        }
    }
}

impl Connection {
    /// A connection on which nothing was sent.
    pub(super) fn new(stream: Counted) -> Self {
        Self { stream: Box::new(stream), outgoing: None, received: BytesMut::new(), broken: None, begun: false }
    }

    /// Whether a request can be sent: the peer has not closed it, nor said something that nobody asked for.
    pub(super) fn is_silent(&mut self) -> bool {
        let said = pin!(coop::unconstrained(poll_fn(|context| self.poll_read(context))));
        said.poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    /// `host` keeps it for the next request if this one and its answer were whole, and nothing came after them.
    fn ended(self, call: &Call<Cleanup>, host: &Host) {
        let spotless = self.outgoing.is_none() && self.broken.is_none() && self.received.is_empty();
        if spotless && !call.must_close_connection() {
            host.keep(Self { received: BytesMut::new(), ..self });
        }
    }

    /// Puts a request, which is to `host`, where it is written from when the answer is waited for.
    pub(super) fn begin(mut self, request: Request<Bytes>, host: &Host) -> Result<Box<Exchange>, TransportError> {
        let (parts, body) = request.into_parts();
        let (head, call) = head(parts, body.len(), &host.name).map_err(|error| protocol(&error))?;
        self.outgoing = Some(Cursor::new(head).chain(body));
        self.begun = false;
        Ok(Box::new(Exchange { connection: self, call }))
    }

    /// What waits to be understood must not grow.
    fn bounded(&self) -> Result<(), TransportError> {
        if self.received.len() > MAX_HEAD + READ {
            return Err(TransportError::Request(format!("the answer has a head of more than {MAX_HEAD} bytes")));
        }
        Ok(())
    }

    /// Writes what can be written; ready when something was read: so many bytes, none when the peer has closed.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<usize, TransportError>> {
        if let Poll::Ready(Err(error)) = self.poll_write(context) {
            // What the peer said before is still to be read: it may be an answer that refuses the rest.
            self.outgoing = None;
            self.broken = Some(error);
        }
        let read = ready!(self.poll_read(context));
        Poll::Ready(read.map_err(|error| TransportError::broken_off(&self.broken.take().unwrap_or(error))))
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
        ready!(Pin::new(&mut self.stream).poll_read(context, chunk.unfilled()))?;
        self.received.extend_from_slice(chunk.filled());
        Poll::Ready(Ok(chunk.filled().len()))
    }
}

/// The head of a request with a body of so many bytes, and what its answer has to be.
fn head(parts: Parts, body: usize, host: &HeaderValue) -> Result<(Vec<u8>, Call<RecvResponse>), ureq_proto::Error> {
    let mut call = Call::new(Request::from_parts(parts, ()))?;
    call.header(HOST, host)?;
    if body > 0 || call.method() == Method::POST {
        call.header(CONTENT_LENGTH, body)?;
    }
    let fields = call.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>();
    let path = call.uri().path_and_query().map_or(0, |path| path.as_str().len());
    let mut head = vec![0; fields + path + host.len() + OTHER];
    let mut call = call.proceed();
    let length = call.write(&mut head)?;
    head.truncate(length);
    let call = match call.proceed()? {
        Some(SendRequestResult::RecvResponse(call)) => Some(call),
        Some(SendRequestResult::SendBody(mut call)) => {
            call.consume_direct_write(body)?;
            call.proceed()
        }
        Some(SendRequestResult::Await100(_)) | None => None,
    };
    Ok((head, call.ok_or(ureq_proto::Error::OutputOverflow)?))
}

/// The body of an answer.
pub(super) struct Body {
    /// What comes of it; nothing after the end.
    coming: Option<Box<Coming>>,
    announced: Option<u64>,
}

struct Coming {
    call: Call<RecvBody>,
    connection: Connection,
    host: Arc<Host>,
}

impl Body {
    fn begin(head: Response<()>, Exchange { connection, call }: Exchange, host: &Arc<Host>) -> Response<Self> {
        let mut body = Self { coming: None, announced: Some(0) };
        match call.proceed() {
            Some(RecvResponseResult::RecvBody(call)) => {
                body.announced = match call.body_mode() {
                    BodyMode::LengthDelimited(length) => Some(length),
                    BodyMode::NoBody | BodyMode::Chunked | BodyMode::CloseDelimited => None,
                };
                body.coming = Some(Box::new(Coming { call, connection, host: Arc::clone(host) }));
            }
            Some(RecvResponseResult::Redirect(call)) => connection.ended(&call.proceed(), host),
            Some(RecvResponseResult::Cleanup(call)) => connection.ended(&call, host),
            None => {}
        }
        head.map(|()| body)
    }

    /// Its length in bytes, if that was said.
    pub(super) fn announced(&self) -> Option<u64> {
        self.announced
    }

    /// The next piece; `None` after the last one.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>, TransportError> {
        while let Some(coming) = &mut self.coming {
            let piece = coming.piece()?;
            if coming.is_whole() {
                self.end();
            }
            if let Some(piece) = piece {
                return Ok(Some(piece));
            }
            let Some(coming) = &mut self.coming else { break };
            let connection = &mut coming.connection;
            if poll_fn(|context| connection.poll(context)).await? > 0 {
                connection.bounded()?;
            } else if coming.ends_with_connection() {
                self.end();
            } else {
                return Err(TransportError::broken_off(&closed()));
            }
        }
        Ok(None)
    }

    fn end(&mut self) {
        let Some(coming) = self.coming.take() else { return };
        let Coming { call, connection, host } = *coming;
        match call.proceed() {
            Some(RecvBodyResult::Redirect(call)) => connection.ended(&call.proceed(), &host),
            Some(RecvBodyResult::Cleanup(call)) => connection.ended(&call, &host),
            None => {}
        }
    }
}

impl Coming {
    /// What has come.
    fn piece(&mut self) -> Result<Option<Bytes>, TransportError> {
        let received = &mut self.connection.received;
        let mut piece = BytesMut::zeroed(received.len());
        let (used, length) = self.call.read(received, &mut piece).map_err(|error| protocol(&error))?;
        received.advance(used);
        piece.truncate(length);
        Ok((length > 0).then(|| piece.freeze()))
    }

    fn is_whole(&self) -> bool {
        self.call.can_proceed() && !self.ends_with_connection()
    }

    fn ends_with_connection(&self) -> bool {
        self.call.body_mode() == BodyMode::CloseDelimited
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed before the answer was whole")
}

fn protocol(error: &ureq_proto::Error) -> TransportError {
    TransportError::Request(format!("the answer is not HTTP/1.1: {error}"))
}
