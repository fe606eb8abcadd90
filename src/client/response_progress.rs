//! The steps of an exchange whose response has begun.

use bytes::Bytes;

/// The next step of an exchange whose response has begun.
pub(super) enum ResponseProgress {
    /// The next piece of the response body was read.
    Data(Bytes),
    /// The last byte of the request was written.
    RequestSent,
    /// The body has ended.
    End,
}
