//! The serde mirrors of YAML that stands inside the ConfigMaps `config-br-defaults` and
//! `default-ch-webhook`, and inside channel templates.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::duck::{DeliverySpecManifest, KReference};
use super::messaging::ChannelTemplate;

/// Defaults for the whole cluster, and for single namespaces.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", bound = "T: Deserialize<'de>")]
pub(crate) struct ScopedDefaults<T> {
    pub(crate) cluster_default: Option<T>,
    #[serde(default)]
    pub(crate) namespace_defaults: Option<BTreeMap<String, Option<T>>>,
}

impl<T> ScopedDefaults<T> {
    /// The default for one namespace; `None` if only the cluster's counts there.
    pub(crate) fn of_namespace(&self, namespace: &str) -> Option<&T> {
        self.namespace_defaults.as_ref()?.get(namespace)?.as_ref()
    }
}

/// The content of the key `default-br-config`.
pub(crate) type BrokerDefaults = ScopedDefaults<BrokerDefault>;
/// The content of the key `default-ch-config`.
pub(crate) type ChannelDefaults = ScopedDefaults<ChannelTemplate>;

/// The default configuration of Brokers, and of those of each class.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BrokerDefault {
    pub(crate) broker_class: Option<String>,
    #[serde(flatten)]
    pub(crate) config: BrokerConfig,
    pub(crate) broker_classes: Option<BTreeMap<String, Option<BrokerConfig>>>,
}

impl BrokerDefault {
    /// The configuration of Brokers of one class; `None` if only the general one counts.
    pub(crate) fn of_class(&self, class: &str) -> Option<&BrokerConfig> {
        self.broker_classes.as_ref()?.get(class)?.as_ref()
    }
}

/// The reference to the ConfigMap that a Broker is configured by, and the Broker's delivery spec.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub(crate) struct BrokerConfig {
    #[serde(flatten)]
    pub(crate) reference: KReference,
    pub(crate) delivery: Option<DeliverySpecManifest>,
}
