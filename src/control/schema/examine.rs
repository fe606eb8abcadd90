//! Compares a value with its schema, and finds every violation, in the order in which the value is
//! written.

use serde_json::{Map, Value};

use super::knative::{FOREIGN_TEMPLATE, TEMPLATE};
use super::suggest::{self, FieldSuggestion};
use super::{FieldShape, ObjectSchema, UnknownFieldStrictness};
use crate::control::kind::ResourceKind;
use crate::control::manifest::spelling;
use crate::control::yaml::NO_TEXT;

/// The fields that narrow what passes: without them, more events pass.
pub(super) const NARROWING: [&str; 5] = ["filter", "filters", "attributes", "to", "matchLabels"];
/// The fields that say who is believed and who is meant: without them, others are trusted or addressed
/// than was meant, and a policy misses what it selects by labels.
const TRUSTING: [&str; 10] = [
    "CACerts",
    "audience",
    "subscriberCACerts",
    "subscriberAudience",
    "replyCACerts",
    "replyAudience",
    "serviceAccountName",
    "serviceAccountNames",
    "namespace",
    "labels",
];
/// The parts of words by which a field is known to narrow or to carry trust, however it is named.
const GUARDING_PARTS: [&str; 4] = ["filter", "attr", "cert", "audienc"];
/// The fields that nobody begins to write and means to leave out.
const MEANT: [&str; 14] = [
    "deadLetterSink",
    "reply",
    "channelTemplate",
    "delivery",
    "retry",
    "backoffPolicy",
    "backoffDelay",
    "backoffMax",
    "timeout",
    "retryAfterMax",
    "format",
    "from",
    "brokerClass",
    "brokerClasses",
];
/// The fields of which the same is true in one object only, each with the schema of that.
const MEANT_IN: [(&str, &[&str]); 5] = [
    ("EventPolicy", &["spec"]),
    ("ChannelDefaults", &["clusterDefault", "namespaceDefaults"]),
    ("BrokerDefaults", &["clusterDefault", "namespaceDefaults"]),
    ("BrokerDefault", &["apiVersion", "kind", "name", "namespace"]),
    ("BrokerConfig", &["apiVersion", "kind", "name", "namespace"]),
];

/// One step of the path from an object to one of its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PathStep {
    /// The field of this name.
    Key(String),
    /// The element at this index, from 0.
    Index(usize),
}

/// One violation of a schema, and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SchemaFinding {
    pub(crate) path: Vec<PathStep>,
    pub(crate) violation: SchemaViolation,
}

/// The kind of violation at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SchemaViolation {
    /// The object has no field of this name.
    UnknownField {
        /// The message, with a remedy.
        message: String,
        /// The field of the same object that is probably meant; `None` if it is another one, or
        /// none.
        meant: Option<&'static str>,
        /// Says if the field may be ignored.
        strictness: UnknownFieldStrictness,
    },
    /// The value is of a type that the field does not have.
    WrongType { message: String },
    /// The value is null, where somebody probably meant one. An API server treats it as if the
    /// field were missing.
    Null { message: &'static str, is_harmless: bool },
}

/// Finds everything that is wrong with an object of this schema.
pub(crate) fn examine(value: &Value, fields: &'static ObjectSchema) -> Vec<SchemaFinding> {
    let mut examiner = SchemaExaminer { root: fields, at: Vec::new(), found: Vec::new() };
    examiner.visit(value, FieldShape::Object(fields));
    examiner.found
}

struct SchemaExaminer {
    root: &'static ObjectSchema,
    /// The path of the value that is examined now.
    at: Vec<PathStep>,
    found: Vec<SchemaFinding>,
}

impl SchemaExaminer {
    fn visit(&mut self, value: &Value, shape: FieldShape) {
        match (shape, value) {
            (_, Value::Null) | (FieldShape::Any, _) => {}
            (FieldShape::Text | FieldShape::Choice(_), Value::String(_)) | (FieldShape::Boolean, Value::Bool(_)) => {}
            (FieldShape::Integer, Value::Number(number)) if number.is_i64() => {}
            (FieldShape::IntegerOrText, Value::Number(_) | Value::String(_)) => {}
            (FieldShape::List(shape), Value::Array(elements)) => {
                for (index, element) in elements.iter().enumerate() {
                    self.visit_element(index, element, *shape);
                }
            }
            (FieldShape::Map(shape), Value::Object(map)) => {
                for (key, value) in map {
                    if key.starts_with(NO_TEXT) {
                        let message = "is a key that is no text: write it in quotes".to_owned();
                        self.found.push(SchemaFinding {
                            path: self.path_to(key),
                            violation: SchemaViolation::WrongType { message },
                        });
                    }
                    self.visit_inside(PathStep::Key(key.clone()), value, *shape);
                }
            }
            (FieldShape::Conditions, Value::Object(map)) => {
                for (key, value) in map {
                    self.condition(key, value);
                }
            }
            (FieldShape::Object(fields), Value::Object(map)) => self.visit_object(map, fields),
            (FieldShape::Template, Value::Object(map)) => self.visit_object(map, template_schema(value)),
            (expected, found) => self.report_wrong_type(found, expected),
        }
    }

