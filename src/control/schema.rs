//! What fields the kinds have that are read: one definition of each, by which manifests are checked before anything is
//! made of them, and of which the JSON Schemas for editors are made.
//!
//! A definition holds every field of upstream's schema, those that mean nothing here included, so that what is not in it
//! is a mistake of its author. Nothing here knows what a field means.

mod annotations;
mod config_maps;
mod core;
mod examine;
mod flows;
mod json;
mod knative;
mod suggest;

pub(crate) use annotations::{ENDPOINT, examine_annotations};
pub(crate) use config_maps::{CONFIG_FEATURES, ConfigMapKeys, ConfigMapPlace, DEFAULT_TEMPLATE};
pub(crate) use core::{OBJECT_META, POD_TEMPLATE, REVISION_TEMPLATE, SERVICE_TYPES};
pub(crate) use examine::{
    PathStep, SchemaFinding, SchemaViolation, examine, format_path, template_schema, without_places,
};
pub use json::{json_schema, schema_names};
pub(crate) use knative::{BROKER_DEFAULTS, CHANNEL_DEFAULTS, former_fields_remedy};

use super::kind::ResourceKind;

/// What may stand at a place. Nothing at all (null) may stand everywhere, as in Kubernetes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FieldShape {
    /// Text.
    Text,
    /// One of these texts; whether it is one is judged by whoever reads it.
    Choice(&'static [&'static str]),
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// A whole number or text, as ports of Kubernetes are named.
    IntegerOrText,
    /// Whatever its author likes: it is not read here.
    Any,
    /// Values under names that their author chooses.
    Map(&'static FieldShape),
    /// Texts under names that their author chooses, all of which something has to have. A name without a text is a mistake:
    /// an API server drops it, and with it the condition.
    Conditions,
    /// A list.
    List(&'static FieldShape),
    /// An object with these fields and no others.
    Object(&'static ObjectSchema),
    /// A channel template, whose `spec` is that of its kind.
    Template,
}

/// The fields of an object.
#[derive(Debug)]
pub(crate) struct ObjectSchema {
    /// What it is called in JSON Schemas.
    pub(crate) name: &'static str,
    pub(crate) fields: &'static [SchemaField],
    /// Fields that earlier releases had, and what to write instead.
    pub(crate) former: &'static [(&'static str, &'static str)],
    pub(crate) strictness: UnknownFieldStrictness,
}

/// What becomes of a field that is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnknownFieldStrictness {
    /// It may be ignored, if its author wants that.
    MayBeIgnored,
    /// Whoever ignored it would let more pass than its author meant.
    NeverIgnored,
}

/// A field.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SchemaField {
    pub(crate) name: &'static str,
    pub(crate) shape: FieldShape,
}

impl ObjectSchema {
    /// The field of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&'static SchemaField> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The names of all.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> + Clone {
        self.fields.iter().map(|field| field.name)
    }
}

/// A field of this name and shape.
const fn schema_field(name: &'static str, shape: FieldShape) -> SchemaField {
    SchemaField { name, shape }
}

/// Fields of which none was ever another, and which may be ignored if they are not known.
const fn object_schema(name: &'static str, fields: &'static [SchemaField]) -> ObjectSchema {
    ObjectSchema { name, fields, former: &[], strictness: UnknownFieldStrictness::MayBeIgnored }
}

/// Texts under names that their author chooses.
const TEXTS: FieldShape = FieldShape::Map(&FieldShape::Text);
/// A list of texts.
const LIST_OF_TEXTS: FieldShape = FieldShape::List(&FieldShape::Text);

/// The fields of a kind.
pub(crate) fn schema_of(kind: ResourceKind) -> &'static ObjectSchema {
    match kind {
        ResourceKind::Broker => &knative::BROKER,
        ResourceKind::Trigger => &knative::TRIGGER,
        ResourceKind::EventPolicy => &knative::EVENT_POLICY,
        ResourceKind::RequestReply => &knative::REQUEST_REPLY,
        ResourceKind::Channel => &knative::CHANNEL,
        ResourceKind::InMemoryChannel => &knative::IN_MEMORY_CHANNEL,
        ResourceKind::RabbitmqChannel => &knative::RABBITMQ_CHANNEL,
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

/// Whether no object has a field of this name in its `metadata`.
pub(crate) fn is_unknown_metadata(key: &str) -> bool {
    core::OBJECT_META.get(key).is_none()
}

#[cfg(test)]
mod tests;
