//! The refusal of a request that needs more memory than all events together may have.

use std::fmt;
use std::sync::Arc;

/// Error: a request is larger than a limit of memory by itself, so that trying again does not help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestTooLarge {
    /// The limit, in bytes.
    pub(crate) limit: usize,
    /// The namespace whose limit it is; `None` if it is that of the process.
    pub(crate) namespace: Option<Arc<str>>,
}

impl fmt::Display for RequestTooLarge {
    /// Names limit and remedy in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = self.limit;
        write!(
            f,
            "the request needs more memory than the {limit} bytes that "
        )?;
        match &self.namespace {
            Some(namespace) => write!(
                f,
                "events of namespace {namespace} may hold: send less at once, or raise \
                 bufferedBytes of {namespace} in the file of --namespace-limits"
            ),
            None => {
                f.write_str("all events may hold: send less at once, or raise --max-buffered-bytes")
            }
        }
    }
}
