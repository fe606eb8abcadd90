//! The EventPolicies that apply to a channel, and their readiness (contract 7.6, 7.7).

use serde_json::{Value, json};

use super::conditions::DesiredCondition;
use crate::control::channel_kind::ServedChannelKind;
use crate::control::read::kind::ResourceKind;

/// The EventPolicies that apply to one channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum ChannelPolicies {
    /// No sender is asked for a token, so that policies have no effect.
    #[default]
    Off,
    /// The names of the policies that are ready, and of those that are not, each list sorted.
    On {
        ready: Vec<String>,
        not_ready: Vec<String>,
    },
}

impl ChannelPolicies {
    /// The policies of `all` that apply to this channel.
    pub(super) fn for_channel<'p>(
        all: impl Iterator<Item = &'p Value>,
        channel: &Value,
        kind: ServedChannelKind,
    ) -> Self {
        let (mut ready, mut not_ready) = (Vec::new(), Vec::new());
        for policy in all.filter(|policy| applies_to(policy, channel, kind.resource_kind())) {
            let list = if is_ready(policy) {
                &mut ready
            } else {
                &mut not_ready
            };
            list.extend(text(policy, "/metadata/name").map(str::to_owned));
        }
        ready.sort();
        not_ready.sort();
        Self::On { ready, not_ready }
    }

    /// The value of `status.policies`; null without OIDC, or if no policy applies.
    pub(super) fn status_value(&self) -> Value {
        let Self::On { ready, .. } = self else {
            return Value::Null;
        };
        if ready.is_empty() {
            return Value::Null;
        }
        let api_version = ResourceKind::EventPolicy.api_version();
        ready
            .iter()
            .map(|name| json!({"apiVersion": api_version, "name": name}))
            .collect()
    }

    /// The condition `EventPoliciesReady`, which is false while a policy is not ready.
    pub(super) fn condition(&self) -> DesiredCondition {
        let yes = DesiredCondition::new_true("EventPoliciesReady");
        match self {
            Self::Off => yes.with_reason("OIDCDisabled"),
            Self::On { not_ready, .. } if !not_ready.is_empty() => {
                let message = format!("not ready: {}", not_ready.join(", "));
                DesiredCondition::new_false("EventPoliciesReady", "EventPoliciesNotReady", &message)
            }
            Self::On { ready, .. } if ready.is_empty() => {
                yes.with_reason("DefaultAuthorizationMode")
            }
            Self::On { .. } => yes,
        }
    }
}

fn text<'v>(value: &'v Value, path: &str) -> Option<&'v str> {
    value.pointer(path).and_then(Value::as_str)
}

fn is_ready(policy: &Value) -> bool {
    let conditions = policy
        .pointer("/status/conditions")
        .and_then(Value::as_array);
    conditions.into_iter().flatten().any(|condition| {
        text(condition, "/type") == Some("Ready") && text(condition, "/status") == Some("True")
    })
}

/// True if a policy applies to a channel: it names the channel, or it names nothing and is of the
/// same namespace.
fn applies_to(policy: &Value, channel: &Value, kind: ResourceKind) -> bool {
    let to = policy
        .pointer("/spec/to")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    text(policy, "/metadata/namespace") == text(channel, "/metadata/namespace")
        && (to.is_empty() || to.iter().any(|to| refers_to(to, channel, kind)))
}

fn refers_to(to: &Value, channel: &Value, kind: ResourceKind) -> bool {
    let is_kind = |at: &Value| {
        let group = |text: &str| text.split('/').next().unwrap_or_default().to_owned();
        let named = text(at, "/apiVersion").map(group);
        text(at, "/kind") == Some(kind.as_str())
            && named.is_none_or(|named| named == group(kind.api_version()))
    };
    if let Some(reference) = to.get("ref").filter(|reference| reference.is_object()) {
        return is_kind(reference) && text(reference, "/name") == text(channel, "/metadata/name");
    }
    to.get("selector")
        .is_some_and(|selector| is_kind(selector) && selector_matches(selector, channel))
}

fn selector_matches(selector: &Value, channel: &Value) -> bool {
    let mut equal = selector
        .get("matchLabels")
        .and_then(Value::as_object)
        .into_iter()
        .flatten();
    let mut expressions = selector
        .get("matchExpressions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    equal.all(|(key, value)| label(channel, key) == value.as_str())
        && expressions.all(|expression| expression_holds(expression, channel))
}

/// True if the labels of a channel fulfil one of `matchExpressions`.
fn expression_holds(expression: &Value, channel: &Value) -> bool {
    let found = text(expression, "/key").and_then(|key| label(channel, key));
    let mut values = expression
        .get("values")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let mut is_in = || {
        values
            .by_ref()
            .filter_map(Value::as_str)
            .any(|value| found == Some(value))
    };
    match text(expression, "/operator") {
        Some("In") => is_in(),
        Some("NotIn") => !is_in(),
        Some("Exists") => found.is_some(),
        Some("DoesNotExist") => found.is_none(),
        _ => false,
    }
}

fn label<'v>(object: &'v Value, key: &str) -> Option<&'v str> {
    object.get("metadata")?.get("labels")?.get(key)?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contract 7.6, 7.7.
    #[test]
    fn policies_are_for_what_they_name() {
        let channel = json!({"metadata": {"namespace": "t", "name": "a", "labels": {"x": "1"}}});
        let reference = |kind: &str, name: &str| json!([{"ref": {"apiVersion": "messaging.knative.dev/v1alpha1", "kind": kind, "name": name}}]);
        let selector = |rule: Value| {
            let mut selector =
                json!({"apiVersion": "messaging.knative.dev/v1alpha1", "kind": "RabbitmqChannel"});
            selector
                .as_object_mut()
                .expect("an object")
                .extend(rule.as_object().expect("an object").clone());
            json!([{"selector": selector}])
        };
        let expression = |operator: &str, key: &str| json!({"matchExpressions": [{"key": key, "operator": operator, "values": ["1"]}]});
        for (namespace, to, expected) in [
            ("t", Value::Null, true),
            ("t", json!([]), true),
            ("u", json!([]), false),
            ("t", reference("RabbitmqChannel", "a"), true),
            ("t", reference("RabbitmqChannel", "b"), false),
            ("t", reference("InMemoryChannel", "a"), false),
            ("t", selector(json!({})), true),
            ("t", selector(json!({"matchLabels": {"x": "1"}})), true),
            ("t", selector(json!({"matchLabels": {"x": "2"}})), false),
            ("t", selector(expression("In", "x")), true),
            ("t", selector(expression("NotIn", "x")), false),
            ("t", selector(expression("Exists", "y")), false),
            ("t", selector(expression("DoesNotExist", "y")), true),
            ("t", selector(expression("Odd", "x")), false),
            ("t", json!([{}]), false),
        ] {
            for (status, name) in [("True", "ready"), ("False", "not")] {
                let conditions = json!([{"type": "Ready", "status": status}]);
                let metadata = json!({"namespace": namespace, "name": name});
                let policy = json!({"metadata": metadata, "spec": {"to": to}, "status": {"conditions": conditions}});
                let found = ChannelPolicies::for_channel(
                    [&policy].into_iter(),
                    &channel,
                    ServedChannelKind::Rabbitmq,
                );
                let names = |wanted| {
                    let name = Some(name.to_owned()).filter(|_| status == wanted && expected);
                    name.into_iter().collect()
                };
                let (ready, not_ready) = (names("True"), names("False"));
                assert_eq!(found, ChannelPolicies::On { ready, not_ready }, "{policy}");
            }
        }
    }
}
