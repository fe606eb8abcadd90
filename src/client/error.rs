//! Errors of requests that got no response, with the cause that stands at the end of the error
//! chain.

use std::error::Error;
use std::time::Duration;

use crate::tls::refusal;
use crate::wire_text::escaped_excerpt;

/// Longest cause in an error text, in bytes: one of our own messages fits, with what it repeats
/// from the peer.
const LONGEST: usize = 512;

/// The reason for which a request got no response. Its text is one line without secrets, and shows
/// every character that a peer has sent, escaped where it would be invisible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The certificates of the destination cannot be used, so nothing was sent.
    #[error("trust: {0}")]
    Trust(String),
    /// There was no response within the time limit of the attempt.
    #[error("no answer within {} s", after.as_secs_f64())]
    Timeout {
        /// The time limit of the attempt.
        after: Duration,
    },
    /// No connection could be opened.
    #[error("could not connect: {0}")]
    Connect(String),
    /// The peer's certificate is not believed, or the peer does not speak TLS.
    #[error("TLS: {0}")]
    Tls(String),
    /// The exchange broke off after the connection was open, or the response was malformed.
    #[error("request failed: {0}")]
    Request(String),
    /// The destination has no usable URL, as it is configured.
    #[error("the destination cannot be reached: {0}")]
    Unreachable(String),
    /// The destination is inside this process, so that no request is sent.
    #[error("the destination is not reached by HTTP")]
    NotRemote,
}

impl TransportError {
    /// Returns the name of this kind of error for logs and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Trust(_) => "trust",
            Self::Timeout { .. } => "timeout",
            Self::Connect(_) => "connect",
            Self::Tls(_) => "tls",
            Self::Request(_) => "request",
            Self::Unreachable(_) => "unreachable",
            Self::NotRemote => "not_remote",
        }
    }

    /// Returns true if trying again cannot help (contract G-32).
    #[must_use]
    pub(crate) fn is_permanent(&self) -> bool {
        matches!(
            self,
            Self::Trust(_) | Self::Unreachable(_) | Self::NotRemote
        )
    }
}

/// A request without a response, by whether it may be sent again.
pub(super) enum RequestFailure {
    /// The peer cannot have seen the request, so that it may be sent again on another connection.
    NotSent(TransportError),
    /// The peer says that it did not begin to process the request.
    NotProcessed(TransportError),
    /// The peer wants the request over HTTP/1.1 (RFC 9113, 7).
    Http11Required(TransportError),
    /// The peer may have begun to process the request, so that it is not repeated here.
    MaybeProcessed(TransportError),
}

impl From<RequestFailure> for TransportError {
    fn from(failure: RequestFailure) -> Self {
        match failure {
            RequestFailure::NotSent(error)
            | RequestFailure::NotProcessed(error)
            | RequestFailure::Http11Required(error)
            | RequestFailure::MaybeProcessed(error) => error,
        }
    }
}

impl TransportError {
    /// The error of a connection that could not be opened.
    pub(super) fn connect_failed(error: &(dyn Error + 'static)) -> Self {
        Self::classify(error, Self::Connect)
    }

    /// The error of a connection that ended during the exchange.
    pub(super) fn connection_lost(error: &std::io::Error) -> Self {
        Self::classify(error, Self::Request)
    }

    /// The error of an exchange that HTTP/2 has ended.
    pub(super) fn from_http2(error: &h2::Error) -> Self {
        Self::classify(error, Self::Request)
    }

    /// Makes the error `otherwise`, unless its chain shows a failure of TLS or a peer that is
    /// silent at the level of TCP.
    fn classify(error: &(dyn Error + 'static), otherwise: fn(String) -> Self) -> Self {
        let cause = root_cause(error);
        if is_tls(error) {
            Self::Tls(cause)
        } else if error_chain(error).any(is_timeout) {
            Self::Connect(cause)
        } else {
            otherwise(cause)
        }
    }
}

/// Returns true if a failure of TLS is in the chain of this error.
pub(super) fn is_tls(error: &(dyn Error + 'static)) -> bool {
    error_chain(error).any(|cause| cause.is::<rustls::Error>() || io_wraps_tls(cause))
}

/// Returns the text of the last error of the chain; failures of TLS are described in words for
/// operators.
pub(super) fn root_cause(error: &(dyn Error + 'static)) -> String {
    match refusal::describe_tls_error(error) {
        Some(told) => escaped_excerpt(told, LONGEST),
        None => error_chain(error)
            .last()
            .map_or_else(String::new, |cause| escaped_excerpt(cause, LONGEST)),
    }
}

/// Returns true if the peer stopped answering at the level of TCP, rather than to this request
/// alone.
fn is_timeout(error: &(dyn Error + 'static)) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::TimedOut)
}

fn error_chain<'e>(
    error: &'e (dyn Error + 'static),
) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

/// Returns true if an I/O error holds an error of rustls. I/O errors may be nested, and their
/// `source` skips the error that they wrap.
fn io_wraps_tls(error: &(dyn Error + 'static)) -> bool {
    let mut wrapper = error.downcast_ref::<std::io::Error>();
    while let Some(inner) = wrapper.and_then(std::io::Error::get_ref) {
        if inner.is::<rustls::Error>() {
            return true;
        }
        wrapper = inner.downcast_ref::<std::io::Error>();
    }
    false
}
