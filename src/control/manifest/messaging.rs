//! `messaging.knative.dev`: channels and subscriptions.

use serde::Deserialize;

use super::duck::{DeliverySpecManifest, DestinationManifest, KReference, ObjectMeta};

/// `Channel`, `InMemoryChannel`, `RabbitmqChannel`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct ChannelManifest {
    #[serde(default)]
    pub(crate) metadata: ObjectMeta,
    pub(crate) spec: Option<ChannelSpec>,
}

/// `spec` of a channel of any kind.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChannelSpec {
    /// Of a `Channel` only.
    pub(crate) channel_template: Option<ChannelTemplate>,
    pub(crate) delivery: Option<DeliverySpecManifest>,
    /// Who gets events besides the `Subscription`s (contract 2.2).
    pub(crate) subscribers: Option<Vec<SubscriberSpec>>,
}

/// What a `Channel` is made of, and each channel of a Sequence or Parallel.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChannelTemplate {
    pub(crate) api_version: Option<String>,
    pub(crate) kind: Option<String>,
    /// Read of the channels of Sequences and Parallels.
    pub(crate) spec: Option<TemplateSpec>,
}

/// `spec` of a channel template.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub(crate) struct TemplateSpec {
    pub(crate) delivery: Option<DeliverySpecManifest>,
}

/// One of `spec.subscribers`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SubscriberSpec {
    pub(crate) name: Option<String>,
    pub(crate) uid: Option<String>,
    pub(crate) subscriber_uri: Option<String>,
    #[serde(rename = "subscriberCACerts")]
    pub(crate) subscriber_ca_certs: Option<String>,
    pub(crate) subscriber_audience: Option<String>,
    pub(crate) reply_uri: Option<String>,
    #[serde(rename = "replyCACerts")]
    pub(crate) reply_ca_certs: Option<String>,
    pub(crate) reply_audience: Option<String>,
    pub(crate) delivery: Option<DeliverySpecManifest>,
    pub(crate) auth: Option<SubscriberAuth>,
}

/// As whom a subscriber's events are sent (contract 7.1).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SubscriberAuth {
    pub(crate) service_account_name: Option<String>,
}

/// `Subscription`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct SubscriptionManifest {
    #[serde(default)]
    pub(crate) metadata: ObjectMeta,
    pub(crate) spec: Option<SubscriptionSpec>,
}

/// `spec` of a `Subscription`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct SubscriptionSpec {
    pub(crate) channel: Option<KReference>,
    pub(crate) subscriber: Option<DestinationManifest>,
    pub(crate) reply: Option<DestinationManifest>,
    pub(crate) delivery: Option<DeliverySpecManifest>,
}
