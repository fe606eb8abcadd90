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
mod near;

pub(crate) use annotations::{ENDPOINT, examine as examine_annotations};
pub(crate) use config_maps::{CONFIG_FEATURES, DEFAULT_TEMPLATE, Keys, Place};
pub(crate) use core::{OBJECT_META, POD_TEMPLATE, REVISION_TEMPLATE, SERVICE_TYPES};
pub(crate) use examine::{Finding, Step, What, examine, path, template, without};
pub use json::{json_schema, schema_names};
pub(crate) use knative::{BROKER_DEFAULTS, CHANNEL_DEFAULTS, legacy};

use super::kind::Kind;

/// What may stand at a place. Nothing at all (null) may stand everywhere, as in Kubernetes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
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
    Map(&'static Shape),
    /// Texts under names that their author chooses, all of which something has to have. A name without a text is a mistake:
    /// an API server drops it, and with it the condition.
    Conditions,
    /// A list.
    List(&'static Shape),
    /// An object with these fields and no others.
    Object(&'static Fields),
    /// A channel template, whose `spec` is that of its kind.
    Template,
}

/// The fields of an object.
#[derive(Debug)]
pub(crate) struct Fields {
    /// What it is called in JSON Schemas.
    pub(crate) name: &'static str,
    pub(crate) fields: &'static [Field],
    /// Fields that earlier releases had, and what to write instead.
    pub(crate) former: &'static [(&'static str, &'static str)],
    pub(crate) strictness: Strictness,
}

/// What becomes of a field that is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// It may be ignored, if its author wants that.
    Usual,
    /// Whoever ignored it would let more pass than its author meant.
    Always,
}

/// A field.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
}

impl Fields {
    /// The field of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The names of all.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> + Clone {
        self.fields.iter().map(|field| field.name)
    }
}

/// A field of this name and shape.
const fn field(name: &'static str, shape: Shape) -> Field {
    Field { name, shape }
}

/// Fields of which none was ever another, and which may be ignored if they are not known.
const fn usual(name: &'static str, fields: &'static [Field]) -> Fields {
    Fields { name, fields, former: &[], strictness: Strictness::Usual }
}

/// Texts under names that their author chooses.
const TEXTS: Shape = Shape::Map(&Shape::Text);
/// A list of texts.
const LIST_OF_TEXTS: Shape = Shape::List(&Shape::Text);

/// The fields of a kind.
pub(crate) fn of(kind: Kind) -> &'static Fields {
    match kind {
        Kind::Broker => &knative::BROKER,
        Kind::Trigger => &knative::TRIGGER,
        Kind::EventPolicy => &knative::EVENT_POLICY,
        Kind::RequestReply => &knative::REQUEST_REPLY,
        Kind::Channel => &knative::CHANNEL,
        Kind::InMemoryChannel => &knative::IN_MEMORY_CHANNEL,
        Kind::RabbitmqChannel => &knative::RABBITMQ_CHANNEL,
        Kind::Subscription => &knative::SUBSCRIPTION,
        Kind::Sequence => &flows::SEQUENCE,
        Kind::Parallel => &flows::PARALLEL,
        Kind::PingSource => &knative::PING_SOURCE,
        Kind::ConfigMap => &core::CONFIG_MAP,
        Kind::Secret => &core::SECRET,
        Kind::Service => &core::SERVICE,
        Kind::Pod => &core::POD,
        Kind::EndpointSlice => &core::ENDPOINT_SLICE,
    }
}

/// Whether no object has a field of this name in its `metadata`.
pub(crate) fn is_unknown_metadata(key: &str) -> bool {
    core::OBJECT_META.get(key).is_none()
}

#[cfg(test)]
mod tests;
