//! The last attempt that failed. A success costs nothing here; only a failure takes a lock and copies text.

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use crate::scrub;

/// Bytes of a text that are kept of an error.
const MAX_TEXT: usize = 300;

/// An attempt that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastError {
    /// When.
    pub at: SystemTime,
    /// Which of the subscription's destinations failed: `subscriber`, `reply` or `dead letter sink`.
    pub leg: &'static str,
    /// Where, without secrets; its first 300 bytes.
    pub destination: Box<str>,
    /// What happened, without secrets; its first 300 bytes.
    pub reason: Box<str>,
}

/// Keeps the last one.
#[derive(Debug, Default)]
pub(super) struct Newest(Mutex<Option<LastError>>);

impl Newest {
    pub(super) fn keep(&self, leg: &'static str, destination: &str, reason: &str) {
        let (destination, reason) = (scrub::text(destination), scrub::text(reason));
        let (destination, reason) = (start(&destination).into(), start(&reason).into());
        let error = LastError { at: SystemTime::now(), leg, destination, reason };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    pub(super) fn get(&self) -> Option<LastError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// As much of a text as is kept.
fn start(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_TEXT)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_is_bounded() {
        let newest = Newest::default();
        assert_eq!(newest.get(), None);
        newest.keep("subscriber", "http://first/", "answered 503");
        newest.keep("reply", &"ä".repeat(1000), &format!("x{}", "ä".repeat(1000)));
        let last = newest.get().expect("one");
        assert_eq!((last.leg, last.destination.len(), last.reason.len()), ("reply", 300, 299));
    }
}
