//! The error of bytes that are no HTTP/1.1 response.

/// The reason for which bytes are no HTTP/1.1 response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MalformedResponse(pub(super) &'static str);

impl From<httparse::Error> for MalformedResponse {
    fn from(error: httparse::Error) -> Self {
        Self(match error {
            httparse::Error::HeaderName => "invalid name of a field",
            httparse::Error::HeaderValue => "invalid value of a field",
            httparse::Error::NewLine => "invalid end of a line",
            httparse::Error::Status => "invalid status line",
            httparse::Error::Token => "invalid token",
            httparse::Error::TooManyHeaders => "too many fields",
            httparse::Error::Version => "invalid HTTP version",
        })
    }
}
