//! Sequences and Parallels: each becomes channels and subscriptions between them, as upstream's controllers make them of
//! it (contract 5.2b). Whatever is wrong is said of the flow that somebody wrote, not of what is made of it.
//!
//! A flow is served as a whole: with an error in it, or a step that leads nowhere, it keeps its last good form; without one,
//! what leads nowhere fails, for the reason that was reported.

mod object;
pub(super) mod plan;
mod reference;
pub(super) mod rounds;
pub(super) mod status;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::channel::{Candidate, Parent, Parents, TEMPLATE_SINK_FIELD};
use super::collect::{Collected, Item, Items, Name, is_dns_name};
use super::destination::{Place, Resolver, Wanted};
use super::{delivery, features, subscription};
use crate::control::Problem;
use crate::control::kind::Kind;
use crate::control::manifest::Document;
use crate::control::report::Report;
use crate::filter::Filter;
use crate::model::{Addressable, ChannelKey, ChannelKind, Subscription, SubscriptionKey, SubscriptionKind};
use plan::{Leg, Plan, Way, Written};

/// A Sequence or Parallel as it is served.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Flow {
    /// What all of its channels are made of.
    parent: Parent,
    /// Its channels as objects; the first one takes its events.
    channels: Vec<(ChannelKey, Arc<Value>)>,
    exits: Vec<Exit>,
    /// Whether this is its last good form, and there is another one that cannot work.
    is_kept: bool,
}

/// A subscription of a channel of a flow.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Exit {
    channel: ChannelKey,
    subscription: Subscription,
    /// The object that it would be in a cluster.
    written: Arc<Value>,
    /// What of it cannot work.
    fault: Option<Fault>,
}

/// Why something cannot work, for a condition: a word for programs, and the field of the flow with a sentence.
type Fault = (&'static str, String);

/// Every flow that is served, by the channel that takes its events.
pub(crate) type Flows = BTreeMap<ChannelKey, Flow>;

impl Flow {
    /// The subscriptions, each with its channel.
    pub(super) fn exits(&self) -> impl Iterator<Item = (&ChannelKey, &Subscription)> {
        self.exits.iter().map(|exit| (&exit.channel, &exit.subscription))
    }

    fn is_whole(&self) -> bool {
        self.exits.iter().all(|exit| exit.fault.is_none())
    }

    fn kept(&self) -> Self {
        Self { is_kept: true, ..self.clone() }
    }
}

/// The name of a channel of a flow.
fn key(namespace: &str, name: &str) -> ChannelKey {
    ChannelKey { kind: ChannelKind::Channel, namespace: namespace.to_owned(), name: name.to_owned() }
}

/// What is made of an object; of one that could not be read at all, there is the name of its address.
fn plan_of<T: Written>(object: Option<&T>, name: &str) -> Plan {
    object.map_or_else(
        || Plan { channels: plan::entrance(T::KIND, name).into_iter().collect(), legs: Vec::new(), unused: None },
        |object| object.plan(name),
    )
}

/// What is made of every flow that is written: of which kind it is, its name, and the document.
pub(super) fn plans<'d>(collected: &Collected<'d>) -> Vec<(Kind, Name, Plan, &'d Document)> {
    fn of<'d, T: Written>(items: &Items<'d, T>) -> impl Iterator<Item = (Kind, Name, Plan, &'d Document)> {
        items.iter().map(|(name, Item { object, report, .. })| {
            (T::KIND, name.clone(), plan_of(object.as_deref(), &name.1), report.document())
        })
    }
    of(&collected.sequences).chain(of(&collected.parallels)).collect()
}

/// Takes out the channels and Subscriptions that are written and made of flows at the same time: those of the flows are
/// served. Where they were read from a cluster, which has made them, that is no mistake.
pub(super) fn take_over(collected: &mut Collected<'_>) {
    for (kind, (namespace, name), plan, document) in plans(collected) {
        let place = document.at();
        let flow = (kind.as_str(), name.as_str(), place.as_str());
        for channel in plan.channels {
            let channel = (namespace.clone(), channel);
            take_out(&mut collected.channels, &channel, flow, &mut collected.problems);
            take_out(&mut collected.in_memory_channels, &channel, flow, &mut collected.problems);
            take_out(&mut collected.rabbitmq_channels, &channel, flow, &mut collected.problems);
        }
        for Leg { name: subscription, .. } in plan.legs {
            let subscription = (namespace.clone(), subscription);
            take_out(&mut collected.subscriptions, &subscription, flow, &mut collected.problems);
        }
    }
}

