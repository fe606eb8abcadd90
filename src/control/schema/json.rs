//! Makes JSON Schemas (draft-07, which editors read) of the kinds, from the schemas by which
//! manifests are checked.

use serde_json::{Map, Value, json};

use super::config_maps::{ConfigMapKeys, SYSTEM};
use super::knative::TEMPLATE;
use super::{FieldShape, ObjectSchema, TEXTS, schema_of};
use crate::control::kind::ResourceKind;

const DRAFT: &str = "http://json-schema.org/draft-07/schema#";

/// The names that [`json_schema`] takes: the kinds that are read, then the ConfigMaps whose keys
/// are checked.
pub fn schema_names() -> impl Iterator<Item = &'static str> {
    ResourceKind::ALL.into_iter().map(ResourceKind::as_str).chain(SYSTEM.iter().map(|keys| keys.name))
}

/// The JSON Schema of a kind, or of one of Knative's ConfigMaps by its name, whatever the case;
/// `None` for other names.
#[must_use]
pub fn json_schema(name: &str) -> Option<Value> {
    if let Some(keys) = SYSTEM.iter().find(|keys| keys.name.eq_ignore_ascii_case(name)) {
        return Some(config_map_schema(keys));
    }
    let kind = ResourceKind::ALL.into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(name))?;
    Some(kind_schema(kind))
}

fn kind_schema(kind: ResourceKind) -> Value {
    let mut definitions = Map::new();
    let mut schema = Map::new();
    schema.insert("$schema".to_owned(), DRAFT.into());
    schema.insert("title".to_owned(), kind.as_str().into());
    let Value::Object(mut own) = object_schema(schema_of(kind), &mut definitions) else { return Value::Object(schema) };
    if let Some(Value::Object(properties)) = own.get_mut("properties") {
        properties.insert("apiVersion".to_owned(), json!({ "enum": kind.api_versions() }));
        properties.insert("kind".to_owned(), json!({ "const": kind.as_str() }));
    }
    own.insert("required".to_owned(), json!(["apiVersion", "kind", "metadata"]));
    schema.extend(own);
    schema.insert("definitions".to_owned(), Value::Object(definitions));
    Value::Object(schema)
}

/// The JSON Schema of a ConfigMap of this name, with these keys and no others.
fn config_map_schema(keys: &ConfigMapKeys) -> Value {
    let mut schema = kind_schema(ResourceKind::ConfigMap);
    let text = json!({ "type": "string" });
    let properties: Map<String, Value> = keys.names().map(|key| (key.to_owned(), text.clone())).collect();
    let beginnings = keys.prefixes.iter().map(|beginning| beginning.replace('.', "\\."));
    let patterns: Map<String, Value> =
        beginnings.chain(["_".to_owned()]).map(|start| (format!("^{start}"), text.clone())).collect();
    let data = json!({
        "type": "object", "properties": properties, "patternProperties": patterns, "additionalProperties": false,
    });
    if let Some(place) = schema.pointer_mut("/properties/data") {
        *place = data;
    }
    if let Some(Value::Object(own)) = schema.pointer_mut("/properties") {
        own.insert("metadata".to_owned(), json!({ "properties": { "name": { "const": keys.name } } }));
    }
    if let Value::Object(own) = &mut schema {
        own.insert("title".to_owned(), keys.name.into());
    }
    schema
}

fn object_schema(fields: &'static ObjectSchema, definitions: &mut Map<String, Value>) -> Value {
    let property = |field: &super::SchemaField| (field.name.to_owned(), shape_schema(field.shape, definitions));
    let properties: Map<String, Value> = fields.fields.iter().map(property).collect();
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

fn shape_schema(shape: FieldShape, definitions: &mut Map<String, Value>) -> Value {
    match shape {
        FieldShape::Text => json!({ "type": "string" }),
        FieldShape::Choice(values) => json!({ "type": "string", "enum": values }),
        FieldShape::Integer => json!({ "type": "integer" }),
        FieldShape::Boolean => json!({ "type": "boolean" }),
        FieldShape::IntegerOrText => json!({ "type": ["integer", "string"] }),
        FieldShape::Any => json!({}),
        FieldShape::Conditions => shape_schema(TEXTS, definitions),
        FieldShape::Map(inner) => {
            json!({ "type": "object", "additionalProperties": shape_schema(*inner, definitions) })
        }
        FieldShape::List(inner) => json!({ "type": "array", "items": shape_schema(*inner, definitions) }),
        FieldShape::Object(fields) => definition_reference(fields, definitions),
        FieldShape::Template => template_schema(definitions),
    }
}

/// A reference to a definition, which is added if it is missing: its name is added before its
/// fields are visited, since these may refer to it again.
fn definition_reference(fields: &'static ObjectSchema, definitions: &mut Map<String, Value>) -> Value {
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
    let ours = [ResourceKind::InMemoryChannel, ResourceKind::RabbitmqChannel].map(ResourceKind::as_str);
    json!({
        "if": { "properties": { "kind": { "enum": ours } } },
        "then": definition_reference(&TEMPLATE, definitions),
        "else": { "type": "object" },
    })
}
