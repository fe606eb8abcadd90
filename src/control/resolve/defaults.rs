//! The defaults of Brokers and channels: `config-br-defaults`, `default-ch-webhook`, and the
//! channel templates that Brokers refer to (upstream's webhook and mt-broker-controller apply
//! them).

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::channel;
use super::collect::{CollectedItem, CollectedObjects, NamespacedName, is_dns_name};
use super::delivery;
use crate::control::kind::{RecognizedKind, ResourceKind};
use crate::control::manifest::core::ConfigMapManifest;
use crate::control::manifest::defaults::{BrokerConfig, BrokerDefaults, ChannelDefaults};
use crate::control::manifest::duck;
use crate::control::manifest::messaging::ChannelTemplate;
use crate::control::manifest::{self, UnknownFieldPolicy};
use crate::control::report::ObjectReport;
use crate::control::schema::{self, DEFAULT_TEMPLATE, ObjectSchema};
use crate::control::{ControlSettings, suggest_word, yaml};

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
    pub(super) fn resolve(
        collected: &mut CollectedObjects<'_>,
        settings: &ControlSettings,
        last: Option<&Self>,
    ) -> Self {
        let (mut defaults, reading) = (Self::default(), UnknownFieldPolicy::from_settings(settings));
        for (name, CollectedItem { object, partly, report }) in &mut collected.config_maps {
            if let Some(config_map) = object {
                defaults.take(name, config_map, (settings, reading), report);
            } else if let Some(config_map) = partly {
                Self::default().take(name, config_map, (settings, reading), report);
            }
            if report.has_errors() {
                defaults.keep_last(&name.0, &name.1, settings, last);
            }
        }
        let system = (settings.system_namespace.clone(), CONFIG_BR_DEFAULTS.to_owned());
        if let Some(item) = collected.config_maps.get_mut(&system).filter(|item| !item.report.has_errors()) {
            defaults.warn_of_missing_templates(settings, &mut item.report);
        }
        defaults
    }

    /// Reads one of the ConfigMaps, if it is one of those with defaults or a template.
    fn take(
        &mut self,
        (namespace, name): &NamespacedName,
        config_map: &ConfigMapManifest,
        (settings, reading): (&ControlSettings, UnknownFieldPolicy),
        report: &mut ObjectReport<'_>,
    ) {
        let system = *namespace == settings.system_namespace;
        match name.as_str() {
            CONFIG_BR_DEFAULTS if system => {
                self.brokers = read_broker_defaults(config_map, reading, report).unwrap_or_default();
            }
            DEFAULT_CH_WEBHOOK if system => {
                let inside = (DEFAULT_CH_CONFIG, |_: &Value| &schema::CHANNEL_DEFAULTS);
                self.channels = parse_yaml_key(config_map, inside, reading, report).unwrap_or_default();
                check_templates(&self.channels, report);
            }
            _ => {
                let keys = [CHANNEL_TEMPLATE_SPEC, FORMER_TEMPLATE_SPEC];
                let key = keys.into_iter().find(|key| duck::text(&config_map.data, key).is_some());
                let Some(key) = key else {
                    warn_of_near_keys(config_map, report);
                    return;
                };
                let template = parse_yaml_key(config_map, (key, schema::template_schema), reading, report);
                if let Some(template) = &template {
                    check_template(template, &format!("data.{key}"), report);
                    note_foreign_template(template, &format!("data.{key}.kind"), report);
                }
                self.templates.extend(template.map(|template| ((namespace.clone(), name.clone()), template)));
            }
        }
    }

    /// Keeps the last content of a ConfigMap that has problems.
    fn keep_last(&mut self, namespace: &str, name: &str, settings: &ControlSettings, last: Option<&Self>) {
        let nothing = Self::default();
        let last = last.unwrap_or(&nothing);
        let key = (namespace.to_owned(), name.to_owned());
        match name {
            CONFIG_BR_DEFAULTS if namespace == settings.system_namespace => self.brokers = last.brokers.clone(),
            DEFAULT_CH_WEBHOOK if namespace == settings.system_namespace => self.channels = last.channels.clone(),
            _ => self.templates.extend(last.templates.get(&key).map(|template| (key.clone(), template.clone()))),
        }
    }

    /// The class of Brokers that name none; `None` if there is no default.
    pub(super) fn broker_class(&self, namespace: &str) -> Option<&str> {
        let named = |class: &&str| !class.is_empty();
        let of_namespace = self.brokers.of_namespace(namespace).and_then(|default| default.broker_class.as_deref());
        let of_cluster = self.brokers.cluster_default.as_ref().and_then(|default| default.broker_class.as_deref());
        of_namespace.filter(named).or(of_cluster.filter(named))
    }

    /// The configuration of Brokers of this class: that of the namespace, else that of the cluster.
    ///
    /// As upstream, the default of a namespace counts only for Brokers of the class that it names.
    fn broker_config(&self, namespace: &str, class: &str) -> Option<&BrokerConfig> {
        let of_namespace = self.brokers.of_namespace(namespace).and_then(|default| {
            let own = default.broker_class.as_deref() == Some(class) && default.config != BrokerConfig::default();
            default.of_class(class).or_else(|| own.then_some(&default.config))
        });
        let of_cluster = || {
            let default = self.brokers.cluster_default.as_ref()?;
            default.of_class(class).or(Some(&default.config))
        };
        of_namespace.or_else(of_cluster)
    }

    /// The delivery spec of Brokers that have none of their own.
    pub(super) fn broker_delivery(&self, namespace: &str, class: &str) -> Option<&duck::DeliverySpecManifest> {
        self.broker_config(namespace, class)?.delivery.as_ref()
    }

    /// The template of a Broker's channel: that of the ConfigMap which `config` names, or which the
    /// defaults name.
    pub(super) fn broker_template(
        &self,
        (namespace, class): (&str, &str),
        config: Option<&duck::KReference>,
    ) -> Option<&ChannelTemplate> {
        let reference = config.or_else(|| self.broker_config(namespace, class).map(|config| &config.reference))?;
        let referred = reference.namespace.as_deref().filter(|namespace| !namespace.is_empty()).unwrap_or(namespace);
        self.templates.get(&(referred.to_owned(), reference.name.clone()?))
    }

    /// What names the template of Brokers without a `config` of their own, unless it is for another class.
    pub(super) fn broker_template_reference(&self, namespace: &str, class: &str) -> Option<&duck::KReference> {
        let config = self.broker_config(namespace, class)?;
        let is_of_others = |class: Option<&str>| class.is_some_and(|class| !channel::OUR_CLASSES.contains(&class));
        let written = written_configs(&self.brokers);
        let is_ours =
            written.iter().all(|written| !std::ptr::eq(written.config, config) || !is_of_others(written.class));
        Some(&config.reference).filter(|reference| is_ours && **reference != duck::KReference::default())
    }

    /// Warns of defaults that lead to no template, whether or not a Broker uses them.
    fn warn_of_missing_templates(&self, settings: &ControlSettings, report: &mut ObjectReport<'_>) {
        for WrittenConfig { place, namespace, class, config } in written_configs(&self.brokers) {
            let BrokerConfig { reference, .. } = config;
            let text = |text: &'_ Option<String>| text.clone().filter(|text| !text.is_empty());
            let Some(name) =
                text(&reference.name).filter(|_| class.is_none_or(|class| channel::OUR_CLASSES.contains(&class)))
            else {
                continue;
            };
            // Without a namespace, it is that of each Broker.
            let of = text(&reference.namespace).or_else(|| namespace.map(str::to_owned));
            let is_it = |(other, known): &NamespacedName| *known == name && of.as_ref().is_none_or(|of| of == other);
            let is_default = name == DEFAULT_TEMPLATE && of.as_ref().is_none_or(|of| *of == settings.system_namespace);
            if !is_default && !self.templates.keys().any(is_it) {
                let named = of.map_or_else(|| name.clone(), |of| format!("{of}/{name}"));
                let rule = "with channel-template-spec: add its manifest, or correct the name";
                let message = format!("there is no ConfigMap {named} {rule}");
                report.warning(&format!("data.{DEFAULT_BR_CONFIG}.{place}.name"), message);
            }
        }
    }

    /// The template of a `Channel` that has none of its own.
    pub(super) fn channel_template(&self, namespace: &str) -> Option<&ChannelTemplate> {
        self.channels.of_namespace(namespace).or(self.channels.cluster_default.as_ref())
    }
}

