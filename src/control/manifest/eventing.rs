//! `eventing.knative.dev`: brokers, triggers, policies and RequestReplies.

use serde::Deserialize;
use serde_json::Value;

use super::duck::{DeliverySpecManifest, DestinationManifest, KReference, ObjectMeta, TextMap};

/// `Broker`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct BrokerManifest {
    #[serde(default)]
    pub(crate) metadata: ObjectMeta,
    pub(crate) spec: Option<BrokerSpec>,
}

/// `spec` of a `Broker`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct BrokerSpec {
    /// Where the template of its channel stands.
    pub(crate) config: Option<KReference>,
    pub(crate) delivery: Option<DeliverySpecManifest>,
}

/// `Trigger`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct TriggerManifest {
    pub(crate) spec: Option<TriggerSpec>,
}

/// `spec` of a `Trigger`.
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

/// `spec.filter`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct TriggerFilterManifest {
    pub(crate) attributes: TextMap,
}

/// `RequestReply`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct RequestReplyManifest {
    pub(crate) spec: Option<RequestReplySpec>,
}

/// `spec` of a `RequestReply`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RequestReplySpec {
    pub(crate) broker_ref: Option<KReference>,
    pub(crate) correlation_attribute: Option<String>,
    pub(crate) reply_attribute: Option<String>,
    pub(crate) timeout: Option<String>,
    pub(crate) delivery: Option<DeliverySpecManifest>,
}

/// `EventPolicy`. Its `status.from` is read as it stands.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct EventPolicyManifest {
    pub(crate) spec: Option<EventPolicySpec>,
}

/// `spec` of an `EventPolicy`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct EventPolicySpec {
    pub(crate) to: Option<Vec<PolicyTo>>,
    pub(crate) from: Option<Vec<PolicyFrom>>,
    pub(crate) filters: Option<Vec<Value>>,
}

/// One of `spec.to`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct PolicyTo {
    #[serde(rename = "ref")]
    pub(crate) reference: Option<KReference>,
    pub(crate) selector: Option<PolicySelector>,
}

/// The selector of one of `spec.to`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PolicySelector {
    pub(crate) api_version: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) match_labels: TextMap,
    pub(crate) match_expressions: Option<Vec<MatchExpression>>,
}

/// One of `matchExpressions`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct MatchExpression {
    pub(crate) key: Option<String>,
    pub(crate) operator: Option<String>,
    pub(crate) values: Option<Vec<String>>,
}

/// One of `spec.from`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct PolicyFrom {
    #[serde(rename = "ref")]
    pub(crate) reference: Option<KReference>,
    pub(crate) sub: Option<String>,
}
