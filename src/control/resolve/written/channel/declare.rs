//! Declares channels, Brokers and flows before any of them is resolved: which are served, and which
//! are left alone.

use super::broker::{has_served_template, is_our_broker_class};
use super::template::{self, template_of};
use crate::control::read::manifest::messaging::ChannelManifest;
use crate::control::read::problem::ObjectName;
use crate::control::read::report::ObjectReport;
use crate::control::resolve::collect::{CollectedItem, CollectedItems, CollectedObjects};
use crate::control::resolve::config::defaults::ResolvedDefaults;
use crate::control::resolve::destination::{DestinationResolver, ServingState};
use crate::control::resolve::keys::channel_key;
use crate::control::resolve::written::flow::declare::declare_flows;
use crate::control::resolve::written::flow::plan::FlowManifest;
use crate::model::{ChannelKey, ChannelKind, NamespacedName};

/// Declares all channels and Brokers, so that they can refer to each other in any order.
pub(super) fn declare_channels(
    collected: &mut CollectedObjects<'_>,
    resolver: &mut DestinationResolver<'_>,
    defaults: &ResolvedDefaults,
) {
    declare_physical_channels(collected, resolver);
    for name in collected.channels.keys() {
        resolver
            .serving_states
            .insert(key_of(ChannelKind::Channel, name), ServingState::Served);
    }
    declare_flows(collected, resolver);
    // What others make is taken back before Brokers ask whether a channel of their path is served.
    leave_alone_what_others_make(collected, resolver, defaults);
    for (name, item) in &mut collected.brokers {
        let ours = is_our_broker_class(item, defaults.broker_class(&name.namespace))
            && has_served_template(item, &name.namespace, defaults);
        let channel = resolver
            .serving_states
            .get(&key_of(ChannelKind::Channel, name));
        if ours && channel == Some(&ServingState::Served) {
            warn_of_shared_path(&mut item.report, "channel");
        }
        let state = if ours {
            ServingState::Served
        } else {
            ServingState::NotServed
        };
        resolver
            .serving_states
            .insert(key_of(ChannelKind::Broker, name), state);
    }
}

/// Declares InMemoryChannels, RabbitmqChannels and DiskChannels, but for those whose name another
/// one has.
fn declare_physical_channels(
    collected: &mut CollectedObjects<'_>,
    resolver: &mut DestinationResolver<'_>,
) {
    let CollectedObjects {
        channels,
        in_memory_channels,
        rabbitmq_channels,
        disk_channels,
        ..
    } = collected;
    for (name, item) in in_memory_channels
        .iter_mut()
        .chain(rabbitmq_channels.iter_mut())
        .chain(disk_channels.iter_mut())
    {
        if let Some(channel) = channels.get(name) {
            let place = channel.report.document().location_suffix();
            let kind = &item.report.object().kind;
            let rule = format!("makes the {kind} of its name itself: remove this one");
            item.report
                .error("metadata.name", format!("the Channel{place} {rule}"));
            continue;
        }
        resolver
            .serving_states
            .insert(key_of(ChannelKind::Channel, name), ServingState::Served);
    }
    report_same_names(rabbitmq_channels, &[&*in_memory_channels]);
    report_same_names(disk_channels, &[&*in_memory_channels, &*rabbitmq_channels]);
}

/// Reports the physical channels that have the name of one of another kind, which counts.
fn report_same_names(
    items: &mut CollectedItems<'_, ChannelManifest>,
    others: &[&CollectedItems<'_, ChannelManifest>],
) {
    for (name, item) in items {
        let Some(other) = others.iter().find_map(|others| others.get(name)) else {
            continue;
        };
        let kind = &other.report.object().kind;
        let place = other.report.document().location_suffix();
        let rule = "has the same name and address: rename or remove one of the two";
        item.report
            .error("metadata.name", format!("the {kind}{place} {rule}"));
    }
}

fn key_of(kind: ChannelKind, name: &NamespacedName) -> ChannelKey {
    channel_key(kind, name.namespace.clone(), name.name.clone())
}

/// Declares Channels and flows whose channels are of another implementation's kind, which are left
/// alone.
fn leave_alone_what_others_make(
    collected: &mut CollectedObjects<'_>,
    resolver: &mut DestinationResolver<'_>,
    defaults: &ResolvedDefaults,
) {
    let mut left = Vec::new();
    for (name, CollectedItem { object, report, .. }) in &mut collected.channels {
        let Some(channel) = object.as_deref() else {
            continue;
        };
        let template = template_of(
            channel.template(),
            defaults.channel_template(&name.namespace),
        );
        if template::is_left_alone(template, report) {
            left.push(name.clone());
        }
    }
    left.extend(flow_channels_of_others(&mut collected.sequences, defaults));
    left.extend(flow_channels_of_others(&mut collected.parallels, defaults));
    let states = left
        .iter()
        .map(|name| (key_of(ChannelKind::Channel, name), ServingState::NotServed));
    resolver.serving_states.extend(states);
}

/// The channels of flows whose channels are of another implementation's kind.
fn flow_channels_of_others<F: FlowManifest>(
    items: &mut CollectedItems<'_, F>,
    defaults: &ResolvedDefaults,
) -> Vec<NamespacedName> {
    let mut left = Vec::new();
    for (NamespacedName { namespace, name }, CollectedItem { object, report, .. }) in items {
        let Some(flow) = object.as_deref() else {
            continue;
        };
        let template = template_of(
            flow.channel_template(),
            defaults.channel_template(namespace),
        );
        if template::is_left_alone(template, report) {
            let channels = flow.plan(name).channels;
            left.extend(
                channels
                    .into_iter()
                    .map(|name| NamespacedName::new(namespace, name)),
            );
        }
    }
    left
}

/// Warns that two objects of different kinds have the same path.
pub(crate) fn warn_of_shared_path(report: &mut ObjectReport<'_>, other: &str) {
    let ObjectName {
        namespace, name, ..
    } = report.object();
    let rule = "so that path alone is answered by 400: send to their hosts, or rename one";
    let message = format!("/{namespace}/{name} is the path of a {other}, too, {rule}");
    report.warning("metadata.name", message);
}
