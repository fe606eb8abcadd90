//! Knative's kinds as they are written in YAML. Types of this module are never imported by name: a
//! `manifest::Subscription` is what the user wrote, a `Subscription` is what it means.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// `spec` of a `Channel` or `InMemoryChannel`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Channel {
    pub(super) channel_template: Option<ChannelTemplate>,
    pub(super) delivery: Option<Delivery>,
    pub(super) subscribers: Vec<Subscriber>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ChannelTemplate {
    pub(super) api_version: String,
    pub(super) kind: String,
    #[serde(rename = "spec")]
    pub(super) _spec: Value,
}

/// An entry of a channel's own `spec.subscribers` (control-plane.md 2.2).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Subscriber {
    pub(super) uid: Option<String>,
    pub(super) name: Option<String>,
    #[serde(rename = "generation")]
    pub(super) _generation: Option<i64>,
    pub(super) subscriber_uri: Option<String>,
    #[serde(rename = "subscriberCACerts")]
    pub(super) subscriber_ca_certs: Option<String>,
    pub(super) subscriber_audience: Option<String>,
    pub(super) reply_uri: Option<String>,
    #[serde(rename = "replyCACerts")]
    pub(super) reply_ca_certs: Option<String>,
    pub(super) reply_audience: Option<String>,
    pub(super) delivery: Option<Delivery>,
    #[serde(rename = "auth")]
    pub(super) _auth: Value,
}

/// `spec` of a `Subscription`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Subscription {
    pub(super) channel: Reference,
    #[serde(default)]
    pub(super) subscriber: Option<Destination>,
    #[serde(default)]
    pub(super) reply: Option<Destination>,
    #[serde(default)]
    pub(super) delivery: Option<Delivery>,
}

/// `spec` of a `Broker`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Broker {
    #[serde(rename = "config")]
    pub(super) _config: Value,
    pub(super) delivery: Option<Delivery>,
}

/// `spec` of a `Trigger`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Trigger {
    #[serde(default)]
    pub(super) broker: Option<String>,
    #[serde(default)]
    pub(super) broker_ref: Option<Reference>,
    #[serde(default)]
    pub(super) filter: Option<Filter>,
    #[serde(default)]
    pub(super) filters: Vec<Value>,
    pub(super) subscriber: Destination,
    #[serde(default)]
    pub(super) delivery: Option<Delivery>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Filter {
    pub(super) attributes: Option<BTreeMap<String, String>>,
}

/// A destination as it is written (control-plane.md 5.2).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Destination {
    #[serde(rename = "ref")]
    pub(super) reference: Option<Reference>,
    pub(super) uri: Option<String>,
    #[serde(rename = "CACerts")]
    pub(super) ca_certs: Option<String>,
    pub(super) audience: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Reference {
    pub(super) api_version: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) name: String,
    pub(super) namespace: Option<String>,
    #[serde(rename = "address")]
    pub(super) _address: Option<String>,
    #[serde(rename = "group")]
    pub(super) _group: Option<String>,
}

/// A delivery spec as it is written (control-plane.md 2.1).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Delivery {
    pub(super) dead_letter_sink: Option<Destination>,
    pub(super) retry: Option<i64>,
    pub(super) timeout: Option<String>,
    pub(super) backoff_policy: Option<String>,
    pub(super) backoff_delay: Option<String>,
    pub(super) backoff_max: Option<String>,
    pub(super) retry_after_max: Option<String>,
    pub(super) format: Option<String>,
}

/// `spec` of a `Service`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Service {
    pub(super) selector: BTreeMap<String, String>,
}

/// `spec` of a `Pod`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Pod {
    pub(super) containers: Vec<Container>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Container {
    pub(super) image: String,
}
