//! Reads the response of a destination: the status counts as soon as it is there (contract DP-15,
//! DP-20, DP-26); of the body, only as much is read as means something.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Response};
use tokio::time::Instant;

use super::response_progress::ResponseProgress;
use super::{RequestDeadline, TransportError, http1, http2};
use crate::event::http as binding;
use crate::wire_text::WireText;

/// Bytes of a failed response's body that are kept: 768 of a subscriber's response, in base64 and
/// with a URL if a broker filter passes them on (contract BF-13).
const FAILURE: usize = 4096;
/// Bytes of a body without meaning that are read so that its connection can be used again.
const DISCARDED: usize = 4096;
/// How long the body of a failed response is waited for.
const FAILURE_WAIT: Duration = Duration::from_secs(1);
/// How long the end of a body without meaning is waited for: a new connection costs less than a
/// longer wait.
const DISCARDED_WAIT: Duration = Duration::from_millis(100);

/// The body of a response, over either version of HTTP.
pub(super) enum ResponseBody {
    Http1(http1::Http1Body),
    Http2(http2::Http2Body),
}

/// The reason for which the event in a response could not be read. The status of the response
/// counts all the same: the event that was sent was taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// The event in the response is larger than the limit.
    #[error(
        "the answer holds an event of more than {limit} bytes: raise --max-body-bytes, or \
         answer with less"
    )]
    TooLarge {
        /// The limit in bytes, from `--max-body-bytes`.
        limit: usize,
    },
    /// The response ended before its event was whole.
    #[error("the answer holds an event that was cut off: {0}")]
    CutOff(WireText),
    /// The response is compressed or otherwise coded, though only identity was asked for.
    #[error(
        "the answer holds an event with {0}, and only identity was asked for: answer without it"
    )]
    ContentEncoded(WireText),
}

impl ReplyError {
    /// Returns the reason for which the event of this response is missing, if it should be there.
    #[must_use]
    pub fn of_response<B>(answer: &Response<B>) -> Option<&Self> {
        answer.extensions().get()
    }
}

/// Reads an event whole, up to `max_event` bytes; of the body of a failure its first bytes; of any
/// other body the first byte, which tells whether there is one. If the body breaks off, the
/// response has what was received.
///
/// # Errors
/// Fails if the peer has accepted a request that could not be written whole until the end of the
/// attempt.
pub(super) async fn read_response(
    response: Response<ResponseBody>,
    max_event: usize,
    attempt: RequestDeadline,
) -> Result<Response<Bytes>, TransportError> {
    let (head, mut body) = response.into_parts();
    let mut answer = Response::new(Bytes::new());
    *answer.status_mut() = head.status;
    *answer.headers_mut() = head.headers;
    // The status counts already; what is read of the body depends on it. The text of a failure is
    // waited for briefly, for the log and the dead letter sink.
    if !head.status.is_success() {
        let until = attempt.at.min(Instant::now() + FAILURE_WAIT);
        *answer.body_mut() = BodyPrefix::with_limit(FAILURE)
            .read_until(&mut body, until)
            .await;
    } else if !binding::is_event(answer.headers()) {
        // The event is lost, but the rest of the request has to be written all the same.
        *answer.body_mut() = discard_body(&mut body, attempt).await?;
    } else {
        let event = read_event(&mut body, answer.headers(), max_event, attempt).await;
        match event {
            Ok(event) => *answer.body_mut() = event,
            Err(error) => {
                discard_body(&mut body, attempt).await?;
                answer.extensions_mut().insert(error);
            }
        }
    }
    Ok(answer)
}

/// Reads a document whole, up to `max` bytes; fails if the status is no success, or if the document
/// is compressed or longer.
pub(super) async fn read_document(
    response: Response<ResponseBody>,
    max: usize,
) -> Result<Bytes, TransportError> {
    let status = response.status();
    if !status.is_success() {
        return Err(TransportError::Request(format!("it answered {status}")));
    }
    if let Some(coding) = binding::content_coding(response.headers()) {
        return Err(TransportError::Request(format!(
            "it answered with Content-Encoding {coding}"
        )));
    }
    match read_whole_body(&mut response.into_body(), max).await {
        Ok(Some(document)) => Ok(document),
        Ok(None) => Err(TransportError::Request(format!(
            "it answered more than {max} bytes"
        ))),
        Err(error) => Err(error),
    }
}

impl ResponseBody {
    /// Waits for the next step of the exchange, over either version of HTTP.
    async fn next_progress(&mut self) -> Result<ResponseProgress, TransportError> {
        match self {
            Self::Http1(body) => body.next_progress().await,
            Self::Http2(body) => Ok(body
                .next_data()
                .await?
                .map_or(ResponseProgress::End, ResponseProgress::Data)),
        }
    }

