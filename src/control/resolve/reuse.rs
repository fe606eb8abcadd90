//! What has not changed stays the same value, so that a change costs what has changed.

use std::sync::Arc;

/// The value of the last resolution, if it is equal; else the new one.
pub(super) fn reuse_if_equal<T: PartialEq>(last: Option<&Arc<T>>, value: T) -> Arc<T> {
    last.filter(|last| ***last == value)
        .cloned()
        .unwrap_or_else(|| Arc::new(value))
}
