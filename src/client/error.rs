//! Why there is no answer, with the cause that stands at the end of its chain.

use std::error::Error;
use std::time::Duration;

use crate::tls::refusal;
use crate::wire_text::escaped_excerpt;

/// Bytes of a cause at most: one of ours fits, with what it repeats of a peer.
const LONGEST: usize = 512;

/// Why a request got no answer. One line, without secrets, in which nothing is hidden that a peer has said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The destination's certificates cannot be used, so nothing was sent.
    #[error("trust: {0}")]
    Trust(String),
    /// The attempt took too long.
    #[error("no answer within {} s", after.as_secs_f64())]
    Timeout {
        /// The limit.
        after: Duration,
    },
    /// No connection.
    #[error("could not connect: {0}")]
    Connect(String),
    /// The peer is not who it should be, or does not speak TLS.
    #[error("TLS: {0}")]
    Tls(String),
    /// The exchange broke off.
    #[error("request failed: {0}")]
    Request(String),
    /// There is no way to the destination, as it is configured.
    #[error("the destination cannot be reached: {0}")]
    Unreachable(String),
    /// The destination is inside the process.
    #[error("the destination is not reached by HTTP")]
    NotRemote,
}

impl TransportError {
    /// A word for logs and metrics.
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

    /// Whether trying again cannot help (contract G-32).
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Trust(_) | Self::Unreachable(_) | Self::NotRemote)
    }
}

/// Why there is no answer, and whether the request may be sent again because of that.
pub(super) enum RequestFailure {
    /// The peer cannot have seen the request.
    NotSent(TransportError),
    /// The peer says that it did not begin with it.
    NotProcessed(TransportError),
    /// The peer wants it by HTTP/1.1 (RFC 9113, 7).
    Http11Required(TransportError),
    /// The peer may have begun with it.
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
    /// There is no connection.
    pub(super) fn connect_failed(error: &(dyn Error + 'static)) -> Self {
        Self::classify(error, Self::Connect)
    }

    /// A connection ended during the exchange.
    pub(super) fn connection_lost(error: &std::io::Error) -> Self {
        Self::classify(error, Self::Request)
    }

    /// The peer has ended an exchange over HTTP/2.
    pub(super) fn from_http2(error: &h2::Error) -> Self {
        Self::classify(error, Self::Request)
    }

    /// What happened, unless it was something else: TLS, or a peer that is silent.
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

/// Whether TLS is what failed.
pub(super) fn is_tls(error: &(dyn Error + 'static)) -> bool {
    error_chain(error).any(|cause| cause.is::<rustls::Error>() || io_wraps_tls(cause))
}

/// What the last error of the chain says; of TLS in words.
pub(super) fn root_cause(error: &(dyn Error + 'static)) -> String {
    match refusal::describe_tls_error(error) {
        Some(told) => escaped_excerpt(told, LONGEST),
        None => error_chain(error).last().map_or_else(String::new, |cause| escaped_excerpt(cause, LONGEST)),
    }
}

/// Whether a peer stopped answering at all, not only to this request.
fn is_timeout(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::TimedOut)
}

fn error_chain<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

/// rustls' errors travel inside I/O errors, perhaps several, whose `source` skips what they wrap.
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
