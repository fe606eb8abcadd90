//! Responses of the roles `ingress` and `filter` (contract ).

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::Full;

use crate::ingress::request_reader::webhook_headers;
use crate::server::body::BodyError;

/// Status, header fields and body of a response.
#[derive(Debug)]
pub(super) struct RelayResponse {
    status: StatusCode,
    /// Header fields, boxed so that a result with a response is small.
    headers: Box<HeaderMap>,
    body: Bytes,
}

impl RelayResponse {
    /// Makes a response with a status only.
    pub(super) fn from_status(status: StatusCode) -> Self {
        Self {
            status,
            headers: Box::default(),
            body: Bytes::new(),
        }
    }

    /// Status of the response.
    pub(super) fn status_code(&self) -> StatusCode {
        self.status
    }

    /// The body, where it is a line of text.
    pub(super) fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.body.trim_ascii_end())
    }

    /// Makes a response with a status and one line that says what to do.
    pub(super) fn from_text(status: StatusCode, text: impl fmt::Display) -> Self {
        Self::from_status(status).with_body(
            "text/plain; charset=utf-8",
            Bytes::from(format!("{text}\n")),
        )
    }

    /// Makes the response to `OPTIONS` (contract CR-7).
    pub(super) fn options() -> Self {
        Self::from_status(StatusCode::OK).with_headers(webhook_headers())
    }

    /// Makes the response to a request with a method that no event comes by.
    pub(super) fn method_not_allowed() -> Self {
        Self::from_text(StatusCode::METHOD_NOT_ALLOWED, "send events by POST")
    }

    /// Makes the response to a request whose body could not be read.
    pub(super) fn from_body_error(error: &BodyError) -> Self {
        match error {
            // Upstream answers 500, since nobody else could have read the body either (contract
            //
            BodyError::Broken(_) => Self::from_text(StatusCode::INTERNAL_SERVER_ERROR, error),
            _ => Self::from_text(error.status(), error),
        }
    }

    /// Adds these header fields, which replace its own.
    pub(super) fn with_headers(mut self, headers: HeaderMap) -> Self {
        self.headers.extend(headers);
        self
    }

    /// Sets a body of this media type.
    pub(super) fn with_body(mut self, content_type: &'static str, body: Bytes) -> Self {
        self.headers
            .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        self.body = body;
        self
    }

    /// Sets a body whose media type is in the header fields.
    pub(super) fn with_body_bytes(self, body: Bytes) -> Self {
        Self { body, ..self }
    }

    /// Makes the HTTP response, which names the methods of the endpoint.
    pub(super) fn into_response(self, allow: &'static str) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = *self.headers;
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static(allow));
        response
    }
}