    fn visit_inside(&mut self, step: PathStep, value: &Value, shape: FieldShape) {
        self.at.push(step);
        self.visit(value, shape);
        self.at.pop();
    }

    fn condition(&mut self, key: &str, value: &Value) {
        self.at.push(PathStep::Key(key.to_owned()));
        match value {
            Value::Null => self.report_wrong_type(value, FieldShape::Conditions),
            value => self.visit(value, FieldShape::Text),
        }
        self.at.pop();
    }

    fn visit_element(&mut self, index: usize, element: &Value, shape: FieldShape) {
        // A field that is null is as good as missing, but an element that is null stands for
        // something.
        if element.is_null() && !matches!(shape, FieldShape::Any) {
            self.at.push(PathStep::Index(index));
            self.report_wrong_type(element, shape);
            self.at.pop();
        } else {
            self.visit_inside(PathStep::Index(index), element, shape);
        }
    }

    fn visit_object(&mut self, map: &Map<String, Value>, fields: &'static ObjectSchema) {
        for (key, value) in map {
            match fields.get(key) {
                Some(field) if value.is_null() && is_meant(field.name, fields) => self.report_null(key, fields),
                Some(field) => self.visit_inside(PathStep::Key(key.clone()), value, field.shape),
                None => self.report_unknown_field(key, fields),
            }
        }
    }

    /// Reports a field that is null. A filter that is null is not as good as missing: it would let
    /// every event pass, which its author does not mean, and upstream's schemas refuse it. Another
    /// field that is null is as good as missing, and a warning.
    fn report_null(&mut self, key: &str, fields: &'static ObjectSchema) {
        let is_harmless = !NARROWING.contains(&key);
        let message = match is_harmless {
            true if fields.name == "EventPolicy" => {
                "is nothing, so that nobody may send to anything in its namespace: write it, or remove the policy"
            }
            true => "is nothing, and so as good as not there: write it, or remove the field",
            false => "is nothing, so that everything would pass: write what passes, or remove the field",
        };
        self.found
            .push(SchemaFinding { path: self.path_to(key), violation: SchemaViolation::Null { message, is_harmless } });
    }

    fn report_unknown_field(&mut self, key: &str, fields: &'static ObjectSchema) {
        let former = fields.former.iter().find(|(name, _)| *name == key).map(|(_, remedy)| *remedy);
        let near = suggest::suggest_field(key, fields, self.root, &self.at);
        let is_guarding = match near {
            FieldSuggestion::SameObject(meant) | FieldSuggestion::SimilarElsewhere(meant, _) => guards(meant),
            FieldSuggestion::SameNameElsewhere(_) | FieldSuggestion::Nothing => false,
        } || may_guard(key);
        let (message, meant) = match (former, near) {
            (Some(remedy), _) => (format!("is a field of older releases: {remedy}"), None),
            (None, FieldSuggestion::SameObject(meant)) => {
                (format!("is not a field that is known here; did you mean {meant}?"), Some(meant))
            }
            (None, FieldSuggestion::SameNameElsewhere(place)) => {
                (format!("is not a field that is known here: `{key}` belongs below `{place}`"), None)
            }
            (None, FieldSuggestion::SimilarElsewhere(meant, place)) => (
                format!("is not a field that is known here; did you mean {meant}, which belongs below `{place}`?"),
                None,
            ),
            (None, FieldSuggestion::Nothing) => {
                let known: Vec<&str> = fields.names().collect();
                let known = known.join(", ");
                (format!("is not a field that is known here: there are {known}"), None)
            }
        };
        let strictness = if is_guarding { UnknownFieldStrictness::NeverIgnored } else { fields.strictness };
        self.found.push(SchemaFinding {
            path: self.path_to(key),
            violation: SchemaViolation::UnknownField { message, meant, strictness },
        });
    }

    /// The path of this field of the object that is examined now.
    fn path_to(&self, key: &str) -> Vec<PathStep> {
        [&self.at[..], &[PathStep::Key(key.to_owned())]].concat()
    }

    fn report_wrong_type(&mut self, found: &Value, expected: FieldShape) {
        let message = format!("is {}, but must be {}", describe_value(found), describe_expected(found, expected));
        self.found.push(SchemaFinding { path: self.at.clone(), violation: SchemaViolation::WrongType { message } });
    }
}

/// True for the fields that are not left empty on purpose.
fn is_meant(field: &str, fields: &ObjectSchema) -> bool {
    let is_of_this = MEANT_IN.iter().any(|(name, meant)| *name == fields.name && meant.contains(&field));
    NARROWING.contains(&field) || MEANT.contains(&field) || is_of_this
}

/// True for the fields without which more events pass, or others are trusted.
fn guards(field: &str) -> bool {
    NARROWING.contains(&field) || TRUSTING.contains(&field)
}

