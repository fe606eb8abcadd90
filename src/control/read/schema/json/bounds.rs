//! What is demanded of fields beyond their shape, for editors: whoever resolves an object demands
//! the same, and says more. `schemas_and_check_agree` holds the two together.

use serde_json::{Value, json};

use super::with_text;
use crate::control::read::kind::ResourceKind;

/// Names of attributes of events.
const ATTRIBUTE: &str = "^[a-z][a-z0-9]*$";

/// URLs with a scheme, and so with a host.
const ABSOLUTE: &str = "^[A-Za-z][A-Za-z0-9+.-]*:";

/// Names of objects: DNS names in lower case.
const NAME: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";

/// Namespaces, or nothing.
const NAMESPACE: &str = "^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$";

/// The `metadata` of an object that is read.
pub(super) fn metadata() -> Value {
    let mut metadata = present(with_text("name"));
    super::merge(
        &mut metadata,
        json!({ "properties": {
        "name": { "pattern": NAME, "maxLength": 253 },
        "namespace": { "pattern": NAMESPACE, "maxLength": 63 },
    } }),
    );
    metadata
}

/// ISO 8601 durations, as [`crate::model::parse_duration`] takes them.
fn duration() -> Value {
    let some = |units: &[&str]| {
        let field = |unit: &&str| format!("[0-9]+([.,][0-9]+)?{unit}");
        let optional = |units: &[&str]| -> String {
            units
                .iter()
                .map(|unit| format!("({})?", field(unit)))
                .collect()
        };
        let from = (0..units.len()).filter_map(|first| {
            let (first, rest) = units.get(first..)?.split_first()?;
            Some(field(first) + &optional(rest))
        });
        from.collect::<Vec<_>>().join("|")
    };
    let (date, time) = (some(&["Y", "M", "W", "D"]), some(&["H", "M", "S"]));
    json!({ "minLength": 1, "pattern": format!(r"^\+?P(0|({date})(T({time}))?|T({time}))$") })
}

fn longer_than_zero() -> Value {
    let mut some = duration();
    super::merge(
        &mut some,
        json!({ "not": { "type": "string", "pattern": "^[^1-9]*$" } }),
    );
    some
}

/// What an object of this kind has to have besides its name.
pub(super) fn of_kind(kind: ResourceKind) -> Value {
    match kind {
        ResourceKind::Trigger
        | ResourceKind::Subscription
        | ResourceKind::Sequence
        | ResourceKind::Parallel
        | ResourceKind::RequestReply
        | ResourceKind::PingSource => {
            json!({ "required": ["apiVersion", "kind", "metadata", "spec"], "properties": { "spec": { "type": "object" } } })
        }
        _ => json!({}),
    }
}

/// What is demanded of the definition of this name.
pub(super) fn of(definition: &str) -> Value {
    let demanded = of_messaging(definition)
        .or_else(|| of_eventing(definition))
        .or_else(|| of_flows(definition));
    demanded.unwrap_or_else(|| json!({}))
}

/// What is demanded of channels, of their Subscriptions, and of what all kinds share.
fn of_messaging(definition: &str) -> Option<Value> {
    let text = json!({ "minLength": 1 });
    Some(match definition {
        "DeliverySpec" => json!({ "properties": {
            "retry": { "minimum": 0 },
            "backoffPolicy": { "enum": ["linear", "exponential", "", null] },
            "backoffDelay": duration(), "backoffMax": duration(), "timeout": longer_than_zero(), "retryAfterMax": duration(),
        } }),
        "ServiceSpec" => json!({ "properties": {
            "type": { "enum": ["ClusterIP", "NodePort", "LoadBalancer", "ExternalName", "", null] },
        } }),
        "SubscriptionSpec" => json!({
            "required": ["channel"],
            "properties": { "channel": present(referring()) },
        }),
        "SubscriberSpec" => json!({
            "anyOf": [with_text("uid"), with_text("name")],
            "properties": { "subscriberUri": text, "replyUri": text },
        }),
        "PingSourceSpec" => with("sink"),
        _ => return None,
    })
}

/// What is demanded of Brokers, Triggers, RequestReplies and EventPolicies.
fn of_eventing(definition: &str) -> Option<Value> {
    Some(match definition {
        "BrokerSpec" => json!({ "properties": { "config": with_text("name") } }),
        "TriggerSpec" => json!({
            "required": ["subscriber"],
            "properties": { "subscriber": { "type": "object" } },
            "anyOf": [with_text("broker"), { "required": ["brokerRef"], "properties": { "brokerRef": present(with_text("name")) } }],
        }),
        "TriggerFilter" => {
            json!({ "properties": { "attributes": { "propertyNames": { "pattern": ATTRIBUTE } } } })
        }
        "SubscriptionsAPIFilter" => filter(),
        "RequestReplySpec" => json!({
            "required": ["brokerRef"],
            "properties": { "brokerRef": present(referring()) },
        }),
        "EventPolicySpecTo" => json!({ "anyOf": [with("ref"), with("selector")] }),
        "EventPolicyToReference" => {
            json!({ "allOf": [with_text("apiVersion"), with_text("kind"), with_text("name")] })
        }
        "EventPolicySelector" => json!({ "allOf": [with_text("apiVersion"), with_text("kind")] }),
        "EventPolicySpecFrom" => json!({ "anyOf": [with("ref"), with_text("sub")] }),
        _ => return None,
    })
}

/// What is demanded of Sequences and Parallels, and of destinations.
fn of_flows(definition: &str) -> Option<Value> {
    Some(match definition {
        "Destination" | "SequenceStep" => json!({
            "anyOf": [
                with("ref"),
                { "required": ["uri"], "properties": { "uri": { "type": "string", "pattern": ABSOLUTE } } },
            ],
            "properties": { "ref": referring() },
        }),
        "SequenceSpec" => json!({
            "required": ["steps"],
            "properties": { "steps": { "type": "array", "minItems": 1 } },
        }),
        "ParallelSpec" => json!({
            "required": ["branches"],
            "properties": { "branches": { "type": "array", "minItems": 1 } },
        }),
        "ParallelBranch" => with("subscriber"),
        _ => return None,
    })
}

/// One of the dialects, with something in it.
fn filter() -> Value {
    let texts = json!({
        "type": "object", "minProperties": 1, "propertyNames": { "pattern": ATTRIBUTE },
        "additionalProperties": { "type": "string", "minLength": 1 },
    });
    let list = json!({ "type": "array", "minItems": 1 });
    json!({
        "minProperties": 1,
        "maxProperties": 1,
        "properties": {
            "exact": texts, "prefix": texts, "suffix": texts, "all": list, "any": list,
            "not": { "type": "object" },
            "cesql": { "type": "string", "minLength": 1 },
        },
    })
}

/// A reference to an object: its kind and its name, and the group of its kind.
fn referring() -> Value {
    let text = json!({ "type": "string", "minLength": 1 });
    json!({
        "required": ["kind", "name"],
        "properties": { "kind": text, "name": text },
        "anyOf": [with_text("apiVersion"), with_text("group")],
    })
}

/// Of an object: it has this field, with an object.
fn with(name: &str) -> Value {
    json!({ "required": [name], "properties": { name: { "type": "object" } } })
}

/// The same, where nothing is not enough.
pub(super) fn present(mut schema: Value) -> Value {
    super::merge(&mut schema, json!({ "type": "object" }));
    schema
}
