//! Types of values in words, for messages.

use serde_json::Value;

use super::FieldShape;

/// The type of the value at a place, in words; the value is not repeated, since it may be a secret
/// in the wrong place.
pub(super) fn describe_value(found: &Value) -> &'static str {
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
pub(super) fn describe_expected(found: &Value, expected: FieldShape) -> &'static str {
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
        FieldShape::Map(_)
        | FieldShape::Conditions
        | FieldShape::Object(_)
        | FieldShape::Template
            if found.is_array() =>
        {
            "an object: write its fields without - before them"
        }
        FieldShape::Map(_)
        | FieldShape::Conditions
        | FieldShape::Object(_)
        | FieldShape::Template => "an object: write its fields on lines of their own, indented",
        FieldShape::Any => "anything",
    }
}
