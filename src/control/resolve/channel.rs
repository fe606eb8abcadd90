//! Decides which channels and Brokers are served, and what their subscriptions inherit.

mod template;

use std::collections::{BTreeMap, BTreeSet};

use super::collect::{CollectedItem, CollectedItems, CollectedObjects, NamespacedName};
use super::defaults::ResolvedDefaults;
use super::delivery::{self, DeliveryFields};
use super::destination::{DestinationResolver, ServingState, WrittenDestination};
use super::features;
use super::flow::{self, plan::FlowManifest};

use crate::control::ObjectName;
use crate::control::manifest::duck::{self, ObjectMeta};
use crate::control::manifest::eventing::BrokerManifest;
use crate::control::manifest::messaging::{ChannelManifest, ChannelTemplate};
use crate::control::report::ObjectReport;
use crate::control::schema::DEFAULT_TEMPLATE;
use crate::model::annotation::BROKER_CLASS;
use crate::model::{AcknowledgeMode, Addressable, BackendKind, ChannelKey, ChannelKind};
pub(super) use template::foreign_template_remedy;
use template::{require_rabbitmq, template_backend, template_delivery, template_of, warn_of_overridden_delivery};

/// The classes that are served: under upstream's name, and under our own.
pub(super) const OUR_CLASSES: [&str; 2] = ["MTChannelBasedBroker", "Sealpost"];
const DEFAULT_DELIVERY: &str = "spec.delivery (default of ConfigMap config-br-defaults)";
const DEFAULT_CONFIG: &str = "spec.config (default of ConfigMap config-br-defaults)";
const SINK_FIELD: &str = "spec.delivery.deadLetterSink";
/// The same field in a template.
pub(super) const TEMPLATE_SINK_FIELD: &str = "spec.channelTemplate.spec.delivery.deadLetterSink";

/// The properties that a channel or Broker gives to its subscriptions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResolvedParent {
    /// The backend that keeps its events.
    pub(crate) backend: BackendKind,
    pub(crate) acknowledge: AcknowledgeMode,
    /// The delivery spec of subscriptions that have none.
    pub(crate) delivery: DeliveryFields,
    /// The dead letter sink of subscriptions that have none.
    pub(crate) dead_letter_sink: Option<Addressable>,
}

/// The served channels and Brokers, by name.
pub(crate) type ResolvedParents = BTreeMap<ChannelKey, ResolvedParent>;

/// A channel or Broker as it is written, with its resolved form if it has a good one.
pub(super) struct ChannelCandidate<'i, 'd> {
    pub(super) key: ChannelKey,
    pub(super) report: &'i mut ObjectReport<'d>,
    pub(super) parent: Option<ResolvedParent>,
    /// The field of its dead letter sink.
    pub(super) sink_field: &'static str,
}

/// Resolves channels and Brokers. One with problems keeps its form of `last`.
pub(super) fn resolve(
    collected: &mut CollectedObjects<'_>,
    resolver: &mut DestinationResolver<'_>,
    defaults: &ResolvedDefaults,
    last: Option<&ResolvedParents>,
) -> ResolvedParents {
    declare_channels(collected, resolver, defaults);
    let CollectedObjects { channels, in_memory_channels, rabbitmq_channels, brokers, sequences, parallels, .. } =
        collected;
    let shadowing: BTreeSet<NamespacedName> = channels.keys().cloned().collect();
    let also_shadowing = shadowing.iter().chain(in_memory_channels.keys()).cloned().collect();
    let template = |channel: &ChannelManifest,
                    namespace: &str,
                    report: &mut ObjectReport<'_>,
                    resolver: &DestinationResolver<'_>| {
        let written = channel.spec.as_ref().and_then(|spec| spec.channel_template.as_ref());
        let template = template_of(written, defaults.channel_template(namespace));
        (template_backend(template, "spec.channelTemplate", resolver, report), template_delivery(template))
    };
    let mut candidates = channel_candidates(channels, &BTreeSet::new(), resolver, template);
    candidates
        .extend(channel_candidates(in_memory_channels, &shadowing, resolver, |_, _, _, _| (BackendKind::Memory, None)));
    candidates.extend(channel_candidates(rabbitmq_channels, &also_shadowing, resolver, |_, _, report, resolver| {
        (require_rabbitmq("kind", resolver, report), None)
    }));
    candidates.extend(broker_candidates(brokers, resolver, defaults));
    candidates.extend(flow::flow_candidates(
        sequences,
        |of, ns, report, to| resolve_flow_parent(of, ns, defaults, (report, to)),
        resolver,
    ));
    candidates.extend(flow::flow_candidates(
        parallels,
        |of, ns, report, to| resolve_flow_parent(of, ns, defaults, (report, to)),
        resolver,
    ));
    for candidate in &mut candidates {
        if candidate.report.has_errors() {
            candidate.parent = last.and_then(|last| last.get(&candidate.key)).cloned();
        }
        let place = if candidate.parent.is_some() { ServingState::Served } else { ServingState::Broken };
        resolver.serving_states.insert(candidate.key.clone(), place);
    }
    remove_dangling_sinks(&mut candidates, resolver);
    candidates.into_iter().filter_map(|candidate| Some((candidate.key, candidate.parent?))).collect()
}

