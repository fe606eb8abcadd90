//! Plans the channels of a Sequence or Parallel and the Subscriptions between them, with the names
//! and in the shape that upstream gives them (`pkg/reconciler/sequence` and
//! `pkg/reconciler/parallel` of knative/eventing).

use crate::control::read::kind::ResourceKind;
use crate::control::read::manifest::duck::{DeliverySpecManifest, DestinationManifest, ObjectMeta};
use crate::control::read::manifest::flows::{
    ParallelBranch, ParallelManifest, SequenceManifest, SequenceStep,
};
use crate::control::read::manifest::messaging::ChannelTemplate;

/// The channels and Subscriptions of a Sequence or Parallel.
#[derive(Clone, Debug)]
pub(crate) struct FlowPlan {
    /// The names of its channels; the first one takes its events.
    pub(crate) channels: Vec<String>,
    /// The Subscriptions between its channels.
    pub(crate) subscriptions: Vec<PlannedSubscription>,
    /// The common reply of a Parallel, if every branch has a reply of its own.
    pub(crate) unused: Option<PlannedDestination>,
}

/// A Subscription of one of the channels.
#[derive(Clone, Debug)]
pub(crate) struct PlannedSubscription {
    /// The name of the Subscription.
    pub(crate) name: String,
    /// The index of its channel in [`FlowPlan::channels`].
    pub(crate) channel: usize,
    pub(crate) subscriber: PlannedDestination,
    pub(crate) reply: Option<PlannedDestination>,
    /// The delivery spec, and the field where it stands.
    pub(crate) delivery: Option<(String, DeliverySpecManifest)>,
}

/// A destination within the plan.
#[derive(Clone, Debug)]
pub(crate) enum PlannedDestination {
    /// A destination that stands at this field.
    Destination(String, Box<DestinationManifest>),
    /// The channel at this index in [`FlowPlan::channels`].
    Channel(usize),
}

/// The manifest of a kind that consists of channels and Subscriptions.
pub(crate) trait FlowManifest {
    /// The kind of the flow.
    const KIND: ResourceKind;

    /// The plan of the flow of this name.
    fn plan(&self, name: &str) -> FlowPlan;

    /// The required fields that are missing, each with a remedy.
    fn missing_fields(&self) -> Vec<(String, &'static str)>;

    /// The `metadata` of the flow.
    fn metadata(&self) -> &ObjectMeta;

    /// The template of its channels; the default counts if `None`.
    fn channel_template(&self) -> Option<&ChannelTemplate>;
}

/// The name of the channel that takes the events of a Sequence or Parallel; `None` for other kinds.
pub(crate) fn entry_channel_name(kind: ResourceKind, name: &str) -> Option<String> {
    match kind {
        ResourceKind::Sequence => Some(format!("{name}-kn-sequence-0")),
        ResourceKind::Parallel => Some(format!("{name}-kn-parallel")),
        _ => None,
    }
}

/// The field of the reply that branches without a reply of their own use.
const COMMON_REPLY: &str = "spec.reply";

impl FlowManifest for SequenceManifest {
    const KIND: ResourceKind = ResourceKind::Sequence;

    /// Plans a channel for each step: its Subscription sends the step's replies to the next
    /// channel, the last one to the reply.
    fn plan(&self, name: &str) -> FlowPlan {
        let spec = self.spec.clone().unwrap_or_default();
        let steps = spec.steps.unwrap_or_default();
        let count = steps.len();
        let subscription = |(index, step): (usize, Option<SequenceStep>)| {
            let (place, step) = (format!("spec.steps[{index}]"), step.unwrap_or_default());
            let last = || {
                spec.reply.clone().map(|reply| {
                    PlannedDestination::Destination("spec.reply".to_owned(), Box::new(reply))
                })
            };
            PlannedSubscription {
                name: format!("{name}-kn-sequence-{index}"),
                channel: index,
                delivery: step
                    .delivery
                    .map(|delivery| (format!("{place}.delivery"), delivery)),
                subscriber: PlannedDestination::Destination(place, Box::new(step.destination)),
                reply: if index + 1 < count {
                    Some(PlannedDestination::Channel(index + 1))
                } else {
                    last()
                },
            }
        };
        // A Sequence without steps, which is an error, still has the channel that gives it an
        // address.
        let channels = (0..count.max(1))
            .map(|index| format!("{name}-kn-sequence-{index}"))
            .collect();
        FlowPlan {
            channels,
            subscriptions: steps.into_iter().enumerate().map(subscription).collect(),
            unused: None,
        }
    }

