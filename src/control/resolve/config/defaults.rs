//! The defaults of Brokers and channels: `config-br-defaults`, `default-ch-webhook`, and the
//! channel templates that Brokers refer to (upstream's webhook and mt-broker-controller apply
//! them).

mod check;
mod written_config;

use std::collections::BTreeMap;

use super::yaml_key::parse_yaml_key;
use crate::control::read::manifest::UnknownFieldPolicy;
use crate::control::read::manifest::core::ConfigMapManifest;
use crate::control::read::manifest::defaults::{BrokerConfig, BrokerDefaults, ChannelDefaults};
use crate::control::read::manifest::duck;
use crate::control::read::manifest::messaging::ChannelTemplate;
use crate::control::read::report::ObjectReport;
use crate::control::read::schema::config_maps::DEFAULT_TEMPLATE;
use crate::control::read::schema::examine::template_schema;
use crate::control::read::schema::knative::{BROKER_DEFAULTS, CHANNEL_DEFAULTS};
use crate::control::read::spelling::suggest_word;
use crate::control::resolve::collect::{CollectedItem, CollectedObjects};
use crate::control::resolve::delivery;
use crate::control::resolve::written::channel::template::foreign_template_remedy;
use crate::control::settings::ControlSettings;
use crate::model::NamespacedName;
use check::{check_namespaces, check_template, check_templates};
use written_config::{WrittenConfig, written_configs};

/// The classes that are served: under upstream's name, and under our own.
pub(crate) const OUR_CLASSES: [&str; 2] = ["MTChannelBasedBroker", "Sealpost"];
const CONFIG_BR_DEFAULTS: &str = "config-br-defaults";
const DEFAULT_BR_CONFIG: &str = "default-br-config";
const DEFAULT_CH_WEBHOOK: &str = "default-ch-webhook";
const DEFAULT_CH_CONFIG: &str = "default-ch-config";
const CHANNEL_TEMPLATE_SPEC: &str = "channel-template-spec";
/// The name of the key in earlier releases, which upstream still reads.
const FORMER_TEMPLATE_SPEC: &str = "channelTemplateSpec";

/// The defaults in use. A ConfigMap with problems keeps its last good form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResolvedDefaults {
    /// The defaults of Brokers (`config-br-defaults`).
    brokers: BrokerDefaults,
    /// The defaults of channels (`default-ch-webhook`).
    channels: ChannelDefaults,
    /// The channel templates by the ConfigMap that they stand in.
    templates: BTreeMap<NamespacedName, ChannelTemplate>,
}

impl ResolvedDefaults {
    /// Reads the ConfigMaps; `last` are the defaults in use until now.
    pub(crate) fn resolve(
        collected: &mut CollectedObjects<'_>,
        settings: &ControlSettings,
        last: Option<&Self>,
    ) -> Self {
        let mut defaults = Self::default();
        for (
            name,
            CollectedItem {
                object,
                partly,
                report,
            },
        ) in &mut collected.config_maps
        {
            if let Some(config_map) = object {
                defaults.take(name, config_map, settings, report);
            } else if let Some(config_map) = partly {
                Self::default().take(name, config_map, settings, report);
            }
            if report.has_errors() {
                defaults.keep_last(name, settings, last);
            }
        }
        let system = NamespacedName::new(&settings.system_namespace, CONFIG_BR_DEFAULTS);
        if let Some(item) = collected
            .config_maps
            .get_mut(&system)
            .filter(|item| !item.report.has_errors())
        {
            defaults.warn_of_missing_templates(settings, &mut item.report);
        }
        defaults
    }

