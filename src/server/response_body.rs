//! The body of a response as its connection sends it: whole, or in pieces as they come.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;

/// Pieces of a body, for as long as there are some. It is dropped when the peer is gone.
pub(crate) struct BodyStream(Pin<Box<dyn Stream<Item = Bytes> + Send>>);

impl BodyStream {
    /// Makes a body of these pieces.
    pub(crate) fn new(pieces: impl Stream<Item = Bytes> + Send + 'static) -> Self {
        Self(Box::pin(pieces))
    }
}

impl fmt::Debug for BodyStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BodyStream")
    }
}

/// The body of a response.
pub(super) enum ResponseBytes {
    Whole(Full<Bytes>),
    Stream(BodyStream),
}

impl ResponseBytes {
    /// Makes the body of a response, which is the stream if there is one.
    pub(super) fn new(whole: Full<Bytes>, stream: Option<BodyStream>) -> Self {
        stream.map_or(Self::Whole(whole), Self::Stream)
    }

    /// Returns true if the body may last: its connection is not idle while it is written.
    pub(super) fn is_stream(&self) -> bool {
        matches!(self, Self::Stream(_))
    }
}

impl Body for ResponseBytes {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(whole) => Pin::new(whole).poll_frame(cx),
            Self::Stream(BodyStream(pieces)) => pieces
                .as_mut()
                .poll_next(cx)
                .map(|piece| piece.map(|piece| Ok(Frame::data(piece)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(whole) => whole.is_end_stream(),
            Self::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) => whole.size_hint(),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}
