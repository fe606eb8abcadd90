//! Channels and brokers: which are served, and what their subscriptions inherit from them.

use std::collections::{BTreeMap, BTreeSet};

use super::collect::{Collected, Item, Items, Name};
use super::defaults::Defaults;
use super::delivery::{self, Fields};
use super::destination::{Place, Resolver, Wanted};
use super::features;
use super::flow::{self, plan::Written};
use super::reference::{group_of, instead};
use crate::control::kind::{Kind, Recognized};
use crate::control::manifest::duck::{self, Metadata};
use crate::control::manifest::eventing::Broker;
use crate::control::manifest::messaging::{Channel, ChannelTemplate};
use crate::control::report::Report;
use crate::control::schema::DEFAULT_TEMPLATE;
use crate::control::{ObjectName, Rabbitmq};
use crate::model::annotation::BROKER_CLASS;
use crate::model::{Acknowledge, Addressable, ChannelKey, ChannelKind, Storage};

/// The class that is served under upstream's name, and the one of our own.
const OUR_CLASSES: [&str; 2] = ["MTChannelBasedBroker", "Sealpost"];
const DEFAULT_DELIVERY: &str = "spec.delivery (default of ConfigMap config-br-defaults)";
const SINK_FIELD: &str = "spec.delivery.deadLetterSink";
/// The same in a template.
pub(super) const TEMPLATE_SINK_FIELD: &str = "spec.channelTemplate.spec.delivery.deadLetterSink";
const NO_RABBITMQ: &str = "needs RabbitMQ: run with --rabbitmq-uri, or use InMemoryChannel";

/// What a served channel or broker gives to its subscriptions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parent {
    /// What keeps its events.
    pub(crate) storage: Storage,
    pub(crate) acknowledge: Acknowledge,
    /// For subscriptions without a delivery spec of their own.
    pub(crate) delivery: Fields,
    /// For subscriptions without a dead letter sink of their own.
    pub(crate) dead_letter_sink: Option<Addressable>,
}

/// Every served channel and broker.
pub(crate) type Parents = BTreeMap<ChannelKey, Parent>;

/// One channel or broker that is wanted, and its form if it has a good one.
pub(super) struct Candidate<'i, 'd> {
    pub(super) key: ChannelKey,
    pub(super) report: &'i mut Report<'d>,
    pub(super) parent: Option<Parent>,
    /// Where its dead letter sink stands.
    pub(super) sink_field: &'static str,
}

/// Decides which channels and brokers are served. One with problems keeps its form of `last`.
pub(super) fn resolve(
    collected: &mut Collected<'_>,
    resolver: &mut Resolver<'_>,
    defaults: &Defaults,
    last: Option<&Parents>,
) -> Parents {
    declare(collected, resolver, defaults);
    let Collected { channels, in_memory_channels, rabbitmq_channels, brokers, sequences, parallels, .. } = collected;
    let shadowing: BTreeSet<Name> = channels.keys().cloned().collect();
    let also_shadowing = shadowing.iter().chain(in_memory_channels.keys()).cloned().collect();
    let template = |channel: &Channel, namespace: &str, report: &mut Report<'_>, resolver: &Resolver<'_>| {
        let written = channel.spec.as_ref().and_then(|spec| spec.channel_template.as_ref());
        let template = template_of(written, defaults.channel_template(namespace));
        (of_template(template, "spec.channelTemplate", resolver, report), delivery_of(template))
    };
    let mut candidates = of_channels(channels, &BTreeSet::new(), resolver, template);
    candidates.extend(of_channels(in_memory_channels, &shadowing, resolver, |_, _, _, _| (Storage::Memory, None)));
    candidates.extend(of_channels(rabbitmq_channels, &also_shadowing, resolver, |_, _, report, resolver| {
        (on_rabbitmq("kind", resolver, report), None)
    }));
    candidates.extend(of_brokers(brokers, resolver, defaults));
    candidates.extend(flow::candidates(
        sequences,
        |of, ns, report, to| of_flow(of, ns, defaults, (report, to)),
        resolver,
    ));
    candidates.extend(flow::candidates(
        parallels,
        |of, ns, report, to| of_flow(of, ns, defaults, (report, to)),
        resolver,
    ));
    for candidate in &mut candidates {
        if candidate.report.is_bad() {
            candidate.parent = last.and_then(|last| last.get(&candidate.key)).cloned();
        }
        let place = if candidate.parent.is_some() { Place::Served } else { Place::Broken };
        resolver.places.insert(candidate.key.clone(), place);
    }
    remove_dangling(&mut candidates, resolver);
    candidates.into_iter().filter_map(|candidate| Some((candidate.key, candidate.parent?))).collect()
}

