//! `flows.knative.dev`: Sequences and Parallels.

use serde::Deserialize;

use super::duck::{DeliverySpecManifest, DestinationManifest, ObjectMeta};
use super::messaging::ChannelTemplate;

/// `Sequence`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct SequenceManifest {
    #[serde(default)]
    pub(crate) metadata: ObjectMeta,
    pub(crate) spec: Option<SequenceSpec>,
}

/// `spec` of a `Sequence`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SequenceSpec {
    pub(crate) steps: Option<Vec<Option<SequenceStep>>>,
    pub(crate) channel_template: Option<ChannelTemplate>,
    /// Who gets what the last step answers with.
    pub(crate) reply: Option<DestinationManifest>,
}

/// One of `spec.steps`: a destination, and how it is delivered to.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct SequenceStep {
    #[serde(flatten)]
    pub(crate) destination: DestinationManifest,
    pub(crate) delivery: Option<DeliverySpecManifest>,
}

/// `Parallel`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct ParallelManifest {
    #[serde(default)]
    pub(crate) metadata: ObjectMeta,
    pub(crate) spec: Option<ParallelSpec>,
}

/// `spec` of a `Parallel`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ParallelSpec {
    pub(crate) branches: Option<Vec<Option<ParallelBranch>>>,
    pub(crate) channel_template: Option<ChannelTemplate>,
    /// Who gets what the branches answer with that have no `reply` of their own.
    pub(crate) reply: Option<DestinationManifest>,
}

/// One of `spec.branches`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct ParallelBranch {
    /// What it answers with goes on to the subscriber; without one, everything does.
    pub(crate) filter: Option<DestinationManifest>,
    pub(crate) subscriber: Option<DestinationManifest>,
    pub(crate) reply: Option<DestinationManifest>,
    pub(crate) delivery: Option<DeliverySpecManifest>,
}
