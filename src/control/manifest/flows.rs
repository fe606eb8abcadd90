//! `flows.knative.dev`: Sequences and Parallels.

use serde::Deserialize;

use super::duck::{DeliverySpec, Destination, Metadata};
use super::messaging::ChannelTemplate;

/// `Sequence`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Sequence {
    #[serde(default)]
    pub(crate) metadata: Metadata,
    pub(crate) spec: Option<SequenceSpec>,
}

/// `spec` of a `Sequence`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SequenceSpec {
    pub(crate) steps: Option<Vec<Option<Step>>>,
    pub(crate) channel_template: Option<ChannelTemplate>,
    /// Who gets what the last step answers with.
    pub(crate) reply: Option<Destination>,
}

/// One of `spec.steps`: a destination, and how it is delivered to.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Step {
    #[serde(flatten)]
    pub(crate) destination: Destination,
    pub(crate) delivery: Option<DeliverySpec>,
}

/// `Parallel`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Parallel {
    #[serde(default)]
    pub(crate) metadata: Metadata,
    pub(crate) spec: Option<ParallelSpec>,
}

/// `spec` of a `Parallel`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ParallelSpec {
    pub(crate) branches: Option<Vec<Option<Branch>>>,
    pub(crate) channel_template: Option<ChannelTemplate>,
    /// Who gets what the branches answer with that have no `reply` of their own.
    pub(crate) reply: Option<Destination>,
}

/// One of `spec.branches`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Branch {
    /// What it answers with goes on to the subscriber; without one, everything does.
    pub(crate) filter: Option<Destination>,
    pub(crate) subscriber: Option<Destination>,
    pub(crate) reply: Option<Destination>,
    pub(crate) delivery: Option<DeliverySpec>,
}