    /// Reads one of the ConfigMaps, if it is one of those with defaults or a template.
    fn take(
        &mut self,
        name: &NamespacedName,
        config_map: &ConfigMapManifest,
        settings: &ControlSettings,
        report: &mut ObjectReport<'_>,
    ) {
        let reading = UnknownFieldPolicy::from_settings(settings);
        let system = name.namespace == settings.system_namespace;
        match name.name.as_str() {
            CONFIG_BR_DEFAULTS if system => {
                self.brokers =
                    read_broker_defaults(config_map, reading, report).unwrap_or_default();
            }
            DEFAULT_CH_WEBHOOK if system => {
                self.channels = parse_yaml_key(
                    config_map,
                    DEFAULT_CH_CONFIG,
                    |_| &CHANNEL_DEFAULTS,
                    reading,
                    report,
                )
                .unwrap_or_default();
                check_templates(&self.channels, report);
            }
            _ => {
                let keys = [CHANNEL_TEMPLATE_SPEC, FORMER_TEMPLATE_SPEC];
                let key = keys
                    .into_iter()
                    .find(|key| duck::text(&config_map.data, key).is_some());
                let Some(key) = key else {
                    warn_of_near_keys(config_map, report);
                    return;
                };
                let template = parse_yaml_key(config_map, key, template_schema, reading, report);
                if let Some(template) = &template {
                    check_template(template, &format!("data.{key}"), report);
                    note_foreign_template(template, &format!("data.{key}.kind"), report);
                }
                self.templates
                    .extend(template.map(|template| (name.clone(), template)));
            }
        }
    }

    /// Keeps the last content of a ConfigMap that has problems.
    fn keep_last(
        &mut self,
        name: &NamespacedName,
        settings: &ControlSettings,
        last: Option<&Self>,
    ) {
        let nothing = Self::default();
        let last = last.unwrap_or(&nothing);
        let system = name.namespace == settings.system_namespace;
        match name.name.as_str() {
            CONFIG_BR_DEFAULTS if system => self.brokers = last.brokers.clone(),
            DEFAULT_CH_WEBHOOK if system => self.channels = last.channels.clone(),
            _ => self.templates.extend(
                last.templates
                    .get(name)
                    .map(|template| (name.clone(), template.clone())),
            ),
        }
    }

    /// The class of Brokers that name none; `None` if there is no default.
    pub(crate) fn broker_class(&self, namespace: &str) -> Option<&str> {
        let named = |class: &&str| !class.is_empty();
        let of_namespace = self
            .brokers
            .of_namespace(namespace)
            .and_then(|default| default.broker_class.as_deref());
        let of_cluster = self
            .brokers
            .cluster_default
            .as_ref()
            .and_then(|default| default.broker_class.as_deref());
        of_namespace.filter(named).or(of_cluster.filter(named))
    }

    /// The configuration of Brokers of this class: that of the namespace, else that of the cluster.
    ///
    /// As upstream, the default of a namespace counts only for Brokers of the class that it names.
    fn broker_config(&self, namespace: &str, class: &str) -> Option<&BrokerConfig> {
        let of_namespace = self.brokers.of_namespace(namespace).and_then(|default| {
            let own = default.broker_class.as_deref() == Some(class)
                && default.config != BrokerConfig::default();
            default
                .of_class(class)
                .or_else(|| own.then_some(&default.config))
        });
        let of_cluster = || {
            let default = self.brokers.cluster_default.as_ref()?;
            default.of_class(class).or(Some(&default.config))
        };
        of_namespace.or_else(of_cluster)
    }

    /// The delivery spec of Brokers that have none of their own.
    pub(crate) fn broker_delivery(
        &self,
        namespace: &str,
        class: &str,
    ) -> Option<&duck::DeliverySpecManifest> {
        self.broker_config(namespace, class)?.delivery.as_ref()
    }

    /// The template of a Broker's channel: that of the ConfigMap which `config` names, or which the
    /// defaults name.
    pub(crate) fn broker_template(
        &self,
        namespace: &str,
        class: &str,
        config: Option<&duck::KReference>,
    ) -> Option<&ChannelTemplate> {
        let reference = config.or_else(|| {
            self.broker_config(namespace, class)
                .map(|config| &config.reference)
        })?;
        let referred = reference
            .namespace
            .as_deref()
            .filter(|namespace| !namespace.is_empty())
            .unwrap_or(namespace);
        self.templates
            .get(&NamespacedName::new(referred, reference.name.clone()?))
    }