/// Says which channels and brokers there are, so that they can refer to each other in any order.
fn declare(collected: &mut Collected<'_>, resolver: &mut Resolver<'_>, defaults: &Defaults) {
    let key = |kind, (namespace, name): &(String, String)| ChannelKey {
        kind,
        namespace: namespace.clone(),
        name: name.clone(),
    };
    let Collected { channels, in_memory_channels, rabbitmq_channels, .. } = collected;
    for (name, item) in in_memory_channels.iter_mut().chain(rabbitmq_channels) {
        if let Some(channel) = channels.get(name) {
            let place = channel.report.document().at();
            let kind = &item.report.object().kind;
            let rule = format!("makes the {kind} of its name itself: remove this one");
            item.report.error("metadata.name", format!("the Channel{place} {rule}"));
            continue;
        }
        resolver.places.insert(key(ChannelKind::Channel, name), Place::Served);
    }
    for (name, item) in &mut collected.rabbitmq_channels {
        if let Some(other) = collected.in_memory_channels.get(name) {
            let place = other.report.document().at();
            let rule = "has the same name and address: rename or remove one of the two";
            item.report.error("metadata.name", format!("the InMemoryChannel{place} {rule}"));
        }
    }
    for name in collected.channels.keys() {
        resolver.places.insert(key(ChannelKind::Channel, name), Place::Served);
    }
    flow::declare(collected, resolver);
    for (name, item) in &mut collected.brokers {
        let ours = is_ours(item, defaults.broker_class(&name.0)) && is_made_here(item, &name.0, defaults);
        let place = if ours { Place::Served } else { Place::NotServed };
        if ours && resolver.places.contains_key(&key(ChannelKind::Channel, name)) {
            warn_of_path(&mut item.report, "channel");
        }
        resolver.places.insert(key(ChannelKind::Broker, name), place);
    }
}

/// Reports that an object has its path together with one of another kind.
pub(super) fn warn_of_path(report: &mut Report<'_>, other: &str) {
    let ObjectName { namespace, name, .. } = report.object();
    let rule = "so that path alone is answered by 400: send to their hosts, or rename one";
    let message = format!("/{namespace}/{name} is the path of a {other}, too, {rule}");
    report.warning("metadata.name", message);
}

/// Whether a broker is of our class, which is `default` where it names none; reports one that is not.
fn is_ours(item: &mut Item<'_, Broker>, default: Option<&str>) -> bool {
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

/// The template of a Broker's channel, if it has one.
fn broker_template<'t>(broker: &Broker, namespace: &str, defaults: &'t Defaults) -> Option<&'t ChannelTemplate> {
    defaults.broker_template((namespace, broker_class(broker, namespace, defaults)), config_of(broker))
}

fn broker_class<'b>(broker: &'b Broker, namespace: &str, defaults: &'b Defaults) -> &'b str {
    let [upstream, _] = OUR_CLASSES;
    broker.metadata.annotation(BROKER_CLASS).or(defaults.broker_class(namespace)).unwrap_or(upstream)
}

fn config_of(broker: &Broker) -> Option<&duck::KReference> {
    broker.spec.as_ref()?.config.as_ref()
}

/// Whether a Broker's channel is of a kind that is made here, or of nobody's; reports one that is another implementation's.
fn is_made_here(item: &mut Item<'_, Broker>, namespace: &str, defaults: &Defaults) -> bool {
    let template = item.object.as_ref().and_then(|broker| broker_template(broker, namespace, defaults));
    let Some((kind, remedy)) = template.and_then(|template| Some((template.kind.as_deref()?, left_alone(template)?)))
    else {
        return true;
    };
    let rule = format!("which is left alone here, and so is this Broker: {remedy}");
    item.report.leave_alone("spec.config", format!("leads to a template of a {kind}, {rule}"));
    false
}

/// What to write instead of a template of another implementation's kind; `None` for our kinds, and for what is a mistake.
pub(super) fn left_alone(template: &ChannelTemplate) -> Option<&'static str> {
    let [api_version, kind] = [&template.api_version, &template.kind].map(|text| text.as_deref().unwrap_or_default());
    let is_foreign = Kind::recognize(api_version, kind) == Recognized::Foreign;
    instead(group_of(api_version), kind)
        .filter(|_| is_foreign)
        .map(|_| "write InMemoryChannel or RabbitmqChannel there")
}

