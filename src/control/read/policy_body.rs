//! Objects that have the fields of an EventPolicy: whatever they are called, they say who may send.

use serde_json::Value;

use super::kind::{ResourceKind, group_of};
use super::report::ObjectReport;
use super::spelling::suggest_word;

/// True if an object has the fields that only an EventPolicy has.
pub(crate) fn has_policy_body(value: &Value) -> bool {
    let field = |name: &str| value.get("spec").and_then(|spec| spec.get(name));
    let is_target = |to: &Value| to.get("ref").is_some() || to.get("selector").is_some();
    let mut targets = field("to").and_then(Value::as_array).into_iter().flatten();
    field("from").is_some() || targets.any(is_target)
}

/// Reports an object of another kind in the group of policies that has the fields of one; true if
/// it does.
pub(crate) fn report_policy_body(report: &mut ObjectReport<'_>) -> bool {
    let document = report.document();
    let policy = ResourceKind::EventPolicy;
    let [group, meant] = [
        document.text(&["apiVersion"]).unwrap_or_default(),
        policy.api_version(),
    ]
    .map(group_of);
    let is_of_group = group == meant || suggest_word(group, [meant]).is_some();
    if !is_of_group || !has_policy_body(&document.value) {
        return false;
    }
    let kind = policy.as_str();
    report.error(
        "kind",
        format!("has the fields of an {kind}; did you mean {kind}?"),
    );
    true
}
