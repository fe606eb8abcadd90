//! The `Ready` condition of an object, as the status document shows it.

use serde::Serialize;

use crate::model::{Condition, InventoryObject};
use crate::scrub;

/// The `Ready` condition of an object.
#[derive(Serialize)]
pub(super) struct ReadyCondition {
    status: String,
    reason: String,
    message: String,
}

impl ReadyCondition {
    /// The status: `True`, `False` or `Unknown`.
    pub(super) fn status(&self) -> &str {
        &self.status
    }

    /// Reason and message, as far as there are any.
    pub(super) fn why(&self) -> String {
        let parts = [self.reason.as_str(), self.message.as_str()];
        let parts = parts.into_iter().filter(|part| !part.is_empty());
        parts.collect::<Vec<_>>().join(": ")
    }
}

/// Sets the condition, unless the trouble of the queue is there and the object is fine: a problem
/// of the object counts more.
pub(super) fn set_ready(ready: &mut Option<ReadyCondition>, object: &InventoryObject) {
    if ready.is_none() || object.conditions.not_ready.is_some() {
        *ready = Some(object.conditions.ready_condition().into());
    }
}

impl From<Condition<'_>> for ReadyCondition {
    fn from(
        Condition {
            status,
            reason,
            message,
            ..
        }: Condition<'_>,
    ) -> Self {
        let part = |text: Option<&str>| scrub::text(text.unwrap_or_default()).into_owned();
        Self {
            status: status.to_owned(),
            reason: part(reason),
            message: part(message),
        }
    }
}
