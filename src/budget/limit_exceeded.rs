//! The refusal of events by a limit of their namespace, with what its sender is told.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::limit_set::LimitKind;

/// Error: a limit of the namespace lets no more events pass now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitExceeded {
    pub(crate) namespace: Arc<str>,
    pub(crate) kind: LimitKind,
    /// The limit in words.
    pub(crate) limit: String,
    /// Time after which the sender should try again, in whole seconds.
    pub(crate) retry_after: Duration,
}

impl std::error::Error for LimitExceeded {}

impl fmt::Display for LimitExceeded {
    /// Names namespace, limit and remedy in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            namespace,
            kind,
            limit,
            retry_after,
        } = self;
        let (key, seconds) = (kind.key(), retry_after.as_secs());
        match kind {
            LimitKind::BufferedBytes => write!(
                f,
                "the events of namespace {namespace} hold the {limit} bytes that they may"
            ),
            LimitKind::QueueCapacity => write!(
                f,
                "the queues of namespace {namespace} hold the {limit} unfinished events that they \
                 may"
            ),
            LimitKind::Rate => write!(f, "namespace {namespace} is sent more than {limit} events"),
        }?;
        write!(
            f,
            ": try again in {seconds} s, or raise {key} of {namespace} in the file of \
             --namespace-limits"
        )
    }
}
