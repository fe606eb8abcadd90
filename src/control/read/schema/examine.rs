//! Compares a value with its schema, and finds every violation, in the order in which the value is
//! written.

use serde_json::{Map, Value};

use super::describe::{describe_expected, describe_value};
use super::finding::{PathStep, SchemaFinding, SchemaViolation};
use super::guarding_fields::{NARROWING, guards, is_meant, may_guard};
use super::knative::{FOREIGN_TEMPLATE, TEMPLATE};
use super::suggest::{self, FieldSuggestion};
use super::{FieldShape, ObjectSchema, UnknownFieldStrictness};
use crate::control::read::kind::ResourceKind;
use crate::control::read::yaml::node::NO_TEXT;

/// Finds everything that is wrong with an object of this schema.
pub(crate) fn examine(value: &Value, fields: &'static ObjectSchema) -> Vec<SchemaFinding> {
    let mut examiner = SchemaExaminer {
        root: fields,
        at: Vec::new(),
        found: Vec::new(),
    };
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
            (FieldShape::Text | FieldShape::Choice(_), Value::String(_))
            | (FieldShape::Boolean, Value::Bool(_)) => {}
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
            (FieldShape::Template, Value::Object(map)) => {
                self.visit_object(map, template_schema(value))
            }
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
                Some(field) if value.is_null() && is_meant(field.name, fields) => {
                    self.report_null(key, fields)
                }
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
                "is nothing, so that nobody may send to anything in its namespace: write it, \
                 or remove the policy"
            }
            true => "is nothing, and so as good as not there: write it, or remove the field",
            false => {
                "is nothing, so that everything would pass: write what passes, or remove the field"
            }
        };
        self.found.push(SchemaFinding {
            path: self.path_to(key),
            violation: SchemaViolation::Null {
                message,
                is_harmless,
            },
        });
    }

    fn report_unknown_field(&mut self, key: &str, fields: &'static ObjectSchema) {
        let former = fields
            .former
            .iter()
            .find(|(name, _)| *name == key)
            .map(|(_, remedy)| *remedy);
        let near = suggest::suggest_field(key, fields, self.root, &self.at);
        let meant = match near {
            FieldSuggestion::SameObject(meant) if former.is_none() => Some(meant),
            _ => None,
        };
        let strictness = if may_guard(key) || near.guards() {
            UnknownFieldStrictness::NeverIgnored
        } else {
            fields.strictness
        };
        let message = match former {
            Some(remedy) => format!("is a field of older releases: {remedy}"),
            None => near.message(key, fields),
        };
        self.found.push(SchemaFinding {
            path: self.path_to(key),
            violation: SchemaViolation::UnknownField {
                message,
                meant,
                strictness,
            },
        });
    }

    /// The path of this field of the object that is examined now.
    fn path_to(&self, key: &str) -> Vec<PathStep> {
        [&self.at[..], &[PathStep::Key(key.to_owned())]].concat()
    }

    fn report_wrong_type(&mut self, found: &Value, expected: FieldShape) {
        let message = format!(
            "is {}, but must be {}",
            describe_value(found),
            describe_expected(found, expected)
        );
        self.found.push(SchemaFinding {
            path: self.at.clone(),
            violation: SchemaViolation::WrongType { message },
        });
    }
}

/// The schema of a channel template: strict if its kind is one that is served here.
pub(crate) fn template_schema(template: &Value) -> &'static ObjectSchema {
    let ours = [
        ResourceKind::InMemoryChannel,
        ResourceKind::RabbitmqChannel,
        ResourceKind::DiskChannel,
    ]
    .map(ResourceKind::as_str);
    match template.get("kind").and_then(Value::as_str) {
        Some(kind) if !ours.contains(&kind) => &FOREIGN_TEMPLATE,
        _ => &TEMPLATE,
    }
}

impl FieldSuggestion {
    /// True if the field that is meant is one of those that guard.
    fn guards(&self) -> bool {
        match self {
            Self::SameObject(meant) | Self::SimilarElsewhere(meant, _) => guards(meant),
            Self::SameNameElsewhere(_) | Self::Nothing => false,
        }
    }

    /// Says that `key` is no field of `fields`, and what is meant.
    fn message(&self, key: &str, fields: &ObjectSchema) -> String {
        match self {
            Self::SameObject(meant) => {
                format!("is not a field that is known here; did you mean {meant}?")
            }
            Self::SameNameElsewhere(place) => {
                format!("is not a field that is known here: `{key}` belongs below `{place}`")
            }
            Self::SimilarElsewhere(meant, place) => format!(
                "is not a field that is known here; did you mean {meant}, which belongs below \
                 `{place}`?"
            ),
            Self::Nothing => {
                let known: Vec<&str> = fields.names().collect();
                let known = known.join(", ");
                format!("is not a field that is known here: there are {known}")
            }
        }
    }
}
