//! The fields of the kinds that are read: one definition of each, by which manifests are checked
//! before anything is made of them, and of which the JSON Schemas for editors are made.
//!
//! A definition holds every field of upstream's schema, those that have no meaning here included,
//! so that a field which is not in it is a mistake of its author. Nothing here knows what a field
//! means.

pub(crate) mod annotations;
pub(crate) mod config_maps;
pub(crate) mod core;
mod describe;
pub(crate) mod examine;
pub(crate) mod finding;
mod flows;
mod guarding_fields;
mod json;
pub(crate) mod knative;
mod suggest;

pub(crate) use json::{json_schema, schema_names};

use super::kind::ResourceKind;

/// The values that may stand in a field. Null may stand everywhere, as in Kubernetes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FieldShape {
    /// A text of any content.
    Text,
    /// One of these texts; whoever reads the field judges whether the text is one of them.
    Choice(&'static [&'static str]),
    /// A whole number of any size.
    Integer,
    /// A boolean: `true` or `false`.
    Boolean,
    /// A whole number or text, as ports of Kubernetes are named.
    IntegerOrText,
    /// A value of any shape, which is not read here.
    Any,
    /// Values under keys that their author chooses.
    Map(&'static FieldShape),
    /// Texts under keys that their author chooses, all of which an event has to have. A key without
    /// a text is a mistake: an API server drops it, and with it the condition.
    Conditions,
    /// A list of values of one shape.
    List(&'static FieldShape),
    /// An object with these fields and no others.
    Object(&'static ObjectSchema),
    /// A channel template, whose `spec` has the schema of its kind.
    Template,
}

/// The fields of an object, by which it is checked.
#[derive(Debug)]
pub(crate) struct ObjectSchema {
    /// The name of the definition in JSON Schemas.
    pub(crate) name: &'static str,
    pub(crate) fields: &'static [SchemaField],
    /// The fields that earlier releases had, and what to write instead.
    pub(crate) former: &'static [(&'static str, &'static str)],
    /// Says if unknown fields of this object may be ignored.
    pub(crate) strictness: UnknownFieldStrictness,
}

/// The treatment of a field that is in no schema, by the object that it stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnknownFieldStrictness {
    /// The field may be ignored, if the user's flag says so.
    MayBeIgnored,
    /// The field is never ignored: without it, the object would let more events pass than its
    /// author meant.
    NeverIgnored,
}

/// A field of an object, with the shape of its values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SchemaField {
    pub(crate) name: &'static str,
    /// The shape of the field's values.
    pub(crate) shape: FieldShape,
}

impl ObjectSchema {
    /// The field of this name; `None` if the schema has none.
    pub(crate) fn get(&self, name: &str) -> Option<&'static SchemaField> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The names of all fields, in the order of the schema.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> + Clone {
        self.fields.iter().map(|field| field.name)
    }
}

/// A field of this name and shape.
const fn schema_field(name: &'static str, shape: FieldShape) -> SchemaField {
    SchemaField { name, shape }
}

/// A schema without former fields, whose unknown fields may be ignored.
const fn object_schema(name: &'static str, fields: &'static [SchemaField]) -> ObjectSchema {
    ObjectSchema {
        name,
        fields,
        former: &[],
        strictness: UnknownFieldStrictness::MayBeIgnored,
    }
}

/// Texts under keys that their author chooses.
const TEXTS: FieldShape = FieldShape::Map(&FieldShape::Text);
/// A list of texts of any content.
const LIST_OF_TEXTS: FieldShape = FieldShape::List(&FieldShape::Text);

/// The schema of a kind's objects.
pub(crate) fn schema_of(kind: ResourceKind) -> &'static ObjectSchema {
    match kind {
        ResourceKind::Broker => &knative::BROKER,
        ResourceKind::Trigger => &knative::TRIGGER,
        ResourceKind::EventPolicy => &knative::EVENT_POLICY,
        ResourceKind::RequestReply => &knative::REQUEST_REPLY,
        ResourceKind::Channel => &knative::CHANNEL,
        ResourceKind::InMemoryChannel => &knative::IN_MEMORY_CHANNEL,
        ResourceKind::RabbitmqChannel => &knative::RABBITMQ_CHANNEL,
        ResourceKind::DiskChannel => &knative::DISK_CHANNEL,
        ResourceKind::Subscription => &knative::SUBSCRIPTION,
        ResourceKind::Sequence => &flows::SEQUENCE,
        ResourceKind::Parallel => &flows::PARALLEL,
        ResourceKind::PingSource => &knative::PING_SOURCE,
        ResourceKind::ConfigMap => &core::CONFIG_MAP,
        ResourceKind::Secret => &core::SECRET,
        ResourceKind::Service => &core::SERVICE,
        ResourceKind::Pod => &core::POD,
        ResourceKind::EndpointSlice => &core::ENDPOINT_SLICE,
    }
}

/// True if no object has a field of this name in its `metadata`.
pub(crate) fn is_unknown_metadata(key: &str) -> bool {
    core::OBJECT_META.get(key).is_none()
}

#[cfg(test)]
mod tests;
