//! The status of Sequences and Parallels (`flows.knative.dev/v1`, `SequenceStatus` and
//! `ParallelStatus`).

use serde_json::{Map, Value, json};

use super::json::insert;
use super::{Condition, FlowStatus, FlowSubscription, NotReadyReason, ObjectKind};
use crate::scrub;

impl FlowStatus {
    /// Adds the fields of `status` besides conditions and addresses: whether each channel and
    /// Subscription of the flow is ready.
    pub(super) fn describe_parts(
        &self,
        kind: ObjectKind,
        namespace: &str,
        status: &mut Map<String, Value>,
    ) {
        let channel = |name: &String| {
            let (api_version, kind) = self.channel_kind;
            json!({ "channel": object_reference(api_version, kind, namespace, name), "ready": ready_condition(None) })
        };
        let subscription = |subscription: &FlowSubscription| {
            let reference = object_reference(
                "messaging.knative.dev/v1",
                "Subscription",
                namespace,
                &subscription.name,
            );
            json!({ "subscription": reference, "ready": ready_condition(subscription.not_ready.as_deref()) })
        };
        if kind == ObjectKind::Sequence {
            insert(
                status,
                "channelStatuses",
                self.channels.iter().map(channel).collect(),
            );
            insert(
                status,
                "subscriptionStatuses",
                self.subscriptions.iter().map(subscription).collect(),
            );
            return;
        }
        let mut channels = self.channels.iter().map(channel);
        insert(
            status,
            "ingressChannelStatus",
            channels.next().unwrap_or_default(),
        );
        let branch = |(of_branch, channel): (&[FlowSubscription], Value)| {
            let mut of_branch = of_branch.iter().map(subscription);
            json!({
                "filterSubscriptionStatus": of_branch.next(),
                "filterChannelStatus": channel,
                "subscriberSubscriptionStatus": of_branch.next(),
            })
        };
        insert(
            status,
            "branchStatuses",
            self.subscriptions
                .chunks(2)
                .zip(channels)
                .map(branch)
                .collect(),
        );
    }
}

fn object_reference(api_version: &str, kind: &str, namespace: &str, name: &str) -> Value {
    json!({ "apiVersion": api_version, "kind": kind, "name": name, "namespace": namespace })
}

/// The condition `Ready` of a channel or Subscription of the flow.
fn ready_condition(unready: Option<&NotReadyReason>) -> Value {
    let message = unready.map(|unready| scrub::text(&unready.message));
    let (status, reason) = unready.map_or(("True", None), |unready| {
        (unready.status, Some(unready.reason))
    });
    json!(Condition {
        ty: "Ready",
        status,
        reason,
        message: message.as_deref()
    })
}
