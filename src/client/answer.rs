//! Reading a destination's answer: as much of it as means something, and never more (data-plane.md DP-20, DP-26).

use bytes::{Bytes, BytesMut};
use http::Response;

use super::TransportError;
use crate::event::http as binding;

/// Bytes of a failure that are kept: 768 of a subscriber's answer, in base64 and with a URL if a broker filter tells of it
/// (data-plane.md BF-13).
const FAILURE: usize = 4096;
/// Bytes of an answer without meaning that are read so that its connection can be used again.
const DISCARDED: usize = 4096;

/// Reads an event whole, up to `max_event` bytes; of a failure its start; of anything else the first byte,
/// which tells whether there is something.
pub(super) async fn read(response: reqwest::Response, max_event: usize) -> Result<Response<Bytes>, TransportError> {
    let mut response = response;
    let mut kept = Response::new(Bytes::new());
    *kept.status_mut() = response.status();
    *kept.headers_mut() = std::mem::take(response.headers_mut());
    let success = kept.status().is_success();
    *kept.body_mut() = if success && binding::is_event(kept.headers()) {
        whole(&mut response, max_event).await?
    } else if success {
        start(&mut response, 1).await?
    } else {
        start(&mut response, FAILURE).await?
    };
    Ok(kept)
}

/// Reads a document whole, up to `max` bytes.
pub(super) async fn document(mut response: reqwest::Response, max: usize) -> Result<Bytes, TransportError> {
    let status = response.status();
    if !status.is_success() {
        return Err(TransportError::Request(format!("it answered {status}")));
    }
    whole(&mut response, max).await.map_err(|error| match error {
        TransportError::ReplyTooLarge { limit } => {
            TransportError::Request(format!("it answered more than {limit} bytes"))
        }
        other => other,
    })
}

async fn whole(response: &mut reqwest::Response, max: usize) -> Result<Bytes, TransportError> {
    let mut body = BytesMut::new();
    while let Some(piece) = response.chunk().await? {
        if body.len() + piece.len() > max {
            return Err(TransportError::ReplyTooLarge { limit: max });
        }
        if body.is_empty() && response.content_length() == Some(piece.len() as u64) {
            return Ok(piece);
        }
        body.extend_from_slice(&piece);
    }
    Ok(body.freeze())
}

/// The first `keep` bytes; some more are read and forgotten, then the rest is not waited for.
async fn start(response: &mut reqwest::Response, keep: usize) -> Result<Bytes, TransportError> {
    let (mut kept, mut seen) = (BytesMut::new(), 0usize);
    while let Some(piece) = response.chunk().await? {
        let wanted = keep.saturating_sub(kept.len()).min(piece.len());
        kept.extend_from_slice(&piece.slice(..wanted));
        seen = seen.saturating_add(piece.len());
        if seen > keep + DISCARDED {
            break;
        }
    }
    Ok(kept.freeze())
}
