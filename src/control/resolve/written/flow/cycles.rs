//! Finds Sequences and Parallels that lead into themselves, directly or through other flows and
//! channels: an event in them goes round for ever. Through Brokers many do that on purpose: their
//! Triggers have filters, and events have a limit of Brokers that they may pass.
//!
//! Dead letters go round for ever, too, where they come back into the channel whose subscriber has
//! failed, without anybody who would have to answer on the way.

use std::collections::{BTreeSet, HashSet};

use super::plan::{self, FlowManifest, PlannedDestination};
use super::planned::flow_channel_key;
use super::{ResolvedFlow, ResolvedFlows};
use crate::control::read::report::ObjectReport;
use crate::control::resolve::collect::{CollectedItem, CollectedItems, CollectedObjects};
use crate::control::resolve::written::channel_candidate::{SINK_FIELD, TEMPLATE_SINK_FIELD};
use crate::control::resolve::written::routes::SubscriptionRoutes;
use crate::model::{
    Addressable, ChannelKey, ChannelKind, NamespacedName, Subscription, SubscriptionKey,
    SubscriptionKind,
};

/// Warns of every destination of a flow that leads back into the flow.
pub(in crate::control::resolve) fn warn_of_cycles(
    collected: &mut CollectedObjects<'_>,
    flows: &ResolvedFlows,
    routes: &SubscriptionRoutes,
) {
    check_kind(&mut collected.sequences, flows, routes);
    check_kind(&mut collected.parallels, flows, routes);
    check_subscriptions(collected, routes);
}

/// Warns of dead letter sinks of Subscriptions, or of their channels, that lead back into the
/// channel.
fn check_subscriptions(collected: &mut CollectedObjects<'_>, routes: &SubscriptionRoutes) {
    let mut of_channels = BTreeSet::new();
    for (NamespacedName { namespace, name }, CollectedItem { object, report, .. }) in
        &mut collected.subscriptions
    {
        let (kind, namespace, name) = (
            SubscriptionKind::Subscription,
            namespace.clone(),
            name.clone(),
        );
        let key = SubscriptionKey {
            kind,
            namespace,
            name,
        };
        let Some((channel, made)) = routes
            .get(&key)
            .filter(|_| !routes.is_kept(&key) && !report.has_errors())
        else {
            continue;
        };
        if !comes_back(made, channel, routes) {
            continue;
        }
        let delivery = object
            .as_ref()
            .and_then(|object| object.spec.as_ref()?.delivery.as_ref());
        if delivery.is_some_and(|delivery| delivery.dead_letter_sink.is_some()) {
            warn_of_dead_letters("spec.delivery.deadLetterSink", channel, report);
        } else {
            of_channels.insert(channel);
        }
    }
    for channel in of_channels {
        warn_of_channel(channel, collected);
    }
}

/// Warns of the dead letter sink of a channel, at the field of its own spec or of its template.
fn warn_of_channel(channel: &ChannelKey, collected: &mut CollectedObjects<'_>) {
    let CollectedObjects {
        channels,
        in_memory_channels,
        rabbitmq_channels,
        disk_channels,
        ..
    } = collected;
    let name = NamespacedName::new(&channel.namespace, &channel.name);
    let mut written = [
        channels,
        in_memory_channels,
        rabbitmq_channels,
        disk_channels,
    ]
    .into_iter();
    if let Some(CollectedItem { report, .. }) = written.find_map(|items| items.get_mut(&name)) {
        let is_own = report
            .document()
            .value
            .pointer("/spec/delivery/deadLetterSink")
            .is_some();
        let field = if is_own {
            SINK_FIELD
        } else {
            TEMPLATE_SINK_FIELD
        };
        warn_of_dead_letters(field, channel, report);
    }
}

fn warn_of_dead_letters(field: &str, channel: &ChannelKey, report: &mut ObjectReport<'_>) {
    let rule = "an event goes round for ever as long as its subscriber fails: lead it elsewhere";
    report.warning(field, format!("leads back into {channel}, so that {rule}"));
}

