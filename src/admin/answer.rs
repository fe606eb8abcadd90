//! Answers of the admin port to requests that may be refused: JSON, or a status and a line of text
//! that says what to do.

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use serde_json::Value;

use super::{JSON, TEXT, build_response};

/// A response of the admin port.
pub(super) type AdminResponse = Response<Full<Bytes>>;

/// Refusal of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AdminRefusal {
    pub(super) status: StatusCode,
    /// What to do, in a line.
    pub(super) text: String,
}

impl AdminRefusal {
    pub(super) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { status, text }
    }

    /// Refuses a request that is not understood.
    pub(super) fn bad_request(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    /// Refuses a request about something that is not here.
    pub(super) fn not_found(text: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, text)
    }

    /// The response.
    pub(super) fn respond(self) -> AdminResponse {
        build_response(self.status, TEXT, format!("{}\n", self.text))
    }
}

/// The response with what was asked for, or why it was refused.
pub(super) fn respond(answer: Result<Value, AdminRefusal>) -> AdminResponse {
    match answer {
        Ok(value) => build_response(StatusCode::OK, JSON, value.to_string()),
        Err(refusal) => refusal.respond(),
    }
}
