//! What is configured, as Knative-shaped objects with status: what `sealpost get` shows.

use std::sync::Arc;

use serde::Serialize;
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
    /// The whole object: `apiVersion`, `kind`, `metadata`, `spec`, `status`.
    pub value: Value,
}

/// Everything that is configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// In the order of kind, namespace, name.
    pub objects: Vec<Arc<Object>>,
}
