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
        if kind == ObjectKind::Sequence {
            self.describe_sequence(namespace, status);
        } else {
            self.describe_parallel(namespace, status);
        }
    }

    fn describe_sequence(&self, namespace: &str, status: &mut Map<String, Value>) {
        let channels = self.channels.iter();
        let channels = channels.map(|name| self.channel(namespace, name));
        insert(status, "channelStatuses", channels.collect());
        let subscriptions = self.subscriptions.iter();
        let subscriptions = subscriptions.map(|made| subscription(namespace, made));
        insert(status, "subscriptionStatuses", subscriptions.collect());
    }

    /// Describes the channel that takes events in, then each branch: the Subscription of its
    /// filter, its channel, and the Subscription of its subscriber.
    fn describe_parallel(&self, namespace: &str, status: &mut Map<String, Value>) {
        let mut channels = self.channels.iter();
        let ingress = channels.next().map(|name| self.channel(namespace, name));
        insert(status, "ingressChannelStatus", ingress.unwrap_or_default());
        let branches = self.subscriptions.chunks(2).zip(channels);
        let branches = branches.map(|(of_branch, channel)| {
            let mut of_branch = of_branch.iter().map(|made| subscription(namespace, made));
            json!({
                "filterSubscriptionStatus": of_branch.next(),
                "filterChannelStatus": self.channel(namespace, channel),
                "subscriberSubscriptionStatus": of_branch.next(),
            })
        });
        insert(status, "branchStatuses", branches.collect());
    }

    fn channel(&self, namespace: &str, name: &str) -> Value {
        let (api_version, kind) = self.channel_kind;
        json!({
            "channel": object_reference(api_version, kind, namespace, name),
            "ready": ready_condition(None),
        })
    }
}

fn subscription(namespace: &str, made: &FlowSubscription) -> Value {
    let (api_version, kind) = ("messaging.knative.dev/v1", "Subscription");
    json!({
        "subscription": object_reference(api_version, kind, namespace, &made.name),
        "ready": ready_condition(made.not_ready.as_deref()),
    })
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
