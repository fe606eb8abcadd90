//! Finds Sequences and Parallels that lead into themselves, directly or through other flows and
//! channels: an event in them goes round for ever. Through Brokers many do that on purpose: their
//! Triggers have filters, and events have a limit of Brokers that they may pass.

use std::collections::HashSet;

use super::plan::{self, FlowManifest, PlannedDestination};
use super::{ResolvedFlow, ResolvedFlows, channel_key};
use crate::control::read::report::ObjectReport;
use crate::control::resolve::collect::{CollectedItem, CollectedItems, CollectedObjects};
use crate::control::resolve::written::routes::SubscriptionRoutes;
use crate::model::{Addressable, ChannelKey, ChannelKind};

/// Warns of every destination of a flow that leads back into the flow.
pub(in crate::control::resolve) fn warn_of_cycles(
    collected: &mut CollectedObjects<'_>,
    flows: &ResolvedFlows,
    routes: &SubscriptionRoutes,
) {
    check_kind(&mut collected.sequences, flows, routes);
    check_kind(&mut collected.parallels, flows, routes);
}

fn check_kind<T: FlowManifest>(
    items: &mut CollectedItems<'_, T>,
    flows: &ResolvedFlows,
    routes: &SubscriptionRoutes,
) {
    for ((namespace, name), CollectedItem { object, report, .. }) in items {
        let entrance =
            plan::entry_channel_name(T::KIND, name).map(|channel| channel_key(namespace, &channel));
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
