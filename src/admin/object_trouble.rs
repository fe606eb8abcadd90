//! The trouble of an object: its queues cannot take events, or cannot deliver them.

use crate::channel::trouble::{ChannelTrouble, TroubleReport};
use crate::model::{
    ChannelKey, ChannelKind, FlowSubscription, InventoryObject, ObjectKind, ObjectStatus,
    ObjectTrouble, SubscriptionKey, SubscriptionKind,
};

/// Returns the trouble of an object; `None` if it is served.
pub(super) fn trouble_of_object<'r>(
    report: &'r TroubleReport<'_>,
    object: &InventoryObject,
) -> Option<ObjectTrouble<'r>> {
    if report.is_empty() {
        return None;
    }
    let (namespace, name) = (object.namespace.as_str(), object.name.as_str());
    let channel = |kind| trouble_of_channel(report, &ChannelKey::new(kind, namespace, name));
    let subscription =
        |kind| trouble_of_subscription(report, &SubscriptionKey::new(kind, namespace, name));
    match object.kind {
        ObjectKind::Channel => channel(ChannelKind::Channel),
        ObjectKind::Broker => channel(ChannelKind::Broker),
        ObjectKind::RequestReply => None,
        ObjectKind::Trigger => subscription(SubscriptionKind::Trigger),
        ObjectKind::Subscription => subscription(SubscriptionKind::Subscription),
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
    let namespace = object.namespace.as_str();
    let channel = |name: &String| {
        let key = ChannelKey::new(ChannelKind::Channel, namespace, name);
        trouble_of_channel(report, &key)
    };
    let subscription = |made: &FlowSubscription| {
        let key = SubscriptionKey::new(SubscriptionKind::Subscription, namespace, &made.name);
        trouble_of_subscription(report, &key)
    };
    let of_channels = flow.channels.iter().find_map(channel);
    of_channels.or_else(|| flow.subscriptions.iter().find_map(subscription))
}

/// Returns the trouble of a channel or broker; `None` if it is served.
pub(super) fn trouble_of_channel<'r>(
    report: &'r TroubleReport<'_>,
    key: &ChannelKey,
) -> Option<ObjectTrouble<'r>> {
    let ChannelTrouble {
        message: why,
        reason,
        condition,
        ..
    } = report.channel_trouble(key)?;
    Some(ObjectTrouble {
        reason: condition,
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
        reason: report.subscription_condition(key)?,
        message: report.subscription_message(key)?,
        affects_all_subscribers: true,
    })
}
