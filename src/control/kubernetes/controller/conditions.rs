//! Conditions as Knative writes them: sorted by type, `Ready` of all of them, and a time that changes only with the rest
//! of a condition.

use serde_json::{Map, Value};

/// One of `status.conditions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DesiredCondition {
    ty: &'static str,
    is_true: bool,
    reason: Option<String>,
    message: Option<String>,
}

impl DesiredCondition {
    /// One that holds.
    pub(super) fn new_true(ty: &'static str) -> Self {
        Self { ty, is_true: true, reason: None, message: None }
    }

    /// One that does not hold, and why.
    pub(super) fn new_false(ty: &'static str, reason: &str, message: &str) -> Self {
        Self { ty, is_true: false, reason: Some(reason.to_owned()), message: Some(message.to_owned()) }
    }

    /// The same for this reason.
    pub(super) fn with_reason(self, reason: &str) -> Self {
        Self { reason: Some(reason.to_owned()), ..self }
    }
}

/// `Ready`: true if all others are, else for the reason of the first that is not.
pub(super) fn ready_condition(others: &[DesiredCondition]) -> DesiredCondition {
    let failed = others.iter().find(|condition| !condition.is_true);
    failed.map_or_else(
        || DesiredCondition::new_true("Ready"),
        |failed| DesiredCondition { ty: "Ready", ..failed.clone() },
    )
}

/// The list. What is in `before` and is as wanted keeps its time.
pub(super) fn status_conditions(mut wanted: Vec<DesiredCondition>, before: &[Value], now: &str) -> Value {
    wanted.sort_by_key(|condition| condition.ty);
    wanted.iter().map(|condition| status_condition(condition, before, now)).collect()
}

fn status_condition(condition: &DesiredCondition, before: &[Value], now: &str) -> Value {
    let DesiredCondition { ty, is_true, reason, message } = condition;
    let mut value = Map::new();
    let mut set = |field: &str, text: &str| value.insert(field.to_owned(), text.into());
    set("type", ty);
    set("status", if *is_true { "True" } else { "False" });
    for (field, text) in [("reason", reason), ("message", message)] {
        if let Some(text) = text {
            set(field, text);
        }
    }
    let same = before.iter().find(|before| {
        let mut before = before.as_object().cloned().unwrap_or_default();
        before.remove("lastTransitionTime").is_some() && before == value
    });
    same.cloned().unwrap_or_else(|| {
        value.insert("lastTransitionTime".to_owned(), now.into());
        Value::Object(value)
    })
}
