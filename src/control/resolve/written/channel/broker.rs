//! Brokers: their classes, the templates of their channels, and their properties.

use super::properties::{WrittenProperties, resolve_parent};
use super::template::{WrittenTemplate, foreign_template_remedy, template_backend};
use crate::control::read::manifest::duck;
use crate::control::read::manifest::eventing::BrokerManifest;
use crate::control::read::manifest::messaging::ChannelTemplate;
use crate::control::read::report::ObjectReport;
use crate::control::read::schema::config_maps::DEFAULT_TEMPLATE;
use crate::control::resolve::collect::{CollectedItem, CollectedItems};
use crate::control::resolve::config::defaults::{OUR_CLASSES, ResolvedDefaults};
use crate::control::resolve::delivery::WrittenDelivery;
use crate::control::resolve::destination::{DestinationResolver, ServingState};
use crate::control::resolve::keys::channel_key;
use crate::control::resolve::parent::ResolvedParent;
use crate::control::resolve::written::channel_candidate::{ChannelCandidate, SINK_FIELD};
use crate::model::annotation::BROKER_CLASS;
use crate::model::{ChannelKind, NamespacedName};

const DEFAULT_DELIVERY: &str = "spec.delivery (default of ConfigMap config-br-defaults)";
const DEFAULT_CONFIG: &str = "spec.config (default of ConfigMap config-br-defaults)";

/// True if a Broker is of a class that is served; without one, `default` counts. Reports others.
pub(super) fn is_our_broker_class(
    item: &mut CollectedItem<'_, BrokerManifest>,
    default: Option<&str>,
) -> bool {
    let written = item
        .object
        .as_ref()
        .and_then(|broker| broker.metadata.annotation(BROKER_CLASS));
    let Some(class) = written
        .or(default)
        .filter(|class| !OUR_CLASSES.contains(class))
    else {
        return true;
    };
    let by_default = if written.is_none() {
        " (the default of config-br-defaults)"
    } else {
        ""
    };
    let rule = "is another implementation's, so this Broker is left alone: write";
    let message = format!(
        "{class}{by_default} {rule} {}, or nothing",
        OUR_CLASSES.join(" or ")
    );
    item.report
        .note(&format!("metadata.annotations.{BROKER_CLASS}"), message);
    false
}

/// The template of a Broker's channel; `None` if it has none.
fn broker_template<'t>(
    broker: &BrokerManifest,
    namespace: &str,
    defaults: &'t ResolvedDefaults,
) -> Option<&'t ChannelTemplate> {
    defaults.broker_template(
        namespace,
        broker_class(broker, namespace, defaults),
        config_of(broker),
    )
}

fn broker_class<'b>(
    broker: &'b BrokerManifest,
    namespace: &str,
    defaults: &'b ResolvedDefaults,
) -> &'b str {
    let [upstream, _] = OUR_CLASSES;
    broker
        .metadata
        .annotation(BROKER_CLASS)
        .or(defaults.broker_class(namespace))
        .unwrap_or(upstream)
}

fn config_of(broker: &BrokerManifest) -> Option<&duck::KReference> {
    broker.spec.as_ref()?.config.as_ref()
}

/// True unless a Broker's channel is of another implementation's kind, which is reported.
pub(super) fn has_served_template(
    item: &mut CollectedItem<'_, BrokerManifest>,
    namespace: &str,
    defaults: &ResolvedDefaults,
) -> bool {
    let template = item
        .object
        .as_ref()
        .and_then(|broker| broker_template(broker, namespace, defaults));
    let Some((kind, remedy)) = template.and_then(|template| {
        Some((
            template.kind.as_deref()?,
            foreign_template_remedy(template)?,
        ))
    }) else {
        return true;
    };
    let rule = format!("which is left alone here, and so is this Broker: {remedy}");
    item.report.warn_not_served(
        "spec.config",
        format!("leads to a template of a {kind}, {rule}"),
    );
    false
}

pub(super) fn broker_candidates<'i, 'd>(
    items: &'i mut CollectedItems<'d, BrokerManifest>,
    resolver: &mut DestinationResolver<'_>,
    defaults: &ResolvedDefaults,
) -> Vec<ChannelCandidate<'i, 'd>> {
    let mut candidates = Vec::new();
    for (NamespacedName { namespace, name }, item) in items {
        let key = channel_key(ChannelKind::Broker, namespace.clone(), name.clone());
        if resolver.serving_states.get(&key) != Some(&ServingState::Served) {
            continue;
        }
        let CollectedItem { object, report, .. } = item;
        let parent = object
            .as_ref()
            .and_then(|broker| resolve_broker(broker, defaults, resolver, report));
        candidates.push(ChannelCandidate {
            key,
            report,
            parent,
            sink_field: SINK_FIELD,
        });
    }
    candidates
}

fn resolve_broker(
    broker: &BrokerManifest,
    defaults: &ResolvedDefaults,
    resolver: &mut DestinationResolver<'_>,
    report: &mut ObjectReport<'_>,
) -> Option<ResolvedParent> {
    let namespace = report.object().namespace.clone();
    let class = broker_class(broker, &namespace, defaults);
    let template = broker_template(broker, &namespace, defaults).map(|template| WrittenTemplate {
        template,
        field: "spec.config",
    });
    let default_config = || {
        let reference = defaults.broker_template_reference(&namespace, class)?;
        Some((reference, DEFAULT_CONFIG))
    };
    let config = config_of(broker)
        .map(|config| (config, "spec.config"))
        .or_else(default_config);
    if let Some((config, field)) = config.filter(|_| template.is_none()) {
        check_broker_config(config, field, &resolver.settings.system_namespace, report);
    }
    let backend = template_backend(template, "spec.config", resolver, report);
    let own = broker
        .spec
        .as_ref()
        .and_then(|spec| spec.delivery.as_ref())
        .map(WrittenDelivery::own);
    let default_delivery = || {
        Some(WrittenDelivery {
            field: DEFAULT_DELIVERY,
            spec: defaults.broker_delivery(&namespace, class)?,
        })
    };
    let written = WrittenProperties {
        metadata: &broker.metadata,
        backend,
        delivery: own.or_else(default_delivery),
    };
    resolve_parent(&written, resolver, report)
}

/// Reports a `spec.config`, or what stands in its place, that leads to no template. Knative's own
/// default, an InMemoryChannel, may be missing.
fn check_broker_config(
    config: &duck::KReference,
    field: &str,
    system_namespace: &str,
    report: &mut ObjectReport<'_>,
) {
    let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let referred = text(&config.namespace).unwrap_or_else(|| report.object().namespace.clone());
    let Some(name) = text(&config.name) else {
        report.error(
            &format!("{field}.name"),
            "is missing: name the ConfigMap with channel-template-spec",
        );
        return;
    };
    if config.kind.as_deref() != Some("ConfigMap") {
        let rule = "is read from a ConfigMap only: write kind: ConfigMap";
        report.error(
            &format!("{field}.kind"),
            format!("the template of a Broker's channel {rule}"),
        );
    } else if name != DEFAULT_TEMPLATE || referred != system_namespace {
        let other = if field == DEFAULT_CONFIG {
            "correct the name there"
        } else {
            "leave config out"
        };
        let rule = format!("with channel-template-spec: add its manifest, or {other}");
        report.unresolved_reference(
            field,
            format!("there is no ConfigMap {referred}/{name} {rule}"),
        );
    }
}