/// True if an unknown field may be meant to be one of those that guard: it has the name of one, is
/// nearly one, is one without its vowels (`fltr`), or has a part of one in it.
fn may_guard(key: &str) -> bool {
    let plain: String = spelling::normalize_word(key).into_iter().collect();
    let guarding = || NARROWING.into_iter().chain(TRUSTING);
    let is_short = |name: &str| {
        let (short, name) = (without_vowels(&plain), without_vowels(&name.to_lowercase()));
        short.len() > 2 && short == name
    };
    guards(key)
        || spelling::suggest_word(key, guarding()).is_some()
        || GUARDING_PARTS.iter().any(|part| plain.contains(part))
        || guarding().any(is_short)
}

/// A word without its vowels, but for the first letter, which nobody leaves out.
fn without_vowels(word: &str) -> String {
    let is_left = |(index, letter): &(usize, char)| *index == 0 || !"aeiou".contains(*letter);
    word.char_indices().filter(is_left).map(|(_, letter)| letter).collect()
}

/// The schema of a channel template: strict if its kind is one that is served here.
pub(crate) fn template_schema(template: &Value) -> &'static ObjectSchema {
    let ours = [ResourceKind::InMemoryChannel, ResourceKind::RabbitmqChannel].map(ResourceKind::as_str);
    match template.get("kind").and_then(Value::as_str) {
        Some(kind) if !ours.contains(&kind) => &FOREIGN_TEMPLATE,
        _ => &TEMPLATE,
    }
}

/// The type of the value at a place, in words; the value is not repeated, since it may be a secret
/// in the wrong place.
fn describe_value(found: &Value) -> &'static str {
    match found {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The type that the value at a place should have, in words, and how to write it.
fn describe_expected(found: &Value, expected: FieldShape) -> &'static str {
    let scalar = matches!(found, Value::Bool(_) | Value::Number(_));
    match expected {
        FieldShape::Text | FieldShape::Choice(_) if scalar => "text: write it in quotes",
        FieldShape::Text | FieldShape::Choice(_) => "text",
        FieldShape::Integer if found.is_string() => "a whole number: write it without quotes",
        FieldShape::Integer if found.is_u64() => "a smaller whole number",
        FieldShape::Integer | FieldShape::IntegerOrText => "a whole number",
        FieldShape::Boolean if found.is_string() => "true or false: write it without quotes",
        FieldShape::Boolean => "true or false",
        FieldShape::List(_) if found.is_object() => {
            "a list: write - before its first field, and indent the others like it"
        }
        FieldShape::List(_) => "a list: write each element on a line of its own, behind -",
        FieldShape::Conditions if found.is_null() => "text: write what it has to be",
        FieldShape::Map(_) | FieldShape::Conditions | FieldShape::Object(_) | FieldShape::Template
            if found.is_array() =>
        {
            "an object: write its fields without - before them"
        }
        FieldShape::Map(_) | FieldShape::Conditions | FieldShape::Object(_) | FieldShape::Template => {
            "an object: write its fields on lines of their own, indented"
        }
        FieldShape::Any => "anything",
    }
}

/// Writes steps as one path, such as `spec.subscribers[0].uid`.
pub(crate) fn format_path(steps: &[PathStep]) -> String {
    steps.iter().fold(String::new(), |path, step| match step {
        PathStep::Index(index) => format!("{path}[{index}]"),
        PathStep::Key(key) if path.is_empty() => key.clone(),
        PathStep::Key(key) => format!("{path}.{key}"),
    })
}

/// Copies the value without what stands at these places, so that the rest of it can be read. An
/// element of a list of objects becomes an empty object, so that the indices of the others stay; a
/// list of other values is removed as a whole.
pub(crate) fn without_places<'p>(value: &Value, places: impl Iterator<Item = &'p [PathStep]>) -> Value {
    let mut value = value.clone();
    for place in places {
        remove(&mut value, place);
    }
    value
}

fn remove(value: &mut Value, place: &[PathStep]) {
    match (place, value) {
        ([PathStep::Key(key)], Value::Object(map)) => drop(map.shift_remove(key)),
        ([PathStep::Key(key), PathStep::Index(_)], Value::Object(map)) if !holds_objects(map.get(key)) => {
            drop(map.shift_remove(key));
        }
        ([PathStep::Index(index)], Value::Array(elements)) => {
            if let Some(element) = elements.get_mut(*index) {
                *element = Value::Object(Map::new());
            }
        }
        ([PathStep::Key(key), rest @ ..], Value::Object(map)) => {
            if let Some(inner) = map.get_mut(key) {
                remove(inner, rest);
            }
        }
        ([PathStep::Index(index), rest @ ..], Value::Array(elements)) => {
            if let Some(inner) = elements.get_mut(*index) {
                remove(inner, rest);
            }
        }
        _ => {}
    }
}

fn holds_objects(list: Option<&Value>) -> bool {
    list.and_then(Value::as_array).is_some_and(|elements| elements.iter().any(Value::is_object))
}