    /// Returns the next piece of the body; `None` after the last one.
    async fn next_data(&mut self) -> Result<Option<Bytes>, TransportError> {
        loop {
            match self.next_progress().await? {
                ResponseProgress::Data(piece) => return Ok(Some(piece)),
                ResponseProgress::RequestSent => {}
                ResponseProgress::End => return Ok(None),
            }
        }
    }

    /// Returns true if no more of the request will be written here. HTTP/2 sends the rest of it in
    /// the background.
    fn is_request_sent(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_request_sent(),
            Self::Http2(_) => true,
        }
    }

    fn is_unambiguous(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_unambiguous(),
            Self::Http2(_) => true,
        }
    }
}

/// Reads the event in a response, unless it is coded or its framing is ambiguous.
async fn read_event(
    body: &mut ResponseBody,
    headers: &HeaderMap,
    max: usize,
    attempt: RequestDeadline,
) -> Result<Bytes, ReplyError> {
    if let Some(coding) = binding::content_coding(headers) {
        return Err(ReplyError::ContentEncoded(WireText::new(format_args!(
            "Content-Encoding {coding}"
        ))));
    }
    if !body.is_unambiguous() {
        return Err(ReplyError::ContentEncoded(WireText::new(
            "a Transfer-Encoding that is not chunked alone",
        )));
    }
    match tokio::time::timeout_at(attempt.at, read_whole_body(body, max)).await {
        Ok(Ok(Some(event))) => Ok(event),
        Ok(Ok(None)) => Err(ReplyError::TooLarge { limit: max }),
        Ok(Err(error)) => Err(ReplyError::CutOff(WireText::new(error))),
        Err(_elapsed) => Err(ReplyError::CutOff(WireText::new(attempt.timed_out()))),
    }
}

/// Reads the whole body; `None` if it is longer than `max`. A body that comes in one piece is not
/// copied.
async fn read_whole_body(
    body: &mut ResponseBody,
    max: usize,
) -> Result<Option<Bytes>, TransportError> {
    let first = body.next_data().await?.unwrap_or_default();
    if first.len() > max {
        return Ok(None);
    }
    let Some(mut piece) = body.next_data().await? else {
        return Ok(Some(first));
    };
    let mut whole = BytesMut::from(first);
    loop {
        if whole.len() + piece.len() > max {
            return Ok(None);
        }
        whole.extend_from_slice(&piece);
        match body.next_data().await? {
            Some(next) => piece = next,
            None => return Ok(Some(whole.freeze())),
        }
    }
}

/// Reads a body that has no meaning and returns its first byte. A peer that has accepted a request
/// is still to get the rest of it, so that this goes on until the request is written.
async fn discard_body(
    body: &mut ResponseBody,
    attempt: RequestDeadline,
) -> Result<Bytes, TransportError> {
    let mut kept = BodyPrefix::with_limit(1);
    while !body.is_request_sent() {
        match tokio::time::timeout_at(attempt.at, body.next_progress()).await {
            Ok(Ok(ResponseProgress::Data(piece))) => kept.push(&piece),
            Ok(Ok(ResponseProgress::RequestSent)) => {}
            // A peer that has closed the connection reads no more of the request.
            Ok(Ok(ResponseProgress::End) | Err(_)) => return Ok(kept.bytes.freeze()),
            Err(_elapsed) => return Err(attempt.timed_out()),
        }
    }
    let until = attempt.at.min(Instant::now() + DISCARDED_WAIT);
    Ok(kept.read_until(body, until).await)
}

/// The first bytes of a body, up to a limit.
#[derive(Default)]
struct BodyPrefix {
    bytes: BytesMut,
    limit: usize,
    received: usize,
}

impl BodyPrefix {
    fn with_limit(limit: usize) -> Self {
        Self {
            limit,
            ..Self::default()
        }
    }

    fn push(&mut self, piece: &Bytes) {
        let wanted = self.limit.saturating_sub(self.bytes.len()).min(piece.len());
        self.bytes.extend_from_slice(&piece.slice(..wanted));
        self.received = self.received.saturating_add(piece.len());
    }

    /// Reads until `until` and returns the prefix. 4096 bytes more are read and forgotten, so that
    /// the connection can be used again; a longer rest is not waited for.
    async fn read_until(mut self, body: &mut ResponseBody, until: Instant) -> Bytes {
        while self.received <= self.limit + DISCARDED {
            match tokio::time::timeout_at(until, body.next_progress()).await {
                Ok(Ok(ResponseProgress::Data(piece))) => self.push(&piece),
                Ok(Ok(ResponseProgress::RequestSent)) => {}
                Ok(Ok(ResponseProgress::End) | Err(_)) | Err(_) => break,
            }
        }
        self.bytes.freeze()
    }
}
