//! Sequences and Parallels that lead into themselves, directly or through other flows and channels: what comes into one goes
//! round for ever. Through Brokers that is what many do on purpose: their Triggers have filters, and events a number of
//! Brokers that they may pass.

use std::collections::HashSet;

use super::plan::{Way, Written};
use super::{Flow, Flows, key, plan};
use crate::control::report::Report;
use crate::control::resolve::collect::{Collected, Item, Items};
use crate::control::resolve::routes::Routes;
use crate::model::{Addressable, ChannelKey, ChannelKind};

/// Warns of every destination of a flow that leads back into it.
pub(in crate::control::resolve) fn tell(collected: &mut Collected<'_>, flows: &Flows, routes: &Routes) {
    of_kind(&mut collected.sequences, flows, routes);
    of_kind(&mut collected.parallels, flows, routes);
}

fn of_kind<T: Written>(items: &mut Items<'_, T>, flows: &Flows, routes: &Routes) {
    for ((namespace, name), Item { object, report, .. }) in items {
        let entrance = plan::entrance(T::KIND, name).map(|channel| key(namespace, &channel));
        // What is said is said of what is written.
        let flow = entrance.and_then(|entrance| flows.get(&entrance)).filter(|flow| !flow.is_kept);
        if let (Some(flow), Some(object)) = (flow, object) {
            of_flow(flow, &object.plan(name), routes, report);
        }
    }
}

fn of_flow(flow: &Flow, plan: &plan::Plan, routes: &Routes, report: &mut Report<'_>) {
    let mut told = HashSet::new();
    for (leg, exit) in plan.legs.iter().zip(&flow.exits) {
        let made = &exit.subscription;
        let ways = [(Some(&leg.subscriber), &made.subscriber), (leg.reply.as_ref(), &made.reply)];
        for (way, to) in ways {
            let Some((Way::To(field, _), to)) = way.zip(to.as_ref().and_then(channel_of)) else { continue };
            if leads_into(to, flow, routes) && told.insert(field.clone()) {
                let kind = &report.object().kind;
                let rule = "an event goes round for ever if each of them answers with one: lead it elsewhere";
                report.warning(field, format!("leads back into this {kind}, so that {rule}"));
            }
        }
    }
}

/// Whether what comes into a channel may come into one of the flow's.
fn leads_into(from: &ChannelKey, flow: &Flow, routes: &Routes) -> bool {
    let (mut seen, mut next) = (HashSet::from([from]), vec![from]);
    while let Some(channel) = next.pop() {
        if flow.channels.iter().any(|(own, _)| own == channel) {
            return true;
        }
        let ways = routes.of(channel).flat_map(|made| [&made.subscriber, &made.reply]);
        next.extend(ways.flatten().filter_map(channel_of).filter(|to| seen.insert(*to)));
    }
    false
}

/// The channel of this process that a destination leads into.
fn channel_of(to: &Addressable) -> Option<&ChannelKey> {
    to.target.local().filter(|to| to.kind == ChannelKind::Channel)
}
