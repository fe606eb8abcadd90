//! A value against a definition: everything that is not as it should be, in the order in which it is written.

use serde_json::{Map, Value};

use super::knative::{FOREIGN_TEMPLATE, TEMPLATE};
use super::near::{self, Near};
use super::{Fields, Shape, Strictness};
use crate::control::kind::Kind;
use crate::control::manifest::spelling;

/// Fields that let less pass than without them.
const NARROWING: [&str; 5] = ["filter", "filters", "attributes", "to", "matchLabels"];
/// Fields that nobody begins to write and means to leave out.
const MEANT: [&str; 3] = ["deadLetterSink", "reply", "channelTemplate"];

/// A part of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Key(String),
    Index(usize),
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) at: Vec<Step>,
    pub(crate) what: What,
}

/// What is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// There is no such field.
    Unknown {
        /// What to do about it.
        message: String,
        /// The field of the same object that is probably meant.
        meant: Option<&'static str>,
        strictness: Strictness,
    },
    /// The value is of a type that the field does not have.
    Misread { message: String },
    /// There is no value, where somebody probably meant one. An API server lets it pass as no field at all.
    Nothing { message: &'static str, is_harmless: bool },
}

/// Everything that is wrong with an object of these fields.
pub(crate) fn examine(value: &Value, fields: &'static Fields) -> Vec<Finding> {
    let mut examiner = Examiner { root: fields, at: Vec::new(), found: Vec::new() };
    examiner.visit(value, Shape::Object(fields));
    examiner.found
}

struct Examiner {
    root: &'static Fields,
    at: Vec<Step>,
    found: Vec<Finding>,
}

impl Examiner {
    fn visit(&mut self, value: &Value, shape: Shape) {
        match (shape, value) {
            (_, Value::Null) | (Shape::Any, _) => {}
            (Shape::Text | Shape::Choice(_), Value::String(_)) | (Shape::Boolean, Value::Bool(_)) => {}
            (Shape::Integer, Value::Number(number)) if number.is_i64() => {}
            (Shape::IntegerOrText, Value::Number(_) | Value::String(_)) => {}
            (Shape::List(shape), Value::Array(elements)) => {
                for (index, element) in elements.iter().enumerate() {
                    self.element(index, element, *shape);
                }
            }
            (Shape::Map(shape), Value::Object(map)) => {
                for (key, value) in map {
                    self.inside(Step::Key(key.clone()), value, *shape);
                }
            }
            (Shape::Conditions, Value::Object(map)) => {
                for (key, value) in map {
                    self.condition(key, value);
                }
            }
            (Shape::Object(fields), Value::Object(map)) => self.object(map, fields),
            (Shape::Template, Value::Object(map)) => self.object(map, template(value)),
            (expected, found) => self.misread(found, expected),
        }
    }

    fn inside(&mut self, step: Step, value: &Value, shape: Shape) {
        self.at.push(step);
        self.visit(value, shape);
        self.at.pop();
    }

    fn condition(&mut self, key: &str, value: &Value) {
        self.at.push(Step::Key(key.to_owned()));
        match value {
            Value::Null => self.misread(value, Shape::Conditions),
            value => self.visit(value, Shape::Text),
        }
        self.at.pop();
    }

    fn element(&mut self, index: usize, element: &Value, shape: Shape) {
        // Unlike a field that is null, which is as good as absent, an element that is null stands for something.
        if element.is_null() && !matches!(shape, Shape::Any) {
            self.at.push(Step::Index(index));
            self.misread(element, shape);
            self.at.pop();
        } else {
            self.inside(Step::Index(index), element, shape);
        }
    }

    fn object(&mut self, map: &Map<String, Value>, fields: &'static Fields) {
        for (key, value) in map {
            match fields.get(key) {
                Some(field) if value.is_null() && [&NARROWING[..], &MEANT].concat().contains(&field.name) => {
                    self.nothing(key);
                }
                Some(field) => self.inside(Step::Key(key.clone()), value, field.shape),
                None => self.unknown(key, fields),
            }
        }
    }

    /// A filter that is null is not as good as absent: it would let everything pass, which nobody means who writes one, and
    /// upstream's schemas refuse it. What lets nothing more pass is as good as absent, and told.
    fn nothing(&mut self, key: &str) {
        let is_harmless = !NARROWING.contains(&key);
        let message = match is_harmless {
            true => "is nothing, and so as good as not there: write it, or remove the field",
            false => "is nothing, so that everything would pass: write what passes, or remove the field",
        };
        self.found.push(Finding { at: self.below(key), what: What::Nothing { message, is_harmless } });
    }

