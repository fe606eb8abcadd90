//! Resolves Sequences and Parallels: each becomes channels and subscriptions between them, as
//! upstream's controllers make them (contract 5.2b). Problems are reported at the flow that
//! somebody wrote, not at the objects that are generated for it.
//!
//! A flow is served as a whole: with an error in it, or a step that leads nowhere, it keeps its
//! last good form; without such a form, each event that goes to that step fails, for the reason
//! that was reported.

pub(super) mod cycles;
mod generated_objects;
pub(super) mod plan;
mod reference;
pub(super) mod status;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::channel::{ChannelCandidate, ResolvedParent, ResolvedParents, TEMPLATE_SINK_FIELD};
use super::collect::{CollectedItem, CollectedItems, CollectedObjects, NamespacedName, is_dns_name};
use super::destination::{DestinationResolver, ServingState, WrittenDestination};
use super::{delivery, features, subscription};
use crate::control::Problem;
use crate::control::kind::ResourceKind;
use crate::control::manifest::ManifestDocument;
use crate::control::report::ObjectReport;
use crate::filter::Filter;
use crate::model::{Addressable, ChannelKey, ChannelKind, Subscription, SubscriptionKey, SubscriptionKind};
use plan::{FlowManifest, FlowPlan, PlannedDestination, PlannedSubscription};

/// A Sequence or Parallel as it is served.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ResolvedFlow {
    /// The properties that all of its channels have.
    parent: ResolvedParent,
    /// Its channels as objects; the first one takes its events.
    channels: Vec<(ChannelKey, Arc<Value>)>,
    subscriptions: Vec<ResolvedFlowSubscription>,
    /// True if this is its last good form, since the written one cannot work.
    is_kept: bool,
}

/// A subscription of one of the flow's channels.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ResolvedFlowSubscription {
    channel: ChannelKey,
    /// The subscription that is served.
    subscription: Subscription,
    /// The Subscription object that upstream's controllers would write in a cluster.
    object: Arc<Value>,
    /// The reason why a destination of it cannot work; `None` if all can.
    fault: Option<FlowFault>,
}

/// The reason why something cannot work, as a condition says it: a word for programs, and the field
/// of the flow with a sentence.
type FlowFault = (&'static str, String);

/// Every flow that is served, by the channel that takes its events.
pub(crate) type ResolvedFlows = BTreeMap<ChannelKey, ResolvedFlow>;

impl ResolvedFlow {
    /// The subscriptions, each with its channel.
    pub(super) fn channel_subscriptions(&self) -> impl Iterator<Item = (&ChannelKey, &Subscription)> {
        self.subscriptions.iter().map(|exit| (&exit.channel, &exit.subscription))
    }

    fn has_no_fault(&self) -> bool {
        self.subscriptions.iter().all(|exit| exit.fault.is_none())
    }

    fn as_kept(&self) -> Self {
        Self { is_kept: true, ..self.clone() }
    }
}

/// The key of a channel of a flow.
fn channel_key(namespace: &str, name: &str) -> ChannelKey {
    ChannelKey { kind: ChannelKind::Channel, namespace: namespace.to_owned(), name: name.to_owned() }
}

/// The plan of a flow; of an object that could not be read at all, it has the channel that gives
/// the flow its address.
fn plan_flow<T: FlowManifest>(object: Option<&T>, name: &str) -> FlowPlan {
    object.map_or_else(
        || FlowPlan {
            channels: plan::entry_channel_name(T::KIND, name).into_iter().collect(),
            subscriptions: Vec::new(),
            unused: None,
        },
        |object| object.plan(name),
    )
}

/// The plan of every flow that is written, with its kind, its name, and the document.
pub(super) fn plan_flows<'d>(
    collected: &CollectedObjects<'d>,
) -> Vec<(ResourceKind, NamespacedName, FlowPlan, &'d ManifestDocument)> {
    fn of<'d, T: FlowManifest>(
        items: &CollectedItems<'d, T>,
    ) -> impl Iterator<Item = (ResourceKind, NamespacedName, FlowPlan, &'d ManifestDocument)> {
        items.iter().map(|(name, CollectedItem { object, report, .. })| {
            (T::KIND, name.clone(), plan_flow(object.as_deref(), &name.1), report.document())
        })
    }
    of(&collected.sequences).chain(of(&collected.parallels)).collect()
}