/// True if a dead letter of a subscription comes back into its channel, as long as deliveries fail.
fn comes_back(made: &Subscription, channel: &ChannelKey, routes: &SubscriptionRoutes) -> bool {
    let Some(first) = made.dead_letter_sink.as_ref().and_then(channel_of) else {
        return false;
    };
    let (mut seen, mut next) = (HashSet::from([first]), vec![first]);
    while let Some(at) = next.pop() {
        if at == channel {
            return true;
        }
        // Replies do not count, since somebody has to answer.
        let ways = routes
            .of_channel(at)
            .flat_map(|made| [&made.subscriber, &made.dead_letter_sink]);
        next.extend(
            ways.flatten()
                .filter_map(channel_of)
                .filter(|to| seen.insert(*to)),
        );
    }
    false
}

fn check_kind<T: FlowManifest>(
    items: &mut CollectedItems<'_, T>,
    flows: &ResolvedFlows,
    routes: &SubscriptionRoutes,
) {
    for (NamespacedName { namespace, name }, CollectedItem { object, report, .. }) in items {
        let entrance = plan::entry_channel_name(T::KIND, name)
            .map(|channel| flow_channel_key(namespace, &channel));
        // A warning is about the form that is written, and so not about a kept one.
        let flow = entrance
            .and_then(|entrance| flows.get(&entrance))
            .filter(|flow| !flow.is_kept);
        if let (Some(flow), Some(object)) = (flow, object) {
            check_flow(flow, &object.plan(name), routes, report);
        }
    }
}

fn check_flow(
    flow: &ResolvedFlow,
    plan: &plan::FlowPlan,
    routes: &SubscriptionRoutes,
    report: &mut ObjectReport<'_>,
) {
    let mut told = HashSet::new();
    for (leg, exit) in plan.subscriptions.iter().zip(&flow.subscriptions) {
        let made = &exit.subscription;
        if comes_back(made, &exit.channel, routes) {
            let own = leg
                .delivery
                .as_ref()
                .filter(|(_, delivery)| delivery.dead_letter_sink.is_some());
            let field = own.map_or(TEMPLATE_SINK_FIELD.to_owned(), |(delivery, _)| {
                format!("{delivery}.deadLetterSink")
            });
            if told.insert(field.clone()) {
                warn_of_dead_letters(&field, &exit.channel, report);
            }
        }
        let ways = [
            (Some(&leg.subscriber), &made.subscriber),
            (leg.reply.as_ref(), &made.reply),
        ];
        for (way, to) in ways {
            let Some((PlannedDestination::Destination(field, _), to)) =
                way.zip(to.as_ref().and_then(channel_of))
            else {
                continue;
            };
            if leads_into(to, flow, routes) && told.insert(field.clone()) {
                let kind = &report.object().kind;
                let rule = "an event goes round for ever if each of them answers with one: lead it \
                     elsewhere";
                report.warning(
                    field,
                    format!("leads back into this {kind}, so that {rule}"),
                );
            }
        }
    }
}

/// True if an event in the channel `from` may come into one of the flow's channels.
fn leads_into(from: &ChannelKey, flow: &ResolvedFlow, routes: &SubscriptionRoutes) -> bool {
    let (mut seen, mut next) = (HashSet::from([from]), vec![from]);
    while let Some(channel) = next.pop() {
        if flow.channels.iter().any(|(own, _)| own == channel) {
            return true;
        }
        let ways = routes
            .of_channel(channel)
            .flat_map(|made| [&made.subscriber, &made.reply]);
        next.extend(
            ways.flatten()
                .filter_map(channel_of)
                .filter(|to| seen.insert(*to)),
        );
    }
    false
}

/// The channel of this process that a destination leads into; `None` for a Broker or another route.
fn channel_of(to: &Addressable) -> Option<&ChannelKey> {
    to.route
        .local_channel()
        .filter(|to| to.kind == ChannelKind::Channel)
}