/// Declares all channels and Brokers, so that they can refer to each other in any order.
fn declare_channels(
    collected: &mut CollectedObjects<'_>,
    resolver: &mut DestinationResolver<'_>,
    defaults: &ResolvedDefaults,
) {
    let key = |kind, (namespace, name): &NamespacedName| ChannelKey {
        kind,
        namespace: namespace.clone(),
        name: name.clone(),
    };
    let CollectedObjects { channels, in_memory_channels, rabbitmq_channels, .. } = collected;
    for (name, item) in in_memory_channels.iter_mut().chain(rabbitmq_channels) {
        if let Some(channel) = channels.get(name) {
            let place = channel.report.document().location_suffix();
            let kind = &item.report.object().kind;
            let rule = format!("makes the {kind} of its name itself: remove this one");
            item.report.error("metadata.name", format!("the Channel{place} {rule}"));
            continue;
        }
        resolver.serving_states.insert(key(ChannelKind::Channel, name), ServingState::Served);
    }
    for (name, item) in &mut collected.rabbitmq_channels {
        if let Some(other) = collected.in_memory_channels.get(name) {
            let place = other.report.document().location_suffix();
            let rule = "has the same name and address: rename or remove one of the two";
            item.report.error("metadata.name", format!("the InMemoryChannel{place} {rule}"));
        }
    }
    for name in collected.channels.keys() {
        resolver.serving_states.insert(key(ChannelKind::Channel, name), ServingState::Served);
    }
    flow::declare_flows(collected, resolver);
    leave_alone_what_others_make(collected, resolver, defaults);
    for (name, item) in &mut collected.brokers {
        let ours =
            is_our_broker_class(item, defaults.broker_class(&name.0)) && has_served_template(item, &name.0, defaults);
        let place = if ours { ServingState::Served } else { ServingState::NotServed };
        if ours && resolver.serving_states.get(&key(ChannelKind::Channel, name)) == Some(&ServingState::Served) {
            warn_of_shared_path(&mut item.report, "channel");
        }
        resolver.serving_states.insert(key(ChannelKind::Broker, name), place);
    }
}

/// Declares Channels and flows whose channels are of another implementation's kind, which are left alone.
fn leave_alone_what_others_make(
    collected: &mut CollectedObjects<'_>,
    resolver: &mut DestinationResolver<'_>,
    defaults: &ResolvedDefaults,
) {
    fn flows<T: FlowManifest>(
        items: &mut CollectedItems<'_, T>,
        defaults: &ResolvedDefaults,
    ) -> Vec<(NamespacedName, Vec<String>)> {
        let left = items.iter_mut().filter_map(|(name, CollectedItem { object, report, .. })| {
            let flow = object.as_ref()?;
            let template = template_of(flow.channel_template(), defaults.channel_template(&name.0));
            template::is_left_alone(template, report).then(|| (name.clone(), flow.plan(&name.1).channels))
        });
        left.collect()
    }
    let channels = collected.channels.iter_mut().filter_map(|(name, CollectedItem { object, report, .. })| {
        let written = object.as_ref()?.spec.as_ref().and_then(|spec| spec.channel_template.as_ref());
        let template = template_of(written, defaults.channel_template(&name.0));
        template::is_left_alone(template, report).then(|| (name.clone(), vec![name.1.clone()]))
    });
    let mut left: Vec<_> = channels.collect();
    left.extend(flows(&mut collected.sequences, defaults));
    left.extend(flows(&mut collected.parallels, defaults));
    for ((namespace, _), channels) in left {
        let key = |name| ChannelKey { kind: ChannelKind::Channel, namespace: namespace.clone(), name };
        resolver.serving_states.extend(channels.into_iter().map(|name| (key(name), ServingState::NotServed)));
    }
}

/// Warns that two objects of different kinds have the same path.
pub(super) fn warn_of_shared_path(report: &mut ObjectReport<'_>, other: &str) {
    let ObjectName { namespace, name, .. } = report.object();
    let rule = "so that path alone is answered by 400: send to their hosts, or rename one";
    let message = format!("/{namespace}/{name} is the path of a {other}, too, {rule}");
    report.warning("metadata.name", message);
}

