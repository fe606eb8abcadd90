//! Builds flows of their plans.

use super::destinations::FlowDestinations;
use super::plan::{FlowManifest, FlowPlan, PlannedDestination, PlannedSubscription};
use super::planned::{flow_channel_key, plan_flow};
use super::{ResolvedFlow, ResolvedFlowSubscription, ResolvedFlows, generated_objects};
use crate::control::read::kind::ResourceKind;
use crate::control::read::report::{ObjectReport, ReportedError};
use crate::control::resolve::collect::{CollectedItem, CollectedItems};
use crate::control::resolve::config::features;
use crate::control::resolve::delivery::WrittenDelivery;
use crate::control::resolve::destination::{DestinationResolver, ServingState, WrittenDestination};
use crate::control::resolve::parent::{ResolvedParent, ResolvedParents};
use crate::control::resolve::subscription;
use crate::filter::Filter;
use crate::model::{ChannelKey, NamespacedName, Subscription, SubscriptionKey, SubscriptionKind};

/// Builds one flow after the other.
pub(super) struct FlowBuilder<'m, 's> {
    pub(super) resolver: &'m mut DestinationResolver<'s>,
    /// The parents of subscriptions, to which the flow's channels are added.
    pub(super) parents: &'m mut ResolvedParents,
    /// The flows of the last resolution.
    pub(super) last: &'m ResolvedFlows,
    pub(super) flows: ResolvedFlows,
}

impl FlowBuilder<'_, '_> {
    pub(super) fn build_all<T: FlowManifest>(&mut self, items: &mut CollectedItems<'_, T>) {
        for (NamespacedName { name, .. }, CollectedItem { object, report, .. }) in items {
            let plan = plan_flow(object.as_deref(), name);
            self.build_or_keep(&plan, report);
        }
    }

    fn build_or_keep(&mut self, plan: &FlowPlan, report: &mut ObjectReport<'_>) {
        let namespace = report.object().namespace.clone();
        let keys: Vec<ChannelKey> = plan
            .channels
            .iter()
            .map(|name| flow_channel_key(&namespace, name))
            .collect();
        let Some(entry_channel) = keys
            .first()
            .cloned()
            .filter(|key| !self.resolver.is_left_alone(key))
        else {
            return;
        };
        let built = self.build_if_right(plan, &keys, &entry_channel, report);
        let served = self.with_last_form(built, &entry_channel);
        // Only the channels with which the flow is served count as served, not those of the written
        // form.
        self.resolver
            .serving_states
            .extend(keys.into_iter().map(|key| (key, ServingState::Broken)));
        let Some(flow) = served else {
            self.parents.remove(&entry_channel);
            return;
        };
        let channels = || flow.channels.iter().map(|(key, _)| key.clone());
        self.resolver
            .serving_states
            .extend(channels().map(|key| (key, ServingState::Served)));
        self.parents
            .extend(channels().map(|key| (key, flow.parent.clone())));
        self.flows.insert(entry_channel, flow);
    }

    /// The flow as it is written; `None` if it has errors. Its destinations are checked in any
    /// case, so that all mistakes are reported.
    fn build_if_right(
        &mut self,
        plan: &FlowPlan,
        keys: &[ChannelKey],
        entry_channel: &ChannelKey,
        report: &mut ObjectReport<'_>,
    ) -> Option<ResolvedFlow> {
        let parent = self.parents.get(entry_channel).cloned();
        let mut destinations = FlowDestinations::new(keys);
        // The reply that no branch uses is checked, too.
        if let Some(unused @ PlannedDestination::Destination(field, _)) = &plan.unused {
            destinations.resolve_destination(unused, self.resolver, report);
            report.warning(
                field,
                "is for branches without a reply of their own, and there is none: remove it",
            );
        }
        let Some(parent) = parent.filter(|_| !report.has_errors()) else {
            self.check_destinations(plan, destinations, report);
            return None;
        };
        Some(self.build_flow(plan, parent, destinations, report))
    }

