//! What is configured as it is at this moment: the objects of the inventory, which are made with the configuration, and over
//! them what their queues say when somebody asks.

use std::sync::Arc;

use super::status::View;
use crate::channel::counted;
use crate::channel::trouble::{ChannelTrouble, TroubleReport};
use crate::filter::Undecided;
use crate::model::{
    ChannelKey, ChannelKind, FilterErrors, FlowSubscription, Form, Object, ObjectKind, ObjectTrouble, Present,
    SubscriptionKey, SubscriptionKind,
};
use crate::scrub;

/// Reason of a condition: events for a channel on RabbitMQ cannot be taken, or not be delivered.
const UNAVAILABLE: &str = "RabbitmqUnavailable";

/// The text of `/readyz` of a process that is ready: `ok`, and what it does not serve.
pub(super) fn ready(remark: Option<String>) -> String {
    remark.map_or_else(|| "ok\n".to_owned(), |remark| format!("ok; {}\n", scrub::text(&remark)))
}

/// Every object of a kind, of one namespace if one is given, as a Kubernetes list.
pub(super) fn list(view: &View, kind: ObjectKind, namespace: Option<&str>) -> String {
    let shown = Arc::clone(&view.shown.borrow());
    let report = TroubleReport::of(&shown.table, &view.storages);
    let wanted =
        |object: &&Arc<Object>| object.kind == kind && namespace.is_none_or(|namespace| object.namespace == namespace);
    let json = |object: &Arc<Object>| {
        let (trouble, filter_errors) = (of_object(&report, object), filter_errors(view, object));
        object.json_in(&Present { trouble, filter_errors })
    };
    let items: Vec<String> = shown.inventory.objects.iter().filter(wanted).map(json).collect();
    format!(r#"{{"apiVersion":"v1","kind":"List","items":[{}]}}"#, items.join(","))
}

fn of_object<'r>(report: &'r TroubleReport<'_>, object: &Object) -> Option<ObjectTrouble<'r>> {
    if report.is_empty() {
        return None;
    }
    let (namespace, name) = (object.namespace.clone(), object.name.clone());
    match object.kind {
        ObjectKind::Channel => of_channel(report, &ChannelKey { kind: ChannelKind::Channel, namespace, name }),
        ObjectKind::Broker => of_channel(report, &ChannelKey { kind: ChannelKind::Broker, namespace, name }),
        ObjectKind::RequestReply => None,
        ObjectKind::Trigger => {
            of_subscription(report, &SubscriptionKey { kind: SubscriptionKind::Trigger, namespace, name })
        }
        ObjectKind::Subscription => {
            of_subscription(report, &SubscriptionKey { kind: SubscriptionKind::Subscription, namespace, name })
        }
        ObjectKind::Sequence | ObjectKind::Parallel => of_flow(report, object),
    }
}

/// What the first of the channels and Subscriptions is in that a Sequence or Parallel is made of.
fn of_flow<'r>(report: &'r TroubleReport<'_>, object: &Object) -> Option<ObjectTrouble<'r>> {
    let Form::Flow(flow) = &object.form else { return None };
    let namespace = || object.namespace.clone();
    let channel = |name: &String| ChannelKey { kind: ChannelKind::Channel, namespace: namespace(), name: name.clone() };
    let subscription = |made: &FlowSubscription| {
        let (kind, name) = (SubscriptionKind::Subscription, made.name.clone());
        of_subscription(report, &SubscriptionKey { kind, namespace: namespace(), name })
    };
    let mut channels = flow.channels.iter().filter_map(|name| of_channel(report, &channel(name)));
    channels.next().or_else(|| flow.subscriptions.iter().find_map(subscription))
}

/// What the filter of a Trigger could not decide.
fn filter_errors(view: &View, object: &Object) -> FilterErrors {
    if object.kind != ObjectKind::Trigger {
        return FilterErrors::default();
    }
    let (kind, namespace, name) = (SubscriptionKind::Trigger, object.namespace.clone(), object.name.clone());
    let series = counted::subscription(&view.counters, &SubscriptionKey { kind, namespace, name });
    let of = |why| series.left_undecided(why);
    FilterErrors { expression: of(Undecided::Expression), limit: of(Undecided::Limit) }
}

/// What a channel or broker is in.
pub(super) fn of_channel<'r>(report: &'r TroubleReport<'_>, key: &ChannelKey) -> Option<ObjectTrouble<'r>> {
    let ChannelTrouble { why, reason, .. } = report.of_channel(key)?;
    Some(ObjectTrouble { reason: UNAVAILABLE, message: why, is_whole: reason.is_some() })
}

/// What a subscription or trigger is in.
pub(super) fn of_subscription<'r>(report: &'r TroubleReport<'_>, key: &SubscriptionKey) -> Option<ObjectTrouble<'r>> {
    Some(ObjectTrouble { reason: UNAVAILABLE, message: report.of_subscription(key)?, is_whole: true })
}
