//! The serde mirrors of `flows.knative.dev`: Sequences and Parallels.

use serde::Deserialize;

use super::duck::{DeliverySpecManifest, DestinationManifest, ObjectMeta};
use super::messaging::ChannelTemplate;

/// A `Sequence` as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct SequenceManifest {
    #[serde(default)]
    pub(crate) metadata: ObjectMeta,
    pub(crate) spec: Option<SequenceSpec>,
}

/// The `spec` of a `Sequence`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SequenceSpec {
    pub(crate) steps: Option<Vec<Option<SequenceStep>>>,
    pub(crate) channel_template: Option<ChannelTemplate>,
    /// The destination of the events that the last step replies with.
    pub(crate) reply: Option<DestinationManifest>,
}

/// One entry of `spec.steps`: a destination, and its delivery spec.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct SequenceStep {
    #[serde(flatten)]
    pub(crate) destination: DestinationManifest,
    pub(crate) delivery: Option<DeliverySpecManifest>,
}

/// A `Parallel` as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct ParallelManifest {
    #[serde(default)]
    pub(crate) metadata: ObjectMeta,
    pub(crate) spec: Option<ParallelSpec>,
}

/// The `spec` of a `Parallel`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ParallelSpec {
    pub(crate) branches: Option<Vec<Option<ParallelBranch>>>,
    pub(crate) channel_template: Option<ChannelTemplate>,
    /// The destination of the replies of branches that have no `reply` of their own.
    pub(crate) reply: Option<DestinationManifest>,
}

/// One entry of `spec.branches`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct ParallelBranch {
    /// The filter of the branch, whose replies go on to the subscriber; without one, every event
    /// does.
    pub(crate) filter: Option<DestinationManifest>,
    pub(crate) subscriber: Option<DestinationManifest>,
    pub(crate) reply: Option<DestinationManifest>,
    pub(crate) delivery: Option<DeliverySpecManifest>,
}
