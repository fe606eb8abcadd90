//! Reading a destination's answer: as much of it as means something, and never more (data-plane.md DP-20, DP-26).

use bytes::{Bytes, BytesMut};
use http::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::{TransportError, http1};
use crate::event::http as binding;

/// Bytes of a failure that are kept: 768 of a subscriber's answer, in base64 and with a URL if a broker filter tells of it
/// (data-plane.md BF-13).
const FAILURE: usize = 4096;
/// Bytes of an answer without meaning that are read so that its connection can be used again.
const DISCARDED: usize = 4096;

/// The body of an answer, by whichever protocol.
pub(super) enum Body {
    Http1(http1::Body),
    Http2(Incoming),
}

/// Reads an event whole, up to `max_event` bytes; of a failure its start; of anything else the first byte,
/// which tells whether there is something.
pub(super) async fn read(response: Response<Body>, max_event: usize) -> Result<Response<Bytes>, TransportError> {
    let (head, mut body) = response.into_parts();
    let success = head.status.is_success();
    let kept = if success && binding::is_event(&head.headers) {
        whole(&mut body, max_event).await?
    } else if success {
        start(&mut body, 1).await?
    } else {
        start(&mut body, FAILURE).await?
    };
    let mut answer = Response::new(kept);
    *answer.status_mut() = head.status;
    *answer.headers_mut() = head.headers;
    Ok(answer)
}

/// Reads a document whole, up to `max` bytes.
pub(super) async fn document(response: Response<Body>, max: usize) -> Result<Bytes, TransportError> {
    let status = response.status();
    if !status.is_success() {
        return Err(TransportError::Request(format!("it answered {status}")));
    }
    whole(&mut response.into_body(), max).await.map_err(|error| match error {
        TransportError::ReplyTooLarge { limit } => {
            TransportError::Request(format!("it answered more than {limit} bytes"))
        }
        other => other,
    })
}

impl Body {
    /// The next piece; trailers are no piece. `None` after the last one.
    async fn piece(&mut self) -> Result<Option<Bytes>, TransportError> {
        let body = match self {
            Self::Http1(body) => return body.piece().await,
            Self::Http2(body) => body,
        };
        while let Some(frame) = body.frame().await {
            if let Ok(piece) = frame?.into_data() {
                return Ok(Some(piece));
            }
        }
        Ok(None)
    }
}

/// All of it. What comes in one piece is not copied.
async fn whole(body: &mut Body, max: usize) -> Result<Bytes, TransportError> {
    let fits = |length| if length > max { Err(TransportError::ReplyTooLarge { limit: max }) } else { Ok(()) };
    let first = body.piece().await?.unwrap_or_default();
    fits(first.len())?;
    let Some(mut piece) = body.piece().await? else { return Ok(first) };
    let mut whole = BytesMut::from(first);
    loop {
        fits(whole.len() + piece.len())?;
        whole.extend_from_slice(&piece);
        match body.piece().await? {
            Some(next) => piece = next,
            None => return Ok(whole.freeze()),
        }
    }
}

/// The first `keep` bytes; some more are read and forgotten, then the rest is not waited for.
async fn start(body: &mut Body, keep: usize) -> Result<Bytes, TransportError> {
    let (mut kept, mut seen) = (BytesMut::new(), 0usize);
    while let Some(piece) = body.piece().await? {
        let wanted = keep.saturating_sub(kept.len()).min(piece.len());
        kept.extend_from_slice(&piece.slice(..wanted));
        seen = seen.saturating_add(piece.len());
        if seen > keep + DISCARDED {
            break;
        }
    }
    Ok(kept.freeze())
}
