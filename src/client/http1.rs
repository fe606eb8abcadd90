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
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, Version};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop;
use ureq_proto::BodyMode;
use ureq_proto::client::state::{Cleanup, RecvBody, RecvResponse};
use ureq_proto::client::{Call, MAX_RESPONSE_HEADERS, RecvBodyResult, RecvResponseResult, SendRequestResult};
use ureq_proto::parser::try_parse_response;

use super::TransportError;
use super::counted::Counted;
use super::error::Failure;
use super::pool::Host;

/// Bytes that are read at once.
const READ: usize = 8 * 1024;
/// Bytes of an answer's head, or of a line between two pieces of its body, at most.
const MAX_HEAD: usize = 64 * 1024;
/// Bytes of a request's head that are not its path, its host, or a field of the request: more than enough.
const OTHER: usize = 128;

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
    /// Whether it was not clear where an answer ends.
    must_close: bool,
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
            let read = ready!(self.connection.poll(context))?;
            // What a peer says that has seen nothing of the request, such as 408, is no answer to it.
            if read == 0 || (!self.connection.begun && self.connection.broken.is_some()) {
                return Poll::Ready(Err(self.connection.closed()));
            }
            if let Some(head) = self.head()? {
                return Poll::Ready(Ok(head));
            }
        }
    }

    /// The head if it is there; what only informs (1xx) is skipped.
    fn head(&mut self) -> Result<Option<Response<()>>, TransportError> {
        loop {
            let received = &mut self.connection.received;
            let (used, head) = match self.call.try_response(received, false) {
                Err(ureq_proto::Error::HeadersWith100) => (informed(received)?, None),
                read => read.map_err(|error| not_http(&error))?,
            };
            received.advance(used);
            if head.is_some() || used == 0 {
                self.connection.bounded()?;
                return Ok(head);
            }
        }
    }
}

/// The length of the head that is there. ureq-proto refuses `100 Continue` with fields, which RFC 9110 allows.
fn informed(received: &[u8]) -> Result<usize, TransportError> {
    let head = try_parse_response::<MAX_RESPONSE_HEADERS>(received).map_err(|error| not_http(&error))?;
    Ok(head.map_or(0, |(length, _)| length))
}

/// Whether all recipients agree where an answer with this head ends. After any other one a connection is not used again
/// (RFC 9112, 6.1 and 6.3).
fn is_unambiguous(head: &Response<()>) -> bool {
    let mut codings = head.headers().get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => {
            let is_alone = head.version() == Version::HTTP_11 && !head.headers().contains_key(CONTENT_LENGTH);
            is_alone && coding.as_bytes().eq_ignore_ascii_case(b"chunked")
        }
        (Some(_), Some(_)) => false,
    }
}

impl Connection {
    /// A connection on which nothing was sent.
    pub(super) fn new(stream: Counted) -> Self {
        Self { stream, outgoing: None, received: BytesMut::new(), broken: None, begun: false, must_close: false }
    }

