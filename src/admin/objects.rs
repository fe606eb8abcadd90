//! The inventory as it is at this moment: its objects, which are made with the configuration, and
//! over them the trouble of their queues when somebody asks.

use std::sync::Arc;

use super::status::StatusSource;
use crate::channel::metrics;
use crate::channel::trouble::{ChannelTrouble, TroubleReport};
use crate::filter::UndecidedReason;
use crate::model::{
    ChannelKey, ChannelKind, FilterErrors, FlowSubscription, InventoryObject, LiveStatus,
    ObjectKind, ObjectStatus, ObjectTrouble, SubscriptionKey, SubscriptionKind,
};
use crate::scrub;

/// Reason of a condition: events for a channel on RabbitMQ cannot be taken, or cannot be delivered.
const UNAVAILABLE: &str = "RabbitmqUnavailable";

/// Returns the text of `/readyz` for a process that is ready: `ok`, and what it does not serve.
pub(super) fn readyz_text(remark: Option<String>) -> String {
    remark.map_or_else(
        || "ok\n".to_owned(),
        |remark| format!("ok; {}\n", scrub::text(&remark)),
    )
}

/// Returns every object of a kind, of one namespace if one is given, as a Kubernetes list.
pub(super) fn list_objects(
    view: &StatusSource,
    kind: ObjectKind,
    namespace: Option<&str>,
) -> String {
    let shown = Arc::clone(&view.served.borrow().resolution);
    let report = TroubleReport::collect(&shown.table, &*view.backends);
    let wanted = |object: &&Arc<InventoryObject>| {
        object.kind == kind && namespace.is_none_or(|namespace| object.namespace == namespace)
    };
    let json = |object: &Arc<InventoryObject>| {
        let (trouble, filter_errors) = (
            trouble_of_object(&report, object),
            filter_errors(view, object),
        );
        object.json_with_live_status(&LiveStatus {
            trouble,
            filter_errors,
        })
    };
    let items: Vec<String> = shown
        .inventory
        .objects
        .iter()
        .filter(wanted)
        .map(json)
        .collect();
    format!(
        r#"{{"apiVersion":"v1","kind":"List","items":[{}]}}"#,
        items.join(",")
    )
}

fn trouble_of_object<'r>(
    report: &'r TroubleReport<'_>,
    object: &InventoryObject,
) -> Option<ObjectTrouble<'r>> {
    if report.is_empty() {
        return None;
    }
    let (namespace, name) = (object.namespace.clone(), object.name.clone());
    match object.kind {
        ObjectKind::Channel => trouble_of_channel(
            report,
            &ChannelKey {
                kind: ChannelKind::Channel,
                namespace,
                name,
            },
        ),
        ObjectKind::Broker => trouble_of_channel(
            report,
            &ChannelKey {
                kind: ChannelKind::Broker,
                namespace,
                name,
            },
        ),
        ObjectKind::RequestReply => None,
        ObjectKind::Trigger => trouble_of_subscription(
            report,
            &SubscriptionKey {
                kind: SubscriptionKind::Trigger,
                namespace,
                name,
            },
        ),
        ObjectKind::Subscription => trouble_of_subscription(
            report,
            &SubscriptionKey {
                kind: SubscriptionKind::Subscription,
                namespace,
                name,
            },
        ),
        ObjectKind::Sequence | ObjectKind::Parallel => trouble_of_flow(report, object),
    }
}

/// Returns the trouble of the first channel or Subscription of a Sequence or Parallel that has
/// some.
fn trouble_of_flow<'r>(
    report: &'r TroubleReport<'_>,
    object: &InventoryObject,
) -> Option<ObjectTrouble<'r>> {
    let ObjectStatus::Flow(flow) = &object.status else {
        return None;
    };
    let namespace = || object.namespace.clone();
    let channel = |name: &String| ChannelKey {
        kind: ChannelKind::Channel,
        namespace: namespace(),
        name: name.clone(),
    };
    let subscription = |made: &FlowSubscription| {
        let (kind, name) = (SubscriptionKind::Subscription, made.name.clone());
        trouble_of_subscription(
            report,
            &SubscriptionKey {
                kind,
                namespace: namespace(),
                name,
            },
        )
    };
    let mut channels = flow
        .channels
        .iter()
        .filter_map(|name| trouble_of_channel(report, &channel(name)));
    channels
        .next()
        .or_else(|| flow.subscriptions.iter().find_map(subscription))
}

/// Returns the number of events that the filter of a Trigger did not decide, by reason.
fn filter_errors(view: &StatusSource, object: &InventoryObject) -> FilterErrors {
    if object.kind != ObjectKind::Trigger {
        return FilterErrors::default();
    }
    let (kind, namespace, name) = (
        SubscriptionKind::Trigger,
        object.namespace.clone(),
        object.name.clone(),
    );
    let series = metrics::subscription_series(
        &view.counters,
        &SubscriptionKey {
            kind,
            namespace,
            name,
        },
    );
    let of = |why| series.undecided_count(why);
    FilterErrors {
        expression: of(UndecidedReason::Expression),
        limit: of(UndecidedReason::Limit),
    }
}

/// Returns the trouble of a channel or broker; `None` if it is served.
pub(super) fn trouble_of_channel<'r>(
    report: &'r TroubleReport<'_>,
    key: &ChannelKey,
) -> Option<ObjectTrouble<'r>> {
    let ChannelTrouble {
        message: why,
        reason,
        ..
    } = report.channel_trouble(key)?;
    Some(ObjectTrouble {
        reason: UNAVAILABLE,
        message: why,
        affects_all_subscribers: reason.is_some(),
    })
}

/// Returns the trouble of a subscription or trigger; `None` if it is served.
pub(super) fn trouble_of_subscription<'r>(
    report: &'r TroubleReport<'_>,
    key: &SubscriptionKey,
) -> Option<ObjectTrouble<'r>> {
    Some(ObjectTrouble {
        reason: UNAVAILABLE,
        message: report.subscription_message(key)?,
        affects_all_subscribers: true,
    })
}