/// Reads `default-br-config`, and checks every delivery spec in it.
fn read_broker_defaults(
    config_map: &ConfigMapManifest,
    reading: UnknownFieldPolicy,
    report: &mut ObjectReport<'_>,
) -> Option<BrokerDefaults> {
    let inside = (DEFAULT_BR_CONFIG, |_: &Value| &schema::BROKER_DEFAULTS);
    let defaults: BrokerDefaults = parse_yaml_key(config_map, inside, reading, report)?;
    let names = defaults.namespace_defaults.iter().flatten().map(|(name, _)| name);
    check_namespaces(names, DEFAULT_BR_CONFIG, report);
    for WrittenConfig { place, config, .. } in written_configs(&defaults) {
        if let Some(written) = &config.delivery {
            delivery::resolve(written, &format!("data.{DEFAULT_BR_CONFIG}.{place}.delivery"), report);
        }
    }
    Some(defaults)
}

/// A configuration of Brokers as it stands in `default-br-config`.
struct WrittenConfig<'d> {
    place: String,
    /// The namespace for which it is; `None` for that of the cluster.
    namespace: Option<&'d str>,
    /// The class for which it is; `None` if it is not said.
    class: Option<&'d str>,
    config: &'d BrokerConfig,
}

/// Every configuration of Brokers.
fn written_configs(defaults: &BrokerDefaults) -> Vec<WrittenConfig<'_>> {
    let cluster = defaults.cluster_default.iter().map(|default| (None, default));
    let namespaces = defaults.namespace_defaults.iter().flatten();
    let namespaces = namespaces.filter_map(|(name, default)| Some((Some(name.as_str()), default.as_ref()?)));
    let mut found = Vec::new();
    for (namespace, default) in cluster.chain(namespaces) {
        let place = namespace.map_or_else(|| "clusterDefault".to_owned(), |name| format!("namespaceDefaults.{name}"));
        for (class, config) in default.broker_classes.iter().flatten() {
            let (place, class) = (format!("{place}.brokerClasses.{class}"), Some(class.as_str()));
            found.extend(config.as_ref().map(|config| WrittenConfig { place, namespace, class, config }));
        }
        let class = default.broker_class.as_deref().filter(|class| !class.is_empty());
        found.push(WrittenConfig { place, namespace, class, config: &default.config });
    }
    found
}

