//! The last attempt that failed. A success costs nothing here; only a failure takes a lock and copies text.

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use crate::scrub;
use crate::wire_text::excerpt;

/// Bytes of a text that are kept of an error.
const MAX_TEXT: usize = 300;

/// An attempt that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastError {
    /// When.
    pub at: SystemTime,
    /// Which of the subscription's destinations failed: `subscriber`, `reply` or `dead letter sink`.
    pub leg: &'static str,
    /// Where, without secrets; its start, in 300 bytes at most, with nothing hidden in it.
    pub destination: Box<str>,
    /// What happened, without secrets; its start, as of the destination.
    pub reason: Box<str>,
}

/// Keeps the last one.
#[derive(Debug, Default)]
pub(super) struct Newest(Mutex<Option<LastError>>);

impl Newest {
    pub(super) fn keep(&self, leg: &'static str, destination: &str, reason: &str) {
        let (destination, reason) = (scrub::text(destination), scrub::text(reason));
        let (destination, reason) = (excerpt(&destination, MAX_TEXT).into(), excerpt(&reason, MAX_TEXT).into());
        let error = LastError { at: SystemTime::now(), leg, destination, reason };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    pub(super) fn get(&self) -> Option<LastError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
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
        assert_eq!(last.leg, "reply");
        for (text, before) in [(last.destination, "ää"), (last.reason, "xä")] {
            assert!(text.len() <= MAX_TEXT && text.starts_with(before) && text.ends_with("bytes more)"), "{text}");
        }
        newest.keep("subscriber", "http://a/", "answered\n2026-01-01 ERROR \u{1b}[31m");
        assert_eq!(&*newest.get().expect("one").reason, "answered\\n2026-01-01 ERROR \\u{1b}[31m");
    }
}
