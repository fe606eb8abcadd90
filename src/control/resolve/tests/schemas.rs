//! The JSON Schemas for editors say the same as `check`: each field of the full objects of the
//! fixtures in turn is replaced by something else, and both are asked.

use std::collections::{BTreeSet, HashMap};
use std::sync::{LazyLock, Mutex};

use serde_json::{Value, json};

use super::*;
use crate::control::read::document::{ManifestDocument, ManifestFile};
use crate::control::read::schema::finding::{PathStep, format_path};
use crate::control::read::schema::json_schema;

const WHOLE: &str = include_str!("../../../../tests/fixtures/manifests/warned/whole.yaml");

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
        "pattern" => value.as_str().is_none_or(|text| matches(wanted, text)),
        "maxLength" => value
            .as_str()
            .is_none_or(|text| text.len() as u64 <= wanted.as_u64().expect("a number")),
        "propertyNames" => value
            .as_object()
            .is_none_or(|map| map.keys().all(|key| matches(&wanted["pattern"], key))),
        "properties" | "additionalProperties" => members(schema, value, root),
        "then" | "else" | "$schema" | "title" | "definitions" | "description" => true,
        other => panic!("{other} is not known here"),
    })
}

fn matches(pattern: &Value, text: &str) -> bool {
    static KNOWN: LazyLock<Mutex<HashMap<String, regex::Regex>>> = LazyLock::new(Mutex::default);
    let mut known = KNOWN.lock().expect("the patterns");
    let made = known.entry(pattern.to_string());
    made.or_insert_with(|| regex::Regex::new(pattern.as_str().expect("text")).expect("a pattern"))
        .is_match(text)
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
    let renamed = value["metadata"]["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let names = ["", name, &renamed];
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
            ["", kind].contains(&&*object.kind) && names.contains(&&*object.name)
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

/// Texts that have a form: names, namespaces and durations.
#[test]
fn schemas_and_check_agree_on_the_form_of_texts() {
    let whole = parse_file("whole.yaml", WHOLE, [0; 32], None);
    let [long, longest, longer] = [254, 230, 64].map(|length| "a".repeat(length));
    let names = [
        "<broker-name>",
        "${NAME}",
        "A",
        "a_b",
        "-a",
        "a-",
        "a..b",
        "a.b",
        "0",
        "a-b.c-0",
        &long,
        &longest,
        "ä",
    ];
    let namespaces = ["<namespace>", "Team", "a.b", "-a", "a-", &long, &longer, ""];
    let durations = [
        "soon",
        "1s",
        "PT",
        "P",
        "PT1",
        "PT1S1M",
        "P1D",
        "P1DT",
        "PT1.S",
        "PT.5S",
        "PT0,5S",
        "P1Y2M3W4DT5H6M7.5S",
        "+PT1S",
        "-PT1S",
        "P0",
        "P00",
        "PT1.5.5S",
        "pt1s",
        "PT1s",
        "P1H",
        "PT1D",
        "P1M",
        "PT1M",
        "P2WT3H",
        " PT1S",
        "PT1S\n",
    ];
    let mut asked = 0;
    for (index, document) in whole.documents.iter().enumerate() {
        let schema = json_schema(document.text(&["kind"]).expect("a kind")).expect("a schema");
        let mut found = Vec::new();
        places(&document.value, &[], &mut found);
        for at in found {
            let field = format_path(&at);
            let texts = match field.rsplit('.').next().expect("a field") {
                _ if field == "metadata.name" => &names[..],
                _ if field == "metadata.namespace" => &namespaces,
                "backoffDelay" | "backoffMax" | "retryAfterMax" => &durations,
                "timeout" if field.ends_with("elivery.timeout") => &durations,
                _ => continue,
            };
            for text in texts {
                let value = replaced(&document.value, &at, &json!(text));
                let said = is_taken(&whole.documents, index, value.clone()).err();
                let of_it = said.filter(|said| {
                    said.contains(&format!(": {field}: ")) && !said.contains(" is taken at ")
                });
                assert_eq!(
                    takes(&schema, &value, &schema),
                    of_it.is_none(),
                    "{field}: {text:?}: {of_it:?}"
                );
                asked += 1;
            }
        }
    }
    assert!(asked > 400, "{asked}");
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