/// Reports names that no namespace can have: the value was meant for another place.
fn check_namespaces<'n>(names: impl Iterator<Item = &'n String>, key: &str, report: &mut ObjectReport<'_>) {
    for name in names.filter(|name| !is_dns_name(name, 63) || name.contains('.')) {
        let message = match name.as_str() {
            "clusterDefault" => "is no namespace: it belongs beside namespaceDefaults, and not below it".to_owned(),
            _ => format!("{name:?} is not a namespace of Kubernetes: use at most 63 of a-z, 0-9 and '-'"),
        };
        report.error(&format!("data.{key}.namespaceDefaults.{name}"), message);
    }
}

/// Reports the mistakes of default templates, each at its own field.
fn check_templates(defaults: &ChannelDefaults, report: &mut ObjectReport<'_>) {
    let names = defaults.namespace_defaults.iter().flatten().map(|(name, _)| name);
    check_namespaces(names, DEFAULT_CH_CONFIG, report);
    let of_cluster = defaults.cluster_default.iter().map(|template| ("clusterDefault".to_owned(), template));
    let of_namespaces = defaults.namespace_defaults.iter().flatten();
    let of_namespaces =
        of_namespaces.filter_map(|(name, template)| Some((format!("namespaceDefaults.{name}"), template.as_ref()?)));
    for (place, template) in of_cluster.chain(of_namespaces) {
        check_template(template, &format!("data.{DEFAULT_CH_CONFIG}.{place}"), report);
    }
}

