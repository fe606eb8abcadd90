//! The body of a collector's response, of which the first bytes are kept.

use std::pin::Pin;

use http::HeaderMap;
use http_body::Body;

use super::error;

/// Bytes of a response that are kept and read at most.
const LONGEST: usize = 64 * 1024;

/// A body that is read, at most so much of it.
pub(super) struct BoundedBody {
    body: Pin<Box<reqwest::Body>>,
    content: Vec<u8>,
    is_too_long: bool,
}

impl BoundedBody {
    /// Makes a body of which nothing has been read.
    pub(super) fn new(response: reqwest::Response) -> Self {
        Self {
            body: Box::pin(response.into()),
            content: Vec::new(),
            is_too_long: false,
        }
    }

    /// Reads until there are trailers; `None` at the end, or where the body is too long.
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
            if self.content.len() + data.len() > LONGEST {
                self.is_too_long = true;
                break;
            }
            self.content.extend_from_slice(&data);
        }
        Ok(None)
    }

    /// Returns what has been read; `None` if the body is too long.
    pub(super) fn content(&self) -> Option<&[u8]> {
        (!self.is_too_long).then_some(&*self.content)
    }
}