/// What a `Channel` or a flow is made of: its template, else the default one, each with the field where it stands.
fn template_of<'t>(
    written: Option<&'t ChannelTemplate>,
    default: Option<&'t ChannelTemplate>,
) -> Option<(&'t ChannelTemplate, &'static str)> {
    let default = || Some((default?, "spec.channelTemplate (default of ConfigMap default-ch-webhook)"));
    written.map(|template| (template, "spec.channelTemplate")).or_else(default)
}

/// The delivery spec of a template, and where it stands.
fn delivery_of(template: Option<(&ChannelTemplate, &str)>) -> Option<(String, duck::DeliverySpec)> {
    let (template, field) = template?;
    Some((format!("{field}.spec.delivery"), template.spec.as_ref()?.delivery.clone()?))
}

/// What the channels of a Sequence or Parallel are.
fn of_flow<T: Written>(
    flow: &T,
    namespace: &str,
    defaults: &Defaults,
    (report, resolver): (&mut Report<'_>, &mut Resolver<'_>),
) -> Option<Parent> {
    let template = template_of(flow.template(), defaults.channel_template(namespace));
    let storage = of_template(template, "spec.channelTemplate", resolver, report);
    let delivery = delivery_of(template);
    let delivery = delivery.as_ref().map(|(field, delivery)| (field.as_str(), delivery));
    parent((flow.metadata(), storage), delivery, resolver, report)
}

/// What a template asks for, which stands in this field; `instead` is named where there is none and RabbitMQ is the
/// default that is missing.
fn of_template(
    template: Option<(&ChannelTemplate, &str)>,
    instead: &str,
    resolver: &Resolver<'_>,
    report: &mut Report<'_>,
) -> Storage {
    match template {
        Some((template, field)) => check_template(template, field, resolver, report),
        None if resolver.settings.default_storage == Storage::Rabbitmq => on_rabbitmq(instead, resolver, report),
        None => Storage::Memory,
    }
}

fn on_rabbitmq(field: &str, resolver: &Resolver<'_>, report: &mut Report<'_>) -> Storage {
    if resolver.settings.rabbitmq == Rabbitmq::Missing {
        report.error(field, NO_RABBITMQ);
    }
    Storage::Rabbitmq
}

/// `made` says where a channel is kept, and the delivery spec of its template, which wins (contract 5.2a).
fn of_channels<'i, 'd>(
    items: &'i mut Items<'d, Channel>,
    shadowing: &BTreeSet<Name>,
    resolver: &mut Resolver<'_>,
    made: impl Fn(&Channel, &str, &mut Report<'_>, &Resolver<'_>) -> (Storage, Option<(String, duck::DeliverySpec)>),
) -> Vec<Candidate<'i, 'd>> {
    let mut candidates = Vec::new();
    for ((namespace, name), Item { object, report, .. }) in
        items.iter_mut().filter(|(name, _)| !shadowing.contains(*name))
    {
        let mut sink_field = SINK_FIELD;
        let parent = object.as_ref().and_then(|channel| {
            let own = channel.spec.as_ref().and_then(|spec| spec.delivery.as_ref());
            let (storage, of_template) = made(channel, namespace, report, resolver);
            if let Some((field, _)) = &of_template {
                sink_field = TEMPLATE_SINK_FIELD;
                tell_overridden(own, field, resolver, report);
            }
            let delivery = of_template.as_ref().map(|(field, delivery)| (field.as_str(), delivery));
            let delivery = delivery.or_else(|| own.map(|delivery| ("spec.delivery", delivery)));
            parent((&channel.metadata, storage), delivery, resolver, report)
        });
        let key = ChannelKey { kind: ChannelKind::Channel, namespace: namespace.clone(), name: name.clone() };
        candidates.push(Candidate { key, report, parent, sink_field });
    }
    candidates
}

/// Reports a channel's own delivery spec, if there is one, as what does not count beside that of its template, and what is
/// wrong with it.
fn tell_overridden(own: Option<&duck::DeliverySpec>, by: &str, resolver: &mut Resolver<'_>, report: &mut Report<'_>) {
    let Some(own) = own else { return };
    delivery::resolve(own, "spec.delivery", report);
    if let Some(sink) = &own.dead_letter_sink {
        resolver.resolve(&Wanted::at(SINK_FIELD.to_owned(), sink), report);
    }
    report
        .warning("spec.delivery", format!("does not count, since {by} replaces it as a whole: write all of it there"));
}