fn take_out<T>(
    items: &mut Items<'_, T>,
    name: &Name,
    (kind, flow, place): (&str, &str, &str),
    problems: &mut Vec<Problem>,
) {
    let Some(Item { mut report, .. }) = items.remove(name) else { return };
    let owners = report.document().value.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    let is_it = |owner: &Value| owner.get("kind").is_some_and(|of| of == kind) && owner["name"] == flow;
    if owners.is_some_and(|owners| owners.iter().any(is_it)) {
        report.note("metadata.ownerReferences", format!("the {kind}{place} makes this one itself: it is left out"));
    } else {
        let message = format!("the {kind}{place} makes the {} of this name itself: rename one", report.object().kind);
        report.error("metadata.name", message);
    }
    problems.extend(report.into_problems());
}

/// Says which flows and channels of flows there are, so that everything can refer to them in any order.
pub(super) fn declare(collected: &Collected<'_>, resolver: &mut Resolver<'_>) {
    for (kind, (namespace, name), plan, _) in plans(collected) {
        let channels = plan.channels.iter().map(|channel| (key(&namespace, channel), Place::Served));
        resolver.places.extend(channels);
        resolver.flows.extend(plan::entrance(kind, &name).map(|channel| key(&namespace, &channel)));
    }
}

/// Reports what is wrong with flows in themselves, whatever else there is. Gives what their channels are made of.
pub(super) fn candidates<'i, 'd, T: Written>(
    items: &'i mut Items<'d, T>,
    parent: impl Fn(&T, &str, &mut Report<'d>, &mut Resolver<'_>) -> Option<Parent>,
    resolver: &mut Resolver<'_>,
) -> Vec<Candidate<'i, 'd>> {
    let mut candidates = Vec::with_capacity(items.len());
    for ((namespace, name), Item { object, report, .. }) in items {
        let Some(entrance) = plan::entrance(T::KIND, name).map(|channel| key(namespace, &channel)) else { continue };
        let parent = object.as_deref().and_then(|object| {
            check(object, &object.plan(name), report);
            parent(object, namespace, report, resolver)
        });
        candidates.push(Candidate { key: entrance, report, parent, sink_field: TEMPLATE_SINK_FIELD });
    }
    candidates
}

fn check<T: Written>(object: &T, plan: &Plan, report: &mut Report<'_>) {
    for (field, remedy) in object.missing() {
        report.error(&field, remedy);
        report.said_enough(&field);
    }
    let longest =
        plan.channels.iter().chain(plan.legs.iter().map(|leg| &leg.name)).find(|name| !is_dns_name(name, 253));
    if let Some(longest) = longest {
        report.error("metadata.name", format!("is too long: {longest}, which is made of it, may have 253 characters"));
    }
    for (field, written) in plan.legs.iter().filter_map(|leg| leg.delivery.as_ref()) {
        delivery::resolve(written, field, report);
    }
    features::order(report);
    features::http_versions(report);
}

/// Makes the flows of which `parents` has the channel that takes their events, and adds their other channels. One that
/// cannot work keeps its form of `last`.
pub(super) fn resolve(
    collected: &mut Collected<'_>,
    resolver: &mut Resolver<'_>,
    parents: &mut Parents,
    last: Option<&Flows>,
) -> Flows {
    let nothing = Flows::new();
    let mut making = Making { resolver, parents, last: last.unwrap_or(&nothing), made: Flows::new() };
    making.all(&mut collected.sequences);
    making.all(&mut collected.parallels);
    making.made
}

/// Makes flows.
struct Making<'m, 's> {
    resolver: &'m mut Resolver<'s>,
    parents: &'m mut Parents,
    last: &'m Flows,
    made: Flows,
}

impl Making<'_, '_> {
    fn all<T: Written>(&mut self, items: &mut Items<'_, T>) {
        for ((_, name), Item { object, report, .. }) in items {
            let plan = plan_of(object.as_deref(), name);
            self.one(&plan, report);
        }
    }

    fn one(&mut self, plan: &Plan, report: &mut Report<'_>) {
        let namespace = report.object().namespace.clone();
        let keys: Vec<ChannelKey> = plan.channels.iter().map(|name| key(&namespace, name)).collect();
        let Some(entrance) = keys.first().cloned() else { return };
        let parent = self.parents.get(&entrance).cloned();
        let mut ways = Ways { keys: &keys, known: BTreeMap::new() };
        if let Some(unused @ Way::To(field, _)) = &plan.unused {
            ways.find(unused, self.resolver, report);
            report.warning(field, "is for branches without a reply of their own, and there is none: remove it");
        }
        let made = match parent.filter(|_| !report.is_bad()) {
            Some(parent) => Some(self.flow(plan, parent, ways, report)),
            None => {
                self.look(plan, ways, report);
                None
            }
        };
        let served = match (made, self.last.get(&entrance)) {
            (Some(made), Some(before)) if !made.is_whole() && before.is_whole() => Some(before.kept()),
            (Some(made), _) => Some(made),
            (None, before) => before.filter(|_| self.parents.contains_key(&entrance)).map(Flow::kept),
        };
        // Of the channels that it would have there are those only that it is served with.
        self.resolver.places.extend(keys.into_iter().map(|key| (key, Place::Broken)));
        let Some(flow) = served else {
            self.parents.remove(&entrance);
            return;
        };
        self.resolver.places.extend(flow.channels.iter().map(|(key, _)| (key.clone(), Place::Served)));
        self.parents.extend(flow.channels.iter().map(|(key, _)| (key.clone(), flow.parent.clone())));
        self.made.insert(entrance, flow);
    }

