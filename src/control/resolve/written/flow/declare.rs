//! Declares flows before anything is resolved, and reports their mistakes in themselves.

use serde_json::Value;

use super::plan::{self, FlowManifest, FlowPlan, PlannedSubscription};
use super::planned::{PlannedFlow, flow_channel_key, plan_flows};
use crate::control::read::header::is_dns_name;
use crate::control::read::problem::Problem;
use crate::control::read::report::ObjectReport;
use crate::control::resolve::collect::{CollectedItem, CollectedItems, CollectedObjects};
use crate::control::resolve::config::features;
use crate::control::resolve::delivery::WrittenDelivery;
use crate::control::resolve::destination::{DestinationResolver, ServingState};
use crate::control::resolve::parent::ResolvedParent;
use crate::control::resolve::written::channel_candidate::{ChannelCandidate, TEMPLATE_SINK_FIELD};
use crate::model::NamespacedName;

/// Removes the channels and Subscriptions that are written and generated for a flow at the same
/// time: those of the flow are served. If they were exported from a cluster, which has generated
/// them, that is no mistake.
pub(crate) fn remove_written_duplicates(collected: &mut CollectedObjects<'_>) {
    for flow in plan_flows(collected) {
        let CollectedObjects {
            channels,
            in_memory_channels,
            rabbitmq_channels,
            disk_channels,
            subscriptions,
            problems,
            ..
        } = collected;
        let namespace = &flow.name.namespace;
        for channel in &flow.plan.channels {
            let channel = NamespacedName::new(namespace, channel);
            for items in [
                &mut *channels,
                in_memory_channels,
                rabbitmq_channels,
                disk_channels,
            ] {
                remove_written_duplicate(items, &channel, &flow, problems);
            }
        }
        for PlannedSubscription { name, .. } in &flow.plan.subscriptions {
            let subscription = NamespacedName::new(namespace, name);
            remove_written_duplicate(subscriptions, &subscription, &flow, problems);
        }
    }
}

fn remove_written_duplicate<T>(
    items: &mut CollectedItems<'_, T>,
    name: &NamespacedName,
    flow: &PlannedFlow<'_>,
    problems: &mut Vec<Problem>,
) {
    let Some(CollectedItem { mut report, .. }) = items.remove(name) else {
        return;
    };
    let kind = flow.kind.as_str();
    let place = flow.document.location_suffix();
    let owners = report
        .document()
        .value
        .pointer("/metadata/ownerReferences")
        .and_then(Value::as_array);
    let is_it = |owner: &Value| {
        owner.get("kind").is_some_and(|of| of == kind) && owner["name"] == flow.name.name.as_str()
    };
    if owners.is_some_and(|owners| owners.iter().any(is_it)) {
        report.note(
            "metadata.ownerReferences",
            format!("the {kind}{place} makes this one itself: it is left out"),
        );
    } else {
        let message = format!(
            "the {kind}{place} makes the {} of this name itself: rename one",
            report.object().kind
        );
        report.error("metadata.name", message);
    }
    problems.extend(report.into_problems());
}

/// Declares all flows and their channels, so that everything can refer to them in any order.
pub(crate) fn declare_flows(
    collected: &CollectedObjects<'_>,
    resolver: &mut DestinationResolver<'_>,
) {
    for flow in plan_flows(collected) {
        let NamespacedName { namespace, name } = &flow.name;
        let channels = flow
            .plan
            .channels
            .iter()
            .map(|channel| (flow_channel_key(namespace, channel), ServingState::Served));
        resolver.serving_states.extend(channels);
        let entry_channel = plan::entry_channel_name(flow.kind, name);
        resolver
            .flows
            .extend(entry_channel.map(|channel| flow_channel_key(namespace, &channel)));
    }
}

/// Reports mistakes of flows in themselves, whatever else there is. Gives each flow with the
/// properties of its channels.
pub(crate) fn flow_candidates<'i, 'd, T: FlowManifest>(
    items: &'i mut CollectedItems<'d, T>,
    parent_of: impl Fn(
        &T,
        &mut ObjectReport<'d>,
        &mut DestinationResolver<'_>,
    ) -> Option<ResolvedParent>,
    resolver: &mut DestinationResolver<'_>,
) -> Vec<ChannelCandidate<'i, 'd>> {
    let mut candidates = Vec::with_capacity(items.len());
    for (NamespacedName { namespace, name }, CollectedItem { object, report, .. }) in items {
        let Some(entry_channel) = plan::entry_channel_name(T::KIND, name)
            .map(|channel| flow_channel_key(namespace, &channel))
        else {
            continue;
        };
        if resolver.is_left_alone(&entry_channel) {
            continue;
        }
        let parent = object.as_deref().and_then(|object| {
            check_required_fields(object, &object.plan(name), report);
            parent_of(object, report, resolver)
        });
        candidates.push(ChannelCandidate {
            key: entry_channel,
            report,
            parent,
            sink_field: TEMPLATE_SINK_FIELD,
        });
    }
    candidates
}

fn check_required_fields<T: FlowManifest>(
    object: &T,
    plan: &FlowPlan,
    report: &mut ObjectReport<'_>,
) {
    for (field, remedy) in object.missing_fields() {
        report.error(&field, remedy);
        report.suppress_further_errors(&field);
    }
    let longest = plan
        .channels
        .iter()
        .chain(
            plan.subscriptions
                .iter()
                .map(|subscription| &subscription.name),
        )
        .find(|name| !is_dns_name(name, 253));
    if let Some(longest) = longest {
        report.error(
            "metadata.name",
            format!("is too long: {longest}, which is made of it, may have 253 characters"),
        );
    }
    for (field, spec) in plan
        .subscriptions
        .iter()
        .filter_map(|subscription| subscription.delivery.as_ref())
    {
        WrittenDelivery { field, spec }.resolve(report);
    }
    features::read_delivery_order(report);
    features::read_http_versions(report);
}
