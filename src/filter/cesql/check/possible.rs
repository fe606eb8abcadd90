//! What parts of expressions can become, whatever the event.

use std::borrow::Cow;

use crate::filter::cesql::ast::{Expr, Operator};
use crate::filter::cesql::eval::{Attributes, Evaluated, evaluate};
use crate::filter::cesql::function::Function;
use crate::filter::cesql::like::Pattern;
use crate::filter::cesql::meter::{Exceeded, Meter};
use crate::filter::cesql::value::Value;

/// Attributes that every event has, which are never empty.
const REQUIRED: [&str; 4] = ["type", "source", "id", "specversion"];
/// Attributes whose values are text in every format of events.
const TEXTS: [&str; 8] = ["type", "source", "id", "specversion", "subject", "time", "datacontenttype", "dataschema"];
/// The one version of events that is taken.
const VERSION: &str = "1.0";

/// Which booleans something can become; neither, if it always ends in an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Possible {
    pub(super) truth: bool,
    pub(super) falsehood: bool,
}

impl Possible {
    pub(super) const ALL: Self = Self { truth: true, falsehood: true };
    pub(super) const NOTHING: Self = Self { truth: false, falsehood: false };
    pub(super) const NEVER: Self = Self { truth: false, falsehood: true };

    pub(super) fn not(self) -> Self {
        Self { truth: self.falsehood, falsehood: self.truth }
    }

    /// The right side counts only where the left one does not decide.
    pub(super) fn and(self, other: Self) -> Self {
        Self { truth: self.truth && other.truth, falsehood: self.falsehood || (self.truth && other.falsehood) }
    }

    pub(super) fn or(self, other: Self) -> Self {
        self.not().and(other.not()).not()
    }

    pub(super) fn xor(self, other: Self) -> Self {
        Self {
            truth: (self.truth && other.falsehood) || (self.falsehood && other.truth),
            falsehood: (self.truth && other.truth) || (self.falsehood && other.falsehood),
        }
    }

    /// Of a part that is a number.
    pub(super) fn of_number(part: &Expr) -> Self {
        if is_constant(part) { constant(part) } else { Self::ALL }
    }
}

/// The type of what a part becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Text,
    Integer,
    Boolean,
    /// That of an extension, which its sender chooses.
    Unknown,
}

/// What type a part has.
pub(super) fn type_of(part: &Expr) -> Type {
    match part {
        Expr::String(_) => Type::Text,
        Expr::Integer(_) | Expr::Negate(_) => Type::Integer,
        Expr::Attribute(name) if TEXTS.contains(&name.as_str()) => Type::Text,
        Expr::Attribute(_) => Type::Unknown,
        Expr::Binary(
            Operator::Add | Operator::Subtract | Operator::Multiply | Operator::Divide | Operator::Remainder,
            ..,
        ) => Type::Integer,
        Expr::Boolean(_) | Expr::Not(_) | Expr::Like(..) | Expr::Exists(_) | Expr::In(..) | Expr::Binary(..) => {
            Type::Boolean
        }
        Expr::Call(function, _) => match function {
            Function::Unknown(_) => Type::Unknown,
            known => match known.zero() {
                Value::String(_) => Type::Text,
                Value::Integer(_) => Type::Integer,
                Value::Boolean(_) => Type::Boolean,
            },
        },
    }
}

/// Whether an event without this attribute is none.
pub(super) fn is_required(name: &str) -> bool {
    REQUIRED.contains(&name)
}

/// Whether no attribute is in it.
/// Whether a part is a value as it is written, which says nothing as a boolean and is fit to be compared.
pub(super) fn is_literal(part: &Expr) -> bool {
    match part {
        Expr::String(_) | Expr::Integer(_) | Expr::Boolean(_) => true,
        Expr::Negate(inner) => is_literal(inner),
        _ => false,
    }
}

fn is_constant(part: &Expr) -> bool {
    match part {
        Expr::String(_) | Expr::Integer(_) | Expr::Boolean(_) => true,
        Expr::Attribute(_) | Expr::Exists(_) => false,
        // What it says depends on keys.
        Expr::Call(Function::Unknown(_) | Function::VerifyCorrelationId, _) => false,
        Expr::Not(x) | Expr::Negate(x) | Expr::Like(x, _) => is_constant(x),
        Expr::Binary(_, x, y) => is_constant(x) && is_constant(y),
        Expr::In(x, set) => is_constant(x) && set.iter().all(is_constant),
        Expr::Call(_, arguments) => arguments.iter().all(is_constant),
    }
}

/// An event that has none.
struct NoAttributes;

impl<'e> Attributes<'e> for NoAttributes {
    fn get(&self, _name: &str, _meter: &mut Meter) -> Result<Option<Value<'e>>, Exceeded> {
        Ok(None)
    }

    fn exists(&self, _name: &str, _meter: &mut Meter) -> Result<bool, Exceeded> {
        Ok(false)
    }
}

/// What a part without attributes becomes.
pub(super) fn constant(part: &Expr) -> Possible {
    match evaluate(part, &NoAttributes, &mut Meter::default()) {
        Evaluated { error: Some(_), .. } => Possible::NOTHING,
        Evaluated { value, .. } => {
            value.to_boolean().map_or(Possible::NOTHING, |truth| Possible { truth, falsehood: !truth })
        }
    }
}

