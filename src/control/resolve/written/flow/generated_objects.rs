//! The channels and Subscriptions of a flow as the objects that upstream's controllers would write
//! for it.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::plan::{FlowPlan, PlannedDestination, PlannedSubscription};
use crate::control::read::kind::ResourceKind;
use crate::control::read::report::ObjectReport;
use crate::model::{BackendKind, ChannelKey};

/// The object of a channel; `report` is that of the flow.
pub(super) fn channel_object(
    key: &ChannelKey,
    storage: BackendKind,
    report: &ObjectReport<'_>,
) -> Arc<Value> {
    let template = flow_field(report, "spec.channelTemplate.spec.delivery");
    let spec: Map<_, _> = template
        .map(|delivery| ("delivery".to_owned(), delivery))
        .into_iter()
        .collect();
    build_object(channel_kind(storage), &key.name, &spec, report)
}

/// The object of a Subscription; `report` is that of the flow.
pub(super) fn subscription_object(
    subscription: &PlannedSubscription,
    plan: &FlowPlan,
    storage: BackendKind,
    report: &ObjectReport<'_>,
) -> Arc<Value> {
    let channel = |index: usize| {
        let (kind, name) = (channel_kind(storage), plan.channels.get(index));
        json!({ "apiVersion": kind.api_version(), "kind": kind.as_str(), "name": name })
    };
    let destination = |way: &PlannedDestination| match way {
        PlannedDestination::Channel(index) => json!({ "ref": channel(*index) }),
        PlannedDestination::Destination(field, _) => flow_field(report, field).unwrap_or_default(),
    };
    let mut spec = Map::new();
    spec.insert("channel".to_owned(), channel(subscription.channel));
    spec.insert(
        "subscriber".to_owned(),
        destination(&subscription.subscriber),
    );
    spec.extend(
        subscription
            .reply
            .as_ref()
            .map(|reply| ("reply".to_owned(), destination(reply))),
    );
    let delivery = subscription
        .delivery
        .as_ref()
        .and_then(|(field, _)| flow_field(report, field));
    spec.extend(delivery.map(|delivery| ("delivery".to_owned(), delivery)));
    build_object(
        ResourceKind::Subscription,
        &subscription.name,
        &spec,
        report,
    )
}

/// The kind of the channels that this backend keeps.
pub(super) fn channel_kind(storage: BackendKind) -> ResourceKind {
    match storage {
        BackendKind::Memory => ResourceKind::InMemoryChannel,
        BackendKind::Rabbitmq => ResourceKind::RabbitmqChannel,
        BackendKind::Disk => ResourceKind::DiskChannel,
    }
}

/// An object that the flow owns.
fn build_object(
    kind: ResourceKind,
    name: &str,
    spec: &Map<String, Value>,
    report: &ObjectReport<'_>,
) -> Arc<Value> {
    let flow = report.object();
    let written = |key: &str| report.document().text(&[key]).unwrap_or_default();
    let mut owner = json!({
        "apiVersion": written("apiVersion"), "kind": written("kind"), "name": flow.name,
        "controller": true, "blockOwnerDeletion": true,
    });
    if let (Some(uid), Value::Object(owner)) =
        (report.document().text(&["metadata", "uid"]), &mut owner)
    {
        owner.insert("uid".to_owned(), uid.into());
    }
    Arc::new(json!({
        "apiVersion": kind.api_version(),
        "kind": kind.as_str(),
        "metadata": { "name": name, "namespace": flow.namespace, "ownerReferences": [owner] },
        "spec": spec,
    }))
}

/// The value at a field of the flow's manifest.
fn flow_field(report: &ObjectReport<'_>, field: &str) -> Option<Value> {
    let pointer: String = field
        .split(['.', '['])
        .map(|part| format!("/{}", part.trim_end_matches(']')))
        .collect();
    report.document().value.pointer(&pointer).cloned()
}