    /// Reports what is wrong with the destinations of a flow that is not served as it is written.
    fn look(&mut self, plan: &Plan, mut ways: Ways<'_>, report: &mut Report<'_>) {
        for Leg { subscriber, reply, delivery, .. } in &plan.legs {
            for way in [Some(subscriber), reply.as_ref()].into_iter().flatten() {
                ways.find(way, self.resolver, report);
            }
            if let Some((field, sink)) =
                delivery.as_ref().and_then(|(at, own)| Some((at, own.dead_letter_sink.as_ref()?)))
            {
                self.resolver.resolve_anyway(&Wanted::at(format!("{field}.deadLetterSink"), sink), report);
            }
        }
    }

    fn flow(&mut self, plan: &Plan, parent: Parent, mut ways: Ways<'_>, report: &mut Report<'_>) -> Flow {
        let versions = features::http_versions(report);
        let mut exits = Vec::with_capacity(plan.legs.len());
        for leg in &plan.legs {
            let Some(channel) = ways.keys.get(leg.channel).cloned() else { continue };
            let subscriber = ways.find(&leg.subscriber, self.resolver, report);
            let reply = leg.reply.as_ref().and_then(|reply| ways.find(reply, self.resolver, report));
            let own = leg.delivery.as_ref().map(|(field, delivery)| (field.as_str(), delivery));
            let excused = report.excused().count();
            let (delivery, dead_letter_sink) = subscription::delivery(self.resolver, own, Some(&parent), report);
            let of_sink = report.excuse_after(excused);
            let namespace = channel.namespace.clone();
            let (kind, name) = (SubscriptionKind::Subscription, leg.name.clone());
            let sender = self.resolver.rules.sender_named(Kind::Subscription, (&namespace, &name));
            let key = SubscriptionKey { kind, namespace: namespace.clone(), name };
            let (filter, event_types) = (Filter::Pass, None);
            let made = Subscription {
                key,
                filter,
                subscriber,
                reply,
                dead_letter_sink,
                delivery,
                sender,
                event_types,
                namespace,
            };
            exits.push(Exit {
                channel,
                subscription: subscription::spoken_to(made, versions),
                written: object::of_subscription(leg, plan, parent.storage, report),
                fault: ways.fault(leg).or(of_sink),
            });
        }
        let channel = |key: &ChannelKey| (key.clone(), object::of_channel(key, parent.storage, report));
        Flow { channels: ways.keys.iter().map(channel).collect(), parent, exits, is_kept: false }
    }
}

/// Where the destinations of a flow lead, by the fields where they stand: one may be that of several subscriptions, and what
/// is wrong with it is said once.
struct Ways<'k> {
    /// The flow's channels.
    keys: &'k [ChannelKey],
    known: BTreeMap<String, (Addressable, Option<Fault>)>,
}

impl Ways<'_> {
    fn find(&mut self, way: &Way, resolver: &mut Resolver<'_>, report: &mut Report<'_>) -> Option<Addressable> {
        let (field, destination) = match way {
            Way::Into(channel) => return resolver.local(self.keys.get(*channel)?),
            Way::To(field, destination) => (field, destination),
        };
        if let Some((known, _)) = self.known.get(field) {
            return Some(known.clone());
        }
        let excused = report.excused().count();
        let found = resolver.resolve_anyway(&Wanted::at(field.clone(), destination), report);
        let fault = report.excuse_after(excused);
        self.known.insert(field.clone(), (found.clone(), fault));
        Some(found)
    }

    /// What is wrong with the subscriber or the reply of a subscription.
    fn fault(&self, leg: &Leg) -> Option<Fault> {
        let of = |way: &Way| match way {
            Way::To(field, _) => self.known.get(field)?.1.clone(),
            Way::Into(_) => None,
        };
        of(&leg.subscriber).or_else(|| of(leg.reply.as_ref()?))
    }
}