/// `x = y`.
pub(super) fn equal(x: &Expr, y: &Expr) -> Possible {
    if is_constant(x) && is_constant(y) {
        return constant(&Expr::Binary(Operator::Equal, Box::new(x.clone()), Box::new(y.clone())));
    }
    let (part, text) = match (x, y) {
        (part, Expr::String(text)) | (Expr::String(text), part) => (part, Cow::Borrowed(text.as_str())),
        (part, Expr::Integer(number)) | (Expr::Integer(number), part) => (part, Cow::Owned(number.to_string())),
        _ => return Possible::ALL,
    };
    if can_be(part, &text) { Possible::ALL } else { Possible::NEVER }
}

/// Whether a part can become this text, or what is cast to it.
fn can_be(part: &Expr, text: &str) -> bool {
    let is_integer = text.parse::<i32>().is_ok();
    let is_boolean = ["true", "false"].iter().any(|word| text.eq_ignore_ascii_case(word));
    match part {
        Expr::Attribute(name) if name == "specversion" => text == VERSION,
        Expr::Attribute(name) => !(is_required(name) && text.is_empty()),
        Expr::Call(Function::Lower, _) => text.to_lowercase() == text,
        Expr::Call(Function::Upper, _) => text.to_uppercase() == text,
        Expr::Call(Function::Trim, _) => text.trim() == text,
        Expr::Call(Function::Length | Function::Abs, _) => is_boolean || text.parse::<i32>().is_ok_and(|n| n >= 0),
        Expr::Call(Function::Left | Function::Right, arguments) => match arguments.get(1) {
            Some(Expr::Integer(most)) => usize::try_from(*most).is_ok_and(|most| text.chars().count() <= most),
            _ => true,
        },
        part => match type_of(part) {
            Type::Integer => is_integer || is_boolean,
            Type::Boolean => is_boolean || is_integer,
            Type::Text | Type::Unknown => true,
        },
    }
}

/// `x < y` and its like, on integers.
pub(super) fn in_order(operator: Operator, x: &Expr, y: &Expr) -> Possible {
    if is_constant(x) && is_constant(y) {
        return constant(&Expr::Binary(operator, Box::new(x.clone()), Box::new(y.clone())));
    }
    let fails = |part: &Expr| match part {
        Expr::String(text) => text.parse::<i32>().is_err(),
        Expr::Attribute(name) => name == "specversion" || name == "time",
        _ => false,
    };
    if fails(x) || fails(y) {
        return Possible::NOTHING;
    }
    let is_natural = |part: &Expr| matches!(part, Expr::Call(Function::Length, _));
    let never = match (operator, x, y) {
        (Operator::Less, x, Expr::Integer(n)) | (Operator::Greater, Expr::Integer(n), x) => is_natural(x) && *n <= 0,
        (Operator::LessOrEqual, x, Expr::Integer(n)) | (Operator::GreaterOrEqual, Expr::Integer(n), x) => {
            is_natural(x) && *n < 0
        }
        _ => false,
    };
    if never { Possible::NEVER } else { Possible::ALL }
}

/// `x LIKE 'pattern'`.
pub(super) fn like(x: &Expr, pattern: &Pattern) -> Possible {
    if is_constant(x) {
        return constant(&Expr::Like(Box::new(x.clone()), pattern.clone()));
    }
    let text = pattern.text();
    let never = match x {
        Expr::Call(Function::Lower, _) => text.to_lowercase() != text,
        Expr::Call(Function::Upper, _) => text.to_uppercase() != text,
        Expr::Attribute(name) if name == "specversion" => pattern.matches(VERSION, &mut Meter::default()) == Ok(false),
        Expr::Attribute(name) => is_required(name) && text.is_empty(),
        _ => false,
    };
    if never { Possible::NEVER } else { Possible::ALL }
}

/// An attribute that both sides of an `AND` want to be another text.
pub(super) fn contradiction<'e>(
    operator: Operator,
    left: &'e Expr,
    right: &'e Expr,
) -> Option<(&'e str, &'e str, &'e str)> {
    if operator != Operator::And {
        return None;
    }
    let mut wanted = Vec::new();
    equations(left, &mut wanted);
    let on_the_left = wanted.len();
    equations(right, &mut wanted);
    let (first, second) = wanted.split_at_checked(on_the_left)?;
    second.iter().find_map(|(name, other)| {
        let (_, one) = first.iter().find(|(known, text)| known == name && text != other)?;
        Some((*name, *one, *other))
    })
}

/// The texts that attributes must have, for a conjunction to be true.
fn equations<'e>(part: &'e Expr, wanted: &mut Vec<(&'e str, &'e str)>) {
    match part {
        Expr::Binary(Operator::And, left, right) => {
            equations(left, wanted);
            equations(right, wanted);
        }
        Expr::Binary(Operator::Equal, left, right) => {
            if let (Expr::Attribute(name), Expr::String(text)) | (Expr::String(text), Expr::Attribute(name)) =
                (left.as_ref(), right.as_ref())
            {
                wanted.push((name, text));
            }
        }
        _ => {}
    }
}
