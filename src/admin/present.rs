//! What is configured as it is at this moment: the objects of the inventory, which are made with the configuration, and over
//! them what their queues say when somebody asks.

use std::sync::Arc;

use super::status::View;
use crate::channel::trouble::TroubleReport;
use crate::model::{
    ChannelKey, ChannelKind, Condition, Object, ObjectKind, SubscriptionKey, SubscriptionKind, Unready,
};

/// Reason of a condition: events for a channel on RabbitMQ cannot be taken, or not be delivered.
const UNAVAILABLE: &str = "RabbitmqUnavailable";

/// The text of `/readyz` of a process that is ready: `ok`, and what it does not serve.
pub(super) fn ready(remark: Option<String>) -> String {
    remark.map_or_else(|| "ok\n".to_owned(), |remark| format!("ok; {remark}\n"))
}

/// Every object of a kind, of one namespace if one is given, as a Kubernetes list.
pub(super) fn list(view: &View, kind: ObjectKind, namespace: Option<&str>) -> String {
    let shown = Arc::clone(&view.shown.borrow());
    let report = TroubleReport::of(&shown.table, &view.storages);
    let wanted =
        |object: &&Arc<Object>| object.kind == kind && namespace.is_none_or(|namespace| object.namespace == namespace);
    let json = |object: &Arc<Object>| match of_object(&report, object) {
        None => object.json(),
        Some(trouble) => object.troubled(unready(trouble)).json(),
    };
    let items: Vec<String> = shown.inventory.objects.iter().filter(wanted).map(json).collect();
    format!(r#"{{"apiVersion":"v1","kind":"List","items":[{}]}}"#, items.join(","))
}

fn of_object<'r>(report: &'r TroubleReport<'_>, object: &Object) -> Option<&'r str> {
    if report.is_empty() {
        return None;
    }
    let (namespace, name) = (object.namespace.clone(), object.name.clone());
    let channel = |kind, namespace, name| report.of_channel(&ChannelKey { kind, namespace, name });
    let subscription = |kind, namespace, name| report.of_subscription(&SubscriptionKey { kind, namespace, name });
    match object.kind {
        ObjectKind::Channel => channel(ChannelKind::Channel, namespace, name),
        ObjectKind::Broker => channel(ChannelKind::Broker, namespace, name),
        ObjectKind::Trigger => subscription(SubscriptionKind::Trigger, namespace, name),
        ObjectKind::Subscription => subscription(SubscriptionKind::Subscription, namespace, name),
    }
}

fn unready(trouble: &str) -> Unready {
    Unready { status: "False", reason: UNAVAILABLE, message: trouble.to_owned() }
}

/// The condition `Ready` of what is in trouble.
pub(super) fn condition(trouble: &str) -> Condition<'_> {
    Condition { ty: "Ready", status: "False", reason: Some(UNAVAILABLE), message: Some(trouble) }
}
