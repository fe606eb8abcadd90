//! Conditions as Knative writes them: sorted by type, `Ready` of all of them, and a time that changes only with the rest
//! of a condition.

use serde_json::{Map, Value};

/// One of `status.conditions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    ty: &'static str,
    is_true: bool,
    reason: Option<String>,
    message: Option<String>,
}

impl Condition {
    /// One that holds.
    pub(super) fn yes(ty: &'static str) -> Self {
        Self { ty, is_true: true, reason: None, message: None }
    }

    /// One that does not hold, and why.
    pub(super) fn no(ty: &'static str, reason: &str, message: &str) -> Self {
        Self { ty, is_true: false, reason: Some(reason.to_owned()), message: Some(message.to_owned()) }
    }

    /// The same for this reason.
    pub(super) fn because(self, reason: &str) -> Self {
        Self { reason: Some(reason.to_owned()), ..self }
    }
}

/// `Ready`: true if all others are, else for the reason of the first that is not.
pub(super) fn ready(others: &[Condition]) -> Condition {
    let failed = others.iter().find(|condition| !condition.is_true);
    failed.map_or_else(|| Condition::yes("Ready"), |failed| Condition { ty: "Ready", ..failed.clone() })
}

/// The list. What is in `before` and is as wanted keeps its time.
pub(super) fn written(mut wanted: Vec<Condition>, before: &[Value], now: &str) -> Value {
    wanted.sort_by_key(|condition| condition.ty);
    wanted.iter().map(|condition| one(condition, before, now)).collect()
}

fn one(condition: &Condition, before: &[Value], now: &str) -> Value {
    let Condition { ty, is_true, reason, message } = condition;
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
