//! JSON Schemas (draft-07, which editors read) of the kinds, made from the definitions by which manifests are checked.

use serde_json::{Map, Value, json};

use super::config_maps::{Keys, SYSTEM};
use super::knative::TEMPLATE;
use super::{Fields, Shape, TEXTS, of};
use crate::control::kind::Kind;

const DRAFT: &str = "http://json-schema.org/draft-07/schema#";

/// What [`json_schema`] knows: the kinds that are read, then the ConfigMaps whose keys are.
pub fn schema_names() -> impl Iterator<Item = &'static str> {
    Kind::ALL.into_iter().map(Kind::as_str).chain(SYSTEM.iter().map(|keys| keys.name))
}

/// The JSON Schema of a kind, or of a ConfigMap of Knative's by its name, whatever their case; `None` for others.
#[must_use]
pub fn json_schema(name: &str) -> Option<Value> {
    if let Some(keys) = SYSTEM.iter().find(|keys| keys.name.eq_ignore_ascii_case(name)) {
        return Some(of_config_map(keys));
    }
    let kind = Kind::ALL.into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(name))?;
    Some(of_kind(kind))
}

fn of_kind(kind: Kind) -> Value {
    let mut definitions = Map::new();
    let mut schema = Map::new();
    schema.insert("$schema".to_owned(), DRAFT.into());
    schema.insert("title".to_owned(), kind.as_str().into());
    let Value::Object(mut own) = object(of(kind), &mut definitions) else { return Value::Object(schema) };
    if let Some(Value::Object(properties)) = own.get_mut("properties") {
        properties.insert("apiVersion".to_owned(), json!({ "enum": kind.api_versions() }));
        properties.insert("kind".to_owned(), json!({ "const": kind.as_str() }));
    }
    own.insert("required".to_owned(), json!(["apiVersion", "kind", "metadata"]));
    schema.extend(own);
    schema.insert("definitions".to_owned(), Value::Object(definitions));
    Value::Object(schema)
}

/// A ConfigMap of this name, with these keys and no others.
fn of_config_map(keys: &Keys) -> Value {
    let mut schema = of_kind(Kind::ConfigMap);
    let text = json!({ "type": "string" });
    let properties: Map<String, Value> = keys.names().map(|key| (key.to_owned(), text.clone())).collect();
    let beginnings = keys.beginnings.iter().map(|beginning| beginning.replace('.', "\\."));
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

fn object(fields: &'static Fields, definitions: &mut Map<String, Value>) -> Value {
    let property = |field: &super::Field| (field.name.to_owned(), schema(field.shape, definitions));
    let properties: Map<String, Value> = fields.fields.iter().map(property).collect();
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

fn schema(shape: Shape, definitions: &mut Map<String, Value>) -> Value {
    match shape {
        Shape::Text => json!({ "type": "string" }),
        Shape::Choice(values) => json!({ "type": "string", "enum": values }),
        Shape::Integer => json!({ "type": "integer" }),
        Shape::Boolean => json!({ "type": "boolean" }),
        Shape::IntegerOrText => json!({ "type": ["integer", "string"] }),
        Shape::Any => json!({}),
        Shape::Conditions => schema(TEXTS, definitions),
        Shape::Map(inner) => json!({ "type": "object", "additionalProperties": schema(*inner, definitions) }),
        Shape::List(inner) => json!({ "type": "array", "items": schema(*inner, definitions) }),
        Shape::Object(fields) => reference(fields, definitions),
        Shape::Template => template(definitions),
    }
}

/// A reference to a definition, which is added where it is missing: before what is in it, since that may lead back.
fn reference(fields: &'static Fields, definitions: &mut Map<String, Value>) -> Value {
    if !definitions.contains_key(fields.name) {
        definitions.insert(fields.name.to_owned(), Value::Null);
        let definition = object(fields, definitions);
        definitions.insert(fields.name.to_owned(), definition);
    }
    json!({ "$ref": format!("#/definitions/{}", fields.name) })
}

/// Of one of our kinds, or of another one with whatever its `spec` holds.
fn template(definitions: &mut Map<String, Value>) -> Value {
    let ours = [Kind::InMemoryChannel, Kind::RabbitmqChannel].map(Kind::as_str);
    json!({
        "if": { "properties": { "kind": { "enum": ours } } },
        "then": reference(&TEMPLATE, definitions),
        "else": { "type": "object" },
    })
}
