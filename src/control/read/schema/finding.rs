//! What is found when a value is compared with its schema: the violation, and its place.

use serde_json::{Map, Value};

use super::UnknownFieldStrictness;

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
    Null {
        message: &'static str,
        is_harmless: bool,
    },
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
pub(crate) fn without_places<'p>(
    value: &Value,
    places: impl Iterator<Item = &'p [PathStep]>,
) -> Value {
    let mut value = value.clone();
    for place in places {
        remove(&mut value, place);
    }
    value
}

fn remove(value: &mut Value, place: &[PathStep]) {
    match (place, value) {
        ([PathStep::Key(key)], Value::Object(map)) => drop(map.shift_remove(key)),
        ([PathStep::Key(key), PathStep::Index(_)], Value::Object(map))
            if !holds_objects(map.get(key)) =>
        {
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
    list.and_then(Value::as_array)
        .is_some_and(|elements| elements.iter().any(Value::is_object))
}