fn of_brokers<'i, 'd>(
    items: &'i mut Items<'d, Broker>,
    resolver: &mut Resolver<'_>,
    defaults: &Defaults,
) -> Vec<Candidate<'i, 'd>> {
    let mut candidates = Vec::new();
    for ((namespace, name), item) in items {
        let key = ChannelKey { kind: ChannelKind::Broker, namespace: namespace.clone(), name: name.clone() };
        if resolver.places.get(&key) != Some(&Place::Served) {
            continue;
        }
        let Item { object, report, .. } = item;
        let parent = object.as_ref().and_then(|broker| {
            let spec = broker.spec.as_ref();
            let class = broker_class(broker, namespace, defaults);
            let template = broker_template(broker, namespace, defaults).map(|template| (template, "spec.config"));
            if let Some(config) = config_of(broker).filter(|_| template.is_none()) {
                check_config(config, (namespace, &resolver.settings.system_namespace), report);
            }
            let storage = of_template(template, "spec.config", resolver, report);
            let own = spec.and_then(|spec| spec.delivery.as_ref()).map(|delivery| ("spec.delivery", delivery));
            let default = || Some((DEFAULT_DELIVERY, defaults.broker_delivery(namespace, class)?));
            parent((&broker.metadata, storage), own.or_else(default), resolver, report)
        });
        candidates.push(Candidate { key, report, parent, sink_field: SINK_FIELD });
    }
    candidates
}

/// Reports a `spec.config` that leads to no template. The one that Knative itself installs need not be among the
/// manifests: it says InMemoryChannel.
fn check_config(config: &duck::KReference, (namespace, system): (&str, &str), report: &mut Report<'_>) {
    let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let referred = text(&config.namespace).unwrap_or_else(|| namespace.to_owned());
    let Some(name) = text(&config.name) else {
        report.error("spec.config.name", "is missing: name the ConfigMap with channel-template-spec");
        return;
    };
    if config.kind.as_deref() != Some("ConfigMap") {
        let rule = "is read from a ConfigMap only: write kind: ConfigMap";
        report.error("spec.config.kind", format!("the template of a Broker's channel {rule}"));
    } else if name != DEFAULT_TEMPLATE || referred != system {
        let rule = "with channel-template-spec: add its manifest, or leave config out";
        report.unresolved("spec.config", format!("there is no ConfigMap {referred}/{name} {rule}"));
    }
}

/// What a template asks for; `field` is where it stands.
fn check_template(
    template: &ChannelTemplate,
    field: &str,
    resolver: &Resolver<'_>,
    report: &mut Report<'_>,
) -> Storage {
    let kind = template.kind.as_deref().unwrap_or_default();
    let api_version = template.api_version.as_deref().unwrap_or_default();
    let (expected, storage) = match kind {
        "InMemoryChannel" => (Kind::InMemoryChannel, Storage::Memory),
        "RabbitmqChannel" => (Kind::RabbitmqChannel, on_rabbitmq(&format!("{field}.kind"), resolver, report)),
        _ => {
            let rule = "cannot be made here: write InMemoryChannel or RabbitmqChannel, or leave the template out";
            report.error(&format!("{field}.kind"), format!("{kind:?} {rule}"));
            return Storage::Memory;
        }
    };
    if api_version != expected.api_version() {
        let message = format!("{api_version:?} has no {kind}: write {}", expected.api_version());
        report.error(&format!("{field}.apiVersion"), message);
    }
    storage
}

/// `written` is its delivery spec and the field where that stands.
fn parent(
    (metadata, storage): (&Metadata, Storage),
    written: Option<(&str, &duck::DeliverySpec)>,
    resolver: &mut Resolver<'_>,
    report: &mut Report<'_>,
) -> Option<Parent> {
    let acknowledge = features::acknowledge(metadata, report);
    let delivery = written.map(|(field, written)| delivery::resolve(written, field, report)).unwrap_or_default();
    let sink = written.and_then(|(field, written)| Some((field, written.dead_letter_sink.as_ref()?)));
    let dead_letter_sink =
        sink.and_then(|(field, sink)| resolver.resolve(&Wanted::at(format!("{field}.deadLetterSink"), sink), report));
    (!report.is_bad()).then_some(Parent { storage, acknowledge, delivery, dead_letter_sink })
}

/// Takes out those whose dead letter sink turned out not to be served, until none is left that refers to one.
fn remove_dangling(candidates: &mut [Candidate<'_, '_>], resolver: &mut Resolver<'_>) {
    loop {
        let mut removed = false;
        for candidate in candidates.iter_mut() {
            let sink = candidate.parent.as_ref().and_then(|parent| parent.dead_letter_sink.as_ref());
            if let Some(Err(message)) = sink.and_then(|sink| sink.target.local()).map(|key| resolver.place(key)) {
                candidate.report.unresolved(candidate.sink_field, message);
                candidate.parent = None;
                resolver.places.insert(candidate.key.clone(), Place::Broken);
                removed = true;
            }
        }
        if !removed {
            return;
        }
    }
}
