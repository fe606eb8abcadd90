//! Finds the field that an unknown one is probably meant to be: of the same object, else of another
//! object of its kind.

use super::finding::{PathStep, format_path};
use super::knative::TEMPLATE;
use super::{FieldShape, ObjectSchema};
use crate::control::read::spelling;

/// The field that is probably meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FieldSuggestion {
    /// A field of the same object is meant.
    SameObject(&'static str),
    /// The name is that of a field, but of the object at this path.
    SameNameElsewhere(String),
    /// The name is like this field, which is of the object at this path.
    SimilarElsewhere(&'static str, String),
    /// There is no field with a similar name.
    Nothing,
}

/// The known word that `word` is meant to be: misspelled, or with another end.
pub(super) fn suggest_name<'k>(
    word: &str,
    known: impl Iterator<Item = &'k str> + Clone,
) -> Option<&'k str> {
    spelling::suggest_word(word, known.clone()).or_else(|| name_with_same_start(word, known))
}

/// A known word that has the same beginning as this one, and another end: `retry` for `retries`.
fn name_with_same_start<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    const SAME: usize = 4;
    const OTHER: usize = 3;
    let plain = spelling::normalize_word(word);
    let same = |candidate: &str| {
        let other = spelling::normalize_word(candidate);
        let same = plain.iter().zip(&other).take_while(|(a, b)| a == b).count();
        (same >= SAME && plain.len().max(other.len()) - same <= OTHER).then_some(same)
    };
    known
        .filter_map(|candidate| Some((same(candidate)?, candidate)))
        .max()
        .map(|(_, candidate)| candidate)
}

/// Finds the field that is meant by `key`, which is no field of `fields`; `fields` is the schema of
/// the object at `at`, inside an object with the schema `root`.
pub(super) fn suggest_field(
    key: &str,
    fields: &'static ObjectSchema,
    root: &'static ObjectSchema,
    at: &[PathStep],
) -> FieldSuggestion {
    if let Some(meant) = spelling::suggest_word(key, fields.names()) {
        return FieldSuggestion::SameObject(meant);
    }
    if let Some(place) = path_below(fields, key) {
        return FieldSuggestion::SameNameElsewhere(place);
    }
    if let Some(place) = path_above(root, key, at) {
        return FieldSuggestion::SameNameElsewhere(place);
    }
    if let Some(meant) = name_with_same_start(key, fields.names()) {
        return FieldSuggestion::SameObject(meant);
    }
    // An attribute of a filter may have any name, so that an unknown field of a filter is probably
    // an attribute.
    let free = fields
        .fields
        .iter()
        .find(|field| matches!(field.shape, FieldShape::Conditions));
    if let Some(free) = free.filter(|_| fields.name == "TriggerFilter") {
        return FieldSuggestion::SameNameElsewhere(free.name.to_owned());
    }
    similar_elsewhere(root, key).unwrap_or(FieldSuggestion::Nothing)
}

/// The path from this object down to the nearest object that has a field of this name.
fn path_below(fields: &'static ObjectSchema, key: &str) -> Option<String> {
    nearest(fields, &|fields| fields.get(key).map(|field| field.name)).map(|(_, place)| place)
}

/// The path of the nearest object around `at` that has a field of this name.
fn path_above(root: &'static ObjectSchema, key: &str, at: &[PathStep]) -> Option<String> {
    let (mut fields, mut found) = (root, None);
    for (depth, step) in at.iter().enumerate() {
        if fields.get(key).is_some() && depth > 0 {
            found = at.get(..depth).map(format_path);
        }
        if let PathStep::Key(key) = step {
            fields = fields
                .get(key)
                .and_then(|field| nested_schema(field.shape))?;
        }
    }
    // The object itself is no remedy: its fields, which every object has, are not what anybody
    // meant here.
    found.or_else(|| path_below(root, key))
}

fn similar_elsewhere(root: &'static ObjectSchema, key: &str) -> Option<FieldSuggestion> {
    let (meant, place) = nearest(root, &|fields| suggest_name(key, fields.names()))?;
    Some(FieldSuggestion::SimilarElsewhere(meant, place))
}

/// The first object below this schema, level by level, for which `wanted` finds something. Each
/// schema is visited where it stands first, and once: filters stand in filters without end, and
/// destinations in many places.
fn nearest(
    fields: &'static ObjectSchema,
    wanted: &impl Fn(&'static ObjectSchema) -> Option<&'static str>,
) -> Option<(&'static str, String)> {
    /// A schema, the index of the one that holds it among those that were found, and its field
    /// there.
    type Found = (&'static ObjectSchema, usize, &'static str);
    let mut found: Vec<Found> = vec![(fields, 0, "")];
    let mut next = 0;
    while let Some((holder, ..)) = found.get(next).copied() {
        for field in holder
            .fields
            .iter()
            .filter(|field| field.name != "metadata")
        {
            let Some(inner) = nested_schema(field.shape) else {
                continue;
            };
            if found
                .iter()
                .skip(1)
                .any(|(known, ..)| std::ptr::eq(*known, inner))
            {
                continue;
            }
            found.push((inner, next, field.name));
            if let Some(name) = wanted(inner) {
                return Some((name, place(&found)));
            }
        }
        next += 1;
    }
    None
}

/// The path of the schema that was found last.
fn place(found: &[(&'static ObjectSchema, usize, &'static str)]) -> String {
    let mut names = Vec::new();
    let mut at = found.len().saturating_sub(1);
    while let Some((_, holder, name)) = found.get(at).filter(|_| at > 0) {
        names.push(*name);
        at = *holder;
    }
    names.reverse();
    names.join(".")
}

/// The schema of an object, of the elements of a list, or of the values of a map; `None` for a
/// scalar.
fn nested_schema(shape: FieldShape) -> Option<&'static ObjectSchema> {
    match shape {
        FieldShape::Object(fields) => Some(fields),
        FieldShape::List(inner) | FieldShape::Map(inner) => nested_schema(*inner),
        FieldShape::Template => Some(&TEMPLATE),
        FieldShape::Text
        | FieldShape::Choice(_)
        | FieldShape::Integer
        | FieldShape::Boolean
        | FieldShape::IntegerOrText
        | FieldShape::Conditions
        | FieldShape::Any => None,
    }
}
