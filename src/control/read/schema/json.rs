//! Makes JSON Schemas (draft-07, which editors read) of the kinds, from the schemas by which
//! manifests are checked.

use serde_json::{Map, Value, json};

use super::config_maps::{ConfigMapKeys, SYSTEM};
use super::guarding_fields::NARROWING;
use super::knative::{FOREIGN_TEMPLATE, TEMPLATE};
use super::{FieldShape, ObjectSchema, schema_of};
use crate::control::read::kind::ResourceKind;

mod bounds;

const DRAFT: &str = "http://json-schema.org/draft-07/schema#";

/// The names that [`json_schema`] takes: the kinds that are read, then the ConfigMaps whose keys
/// are checked.
pub(crate) fn schema_names() -> impl Iterator<Item = &'static str> {
    ResourceKind::ALL
        .into_iter()
        .map(ResourceKind::as_str)
        .chain(SYSTEM.iter().map(|keys| keys.name))
}

/// The JSON Schema of a kind, or of one of Knative's ConfigMaps by its name, whatever the case;
/// `None` for other names.
#[must_use]
pub(crate) fn json_schema(name: &str) -> Option<Value> {
    if let Some(keys) = SYSTEM
        .iter()
        .find(|keys| keys.name.eq_ignore_ascii_case(name))
    {
        return Some(config_map_schema(keys));
    }
    let kind = ResourceKind::ALL
        .into_iter()
        .find(|kind| kind.as_str().eq_ignore_ascii_case(name))?;
    Some(kind_schema(kind))
}

fn kind_schema(kind: ResourceKind) -> Value {
    let mut definitions = Map::new();
    let mut schema = json!({ "$schema": DRAFT, "title": kind.as_str() });
    merge(
        &mut schema,
        object_schema(schema_of(kind), &mut definitions),
    );
    let always = json!({
        "type": "object",
        "required": ["apiVersion", "kind", "metadata"],
        "properties": {
            "apiVersion": { "type": "string", "enum": kind.api_versions() },
            "kind": { "type": "string", "const": kind.as_str() },
            "metadata": bounds::metadata(),
        },
        "definitions": definitions,
    });
    merge(&mut schema, always);
    merge(&mut schema, bounds::of_kind(kind));
    schema
}

/// The JSON Schema of a ConfigMap of this name, with these keys and no others.
fn config_map_schema(keys: &ConfigMapKeys) -> Value {
    let mut schema = kind_schema(ResourceKind::ConfigMap);
    let text = json!({ "type": ["string", "null"] });
    let properties: Map<String, Value> = keys
        .names()
        .map(|key| (key.to_owned(), text.clone()))
        .collect();
    let beginnings = keys
        .prefixes
        .iter()
        .map(|beginning| beginning.replace('.', "\\."));
    let patterns: Map<String, Value> = beginnings
        .chain(["_".to_owned()])
        .map(|start| (format!("^{start}"), text.clone()))
        .collect();
    let data = json!({
        "type": ["object", "null"], "properties": properties, "patternProperties": patterns,
        "additionalProperties": false,
    });
    let name = json!({ "properties": { "name": { "const": keys.name } } });
    merge(
        &mut schema,
        json!({ "title": keys.name, "properties": { "data": data, "metadata": name } }),
    );
    schema
}

/// Nothing (null) is as good as absent, as in Kubernetes, but where it would let more pass.
fn object_schema(fields: &'static ObjectSchema, definitions: &mut Map<String, Value>) -> Value {
    let property = |field: &super::SchemaField| {
        let nothing = if NARROWING.contains(&field.name) {
            Nothing::Refused
        } else {
            Nothing::Taken
        };
        (
            field.name.to_owned(),
            shape_schema(field.shape, nothing, definitions),
        )
    };
    let properties: Map<String, Value> = fields.fields.iter().map(property).collect();
    let mut object = json!({ "type": ["object", "null"], "properties": properties, "additionalProperties": false });
    merge(&mut object, bounds::of(fields.name));
    object
}