fn check_template(template: &ChannelTemplate, field: &str, report: &mut ObjectReport<'_>) {
    check_kind(template, field, report);
    if let Some(written) = template.spec.as_ref().and_then(|spec| spec.delivery.as_ref()) {
        delivery::resolve(written, &format!("{field}.spec.delivery"), report);
    }
}

/// Reports a template of a kind that does not exist, even if nothing uses the template.
fn check_kind(template: &ChannelTemplate, field: &str, report: &mut ObjectReport<'_>) {
    let [api_version, kind] = [&template.api_version, &template.kind].map(|text| text.as_deref().unwrap_or_default());
    let kind_field = format!("{field}.kind");
    match ResourceKind::recognize(api_version, kind) {
        _ if kind.is_empty() => report.error(&kind_field, "is missing: write InMemoryChannel or RabbitmqChannel"),
        RecognizedKind::Known(ResourceKind::InMemoryChannel | ResourceKind::RabbitmqChannel) => {}
        RecognizedKind::Foreign if channel::foreign_template_remedy(template).is_some() => {}
        RecognizedKind::Mistaken { field: wrong, message } => report.error(&format!("{field}.{wrong}"), message),
        RecognizedKind::Known(_) | RecognizedKind::Foreign => {
            report
                .error(&kind_field, format!("{kind:?} cannot be made here: write InMemoryChannel or RabbitmqChannel"));
        }
    }
}

/// Warns of a key that is nearly that of a template: without it, the ConfigMap may be anybody's.
fn warn_of_near_keys(config_map: &ConfigMapManifest, report: &mut ObjectReport<'_>) {
    for key in config_map.data.iter().flatten().map(|(key, _)| key) {
        if let Some(meant) = suggest_word(key, [CHANNEL_TEMPLATE_SPEC, FORMER_TEMPLATE_SPEC]) {
            report.warning(&format!("data.{key}"), format!("is no key that is read; did you mean {meant}?"));
        }
    }
}

fn note_foreign_template(template: &ChannelTemplate, field: &str, report: &mut ObjectReport<'_>) {
    if let (Some(kind), Some(_remedy)) = (&template.kind, channel::foreign_template_remedy(template)) {
        report.note(field, format!("{kind} is not made here, and Brokers with this template are left alone"));
    }
}

/// Reads the YAML under a key of a ConfigMap; `None` if it is missing or not understood, which is
/// reported.
fn parse_yaml_key<T: DeserializeOwned>(
    config_map: &ConfigMapManifest,
    (key, fields): (&str, impl Fn(&Value) -> &'static ObjectSchema),
    reading: UnknownFieldPolicy,
    report: &mut ObjectReport<'_>,
) -> Option<T> {
    let field = format!("data.{key}");
    let Some(text) = duck::text(&config_map.data, key) else {
        report.error("data", format!("has no key {key}: write the defaults under it, as YAML text"));
        return None;
    };
    let value = match yaml::parse_documents(text).into_iter().next() {
        Some(Ok(parsed)) => parsed.value,
        Some(Err(broken)) => {
            report.error(&field, format!("is no YAML: line {} of the text {}", broken.line, broken.message));
            return None;
        }
        None => Value::Object(Map::new()),
    };
    let value = manifest::validate_fields(report, fields(&value), &field, reading, &value);
    serde_path_to_error::deserialize(value.as_ref())
        .map_err(|error| report.error(&format!("{field}.{}", error.path()), error.inner().to_string()))
        .ok()
}