    fn missing_fields(&self) -> Vec<(String, &'static str)> {
        let steps = self.spec.as_ref().and_then(|spec| spec.steps.as_ref());
        match steps.is_none_or(Vec::is_empty) {
            true => vec![(
                "spec.steps".to_owned(),
                "is missing: give at least one step, with a ref or a uri",
            )],
            false => Vec::new(),
        }
    }

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn channel_template(&self) -> Option<&ChannelTemplate> {
        self.spec.as_ref()?.channel_template.as_ref()
    }
}

/// The place of a branch in its Parallel.
struct BranchPlace<'p> {
    /// The name of the Parallel.
    flow: &'p str,
    index: usize,
    /// The index of the branch's channel.
    channel: usize,
}

impl BranchPlace<'_> {
    /// The Subscription that brings the events which pass the filter into the branch's channel, and
    /// the one that takes them from there. `common_reply` is that of branches without one.
    fn plan(
        &self,
        branch: ParallelBranch,
        common_reply: Option<&DestinationManifest>,
    ) -> [PlannedSubscription; 2] {
        let Self {
            flow,
            index,
            channel,
        } = self;
        let place = format!("spec.branches[{index}]");
        let destination = |field: &str, destination: DestinationManifest| {
            PlannedDestination::Destination(format!("{place}.{field}"), Box::new(destination))
        };
        let (subscriber, reply) = match branch.filter {
            Some(filter) => (
                destination("filter", filter),
                Some(PlannedDestination::Channel(*channel)),
            ),
            None => (PlannedDestination::Channel(*channel), None),
        };
        let filter = PlannedSubscription {
            name: format!("{flow}-kn-parallel-filter-{index}"),
            channel: 0,
            subscriber,
            reply,
            delivery: None,
        };
        let common = || {
            let reply = Box::new(common_reply?.clone());
            Some(PlannedDestination::Destination(
                COMMON_REPLY.to_owned(),
                reply,
            ))
        };
        let subscription = PlannedSubscription {
            name: format!("{flow}-kn-parallel-{index}"),
            channel: *channel,
            subscriber: destination("subscriber", branch.subscriber.unwrap_or_default()),
            reply: branch
                .reply
                .map(|reply| destination("reply", reply))
                .or_else(common),
            delivery: branch
                .delivery
                .map(|delivery| (format!("{place}.delivery"), delivery)),
        };
        [filter, subscription]
    }
}

impl FlowManifest for ParallelManifest {
    const KIND: ResourceKind = ResourceKind::Parallel;

    /// Plans a channel that takes the events, and one for each branch: a first Subscription sends
    /// the replies of the filter into the branch's channel, or every event without a filter; a
    /// second one sends the events there to the branch's subscriber.
    fn plan(&self, name: &str) -> FlowPlan {
        let spec = self.spec.clone().unwrap_or_default();
        let branches = spec.branches.unwrap_or_default();
        let mut channels = vec![format!("{name}-kn-parallel")];
        let mut subscriptions = Vec::with_capacity(2 * branches.len());
        for (index, branch) in branches.into_iter().enumerate() {
            let channel = channels.len();
            channels.push(format!("{name}-kn-parallel-{index}"));
            let place = BranchPlace {
                flow: name,
                index,
                channel,
            };
            subscriptions.extend(place.plan(branch.unwrap_or_default(), spec.reply.as_ref()));
        }
        let is_used = |subscription: &PlannedSubscription| matches!(&subscription.reply, Some(PlannedDestination::Destination(field, _)) if field == COMMON_REPLY);
        let unused = spec
            .reply
            .filter(|_| !subscriptions.is_empty() && !subscriptions.iter().any(is_used));
        FlowPlan {
            channels,
            subscriptions,
            unused: unused.map(|reply| {
                PlannedDestination::Destination(COMMON_REPLY.to_owned(), Box::new(reply))
            }),
        }
    }