/// True if a Broker is of a class that is served; without one, `default` counts. Reports others.
fn is_our_broker_class(item: &mut CollectedItem<'_, BrokerManifest>, default: Option<&str>) -> bool {
    let written = item.object.as_ref().and_then(|broker| broker.metadata.annotation(BROKER_CLASS));
    let Some(class) = written.or(default).filter(|class| !OUR_CLASSES.contains(class)) else {
        return true;
    };
    let by_default = if written.is_none() { " (the default of config-br-defaults)" } else { "" };
    let rule = "is another implementation's, so this Broker is left alone: write";
    let message = format!("{class}{by_default} {rule} {}, or nothing", OUR_CLASSES.join(" or "));
    item.report.note(&format!("metadata.annotations.{BROKER_CLASS}"), message);
    false
}

/// The template of a Broker's channel; `None` if it has none.
fn broker_template<'t>(
    broker: &BrokerManifest,
    namespace: &str,
    defaults: &'t ResolvedDefaults,
) -> Option<&'t ChannelTemplate> {
    defaults.broker_template((namespace, broker_class(broker, namespace, defaults)), config_of(broker))
}

fn broker_class<'b>(broker: &'b BrokerManifest, namespace: &str, defaults: &'b ResolvedDefaults) -> &'b str {
    let [upstream, _] = OUR_CLASSES;
    broker.metadata.annotation(BROKER_CLASS).or(defaults.broker_class(namespace)).unwrap_or(upstream)
}

fn config_of(broker: &BrokerManifest) -> Option<&duck::KReference> {
    broker.spec.as_ref()?.config.as_ref()
}

/// True unless a Broker's channel is of another implementation's kind, which is reported.
fn has_served_template(
    item: &mut CollectedItem<'_, BrokerManifest>,
    namespace: &str,
    defaults: &ResolvedDefaults,
) -> bool {
    let template = item.object.as_ref().and_then(|broker| broker_template(broker, namespace, defaults));
    let Some((kind, remedy)) =
        template.and_then(|template| Some((template.kind.as_deref()?, foreign_template_remedy(template)?)))
    else {
        return true;
    };
    let rule = format!("which is left alone here, and so is this Broker: {remedy}");
    item.report.warn_not_served("spec.config", format!("leads to a template of a {kind}, {rule}"));
    false
}

/// Resolves the properties that all channels of a Sequence or Parallel have.
fn resolve_flow_parent<T: FlowManifest>(
    flow: &T,
    namespace: &str,
    defaults: &ResolvedDefaults,
    (report, resolver): (&mut ObjectReport<'_>, &mut DestinationResolver<'_>),
) -> Option<ResolvedParent> {
    let template = template_of(flow.channel_template(), defaults.channel_template(namespace));
    let storage = template_backend(template, "spec.channelTemplate", resolver, report);
    let delivery = template_delivery(template);
    let delivery = delivery.as_ref().map(|(field, delivery)| (field.as_str(), delivery));
    resolve_parent((flow.metadata(), storage), delivery, resolver, report)
}

/// Candidates of one kind; `made` gives the backend and the template's delivery spec, which wins
/// (contract 5.2a).
fn channel_candidates<'i, 'd>(
    items: &'i mut CollectedItems<'d, ChannelManifest>,
    shadowing: &BTreeSet<NamespacedName>,
    resolver: &mut DestinationResolver<'_>,
    made: impl Fn(
        &ChannelManifest,
        &str,
        &mut ObjectReport<'_>,
        &DestinationResolver<'_>,
    ) -> (BackendKind, Option<(String, duck::DeliverySpecManifest)>),
) -> Vec<ChannelCandidate<'i, 'd>> {
    let mut candidates = Vec::new();
    for ((namespace, name), CollectedItem { object, report, .. }) in
        items.iter_mut().filter(|(name, _)| !shadowing.contains(*name))
    {
        let key = ChannelKey { kind: ChannelKind::Channel, namespace: namespace.clone(), name: name.clone() };
        if resolver.is_left_alone(&key) {
            continue;
        }
        let mut sink_field = SINK_FIELD;
        let parent = object.as_ref().and_then(|channel| {
            let own = channel.spec.as_ref().and_then(|spec| spec.delivery.as_ref());
            let (storage, of_template) = made(channel, namespace, report, resolver);
            if let Some((field, _)) = &of_template {
                sink_field = TEMPLATE_SINK_FIELD;
                warn_of_overridden_delivery(own, field, resolver, report);
            }
            let delivery = of_template.as_ref().map(|(field, delivery)| (field.as_str(), delivery));
            let delivery = delivery.or_else(|| own.map(|delivery| ("spec.delivery", delivery)));
            resolve_parent((&channel.metadata, storage), delivery, resolver, report)
        });
        candidates.push(ChannelCandidate { key, report, parent, sink_field });
    }
    candidates
}

