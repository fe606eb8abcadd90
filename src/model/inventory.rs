//! What is configured, as Knative-shaped objects with status: what `sealpost get` shows.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Which list an object is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ObjectKind {
    /// `Channel`, `InMemoryChannel`, `RabbitmqChannel`.
    Channel,
    /// `Broker`.
    Broker,
    /// `Trigger`.
    Trigger,
    /// `Subscription`.
    Subscription,
}

/// A Knative condition (`knative.dev/pkg/apis.Condition`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// Such as `Ready`.
    #[serde(rename = "type")]
    pub ty: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// A word for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// A sentence for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// One object with its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Which list it is in.
    pub kind: ObjectKind,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// The `kind` that it was written with.
    pub written_kind: Option<Box<str>>,
    /// Name of the channel of a Subscription, or of the Broker of a Trigger.
    pub parent: Option<Box<str>>,
    /// `status.address.url`.
    pub url: Option<Box<str>>,
    /// Its condition `Ready`.
    pub ready: Option<Condition>,
    /// The whole object as JSON: `apiVersion`, `kind`, `metadata`, `spec`, `status`. As text, since a tree of values takes
    /// many times as much, and it is only shown.
    pub json: Box<str>,
}

impl Object {
    /// What stands in an object's `value`.
    #[must_use]
    pub fn new(kind: ObjectKind, namespace: &str, name: &str, value: &Value) -> Self {
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(Box::from);
        let parent = match kind {
            ObjectKind::Channel | ObjectKind::Broker => None,
            ObjectKind::Trigger => text("/spec/broker"),
            ObjectKind::Subscription => text("/spec/channel/name"),
        };
        let conditions = value.pointer("/status/conditions").and_then(Value::as_array);
        let ready = conditions.and_then(|all| all.iter().find(|condition| condition["type"] == "Ready"));
        Self {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            written_kind: text("/kind"),
            parent,
            url: text("/status/address/url"),
            ready: ready.and_then(|ready| Condition::deserialize(ready).ok()),
            json: value.to_string().into(),
        }
    }
}

/// Everything that is configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// In the order of kind, namespace, name.
    pub objects: Vec<Arc<Object>>,
}
