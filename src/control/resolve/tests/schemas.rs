//! The JSON Schemas for editors say the same as `check`: each field of the full objects of the
//! fixtures in turn is replaced by something else, and both are asked.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::control::read::manifest::{ManifestDocument, ManifestFile};
use crate::control::read::schema::examine::{PathStep, format_path};
use crate::control::read::schema::json_schema;

const WHOLE: &str = include_str!("../../../../tests/fixtures/manifests/right/whole.yaml");

/// What only the resolver can know, by kind, field and value: the schema takes it, and `check` does
/// not.
const KNOWN_TO_THE_RESOLVER: [(&str, &str, &str); 3] = [
    // Which annotation means something is not known to the schema.
    (
        "Service",
        "metadata.annotations.sealpost.dev/endpoint",
        "\"\"",
    ),
    // Whether there is an object of these labels.
    (
        "EventPolicy",
        "spec.to[1].selector.matchLabels.team",
        "\"\"",
    ),
    // The text holds YAML: an empty one has no kind.
    ("ConfigMap", "data.channel-template-spec", "\"\""),
];

/// Whether a JSON Schema takes a value: of draft-07 what the schemas use.
fn takes(schema: &Value, value: &Value, root: &Value) -> bool {
    let Some(rules) = schema.as_object() else {
        return schema != false;
    };
    rules.iter().all(|(rule, wanted)| match rule.as_str() {
        "$ref" => takes(
            root.pointer(wanted.as_str().expect("text").trim_start_matches('#'))
                .expect("it"),
            value,
            root,
        ),
        "type" => match wanted {
            Value::Array(types) => types.iter().any(|of| is_of(of, value)),
            of => is_of(of, value),
        },
        "enum" => wanted.as_array().expect("a list").contains(value),
        "const" => wanted == value,
        "minimum" => value
            .as_i64()
            .is_none_or(|number| number >= wanted.as_i64().expect("a number")),
        "minLength" => value
            .as_str()
            .is_none_or(|text| text.len() as u64 >= wanted.as_u64().expect("a number")),
        "minItems" => value
            .as_array()
            .is_none_or(|list| list.len() as u64 >= wanted.as_u64().expect("a number")),
        "minProperties" => value
            .as_object()
            .is_none_or(|map| map.len() as u64 >= wanted.as_u64().expect("a number")),
        "maxProperties" => value
            .as_object()
            .is_none_or(|map| map.len() as u64 <= wanted.as_u64().expect("a number")),
        "required" => value.as_object().is_none_or(|map| {
            wanted
                .as_array()
                .expect("a list")
                .iter()
                .all(|name| map.contains_key(name.as_str().expect("text")))
        }),
        "items" => value
            .as_array()
            .is_none_or(|list| list.iter().all(|item| takes(wanted, item, root))),
        "allOf" => wanted
            .as_array()
            .expect("a list")
            .iter()
            .all(|schema| takes(schema, value, root)),
        "anyOf" => wanted
            .as_array()
            .expect("a list")
            .iter()
            .any(|schema| takes(schema, value, root)),
        "not" => !takes(wanted, value, root),
        "if" => takes(
            &schema[if takes(wanted, value, root) {
                "then"
            } else {
                "else"
            }],
            value,
            root,
        ),
        "pattern" => value.as_str().is_none_or(|text| {
            assert_eq!(wanted, "^[A-Za-z][A-Za-z0-9+.-]*:");
            text.split_once(':')
                .is_some_and(|(scheme, _)| !scheme.is_empty() && !scheme.contains('/'))
        }),
        "propertyNames" => value.as_object().is_none_or(|map| {
            let pattern = regex(wanted["pattern"].as_str().expect("a pattern"));
            map.keys().all(|key| pattern(key))
        }),
        "properties" | "additionalProperties" => members(schema, value, root),
        "then" | "else" | "$schema" | "title" | "definitions" | "description" => true,
        other => panic!("{other} is not known here"),
    })
}

/// The pattern of names of attributes.
fn regex(pattern: &str) -> impl Fn(&str) -> bool {
    assert_eq!(pattern, "^[a-z][a-z0-9]*$");
    |text: &str| {
        text.starts_with(|first: char| first.is_ascii_lowercase())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    }
}

