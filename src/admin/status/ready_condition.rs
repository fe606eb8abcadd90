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
