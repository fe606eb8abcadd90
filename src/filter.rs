//! Which events a Trigger wants. Pure: no I/O, no state, total on every event. What cannot be decided does not pass.

pub mod cesql;
pub mod explain;
pub mod index;

use std::borrow::Cow;

use crate::event::{Event, Kind};
use cesql::{Evaluated, Expression, Value};

/// Names of attributes with what is wanted of them.
pub type Pairs = Vec<(String, String)>;

/// A filter, compiled once when the configuration is resolved (data-plane.md §7).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Filter {
    /// Lets every event pass.
    #[default]
    Pass,
    /// `filter.attributes`: every pair must match (TF-3).
    Attributes(Pairs),
    /// Every attribute has exactly this text (TF-4).
    Exact(Pairs),
    /// Every attribute starts with this text.
    Prefix(Pairs),
    /// Every attribute ends with this text.
    Suffix(Pairs),
    /// Every one of these passes (TF-5).
    All(Vec<Filter>),
    /// One of these passes.
    Any(Vec<Filter>),
    /// This one does not pass.
    Not(Box<Filter>),
    /// The expression is true, and no error arose (TF-12, TF-13).
    Cesql(Expression),
}

impl Filter {
    /// Whether the event passes.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        self.decide(event) == Some(true)
    }

    /// Whether the event passes; `None` if that depends on an expression that cannot be decided (TF-12, TF-13). Then
    /// it does not, and nothing around the expression can make it pass, not even a `not`.
    #[must_use]
    pub fn decide(&self, event: &Event) -> Option<bool> {
        let texts = |pairs: &Pairs, test: fn(&str, &str) -> bool| {
            Some(pairs.iter().all(|(name, wanted)| text(event, name).is_some_and(|text| test(&text, wanted))))
        };
        match self {
            Self::Pass => Some(true),
            Self::Attributes(pairs) => Some(pairs.iter().all(|(name, wanted)| attribute_matches(event, name, wanted))),
            Self::Exact(pairs) => texts(pairs, |text, wanted| text == wanted),
            Self::Prefix(pairs) => texts(pairs, |text, wanted| text.starts_with(wanted)),
            Self::Suffix(pairs) => texts(pairs, |text, wanted| text.ends_with(wanted)),
            Self::All(filters) => any(filters, |filter| filter.decide(event).map(|passes| !passes)).map(|fails| !fails),
            Self::Any(filters) => any(filters, |filter| filter.decide(event)),
            Self::Not(filter) => filter.decide(event).map(|passes| !passes),
            Self::Cesql(expression) => evaluate(expression, event),
        }
    }
}

/// True if one of them is; else, undecided if one of them is; so the order does not matter.
fn any(filters: &[Filter], decide: impl Fn(&Filter) -> Option<bool>) -> Option<bool> {
    let mut result = Some(false);
    for filter in filters {
        match decide(filter) {
            Some(true) => return Some(true),
            Some(false) => {}
            None => result = None,
        }
    }
    result
}

/// The text of an attribute that is set (TF-2, but one that is not set is missing, gaps.md G-47).
fn text<'e>(event: &'e Event, name: &str) -> Option<Cow<'e, str>> {
    match name {
        "schemaurl" => event.get(name).or_else(|| event.get("dataschema")),
        _ => event.get(name),
    }
}

/// TF-3: `""` wants the attribute to be there and not empty; else the strings must be equal, and an integer or a
/// boolean of a structured event equals no string.
fn attribute_matches(event: &Event, name: &str, wanted: &str) -> bool {
    let typed = event.find(name).is_some_and(|attribute| attribute.kind() != Kind::String);
    match text(event, name) {
        None => false,
        Some(text) if wanted.is_empty() => !text.is_empty(),
        Some(text) => !typed && text == wanted,
    }
}

/// `None` on an error or a value that is no boolean.
fn evaluate(expression: &Expression, event: &Event) -> Option<bool> {
    match expression.evaluate(&|name: &str| value(event, name)) {
        Evaluated { value: Value::Boolean(truth), error: None } => Some(truth),
        Evaluated { .. } => None,
    }
}

/// An attribute as CESQL sees it: typed where its event was (TF-14).
fn value<'e>(event: &'e Event, name: &str) -> Option<Value<'e>> {
    let kind = event.find(name).map_or(Kind::String, crate::event::Attribute::kind);
    let text = event.get(name)?;
    match kind {
        Kind::Integer => text.parse().ok().map(Value::Integer),
        Kind::Boolean => Some(Value::Boolean(text == "true")),
        Kind::String => Some(Value::String(text)),
    }
}

#[cfg(test)]
mod tests;
