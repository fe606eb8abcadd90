//! Which field one that is not known is probably meant to be: of the same object, else of another place of its kind.

use super::examine::{Step, path};
use super::knative::TEMPLATE;
use super::{Fields, Shape};
use crate::control::manifest::spelling;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Near {
    /// A field of the same object.
    Here(&'static str),
    /// It is a field, but of the object at this path.
    Below(String),
    /// This field is like it, but of the object at this path.
    Like(&'static str, String),
    Nothing,
}

/// The word that is meant.
pub(super) fn meant<'k>(word: &str, known: impl Iterator<Item = &'k str> + Clone) -> Option<&'k str> {
    spelling::meant(word, known.clone()).or_else(|| alike(word, known))
}

/// A word that begins as this one does and ends otherwise: `retry` for `retries`.
fn alike<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    const SAME: usize = 4;
    const OTHER: usize = 3;
    let plain = spelling::simplified(word);
    let same = |candidate: &str| {
        let other = spelling::simplified(candidate);
        let same = plain.iter().zip(&other).take_while(|(a, b)| a == b).count();
        (same >= SAME && plain.len().max(other.len()) - same <= OTHER).then_some(same)
    };
    known.filter_map(|candidate| Some((same(candidate)?, candidate))).max().map(|(_, candidate)| candidate)
}

/// What `key` is, which is no field of `fields`; that is the object at `at` of a kind with the fields `root`.
pub(super) fn find(key: &str, fields: &'static Fields, root: &'static Fields, at: &[Step]) -> Near {
    if let Some(meant) = spelling::meant(key, fields.names()) {
        return Near::Here(meant);
    }
    if let Some(place) = below(fields, key) {
        return Near::Below(place);
    }
    if let Some(place) = above(root, key, at) {
        return Near::Below(place);
    }
    if let Some(meant) = alike(key, fields.names()) {
        return Near::Here(meant);
    }
    // Attributes have the names that their author gives them.
    let free = fields.fields.iter().find(|field| matches!(field.shape, Shape::Conditions));
    if let Some(free) = free.filter(|_| fields.name == "TriggerFilter") {
        return Near::Below(free.name.to_owned());
    }
    like(root, key).unwrap_or(Near::Nothing)
}

/// The path from here to the nearest object that has a field of this name.
fn below(fields: &'static Fields, key: &str) -> Option<String> {
    nearest(fields, &|fields| fields.get(key).map(|field| field.name)).map(|(_, place)| place)
}

/// The path of the nearest object around `at` that has a field of this name.
fn above(root: &'static Fields, key: &str, at: &[Step]) -> Option<String> {
    let (mut fields, mut found) = (root, None);
    for (depth, step) in at.iter().enumerate() {
        if fields.get(key).is_some() && depth > 0 {
            found = at.get(..depth).map(path);
        }
        if let Step::Key(key) = step {
            fields = fields.get(key).and_then(|field| object(field.shape))?;
        }
    }
    // What every object has at its top is the object itself, and no place that a field could be meant for.
    found.or_else(|| below(root, key))
}

fn like(root: &'static Fields, key: &str) -> Option<Near> {
    let (meant, place) = nearest(root, &|fields| meant(key, fields.names()))?;
    Some(Near::Like(meant, place))
}

/// The first object below these fields, by depth, of which `wanted` finds something. Each definition is looked at where it
/// stands first, and once: filters stand in filters without end, and destinations in many places.
fn nearest(
    fields: &'static Fields,
    wanted: &impl Fn(&'static Fields) -> Option<&'static str>,
) -> Option<(&'static str, String)> {
    /// A definition, and how it was come to: the place of what holds it among those that were found, and its field there.
    type Found = (&'static Fields, usize, &'static str);
    let mut found: Vec<Found> = vec![(fields, 0, "")];
    let mut next = 0;
    while let Some((holder, ..)) = found.get(next).copied() {
        for field in holder.fields.iter().filter(|field| field.name != "metadata") {
            let Some(inner) = object(field.shape) else { continue };
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
fn place(found: &[(&'static Fields, usize, &'static str)]) -> String {
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
fn object(shape: Shape) -> Option<&'static Fields> {
    match shape {
        Shape::Object(fields) => Some(fields),
        Shape::List(inner) | Shape::Map(inner) => object(*inner),
        Shape::Template => Some(&TEMPLATE),
        Shape::Text
        | Shape::Choice(_)
        | Shape::Integer
        | Shape::Boolean
        | Shape::IntegerOrText
        | Shape::Conditions
        | Shape::Any => None,
    }
}