/// Removes the channels and Subscriptions that are written and generated for a flow at the same
/// time: those of the flow are served. If they were exported from a cluster, which has generated
/// them, that is no mistake.
pub(super) fn remove_written_duplicates(collected: &mut CollectedObjects<'_>) {
    for (kind, (namespace, name), plan, document) in plan_flows(collected) {
        let place = document.location_suffix();
        let flow = (kind.as_str(), name.as_str(), place.as_str());
        for channel in plan.channels {
            let channel = (namespace.clone(), channel);
            remove_written_duplicate(&mut collected.channels, &channel, flow, &mut collected.problems);
            remove_written_duplicate(&mut collected.in_memory_channels, &channel, flow, &mut collected.problems);
            remove_written_duplicate(&mut collected.rabbitmq_channels, &channel, flow, &mut collected.problems);
        }
        for PlannedSubscription { name: subscription, .. } in plan.subscriptions {
            let subscription = (namespace.clone(), subscription);
            remove_written_duplicate(&mut collected.subscriptions, &subscription, flow, &mut collected.problems);
        }
    }
}

fn remove_written_duplicate<T>(
    items: &mut CollectedItems<'_, T>,
    name: &NamespacedName,
    (kind, flow, place): (&str, &str, &str),
    problems: &mut Vec<Problem>,
) {
    let Some(CollectedItem { mut report, .. }) = items.remove(name) else { return };
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

/// Declares all flows and their channels, so that everything can refer to them in any order.
pub(super) fn declare_flows(collected: &CollectedObjects<'_>, resolver: &mut DestinationResolver<'_>) {
    for (kind, (namespace, name), plan, _) in plan_flows(collected) {
        let channels = plan.channels.iter().map(|channel| (channel_key(&namespace, channel), ServingState::Served));
        resolver.serving_states.extend(channels);
        resolver.flows.extend(plan::entry_channel_name(kind, &name).map(|channel| channel_key(&namespace, &channel)));
    }
}

/// Reports mistakes of flows in themselves, whatever else there is. Gives each flow with the
/// properties of its channels.
pub(super) fn flow_candidates<'i, 'd, T: FlowManifest>(
    items: &'i mut CollectedItems<'d, T>,
    parent: impl Fn(&T, &str, &mut ObjectReport<'d>, &mut DestinationResolver<'_>) -> Option<ResolvedParent>,
    resolver: &mut DestinationResolver<'_>,
) -> Vec<ChannelCandidate<'i, 'd>> {
    let mut candidates = Vec::with_capacity(items.len());
    for ((namespace, name), CollectedItem { object, report, .. }) in items {
        let Some(entry_channel) =
            plan::entry_channel_name(T::KIND, name).map(|channel| channel_key(namespace, &channel))
        else {
            continue;
        };
        if resolver.is_left_alone(&entry_channel) {
            continue;
        }
        let parent = object.as_deref().and_then(|object| {
            check_required_fields(object, &object.plan(name), report);
            parent(object, namespace, report, resolver)
        });
        candidates.push(ChannelCandidate { key: entry_channel, report, parent, sink_field: TEMPLATE_SINK_FIELD });
    }
    candidates
}

fn check_required_fields<T: FlowManifest>(object: &T, plan: &FlowPlan, report: &mut ObjectReport<'_>) {
    for (field, remedy) in object.missing_fields() {
        report.error(&field, remedy);
        report.suppress_further_errors(&field);
    }
    let longest = plan
        .channels
        .iter()
        .chain(plan.subscriptions.iter().map(|subscription| &subscription.name))
        .find(|name| !is_dns_name(name, 253));
    if let Some(longest) = longest {
        report.error("metadata.name", format!("is too long: {longest}, which is made of it, may have 253 characters"));
    }
    for (field, written) in plan.subscriptions.iter().filter_map(|subscription| subscription.delivery.as_ref()) {
        delivery::resolve(written, field, report);
    }
    features::read_delivery_order(report);
    features::read_http_versions(report);
}

/// Builds the flows whose first channel is in `parents`, and adds their other channels to it. A
/// flow that cannot work keeps its form of `last`.
pub(super) fn resolve(
    collected: &mut CollectedObjects<'_>,
    resolver: &mut DestinationResolver<'_>,
    parents: &mut ResolvedParents,
    last: Option<&ResolvedFlows>,
) -> ResolvedFlows {
    let nothing = ResolvedFlows::new();
    let mut builder = FlowBuilder { resolver, parents, last: last.unwrap_or(&nothing), flows: ResolvedFlows::new() };
    builder.build_all(&mut collected.sequences);
    builder.build_all(&mut collected.parallels);
    builder.flows
}

/// Builds one flow after the other.
struct FlowBuilder<'m, 's> {
    resolver: &'m mut DestinationResolver<'s>,
    /// The parents of subscriptions, to which the flow's channels are added.
    parents: &'m mut ResolvedParents,
    /// The flows of the last resolution.
    last: &'m ResolvedFlows,
    flows: ResolvedFlows,
}

impl FlowBuilder<'_, '_> {
    fn build_all<T: FlowManifest>(&mut self, items: &mut CollectedItems<'_, T>) {
        for ((_, name), CollectedItem { object, report, .. }) in items {
            let plan = plan_flow(object.as_deref(), name);
            self.build_or_keep(&plan, report);
        }
    }

    fn build_or_keep(&mut self, plan: &FlowPlan, report: &mut ObjectReport<'_>) {
        let namespace = report.object().namespace.clone();
        let keys: Vec<ChannelKey> = plan.channels.iter().map(|name| channel_key(&namespace, name)).collect();
        let Some(entry_channel) = keys.first().cloned().filter(|key| !self.resolver.is_left_alone(key)) else { return };
        let parent = self.parents.get(&entry_channel).cloned();
        let mut destinations = FlowDestinations { keys: &keys, resolved: BTreeMap::new() };
        // The reply that no branch uses is checked, too, so that all mistakes are reported.
        if let Some(unused @ PlannedDestination::Destination(field, _)) = &plan.unused {
            destinations.resolve_destination(unused, self.resolver, report);
            report.warning(field, "is for branches without a reply of their own, and there is none: remove it");
        }
        let made = match parent.filter(|_| !report.has_errors()) {
            Some(parent) => Some(self.build_flow(plan, parent, destinations, report)),
            None => {
                self.check_destinations(plan, destinations, report);
                None
            }
        };
        // A form with a fault does not replace a last form without one.
        let served = match (made, self.last.get(&entry_channel)) {
            (Some(made), Some(before)) if !made.has_no_fault() && before.has_no_fault() => Some(before.as_kept()),
            (Some(made), _) => Some(made),
            (None, before) => before.filter(|_| self.parents.contains_key(&entry_channel)).map(ResolvedFlow::as_kept),
        };
        // Only the channels with which the flow is served count as served, not those of the written
        // form.
        self.resolver.serving_states.extend(keys.into_iter().map(|key| (key, ServingState::Broken)));
        let Some(flow) = served else {
            self.parents.remove(&entry_channel);
            return;
        };
        self.resolver.serving_states.extend(flow.channels.iter().map(|(key, _)| (key.clone(), ServingState::Served)));
        self.parents.extend(flow.channels.iter().map(|(key, _)| (key.clone(), flow.parent.clone())));
        self.flows.insert(entry_channel, flow);
    }

    /// Reports mistakes of the destinations of a flow that is not served as it is written.
    fn check_destinations(
        &mut self,
        plan: &FlowPlan,
        mut destinations: FlowDestinations<'_>,
        report: &mut ObjectReport<'_>,
    ) {
        for PlannedSubscription { subscriber, reply, delivery, .. } in &plan.subscriptions {
            for destination in [Some(subscriber), reply.as_ref()].into_iter().flatten() {
                destinations.resolve_destination(destination, self.resolver, report);
            }
            if let Some((field, sink)) =
                delivery.as_ref().and_then(|(at, own)| Some((at, own.dead_letter_sink.as_ref()?)))
            {
                self.resolver.resolve_or_unresolved(
                    &WrittenDestination::at_field(format!("{field}.deadLetterSink"), sink),
                    report,
                );
            }
        }
    }

    fn build_flow(
        &mut self,
        plan: &FlowPlan,
        parent: ResolvedParent,
        mut destinations: FlowDestinations<'_>,
        report: &mut ObjectReport<'_>,
    ) -> ResolvedFlow {
        let versions = features::read_http_versions(report);
        let mut exits = Vec::with_capacity(plan.subscriptions.len());
        for leg in &plan.subscriptions {
            let Some(channel) = destinations.keys.get(leg.channel).cloned() else { continue };
            let subscriber = destinations.resolve_destination(&leg.subscriber, self.resolver, report);
            let reply =
                leg.reply.as_ref().and_then(|reply| destinations.resolve_destination(reply, self.resolver, report));
            let own = leg.delivery.as_ref().map(|(field, delivery)| (field.as_str(), delivery));
            // Errors of the dead letter sink are distinguished from earlier ones by their number.
            let excused = report.tolerated_errors().count();
            let (delivery, dead_letter_sink) =
                subscription::resolve_delivery(self.resolver, own, Some(&parent), report);
            let of_sink = report.tolerated_error_after(excused);
            let namespace = channel.namespace.clone();
            let (kind, name) = (SubscriptionKind::Subscription, leg.name.clone());
            let sender =
                self.resolver.sender_rules.generated_sender_account(ResourceKind::Subscription, (&namespace, &name));
            let key = SubscriptionKey { kind, namespace: namespace.clone(), name };
            let (filter, event_types) = (Filter::MatchAll, None);
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
            exits.push(ResolvedFlowSubscription {
                channel,
                subscription: subscription::with_http_versions(made, versions),
                object: generated_objects::subscription_object(leg, plan, parent.backend, report),
                fault: destinations.subscription_fault(leg).or(of_sink),
            });
        }
        let channel = |key: &ChannelKey| (key.clone(), generated_objects::channel_object(key, parent.backend, report));
        ResolvedFlow {
            channels: destinations.keys.iter().map(channel).collect(),
            parent,
            subscriptions: exits,
            is_kept: false,
        }
    }
}

/// The destinations of a flow by their fields: one destination may be that of several
/// subscriptions, and its mistakes are reported once.
struct FlowDestinations<'k> {
    /// The keys of the flow's channels, in the order of the plan.
    keys: &'k [ChannelKey],
    /// Each destination, with its fault if it has one.
    resolved: BTreeMap<String, (Addressable, Option<FlowFault>)>,
}

