//! What stands as YAML inside `config-br-defaults`, `default-ch-webhook` and channel templates.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::duck::{DeliverySpecManifest, KReference};
use super::messaging::ChannelTemplate;

/// Defaults for the cluster, and for namespaces.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", bound = "T: Deserialize<'de>")]
pub(crate) struct ScopedDefaults<T> {
    pub(crate) cluster_default: Option<T>,
    #[serde(default)]
    pub(crate) namespace_defaults: Option<BTreeMap<String, Option<T>>>,
}

impl<T> ScopedDefaults<T> {
    /// What stands for one namespace.
    pub(crate) fn of_namespace(&self, namespace: &str) -> Option<&T> {
        self.namespace_defaults.as_ref()?.get(namespace)?.as_ref()
    }
}

/// `default-br-config`.
pub(crate) type BrokerDefaults = ScopedDefaults<BrokerDefault>;
/// `default-ch-config`.
pub(crate) type ChannelDefaults = ScopedDefaults<ChannelTemplate>;

/// The default of Brokers, and of those of one class.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BrokerDefault {
    pub(crate) broker_class: Option<String>,
    #[serde(flatten)]
    pub(crate) config: BrokerConfig,
    pub(crate) broker_classes: Option<BTreeMap<String, Option<BrokerConfig>>>,
}

impl BrokerDefault {
    /// What stands for Brokers of one class.
    pub(crate) fn of_class(&self, class: &str) -> Option<&BrokerConfig> {
        self.broker_classes.as_ref()?.get(class)?.as_ref()
    }
}

/// What a Broker is configured by, and its delivery.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub(crate) struct BrokerConfig {
    #[serde(flatten)]
    pub(crate) reference: KReference,
    pub(crate) delivery: Option<DeliverySpecManifest>,
}
