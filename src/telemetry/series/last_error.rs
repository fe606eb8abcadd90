//! The last attempt that failed. A success costs nothing here; only a failure takes a lock and
//! copies text.

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use crate::scrub;
use crate::wire_text::escaped_excerpt;

/// Longest text that is kept of an error, in bytes.
const MAX_TEXT: usize = 300;

/// An attempt that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LastError {
    /// The time at which the attempt failed.
    pub at: SystemTime,
    /// The role of the destination that failed: `subscriber`, `reply` or `dead letter sink`.
    pub destination_role: &'static str,
    /// The start of its URL, in 300 bytes at most, without secrets and with nothing hidden in it.
    pub url: Box<str>,
    /// The start of the error text, with the same limits as the URL.
    pub reason: Box<str>,
}

/// Keeps the last failed attempt.
#[derive(Debug, Default)]
pub(super) struct LastErrorCell(Mutex<Option<LastError>>);

impl LastErrorCell {
    pub(super) fn set(&self, leg: &'static str, destination: &str, reason: &str) {
        let (destination, reason) = (scrub::text(destination), scrub::text(reason));
        let (destination, reason) = (
            escaped_excerpt(&destination, MAX_TEXT).into(),
            escaped_excerpt(&reason, MAX_TEXT).into(),
        );
        let error = LastError {
            at: SystemTime::now(),
            destination_role: leg,
            url: destination,
            reason,
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    pub(super) fn get(&self) -> Option<LastError> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_is_bounded() {
        let newest = LastErrorCell::default();
        assert_eq!(newest.get(), None);
        newest.set("subscriber", "http://first/", "answered 503");
        newest.set(
            "reply",
            &"ä".repeat(1000),
            &format!("x{}", "ä".repeat(1000)),
        );
        let last = newest.get().expect("one");
        assert_eq!(last.destination_role, "reply");
        for (text, before) in [(last.url, "ää"), (last.reason, "xä")] {
            assert!(
                text.len() <= MAX_TEXT && text.starts_with(before) && text.ends_with("bytes more)"),
                "{text}"
            );
        }
        newest.set(
            "subscriber",
            "http://a/",
            "answered\n2026-01-01 ERROR \u{1b}[31m",
        );
        assert_eq!(
            &*newest.get().expect("one").reason,
            "answered\\n2026-01-01 ERROR \\u{1b}[31m"
        );
    }
}