/// Whether nothing may stand at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nothing {
    Taken,
    Refused,
}

impl Nothing {
    fn or(self, name: &str) -> Value {
        match self {
            Self::Taken => json!([name, "null"]),
            Self::Refused => name.into(),
        }
    }
}

fn shape_schema(
    shape: FieldShape,
    nothing: Nothing,
    definitions: &mut Map<String, Value>,
) -> Value {
    match shape {
        FieldShape::Text => json!({ "type": nothing.or("string") }),
        FieldShape::Choice(values) => {
            let null = Some(Value::Null).filter(|_| nothing == Nothing::Taken);
            json!({ "enum": values.iter().map(|value| Value::from(*value)).chain(null).collect::<Vec<_>>() })
        }
        FieldShape::Integer => json!({ "type": nothing.or("integer") }),
        FieldShape::Boolean => json!({ "type": nothing.or("boolean") }),
        FieldShape::IntegerOrText => match nothing {
            Nothing::Taken => json!({ "type": ["integer", "string", "null"] }),
            Nothing::Refused => json!({ "type": ["integer", "string"] }),
        },
        FieldShape::Any => json!({}),
        FieldShape::Conditions => json!({
            "type": nothing.or("object"),
            "additionalProperties": shape_schema(FieldShape::Text, Nothing::Refused, definitions),
        }),
        FieldShape::Map(inner) => json!({
            "type": nothing.or("object"),
            "additionalProperties": shape_schema(*inner, Nothing::Taken, definitions),
        }),
        FieldShape::List(inner) => {
            json!({ "type": nothing.or("array"), "items": shape_schema(*inner, Nothing::Refused, definitions) })
        }
        FieldShape::Object(fields) => {
            json!({ "type": nothing.or("object"), "allOf": [definition_reference(fields, definitions)] })
        }
        FieldShape::Template => {
            let mut template = template_schema(definitions);
            merge(&mut template, json!({ "type": nothing.or("object") }));
            template
        }
    }
}

/// A reference to a definition, which is added if it is missing: its name is added before its
/// fields are visited, since these may refer to it again.
fn definition_reference(
    fields: &'static ObjectSchema,
    definitions: &mut Map<String, Value>,
) -> Value {
    if !definitions.contains_key(fields.name) {
        definitions.insert(fields.name.to_owned(), Value::Null);
        let definition = object_schema(fields, definitions);
        definitions.insert(fields.name.to_owned(), definition);
    }
    json!({ "$ref": format!("#/definitions/{}", fields.name) })
}

/// The JSON Schema of a channel template: strict for the kinds that are served here, open for
/// others.
fn template_schema(definitions: &mut Map<String, Value>) -> Value {
    let ours = [
        ResourceKind::InMemoryChannel,
        ResourceKind::RabbitmqChannel,
        ResourceKind::DiskChannel,
    ]
    .map(ResourceKind::as_str);
    let mut template = json!({
        "if": { "properties": { "kind": { "enum": ours } } },
        "then": definition_reference(&TEMPLATE, definitions),
        "else": definition_reference(&FOREIGN_TEMPLATE, definitions),
    });
    merge(&mut template, with_text("kind"));
    merge(&mut template, json!({ "allOf": [with_text("apiVersion")] }));
    template
}

/// Of an object: it has this field, with a text that is not empty.
fn with_text(name: &str) -> Value {
    json!({ "required": [name], "properties": { name: { "type": "string", "minLength": 1 } } })
}

/// Adds what another schema says; where both say something, the other one goes before.
fn merge(schema: &mut Value, other: Value) {
    match (schema, other) {
        (Value::Object(schema), Value::Object(other)) => {
            for (key, value) in other {
                merge(schema.entry(key).or_insert(Value::Null), value);
            }
        }
        (schema, other) => *schema = other,
    }
}
