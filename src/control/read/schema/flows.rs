//! The fields of `flows.knative.dev/v1`: Sequences and Parallels (upstream's schemas of release
//! 1.22).

use super::knative::{API_VERSION, DELIVERED, KIND, METADATA, REFERENCE, STATUS, TO};
use super::{FieldShape, ObjectSchema, UnknownFieldStrictness, object_schema, schema_field};

pub(super) static SEQUENCE: ObjectSchema = object_schema(
    "Sequence",
    &[
        API_VERSION,
        KIND,
        METADATA,
        schema_field("spec", FieldShape::Object(&SEQUENCE_SPEC)),
        STATUS,
    ],
);
pub(super) static PARALLEL: ObjectSchema = object_schema(
    "Parallel",
    &[
        API_VERSION,
        KIND,
        METADATA,
        schema_field("spec", FieldShape::Object(&PARALLEL_SPEC)),
        STATUS,
    ],
);

static SEQUENCE_SPEC: ObjectSchema = object_schema(
    "SequenceSpec",
    &[
        schema_field("steps", FieldShape::List(&FieldShape::Object(&STEP))),
        schema_field("channelTemplate", FieldShape::Template),
        schema_field("reply", TO),
    ],
);

/// A step of a Sequence: a destination with a delivery spec beside it.
static STEP: ObjectSchema = object_schema(
    "SequenceStep",
    &[
        schema_field("ref", FieldShape::Object(&REFERENCE)),
        schema_field("uri", FieldShape::Text),
        schema_field("CACerts", FieldShape::Text),
        schema_field("audience", FieldShape::Text),
        DELIVERED,
    ],
);

static PARALLEL_SPEC: ObjectSchema = object_schema(
    "ParallelSpec",
    &[
        schema_field("branches", FieldShape::List(&FieldShape::Object(&BRANCH))),
        schema_field("channelTemplate", FieldShape::Template),
        schema_field("reply", TO),
    ],
);

/// A branch of a Parallel. Its unknown fields are never ignored: without a `filter` that is
/// misspelled, every event would go into the branch.
static BRANCH: ObjectSchema = ObjectSchema {
    name: "ParallelBranch",
    fields: &[
        schema_field("filter", TO),
        schema_field("subscriber", TO),
        schema_field("reply", TO),
        DELIVERED,
    ],
    former: &[],
    strictness: UnknownFieldStrictness::NeverIgnored,
};