    /// What names the template of Brokers without a `config` of their own, unless it is for another
    /// class.
    pub(crate) fn broker_template_reference(
        &self,
        namespace: &str,
        class: &str,
    ) -> Option<&duck::KReference> {
        let config = self.broker_config(namespace, class)?;
        let is_of_others =
            |class: Option<&str>| class.is_some_and(|class| !OUR_CLASSES.contains(&class));
        let written = written_configs(&self.brokers);
        let is_ours = written
            .iter()
            .all(|written| !std::ptr::eq(written.config, config) || !is_of_others(written.class));
        Some(&config.reference)
            .filter(|reference| is_ours && **reference != duck::KReference::default())
    }

    /// Warns of defaults that lead to no template, whether or not a Broker uses them.
    fn warn_of_missing_templates(&self, settings: &ControlSettings, report: &mut ObjectReport<'_>) {
        for WrittenConfig {
            place,
            namespace,
            class,
            config,
        } in written_configs(&self.brokers)
        {
            let BrokerConfig { reference, .. } = config;
            let text = |text: &'_ Option<String>| text.clone().filter(|text| !text.is_empty());
            let Some(name) = text(&reference.name)
                .filter(|_| class.is_none_or(|class| OUR_CLASSES.contains(&class)))
            else {
                continue;
            };
            // Without a namespace, it is that of each Broker.
            let of = text(&reference.namespace).or_else(|| namespace.map(str::to_owned));
            let is_it = |known: &NamespacedName| {
                known.name == name && of.as_ref().is_none_or(|of| *of == known.namespace)
            };
            let is_default = name == DEFAULT_TEMPLATE
                && of
                    .as_ref()
                    .is_none_or(|of| *of == settings.system_namespace);
            if !is_default && !self.templates.keys().any(is_it) {
                let named = of.map_or_else(|| name.clone(), |of| format!("{of}/{name}"));
                let rule = "with channel-template-spec: add its manifest, or correct the name";
                let message = format!("there is no ConfigMap {named} {rule}");
                report.warning(&format!("data.{DEFAULT_BR_CONFIG}.{place}.name"), message);
            }
        }
    }

    /// The template of a `Channel` that has none of its own.
    pub(crate) fn channel_template(&self, namespace: &str) -> Option<&ChannelTemplate> {
        self.channels
            .of_namespace(namespace)
            .or(self.channels.cluster_default.as_ref())
    }
}

/// Reads `default-br-config`, and checks every delivery spec in it.
fn read_broker_defaults(
    config_map: &ConfigMapManifest,
    reading: UnknownFieldPolicy,
    report: &mut ObjectReport<'_>,
) -> Option<BrokerDefaults> {
    let defaults: BrokerDefaults = parse_yaml_key(
        config_map,
        DEFAULT_BR_CONFIG,
        |_| &BROKER_DEFAULTS,
        reading,
        report,
    )?;
    let names = defaults
        .namespace_defaults
        .iter()
        .flatten()
        .map(|(name, _)| name);
    check_namespaces(names, DEFAULT_BR_CONFIG, report);
    for WrittenConfig { place, config, .. } in written_configs(&defaults) {
        if let Some(written) = &config.delivery {
            delivery::resolve(
                written,
                &format!("data.{DEFAULT_BR_CONFIG}.{place}.delivery"),
                report,
            );
        }
    }
    Some(defaults)
}

/// Warns of a key that is nearly that of a template: without it, the ConfigMap may be anybody's.
fn warn_of_near_keys(config_map: &ConfigMapManifest, report: &mut ObjectReport<'_>) {
    for key in config_map.data.iter().flatten().map(|(key, _)| key) {
        if let Some(meant) = suggest_word(key, [CHANNEL_TEMPLATE_SPEC, FORMER_TEMPLATE_SPEC]) {
            report.warning(
                &format!("data.{key}"),
                format!("is no key that is read; did you mean {meant}?"),
            );
        }
    }
}

fn note_foreign_template(template: &ChannelTemplate, field: &str, report: &mut ObjectReport<'_>) {
    if let (Some(kind), Some(_remedy)) = (&template.kind, foreign_template_remedy(template)) {
        report.note(
            field,
            format!("{kind} is not made here, and Brokers with this template are left alone"),
        );
    }
}