    fn unknown(&mut self, key: &str, fields: &'static Fields) {
        let is_like = |near: &Near| match near {
            Near::Here(meant) | Near::Like(meant, _) => NARROWING.contains(meant),
            Near::Below(_) | Near::Nothing => NARROWING.contains(&key) || spelling::meant(key, NARROWING).is_some(),
        };
        let former = fields.former.iter().find(|(name, _)| *name == key).map(|(_, remedy)| *remedy);
        let near = near::find(key, fields, self.root, &self.at);
        // Whoever ignored what is nearly a filter would let everything pass.
        let is_like_a_filter =
            is_like(&near) || spelling::simplified(key).iter().collect::<String>().contains("filter");
        let (message, meant) = match (former, near) {
            (Some(remedy), _) => (format!("is a field of older releases: {remedy}"), None),
            (None, Near::Here(meant)) => {
                (format!("is not a field that is known here; did you mean {meant}?"), Some(meant))
            }
            (None, Near::Below(place)) => {
                (format!("is not a field that is known here: `{key}` belongs below `{place}`"), None)
            }
            (None, Near::Like(meant, place)) => (
                format!("is not a field that is known here; did you mean {meant}, which belongs below `{place}`?"),
                None,
            ),
            (None, Near::Nothing) => {
                let known: Vec<&str> = fields.names().collect();
                let known = known.join(", ");
                (format!("is not a field that is known here: there are {known}"), None)
            }
        };
        let strictness = if is_like_a_filter { Strictness::Always } else { fields.strictness };
        self.found.push(Finding { at: self.below(key), what: What::Unknown { message, meant, strictness } });
    }

    /// The place of this field of what is looked at.
    fn below(&self, key: &str) -> Vec<Step> {
        [&self.at[..], &[Step::Key(key.to_owned())]].concat()
    }

    fn misread(&mut self, found: &Value, expected: Shape) {
        let message = format!("is {}, but must be {}", described(found), wanted(found, expected));
        self.found.push(Finding { at: self.at.clone(), what: What::Misread { message } });
    }
}

/// The fields of a template: strict where its kind is one of ours.
pub(crate) fn template(template: &Value) -> &'static Fields {
    let ours = [Kind::InMemoryChannel, Kind::RabbitmqChannel].map(Kind::as_str);
    match template.get("kind").and_then(Value::as_str) {
        Some(kind) if !ours.contains(&kind) => &FOREIGN_TEMPLATE,
        _ => &TEMPLATE,
    }
}

/// What stands there, without repeating it: it may be a secret in the wrong place.
fn described(found: &Value) -> &'static str {
    match found {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// What should stand there, and how to write it.
fn wanted(found: &Value, expected: Shape) -> &'static str {
    let scalar = matches!(found, Value::Bool(_) | Value::Number(_));
    match expected {
        Shape::Text | Shape::Choice(_) if scalar => "text: write it in quotes",
        Shape::Text | Shape::Choice(_) => "text",
        Shape::Integer if found.is_string() => "a whole number: write it without quotes",
        Shape::Integer if found.is_u64() => "a smaller whole number",
        Shape::Integer | Shape::IntegerOrText => "a whole number",
        Shape::Boolean if found.is_string() => "true or false: write it without quotes",
        Shape::Boolean => "true or false",
        Shape::List(_) if found.is_object() => "a list: write - before its first field, and indent the others like it",
        Shape::List(_) => "a list: write each element on a line of its own, behind -",
        Shape::Conditions if found.is_null() => "text: write what it has to be",
        Shape::Map(_) | Shape::Conditions | Shape::Object(_) | Shape::Template if found.is_array() => {
            "an object: write its fields without - before them"
        }
        Shape::Map(_) | Shape::Conditions | Shape::Object(_) | Shape::Template => {
            "an object: write its fields on lines of their own, indented"
        }
        Shape::Any => "anything",
    }
}

/// Steps as one path, such as `spec.subscribers[0].uid`.
pub(crate) fn path(steps: &[Step]) -> String {
    steps.iter().fold(String::new(), |path, step| match step {
        Step::Index(index) => format!("{path}[{index}]"),
        Step::Key(key) if path.is_empty() => key.clone(),
        Step::Key(key) => format!("{path}.{key}"),
    })
}

/// The value without what stands at these places, so that the rest of it can be read. An element of a list of objects
/// becomes an empty one, so that the places of the others stay; a list of something else is gone as a whole.
pub(crate) fn without<'p>(value: &Value, places: impl Iterator<Item = &'p [Step]>) -> Value {
    let mut value = value.clone();
    for place in places {
        remove(&mut value, place);
    }
    value
}

fn remove(value: &mut Value, place: &[Step]) {
    match (place, value) {
        ([Step::Key(key)], Value::Object(map)) => drop(map.shift_remove(key)),
        ([Step::Key(key), Step::Index(_)], Value::Object(map)) if !holds_objects(map.get(key)) => {
            drop(map.shift_remove(key));
        }
        ([Step::Index(index)], Value::Array(elements)) => {
            if let Some(element) = elements.get_mut(*index) {
                *element = Value::Object(Map::new());
            }
        }
        ([Step::Key(key), rest @ ..], Value::Object(map)) => {
            if let Some(inner) = map.get_mut(key) {
                remove(inner, rest);
            }
        }
        ([Step::Index(index), rest @ ..], Value::Array(elements)) => {
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
