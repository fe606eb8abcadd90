//! Conditions as Knative writes them: sorted by type, with `Ready` made of all of them, and a time
//! that changes only with the rest of a condition.

use serde_json::{Map, Value};

/// One entry of `status.conditions` as it should be, without its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DesiredCondition {
    /// The type of the condition, such as `Ready`.
    ty: &'static str,
    /// The status: `True` or `False`.
    is_true: bool,
    reason: Option<String>,
    message: Option<String>,
}

impl DesiredCondition {
    /// A condition that is true.
    pub(super) fn new_true(ty: &'static str) -> Self {
        Self {
            ty,
            is_true: true,
            reason: None,
            message: None,
        }
    }

    /// A condition that is false, for this reason.
    pub(super) fn new_false(ty: &'static str, reason: &str, message: &str) -> Self {
        Self {
            ty,
            is_true: false,
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
        }
    }

    /// The same condition with this reason.
    pub(super) fn with_reason(self, reason: &str) -> Self {
        Self {
            reason: Some(reason.to_owned()),
            ..self
        }
    }
}

/// The condition `Ready`: true if all others are, else false for the reason of the first one that
/// is not.
pub(super) fn ready_condition(others: &[DesiredCondition]) -> DesiredCondition {
    let failed = others.iter().find(|condition| !condition.is_true);
    failed.map_or_else(
        || DesiredCondition::new_true("Ready"),
        |failed| DesiredCondition {
            ty: "Ready",
            ..failed.clone()
        },
    )
}

/// The list of conditions as it is written. A condition that is in `before` with the same content
/// keeps its time; others get `now`.
pub(super) fn status_conditions(
    mut wanted: Vec<DesiredCondition>,
    before: &[Value],
    now: &str,
) -> Value {
    wanted.sort_by_key(|condition| condition.ty);
    wanted
        .iter()
        .map(|condition| status_condition(condition, before, now))
        .collect()
}

fn status_condition(condition: &DesiredCondition, before: &[Value], now: &str) -> Value {
    let DesiredCondition {
        ty,
        is_true,
        reason,
        message,
    } = condition;
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