fn broker_candidates<'i, 'd>(
    items: &'i mut CollectedItems<'d, BrokerManifest>,
    resolver: &mut DestinationResolver<'_>,
    defaults: &ResolvedDefaults,
) -> Vec<ChannelCandidate<'i, 'd>> {
    let mut candidates = Vec::new();
    for ((namespace, name), item) in items {
        let key = ChannelKey { kind: ChannelKind::Broker, namespace: namespace.clone(), name: name.clone() };
        if resolver.serving_states.get(&key) != Some(&ServingState::Served) {
            continue;
        }
        let CollectedItem { object, report, .. } = item;
        let parent = object.as_ref().and_then(|broker| {
            let spec = broker.spec.as_ref();
            let class = broker_class(broker, namespace, defaults);
            let template = broker_template(broker, namespace, defaults).map(|template| (template, "spec.config"));
            let default = || Some((defaults.broker_template_reference(namespace, class)?, DEFAULT_CONFIG));
            let config = config_of(broker).map(|config| (config, "spec.config")).or_else(default);
            if let Some(config) = config.filter(|_| template.is_none()) {
                check_broker_config(config, (namespace, &resolver.settings.system_namespace), report);
            }
            let storage = template_backend(template, "spec.config", resolver, report);
            let own = spec.and_then(|spec| spec.delivery.as_ref()).map(|delivery| ("spec.delivery", delivery));
            let default = || Some((DEFAULT_DELIVERY, defaults.broker_delivery(namespace, class)?));
            resolve_parent((&broker.metadata, storage), own.or_else(default), resolver, report)
        });
        candidates.push(ChannelCandidate { key, report, parent, sink_field: SINK_FIELD });
    }
    candidates
}

/// Reports a `spec.config`, or what stands in its place, that leads to no template. Knative's own
/// default, an InMemoryChannel, may be missing.
fn check_broker_config(
    (config, field): (&duck::KReference, &str),
    (namespace, system): (&str, &str),
    report: &mut ObjectReport<'_>,
) {
    let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let referred = text(&config.namespace).unwrap_or_else(|| namespace.to_owned());
    let Some(name) = text(&config.name) else {
        report.error(&format!("{field}.name"), "is missing: name the ConfigMap with channel-template-spec");
        return;
    };
    if config.kind.as_deref() != Some("ConfigMap") {
        let rule = "is read from a ConfigMap only: write kind: ConfigMap";
        report.error(&format!("{field}.kind"), format!("the template of a Broker's channel {rule}"));
    } else if name != DEFAULT_TEMPLATE || referred != system {
        let other = if field == DEFAULT_CONFIG { "correct the name there" } else { "leave config out" };
        let rule = format!("with channel-template-spec: add its manifest, or {other}");
        report.unresolved_reference(field, format!("there is no ConfigMap {referred}/{name} {rule}"));
    }
}

/// Resolves the properties; `written` is the delivery spec and its field.
fn resolve_parent(
    (metadata, storage): (&ObjectMeta, BackendKind),
    written: Option<(&str, &duck::DeliverySpecManifest)>,
    resolver: &mut DestinationResolver<'_>,
    report: &mut ObjectReport<'_>,
) -> Option<ResolvedParent> {
    let acknowledge = features::read_acknowledge_mode(metadata, report);
    let delivery = written.map(|(field, written)| delivery::resolve(written, field, report)).unwrap_or_default();
    let sink = written.and_then(|(field, written)| Some((field, written.dead_letter_sink.as_ref()?)));
    let dead_letter_sink = sink.and_then(|(field, sink)| {
        resolver.resolve(&WrittenDestination::at_field(format!("{field}.deadLetterSink"), sink), report)
    });
    (!report.has_errors()).then_some(ResolvedParent { backend: storage, acknowledge, delivery, dead_letter_sink })
}

/// Removes candidates whose dead letter sink is not served, until none refers to one.
fn remove_dangling_sinks(candidates: &mut [ChannelCandidate<'_, '_>], resolver: &mut DestinationResolver<'_>) {
    loop {
        let mut removed = false;
        for candidate in candidates.iter_mut() {
            let sink = candidate.parent.as_ref().and_then(|parent| parent.dead_letter_sink.as_ref());
            if let Some(Err(message)) =
                sink.and_then(|sink| sink.route.local_channel()).map(|key| resolver.check_served(key))
            {
                candidate.report.unresolved_reference(candidate.sink_field, message);
                candidate.parent = None;
                resolver.serving_states.insert(candidate.key.clone(), ServingState::Broken);
                removed = true;
            }
        }
        if !removed {
            return;
        }
    }
}
