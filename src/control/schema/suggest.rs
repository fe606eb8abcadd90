//! Which field one that is not known is probably meant to be: of the same object, else of another place of its kind.

use super::examine::{PathStep, format_path};
use super::knative::TEMPLATE;
use super::{FieldShape, ObjectSchema};
use crate::control::manifest::spelling;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FieldSuggestion {
    /// A field of the same object.
    SameObject(&'static str),
    /// It is a field, but of the object at this path.
    SameNameElsewhere(String),
    /// This field is like it, but of the object at this path.
    SimilarElsewhere(&'static str, String),
    Nothing,
}

/// The word that is meant.
pub(super) fn suggest_name<'k>(word: &str, known: impl Iterator<Item = &'k str> + Clone) -> Option<&'k str> {
    spelling::suggest_word(word, known.clone()).or_else(|| name_with_same_start(word, known))
}

/// A word that begins as this one does and ends otherwise: `retry` for `retries`.
fn name_with_same_start<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    const SAME: usize = 4;
    const OTHER: usize = 3;
    let plain = spelling::normalize_word(word);
    let same = |candidate: &str| {
        let other = spelling::normalize_word(candidate);
        let same = plain.iter().zip(&other).take_while(|(a, b)| a == b).count();
        (same >= SAME && plain.len().max(other.len()) - same <= OTHER).then_some(same)
    };
    known.filter_map(|candidate| Some((same(candidate)?, candidate))).max().map(|(_, candidate)| candidate)
}

/// What `key` is, which is no field of `fields`; that is the object at `at` of a kind with the fields `root`.
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
    // Attributes have the names that their author gives them.
    let free = fields.fields.iter().find(|field| matches!(field.shape, FieldShape::Conditions));
    if let Some(free) = free.filter(|_| fields.name == "TriggerFilter") {
        return FieldSuggestion::SameNameElsewhere(free.name.to_owned());
    }
    similar_elsewhere(root, key).unwrap_or(FieldSuggestion::Nothing)
}

/// The path from here to the nearest object that has a field of this name.
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
            fields = fields.get(key).and_then(|field| nested_schema(field.shape))?;
        }
    }
    // What every object has at its top is the object itself, and no place that a field could be meant for.
    found.or_else(|| path_below(root, key))
}

fn similar_elsewhere(root: &'static ObjectSchema, key: &str) -> Option<FieldSuggestion> {
    let (meant, place) = nearest(root, &|fields| suggest_name(key, fields.names()))?;
    Some(FieldSuggestion::SimilarElsewhere(meant, place))
}

/// The first object below these fields, by depth, of which `wanted` finds something. Each definition is looked at where it
/// stands first, and once: filters stand in filters without end, and destinations in many places.
fn nearest(
    fields: &'static ObjectSchema,
    wanted: &impl Fn(&'static ObjectSchema) -> Option<&'static str>,
) -> Option<(&'static str, String)> {
    /// A definition, and how it was come to: the place of what holds it among those that were found, and its field there.
    type Found = (&'static ObjectSchema, usize, &'static str);
    let mut found: Vec<Found> = vec![(fields, 0, "")];
    let mut next = 0;
    while let Some((holder, ..)) = found.get(next).copied() {
        for field in holder.fields.iter().filter(|field| field.name != "metadata") {
            let Some(inner) = nested_schema(field.shape) else { continue };
            if found.iter().skip(1).any(|(known, ..)| std::ptr::eq(*known, inner)) {
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

/// The path of what was found last.
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

/// The fields of an object, or of the elements of a list, or of the values of a map.
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