    /// Whether a request can be sent: the peer has not closed it, nor said something that nobody asked for.
    pub(super) fn is_silent(&mut self) -> bool {
        let said = pin!(coop::unconstrained(poll_fn(|context| self.poll_read(context))));
        said.poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    /// `host` keeps it for the next request if this one and its answer were whole, and nothing came after them.
    fn ended(self, call: &Call<Cleanup>, host: &Host) {
        let spotless = self.is_written() && self.broken.is_none() && self.received.is_empty();
        if spotless && !self.must_close && !call.must_close_connection() {
            host.keep(Self { received: BytesMut::new(), ..self });
        }
    }

    /// Why there is no more to read.
    fn closed(&mut self) -> TransportError {
        let closed =
            || io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed before the answer was whole");
        TransportError::broken_off(&self.broken.take().unwrap_or_else(closed))
    }

    /// Puts a request, which is to `host`, where it is written from when the answer is waited for.
    pub(super) fn begin(mut self, request: Request<Bytes>, host: &Host) -> Result<Box<Exchange>, TransportError> {
        let (parts, body) = request.into_parts();
        let (head, call) = head(parts, body.len(), &host.name)
            .map_err(|error| TransportError::Request(format!("the request cannot be sent by HTTP/1.1: {error}")))?;
        self.outgoing = Some(Cursor::new(head).chain(body));
        self.begun = false;
        Ok(Box::new(Exchange { connection: self, call }))
    }

    /// Whether nothing of the request is left to be written.
    fn is_written(&self) -> bool {
        self.outgoing.is_none()
    }

    /// What waits to be understood must not grow.
    fn bounded(&self) -> Result<(), TransportError> {
        if self.received.len() > MAX_HEAD {
            return Err(TransportError::Request(format!(
                "the answer has a head or line of more than {MAX_HEAD} bytes"
            )));
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
}

struct Coming {
    rest: Rest,
    connection: Connection,
    host: Arc<Host>,
    /// Whether the answer counts only when all of the request is written: whoever has said 202 is still to read the event.
    is_success: bool,
}

/// What is still to come of an answer.
enum Rest {
    Body(Call<RecvBody>),
    Nothing(Call<Cleanup>),
}

impl Body {
    fn begin(head: Response<()>, Exchange { mut connection, call }: Exchange, host: &Arc<Host>) -> Response<Self> {
        connection.must_close = !is_unambiguous(&head);
        let rest = match call.proceed() {
            Some(RecvResponseResult::RecvBody(call)) => Some(Rest::Body(call)),
            Some(RecvResponseResult::Redirect(call)) => Some(Rest::Nothing(call.proceed())),
            Some(RecvResponseResult::Cleanup(call)) => Some(Rest::Nothing(call)),
            None => None,
        };
        let is_success = head.status().is_success();
        let coming = rest.map(|rest| Box::new(Coming { rest, connection, host: Arc::clone(host), is_success }));
        let mut body = Self { coming };
        body.end_if_whole();
        head.map(|()| body)
    }

    /// The next piece; `None` after the last one, when the request is written, too.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>, TransportError> {
        loop {
            let piece = self.received()?;
            let Some(coming) = self.coming.as_mut().filter(|_| piece.is_none()) else { return Ok(piece) };
            match poll_fn(|context| coming.poll(context)).await? {
                Some(0) if coming.ends_with_connection() => self.coming = None,
                Some(0) => return Err(coming.connection.closed()),
                Some(_) => coming.connection.bounded()?,
                None => {}
            }
        }
    }

    /// What has come.
    fn received(&mut self) -> Result<Option<Bytes>, TransportError> {
        let piece = self.coming.as_mut().map(|coming| coming.piece()).transpose()?.flatten();
        self.end_if_whole();
        Ok(piece)
    }

    fn end_if_whole(&mut self) {
        let Some(coming) = self.coming.take_if(|coming| coming.is_whole()) else { return };
        let Coming { rest, connection, host, .. } = *coming;
        match rest {
            Rest::Nothing(call) => connection.ended(&call, &host),
            Rest::Body(call) => match call.proceed() {
                Some(RecvBodyResult::Redirect(call)) => connection.ended(&call.proceed(), &host),
                Some(RecvBodyResult::Cleanup(call)) => connection.ended(&call, &host),
                None => {}
            },
        }
    }
}

impl Drop for Body {
    /// What nobody has read may have come all the same, and the connection can be used again then.
    fn drop(&mut self) {
        drop(self.received());
    }
}

impl Coming {
    /// Ready when something was read: so many bytes; or when the last of the request was written: `None`.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<usize>, TransportError>> {
        match self.connection.poll(context) {
            Poll::Pending if self.is_whole() => Poll::Ready(Ok(None)),
            read => read.map_ok(Some),
        }
    }

    fn piece(&mut self) -> Result<Option<Bytes>, TransportError> {
        let Rest::Body(call) = &mut self.rest else { return Ok(None) };
        let received = &mut self.connection.received;
        let mut piece = BytesMut::zeroed(received.len());
        let (used, length) = call.read(received, &mut piece).map_err(|error| not_http(&error))?;
        received.advance(used);
        piece.truncate(length);
        Ok((length > 0).then(|| piece.freeze()))
    }

    fn is_whole(&self) -> bool {
        let is_read = match &self.rest {
            Rest::Body(call) => call.can_proceed() && call.body_mode() != BodyMode::CloseDelimited,
            Rest::Nothing(_) => true,
        };
        is_read && (self.connection.is_written() || !self.is_success)
    }

    /// Whether the answer is whole when the peer closes the connection. One that has closed it reads no more, either.
    fn ends_with_connection(&self) -> bool {
        match &self.rest {
            Rest::Body(call) => call.can_proceed(),
            Rest::Nothing(_) => true,
        }
    }
}

fn not_http(error: &ureq_proto::Error) -> TransportError {
    TransportError::Request(format!("the answer is not HTTP/1.1: {error}"))
}
