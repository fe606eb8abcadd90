//! The serde mirrors of `eventing.knative.dev`: Brokers, Triggers, EventPolicies and
//! RequestReplies.

use serde::Deserialize;
use serde_json::Value;

use super::duck::{DeliverySpecManifest, DestinationManifest, KReference, ObjectMeta, TextMap};

/// A `Broker` as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct BrokerManifest {
    #[serde(default)]
    pub(crate) metadata: ObjectMeta,
    pub(crate) spec: Option<BrokerSpec>,
}

/// The `spec` of a `Broker`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct BrokerSpec {
    /// The ConfigMap that holds the template of the Broker's channel.
    pub(crate) config: Option<KReference>,
    pub(crate) delivery: Option<DeliverySpecManifest>,
}

/// A `Trigger` as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct TriggerManifest {
    pub(crate) spec: Option<TriggerSpec>,
}

/// The `spec` of a `Trigger`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TriggerSpec {
    pub(crate) broker: Option<String>,
    pub(crate) broker_ref: Option<KReference>,
    pub(crate) filter: Option<TriggerFilterManifest>,
    pub(crate) filters: Option<Vec<Value>>,
    pub(crate) subscriber: Option<DestinationManifest>,
    pub(crate) delivery: Option<DeliverySpecManifest>,
}

/// The `spec.filter` of a `Trigger`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct TriggerFilterManifest {
    pub(crate) attributes: TextMap,
}

/// A `RequestReply` as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct RequestReplyManifest {
    pub(crate) spec: Option<RequestReplySpec>,
}

/// The `spec` of a `RequestReply`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RequestReplySpec {
    pub(crate) broker_ref: Option<KReference>,
    pub(crate) correlation_attribute: Option<String>,
    pub(crate) reply_attribute: Option<String>,
    pub(crate) timeout: Option<String>,
    pub(crate) delivery: Option<DeliverySpecManifest>,
}

/// An `EventPolicy` as it is written. Its `status.from` is not mirrored, but read from the JSON.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct EventPolicyManifest {
    pub(crate) spec: Option<EventPolicySpec>,
}

/// The `spec` of an `EventPolicy`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct EventPolicySpec {
    pub(crate) to: Option<Vec<PolicyTo>>,
    pub(crate) from: Option<Vec<PolicyFrom>>,
    pub(crate) filters: Option<Vec<Value>>,
}

/// One entry of an EventPolicy's `spec.to`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct PolicyTo {
    #[serde(rename = "ref")]
    pub(crate) reference: Option<KReference>,
    pub(crate) selector: Option<PolicySelector>,
}

/// The selector of an entry of `spec.to`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PolicySelector {
    pub(crate) api_version: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) match_labels: TextMap,
    pub(crate) match_expressions: Option<Vec<MatchExpression>>,
}

/// One entry of a selector's `matchExpressions`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct MatchExpression {
    pub(crate) key: Option<String>,
    pub(crate) operator: Option<String>,
    pub(crate) values: Option<Vec<String>>,
}

/// One entry of an EventPolicy's `spec.from`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct PolicyFrom {
    #[serde(rename = "ref")]
    pub(crate) reference: Option<KReference>,
    pub(crate) sub: Option<String>,
}