    fn missing_fields(&self) -> Vec<(String, &'static str)> {
        let branches = self
            .spec
            .as_ref()
            .and_then(|spec| spec.branches.as_deref())
            .unwrap_or_default();
        if branches.is_empty() {
            return vec![(
                "spec.branches".to_owned(),
                "is missing: give at least one branch, with a subscriber",
            )];
        }
        let has_none = |branch: &Option<ParallelBranch>| {
            branch
                .as_ref()
                .is_none_or(|branch| branch.subscriber.is_none())
        };
        let without = branches
            .iter()
            .enumerate()
            .filter(|(_, branch)| has_none(branch));
        let missing = "is missing: say who gets the events of this branch";
        without
            .map(|(index, _)| (format!("spec.branches[{index}].subscriber"), missing))
            .collect()
    }

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn channel_template(&self) -> Option<&ChannelTemplate> {
        self.spec.as_ref()?.channel_template.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Each leg as channel, Subscription, subscriber and reply.
    fn legs(plan: &FlowPlan) -> Vec<[String; 4]> {
        let way = |way: &PlannedDestination| match way {
            PlannedDestination::Destination(field, _) => field.clone(),
            PlannedDestination::Channel(channel) => plan.channels[*channel].clone(),
        };
        let leg = |leg: &PlannedSubscription| {
            let reply = leg.reply.as_ref().map(way).unwrap_or_default();
            [
                plan.channels[leg.channel].clone(),
                leg.name.clone(),
                way(&leg.subscriber),
                reply,
            ]
        };
        plan.subscriptions.iter().map(leg).collect()
    }

    fn read<T: serde::de::DeserializeOwned>(spec: &Value) -> T {
        serde_json::from_value(json!({ "spec": spec })).expect("a spec")
    }

    #[test]
    fn of_sequences() {
        let sequence: SequenceManifest = read(&json!({
            "steps": [{"uri": "http://a"}, {"uri": "http://b", "delivery": {"retry": 1}}, null], "reply": {"uri": "http://r"},
        }));
        let plan = sequence.plan("s");
        assert_eq!(
            plan.channels,
            ["s-kn-sequence-0", "s-kn-sequence-1", "s-kn-sequence-2"]
        );
        assert_eq!(
            legs(&plan),
            [
                [
                    "s-kn-sequence-0",
                    "s-kn-sequence-0",
                    "spec.steps[0]",
                    "s-kn-sequence-1"
                ],
                [
                    "s-kn-sequence-1",
                    "s-kn-sequence-1",
                    "spec.steps[1]",
                    "s-kn-sequence-2"
                ],
                [
                    "s-kn-sequence-2",
                    "s-kn-sequence-2",
                    "spec.steps[2]",
                    "spec.reply"
                ],
            ]
        );
        assert_eq!(
            plan.subscriptions[1]
                .delivery
                .as_ref()
                .map(|(field, _)| field.as_str()),
            Some("spec.steps[1].delivery")
        );
        assert!(plan.subscriptions[0].delivery.is_none());
        assert_eq!(
            entry_channel_name(ResourceKind::Sequence, "s").as_deref(),
            Some("s-kn-sequence-0")
        );
        for nothing in [json!({}), json!({"steps": []}), json!({"steps": null})] {
            let nothing: SequenceManifest = read(&nothing);
            assert_eq!(nothing.plan("s").channels, ["s-kn-sequence-0"]);
            assert_eq!(nothing.missing_fields().len(), 1);
        }
    }

    #[test]
    fn of_parallels() {
        let parallel: ParallelManifest = read(&json!({
            "branches": [
                {"filter": {"uri": "http://f"}, "subscriber": {"uri": "http://a"}, "reply": {"uri": "http://own"}},
                {"subscriber": {"uri": "http://b"}, "delivery": {"retry": 2}},
                null,
            ],
            "reply": {"uri": "http://r"},
        }));
        let plan = parallel.plan("p");
        assert_eq!(
            plan.channels,
            [
                "p-kn-parallel",
                "p-kn-parallel-0",
                "p-kn-parallel-1",
                "p-kn-parallel-2"
            ]
        );
        assert_eq!(
            legs(&plan)[..4],
            [
                [
                    "p-kn-parallel",
                    "p-kn-parallel-filter-0",
                    "spec.branches[0].filter",
                    "p-kn-parallel-0"
                ],
                [
                    "p-kn-parallel-0",
                    "p-kn-parallel-0",
                    "spec.branches[0].subscriber",
                    "spec.branches[0].reply"
                ],
                [
                    "p-kn-parallel",
                    "p-kn-parallel-filter-1",
                    "p-kn-parallel-1",
                    ""
                ],
                [
                    "p-kn-parallel-1",
                    "p-kn-parallel-1",
                    "spec.branches[1].subscriber",
                    "spec.reply"
                ],
            ]
        );
        assert!(
            plan.subscriptions[3].delivery.is_some() && plan.subscriptions[2].delivery.is_none()
        );
        assert_eq!(
            entry_channel_name(ResourceKind::Parallel, "p").as_deref(),
            Some("p-kn-parallel")
        );
        assert_eq!(
            parallel.missing_fields()[0].0,
            "spec.branches[2].subscriber"
        );
        assert_eq!(
            read::<ParallelManifest>(&json!({})).missing_fields()[0].0,
            "spec.branches"
        );
    }
}
