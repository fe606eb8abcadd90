//! Configurations of Brokers, as they stand in `default-br-config`.

use crate::control::read::manifest::defaults::{BrokerConfig, BrokerDefaults};

/// A configuration of Brokers as it stands in `default-br-config`.
pub(super) struct WrittenConfig<'d> {
    pub(super) place: String,
    /// The namespace for which it is; `None` for that of the cluster.
    pub(super) namespace: Option<&'d str>,
    /// The class for which it is; `None` if it is not said.
    pub(super) class: Option<&'d str>,
    pub(super) config: &'d BrokerConfig,
}

/// Every configuration of Brokers.
pub(super) fn written_configs(defaults: &BrokerDefaults) -> Vec<WrittenConfig<'_>> {
    let cluster = defaults
        .cluster_default
        .iter()
        .map(|default| (None, default));
    let namespaces = defaults.namespace_defaults.iter().flatten();
    let namespaces =
        namespaces.filter_map(|(name, default)| Some((Some(name.as_str()), default.as_ref()?)));
    let mut found = Vec::new();
    for (namespace, default) in cluster.chain(namespaces) {
        let place = namespace.map_or_else(
            || "clusterDefault".to_owned(),
            |name| format!("namespaceDefaults.{name}"),
        );
        for (class, config) in default.broker_classes.iter().flatten() {
            let (place, class) = (
                format!("{place}.brokerClasses.{class}"),
                Some(class.as_str()),
            );
            found.extend(config.as_ref().map(|config| WrittenConfig {
                place,
                namespace,
                class,
                config,
            }));
        }
        let class = default
            .broker_class
            .as_deref()
            .filter(|class| !class.is_empty());
        found.push(WrittenConfig {
            place,
            namespace,
            class,
            config: &default.config,
        });
    }
    found
}
