//! `eventing.knative.dev`: brokers and triggers.

use serde::Deserialize;
use serde_json::Value;

use super::duck::{DeliverySpec, Destination, KReference, Metadata, Texts};

/// `Broker`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Broker {
    #[serde(default)]
    pub(crate) metadata: Metadata,
    pub(crate) spec: Option<BrokerSpec>,
}

/// `spec` of a `Broker`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct BrokerSpec {
    /// Where the template of its channel stands.
    pub(crate) config: Option<KReference>,
    pub(crate) delivery: Option<DeliverySpec>,
}

/// `Trigger`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Trigger {
    pub(crate) spec: Option<TriggerSpec>,
}

/// `spec` of a `Trigger`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TriggerSpec {
    pub(crate) broker: Option<String>,
    pub(crate) broker_ref: Option<KReference>,
    pub(crate) filter: Option<TriggerFilter>,
    pub(crate) filters: Option<Vec<Value>>,
    pub(crate) subscriber: Option<Destination>,
    pub(crate) delivery: Option<DeliverySpec>,
}

/// `spec.filter`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct TriggerFilter {
    pub(crate) attributes: Texts,
}
