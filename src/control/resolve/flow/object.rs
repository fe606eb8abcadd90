//! The channels and Subscriptions of a flow as the objects that upstream's controllers would write for it.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::plan::{Leg, Plan, Way};
use crate::control::kind::Kind;
use crate::control::report::Report;
use crate::model::{ChannelKey, Storage};

/// A channel; `report` is of the flow.
pub(super) fn of_channel(key: &ChannelKey, storage: Storage, report: &Report<'_>) -> Arc<Value> {
    let template = at(report, "spec.channelTemplate.spec.delivery");
    let spec: Map<_, _> = template.map(|delivery| ("delivery".to_owned(), delivery)).into_iter().collect();
    object(kind_of(storage), &key.name, &spec, report)
}

/// A Subscription.
pub(super) fn of_subscription(leg: &Leg, plan: &Plan, storage: Storage, report: &Report<'_>) -> Arc<Value> {
    let channel = |index: usize| {
        let (kind, name) = (kind_of(storage), plan.channels.get(index));
        json!({ "apiVersion": kind.api_version(), "kind": kind.as_str(), "name": name })
    };
    let destination = |way: &Way| match way {
        Way::Into(index) => json!({ "ref": channel(*index) }),
        Way::To(field, _) => at(report, field).unwrap_or_default(),
    };
    let mut spec = Map::new();
    spec.insert("channel".to_owned(), channel(leg.channel));
    spec.insert("subscriber".to_owned(), destination(&leg.subscriber));
    spec.extend(leg.reply.as_ref().map(|reply| ("reply".to_owned(), destination(reply))));
    let delivery = leg.delivery.as_ref().and_then(|(field, _)| at(report, field));
    spec.extend(delivery.map(|delivery| ("delivery".to_owned(), delivery)));
    object(Kind::Subscription, &leg.name, &spec, report)
}

/// The kind of the channels that are kept there.
pub(super) fn kind_of(storage: Storage) -> Kind {
    match storage {
        Storage::Memory => Kind::InMemoryChannel,
        Storage::Rabbitmq => Kind::RabbitmqChannel,
    }
}

/// An object that belongs to the flow.
fn object(kind: Kind, name: &str, spec: &Map<String, Value>, report: &Report<'_>) -> Arc<Value> {
    let flow = report.object();
    let written = |key: &str| report.document().text(&[key]).unwrap_or_default();
    let mut owner = json!({
        "apiVersion": written("apiVersion"), "kind": written("kind"), "name": flow.name,
        "controller": true, "blockOwnerDeletion": true,
    });
    if let (Some(uid), Value::Object(owner)) = (report.document().text(&["metadata", "uid"]), &mut owner) {
        owner.insert("uid".to_owned(), uid.into());
    }
    Arc::new(json!({
        "apiVersion": kind.api_version(),
        "kind": kind.as_str(),
        "metadata": { "name": name, "namespace": flow.namespace, "ownerReferences": [owner] },
        "spec": spec,
    }))
}

/// What stands at a field of the flow.
fn at(report: &Report<'_>, field: &str) -> Option<Value> {
    let pointer: String = field.split(['.', '[']).map(|part| format!("/{}", part.trim_end_matches(']'))).collect();
    report.document().value.pointer(&pointer).cloned()
}