fn members(schema: &Value, value: &Value, root: &Value) -> bool {
    let mut map = value.as_object().into_iter().flatten();
    map.all(|(key, value)| match schema["properties"].get(key) {
        Some(schema) => takes(schema, value, root),
        None => schema
            .get("additionalProperties")
            .is_none_or(|others| takes(others, value, root)),
    })
}

fn is_of(name: &Value, value: &Value) -> bool {
    match name.as_str().expect("a type") {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "integer" => value.is_i64(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{other} is no type"),
    }
}

/// The place of everything in a value, but for what is free.
fn places(value: &Value, at: &[PathStep], found: &mut Vec<Vec<PathStep>>) {
    let inside: Vec<(PathStep, &Value)> = match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (PathStep::Key(key.clone()), value))
            .collect(),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .map(|(index, value)| (PathStep::Index(index), value))
            .collect(),
        _ => return,
    };
    for (step, value) in inside {
        let at = [at, &[step]].concat();
        places(value, &at, found);
        found.push(at);
    }
}

fn replaced(value: &Value, at: &[PathStep], by: &Value) -> Value {
    let mut changed = value.clone();
    let place = at.iter().fold(&mut changed, |value, step| match step {
        PathStep::Key(key) => &mut value[key.as_str()],
        PathStep::Index(index) => &mut value[*index],
    });
    *place = by.clone();
    changed
}

/// Whether `check` has no error of this object, which stands among others.
fn is_taken(documents: &[ManifestDocument], index: usize, value: Value) -> Result<(), String> {
    let before = documents[index].value.clone();
    let (kind, name) = (
        before["kind"].as_str().expect("kind"),
        before["metadata"]["name"].as_str().expect("name"),
    );
    let mut documents = documents.to_vec();
    documents[index].value = Arc::new(value);
    let file = ManifestFile {
        documents: Arc::new(documents),
        ..ManifestFile::from_object(Value::Null)
    };
    let alone = ControlSettings {
        api_server: crate::control::ApiServerAvailability::Missing,
        ..request_replies::settings_with_seed()
    };
    let resolution = resolve(
        &ManifestSet {
            files: vec![Arc::new(file)],
            problems: Vec::new(),
        },
        None,
        &alone,
    );
    let is_of_it = |problem: &&Problem| {
        let object = problem.object.as_ref();
        object.is_none_or(|object| {
            ["", kind].contains(&&*object.kind) && ["", name].contains(&&*object.name)
        })
    };
    let mut errors = resolution
        .problems
        .iter()
        .filter(|problem| problem.is_error())
        .filter(is_of_it);
    errors
        .next()
        .map_or(Ok(()), |problem| Err(problem.to_string()))
}

#[test]
fn schemas_and_check_agree() {
    let whole = parse_file("whole.yaml", WHOLE, [0; 32], None);
    assert_eq!(whole.problems, []);
    let (mut asked, mut different) = (0, BTreeSet::new());
    for (index, document) in whole.documents.iter().enumerate() {
        let kind = document.text(&["kind"]).expect("a kind");
        let schema = json_schema(kind).expect("a schema");
        assert!(takes(&schema, &document.value, &schema), "{kind}");
        let mut found = Vec::new();
        places(&document.value, &[], &mut found);
        for at in found {
            for by in [json!(null), json!(-1), json!([]), json!(""), json!({})] {
                let value = replaced(&document.value, &at, &by);
                let (by_schema, by_check) = (
                    takes(&schema, &value, &schema),
                    is_taken(&whole.documents, index, value),
                );
                asked += 1;
                if by_schema != by_check.is_ok() {
                    let said = by_check.err().unwrap_or_default();
                    different.insert((kind.to_owned(), format_path(&at), by.to_string(), said));
                }
            }
        }
    }
    let found: BTreeSet<_> = different
        .iter()
        .map(|(kind, at, by, said)| (&**kind, &**at, &**by, said.is_empty()))
        .collect();
    let known: BTreeSet<_> = KNOWN_TO_THE_RESOLVER
        .iter()
        .map(|(kind, at, by)| (*kind, *at, *by, false))
        .collect();
    assert!(asked > 1000, "{asked}");
    assert_eq!(found, known, "{different:#?}");
}