    /// The form that is served: one with a fault does not replace a last form without one.
    fn with_last_form(
        &self,
        built: Option<ResolvedFlow>,
        entry_channel: &ChannelKey,
    ) -> Option<ResolvedFlow> {
        match (built, self.last.get(entry_channel)) {
            (Some(built), Some(before)) if !built.has_no_fault() && before.has_no_fault() => {
                Some(before.as_kept())
            }
            (Some(built), _) => Some(built),
            (None, before) => before
                .filter(|_| self.parents.contains_key(entry_channel))
                .map(ResolvedFlow::as_kept),
        }
    }

    /// Reports mistakes of the destinations of a flow that is not served as it is written.
    fn check_destinations(
        &mut self,
        plan: &FlowPlan,
        mut destinations: FlowDestinations<'_>,
        report: &mut ObjectReport<'_>,
    ) {
        for PlannedSubscription {
            subscriber,
            reply,
            delivery,
            ..
        } in &plan.subscriptions
        {
            for destination in [Some(subscriber), reply.as_ref()].into_iter().flatten() {
                destinations.resolve_destination(destination, self.resolver, report);
            }
            if let Some((field, sink)) = delivery
                .as_ref()
                .and_then(|(at, own)| Some((at, own.dead_letter_sink.as_ref()?)))
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
        let mut subscriptions = Vec::with_capacity(plan.subscriptions.len());
        for planned in &plan.subscriptions {
            let built = self.build_subscription(planned, &parent, &mut destinations, report);
            let Some((subscription, fault)) = built else {
                continue;
            };
            let object =
                generated_objects::subscription_object(planned, plan, parent.backend, report);
            subscriptions.extend(destinations.channel(planned).map(|channel| {
                ResolvedFlowSubscription {
                    channel,
                    subscription: subscription::with_http_versions(subscription, versions),
                    object,
                    fault,
                }
            }));
        }
        let channel = |key: &ChannelKey| {
            let object = generated_objects::channel_object(key, parent.backend, report);
            (key.clone(), object)
        };
        ResolvedFlow {
            channels: destinations.keys().iter().map(channel).collect(),
            parent,
            subscriptions,
            is_kept: false,
        }
    }

    /// A subscription between two channels of a flow, and its fault if it has one.
    fn build_subscription(
        &mut self,
        planned: &PlannedSubscription,
        parent: &ResolvedParent,
        destinations: &mut FlowDestinations<'_>,
        report: &mut ObjectReport<'_>,
    ) -> Option<(Subscription, Option<ReportedError>)> {
        let channel = destinations.channel(planned)?;
        let resolver = &mut *self.resolver;
        let subscriber = destinations.resolve_destination(&planned.subscriber, resolver, report);
        let reply = planned
            .reply
            .as_ref()
            .and_then(|reply| destinations.resolve_destination(reply, resolver, report));
        let own = planned
            .delivery
            .as_ref()
            .map(|(field, spec)| WrittenDelivery { field, spec });
        // Errors of the dead letter sink are distinguished from earlier ones by their number.
        let excused = report.tolerated_errors().count();
        let (delivery, dead_letter_sink) =
            subscription::resolve_delivery(resolver, own, Some(parent), report);
        let sink_fault = report.tolerated_error_after(excused);
        let (namespace, name) = (channel.namespace, planned.name.clone());
        let sender = resolver.sender_rules.generated_sender_account(
            ResourceKind::Subscription,
            &namespace,
            &name,
        );
        let subscription = Subscription {
            key: SubscriptionKey {
                kind: SubscriptionKind::Subscription,
                namespace: namespace.clone(),
                name,
            },
            filter: Filter::MatchAll,
            subscriber,
            reply,
            dead_letter_sink,
            delivery,
            sender,
            event_types: None,
            namespace,
        };
        let fault = destinations.subscription_fault(planned).or(sink_fault);
        Some((subscription, fault))
    }
}