impl FlowDestinations<'_> {
    fn resolve_destination(
        &mut self,
        way: &PlannedDestination,
        resolver: &mut DestinationResolver<'_>,
        report: &mut ObjectReport<'_>,
    ) -> Option<Addressable> {
        let (field, destination) = match way {
            PlannedDestination::Channel(channel) => return resolver.local_addressable(self.keys.get(*channel)?),
            PlannedDestination::Destination(field, destination) => (field, destination),
        };
        if let Some((known, _)) = self.resolved.get(field) {
            return Some(known.clone());
        }
        let excused = report.tolerated_errors().count();
        let found = resolver.resolve_or_unresolved(&WrittenDestination::at_field(field.clone(), destination), report);
        let fault = report.tolerated_error_after(excused);
        self.resolved.insert(field.clone(), (found.clone(), fault));
        Some(found)
    }

    /// The fault of a subscription's subscriber, or else of its reply.
    fn subscription_fault(&self, subscription: &PlannedSubscription) -> Option<FlowFault> {
        let of = |destination: &PlannedDestination| match destination {
            PlannedDestination::Destination(field, _) => self.resolved.get(field)?.1.clone(),
            PlannedDestination::Channel(_) => None,
        };
        of(&subscription.subscriber).or_else(|| of(subscription.reply.as_ref()?))
    }
}
