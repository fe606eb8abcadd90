//! The serde mirrors of `messaging.knative.dev`: channels and Subscriptions.

use serde::Deserialize;

use super::duck::{DeliverySpecManifest, DestinationManifest, KReference, ObjectMeta};

/// A `Channel`, `InMemoryChannel`, `RabbitmqChannel` or `DiskChannel` as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct ChannelManifest {
    #[serde(default)]
    pub(crate) metadata: ObjectMeta,
    pub(crate) spec: Option<ChannelSpec>,
}

impl ChannelManifest {
    /// The template of a `Channel`; `None` if it has none.
    pub(crate) fn template(&self) -> Option<&ChannelTemplate> {
        self.spec.as_ref()?.channel_template.as_ref()
    }
}

/// The `spec` of a channel of any kind.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChannelSpec {
    /// The template of the physical channel; a `Channel` has one only.
    pub(crate) channel_template: Option<ChannelTemplate>,
    pub(crate) delivery: Option<DeliverySpecManifest>,
    /// The subscribers of the channel besides its `Subscription`s (contract 2.2).
    pub(crate) subscribers: Option<Vec<SubscriberSpec>>,
}

/// The template of the physical channel behind a `Channel`, and of each channel of a Sequence or
/// Parallel.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChannelTemplate {
    pub(crate) api_version: Option<String>,
    pub(crate) kind: Option<String>,
    /// The `spec` of the channel, which is read for the channels of Sequences and Parallels only.
    pub(crate) spec: Option<TemplateSpec>,
}

/// The `spec` of a channel template.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub(crate) struct TemplateSpec {
    pub(crate) delivery: Option<DeliverySpecManifest>,
}

/// One entry of a channel's `spec.subscribers`.
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

/// The ServiceAccount as which a subscriber's events are sent (contract 7.1).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SubscriberAuth {
    pub(crate) service_account_name: Option<String>,
}

/// A `Subscription` as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct SubscriptionManifest {
    #[serde(default)]
    pub(crate) metadata: ObjectMeta,
    pub(crate) spec: Option<SubscriptionSpec>,
}

/// The `spec` of a `Subscription`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct SubscriptionSpec {
    pub(crate) channel: Option<KReference>,
    pub(crate) subscriber: Option<DestinationManifest>,
    pub(crate) reply: Option<DestinationManifest>,
    pub(crate) delivery: Option<DeliverySpecManifest>,
}
