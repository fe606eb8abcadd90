//! The body of a collector's response, of which the first bytes are kept.

use std::pin::Pin;

use http::HeaderMap;
use http_body::Body;

use super::error;

/// Bytes of a response that are kept at most.
const MAX_KEPT: usize = 64 * 1024;
/// Bytes that are read at most, of what is not kept for its trailers: as many as receivers of gRPC
/// take unless told otherwise.
const MAX_READ: usize = 4 * 1024 * 1024;

/// A body that is read, at most so much of it.
pub(super) struct BoundedBody {
    body: Pin<Box<reqwest::Body>>,
    content: Vec<u8>,
    bytes_read: usize,
}

impl BoundedBody {
    /// Makes a body of which nothing has been read.
    pub(super) fn new(response: reqwest::Response) -> Self {
        Self {
            body: Box::pin(response.into()),
            content: Vec::new(),
            bytes_read: 0,
        }
    }

    /// Reads until there are trailers; `None` at the end, or where the body is too long to be read.
    pub(super) async fn next_trailers(&mut self) -> Result<Option<HeaderMap>, String> {
        let body = &mut self.body;
        while let Some(frame) =
            std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await
        {
            let frame = frame.map_err(|error| error::root_cause(&error))?;
            let data = match frame.into_data() {
                Ok(data) => data,
                Err(frame) => return Ok(frame.into_trailers().ok()),
            };
            self.bytes_read += data.len();
            if self.bytes_read > MAX_READ {
                break;
            }
            if self.bytes_read <= MAX_KEPT {
                self.content.extend_from_slice(&data);
            }
        }
        Ok(None)
    }

    /// Returns what has been read; `None` if the body is too long.
    pub(super) fn content(&self) -> Option<&[u8]> {
        (self.bytes_read <= MAX_KEPT).then_some(&*self.content)
    }
}
