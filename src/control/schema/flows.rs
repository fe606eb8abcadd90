//! The fields of `flows.knative.dev/v1`: Sequences and Parallels (upstream's schemas of release 1.22).

use super::knative::{API_VERSION, DELIVERED, KIND, METADATA, REFERENCE, STATUS, TO};
use super::{Fields, Shape, Strictness, field, usual};

pub(super) static SEQUENCE: Fields =
    usual("Sequence", &[API_VERSION, KIND, METADATA, field("spec", Shape::Object(&SEQUENCE_SPEC)), STATUS]);
pub(super) static PARALLEL: Fields =
    usual("Parallel", &[API_VERSION, KIND, METADATA, field("spec", Shape::Object(&PARALLEL_SPEC)), STATUS]);

static SEQUENCE_SPEC: Fields = usual(
    "SequenceSpec",
    &[
        field("steps", Shape::List(&Shape::Object(&STEP))),
        field("channelTemplate", Shape::Template),
        field("reply", TO),
    ],
);

/// A destination that has a delivery spec beside it.
static STEP: Fields = usual(
    "SequenceStep",
    &[
        field("ref", Shape::Object(&REFERENCE)),
        field("uri", Shape::Text),
        field("CACerts", Shape::Text),
        field("audience", Shape::Text),
        DELIVERED,
    ],
);

static PARALLEL_SPEC: Fields = usual(
    "ParallelSpec",
    &[
        field("branches", Shape::List(&Shape::Object(&BRANCH))),
        field("channelTemplate", Shape::Template),
        field("reply", TO),
    ],
);

/// Whoever ignored a `filter` that is misspelt would let everything into the branch.
static BRANCH: Fields = Fields {
    name: "ParallelBranch",
    fields: &[field("filter", TO), field("subscriber", TO), field("reply", TO), DELIVERED],
    former: &[],
    strictness: Strictness::Always,
};
