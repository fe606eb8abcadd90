//! Possible values of parts of expressions, whatever the event.

use std::borrow::Cow;

use crate::event::{CONTEXT_ATTRIBUTES, REQUIRED_ATTRIBUTES};
use crate::filter::cesql::ast::{BinaryOperator, ExpressionNode};
use crate::filter::cesql::eval::{AttributeSource, EvaluationResult, evaluate};
use crate::filter::cesql::function::CesqlFunction;
use crate::filter::cesql::like::LikePattern;
use crate::filter::cesql::meter::{MeterExceeded, WorkMeter};
use crate::filter::cesql::value::CesqlValue;

/// The version that `specversion` is assumed to be.
const VERSION: &str = "1.0";

/// Booleans that a part can become; neither, if it always ends in an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PossibleBooleans {
    pub(super) truth: bool,
    pub(super) falsehood: bool,
}

impl PossibleBooleans {
    pub(super) const ALL: Self = Self {
        truth: true,
        falsehood: true,
    };
    pub(super) const NOTHING: Self = Self {
        truth: false,
        falsehood: false,
    };
    pub(super) const NEVER: Self = Self {
        truth: false,
        falsehood: true,
    };

    pub(super) fn not(self) -> Self {
        Self {
            truth: self.falsehood,
            falsehood: self.truth,
        }
    }

    /// Values of `AND`: the right side counts only where the left one does not decide.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            truth: self.truth && other.truth,
            falsehood: self.falsehood || (self.truth && other.falsehood),
        }
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

    /// Values of a part that is a number.
    pub(super) fn of_number(part: &ExpressionNode) -> Self {
        if is_constant(part) {
            constant(part)
        } else {
            Self::ALL
        }
    }
}

/// Type of the value of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CesqlType {
    Text,
    Integer,
    Boolean,
    /// Type of an extension's value, which its sender chooses.
    Unknown,
}

/// Determines the type of a part.
pub(super) fn type_of(part: &ExpressionNode) -> CesqlType {
    match part {
        ExpressionNode::String(_) => CesqlType::Text,
        ExpressionNode::Integer(_) | ExpressionNode::Negate(_) => CesqlType::Integer,
        // These are text in every format of events; extensions may be of another type.
        ExpressionNode::Attribute(name) if CONTEXT_ATTRIBUTES.contains(&name.as_str()) => {
            CesqlType::Text
        }
        ExpressionNode::Attribute(_) => CesqlType::Unknown,
        ExpressionNode::Binary(operator, ..) if is_arithmetic(*operator) => CesqlType::Integer,
        ExpressionNode::Boolean(_)
        | ExpressionNode::Not(_)
        | ExpressionNode::Like(..)
        | ExpressionNode::Exists(_)
        | ExpressionNode::In(..)
        | ExpressionNode::Binary(..) => CesqlType::Boolean,
        ExpressionNode::Call(function, _) => match function {
            CesqlFunction::Unknown(_) => CesqlType::Unknown,
            known => match known.zero_value() {
                CesqlValue::String(_) => CesqlType::Text,
                CesqlValue::Integer(_) => CesqlType::Integer,
                CesqlValue::Boolean(_) => CesqlType::Boolean,
            },
        },
    }
}

fn is_arithmetic(operator: BinaryOperator) -> bool {
    matches!(
        operator,
        BinaryOperator::Add
            | BinaryOperator::Subtract
            | BinaryOperator::Multiply
            | BinaryOperator::Divide
            | BinaryOperator::Remainder
    )
}

/// True if every valid event has this attribute.
pub(super) fn is_required(name: &str) -> bool {
    REQUIRED_ATTRIBUTES.contains(&name)
}

/// True if a part is a literal, which says nothing as a boolean and is fit to be compared.
pub(super) fn is_literal(part: &ExpressionNode) -> bool {
    match part {
        ExpressionNode::String(_) | ExpressionNode::Integer(_) | ExpressionNode::Boolean(_) => true,
        ExpressionNode::Negate(inner) => is_literal(inner),
        _ => false,
    }
}

fn is_constant(part: &ExpressionNode) -> bool {
    match part {
        ExpressionNode::String(_) | ExpressionNode::Integer(_) | ExpressionNode::Boolean(_) => true,
        ExpressionNode::Attribute(_) | ExpressionNode::Exists(_) => false,
        // Its value depends on keys.
        ExpressionNode::Call(CesqlFunction::Unknown(_) | CesqlFunction::VerifyCorrelationId, _) => {
            false
        }
        ExpressionNode::Not(x) | ExpressionNode::Negate(x) | ExpressionNode::Like(x, _) => {
            is_constant(x)
        }
        ExpressionNode::Binary(_, x, y) => is_constant(x) && is_constant(y),
        ExpressionNode::In(x, set) => is_constant(x) && set.iter().all(is_constant),
        ExpressionNode::Call(_, arguments) => arguments.iter().all(is_constant),
    }
}

/// Attributes of an event that has none.
struct NoAttributes;

impl<'e> AttributeSource<'e> for NoAttributes {
    fn get(
        &self,
        _name: &str,
        _meter: &mut WorkMeter,
    ) -> Result<Option<CesqlValue<'e>>, MeterExceeded> {
        Ok(None)
    }

    fn exists(&self, _name: &str, _meter: &mut WorkMeter) -> Result<bool, MeterExceeded> {
        Ok(false)
    }
}

/// Possible values of a part without attributes: it is evaluated.
pub(super) fn constant(part: &ExpressionNode) -> PossibleBooleans {
    match evaluate(part, &NoAttributes, &mut WorkMeter::default()) {
        EvaluationResult { error: Some(_), .. } => PossibleBooleans::NOTHING,
        EvaluationResult { value, .. } => {
            value
                .to_boolean()
                .map_or(PossibleBooleans::NOTHING, |truth| PossibleBooleans {
                    truth,
                    falsehood: !truth,
                })
        }
    }
}

/// Possible values of `x = y`.
pub(super) fn equal(x: &ExpressionNode, y: &ExpressionNode) -> PossibleBooleans {
    if is_constant(x) && is_constant(y) {
        return constant(&ExpressionNode::Binary(
            BinaryOperator::Equal,
            Box::new(x.clone()),
            Box::new(y.clone()),
        ));
    }
    let (part, text) = match (x, y) {
        (part, ExpressionNode::String(text)) | (ExpressionNode::String(text), part) => {
            (part, Cow::Borrowed(text.as_str()))
        }
        (part, ExpressionNode::Integer(number)) | (ExpressionNode::Integer(number), part) => {
            (part, Cow::Owned(number.to_string()))
        }
        _ => return PossibleBooleans::ALL,
    };
    if can_be(part, &text) {
        PossibleBooleans::ALL
    } else {
        PossibleBooleans::NEVER
    }
}

/// True if a part can become this text, or a value that is cast to it.
fn can_be(part: &ExpressionNode, text: &str) -> bool {
    let is_integer = text.parse::<i32>().is_ok();
    let is_boolean = ["true", "false"]
        .iter()
        .any(|word| text.eq_ignore_ascii_case(word));
    match part {
        ExpressionNode::Attribute(name) if name == "specversion" => text == VERSION,
        ExpressionNode::Attribute(name) => !(is_required(name) && text.is_empty()),
        ExpressionNode::Call(CesqlFunction::Lower, _) => text.to_lowercase() == text,
        ExpressionNode::Call(CesqlFunction::Upper, _) => text.to_uppercase() == text,
        ExpressionNode::Call(CesqlFunction::Trim, _) => text.trim() == text,
        ExpressionNode::Call(CesqlFunction::Length | CesqlFunction::Abs, _) => {
            is_boolean || text.parse::<i32>().is_ok_and(|n| n >= 0)
        }
        ExpressionNode::Call(CesqlFunction::Left | CesqlFunction::Right, arguments) => {
            !is_longer(text, arguments.get(1))
        }
        part => match type_of(part) {
            CesqlType::Integer => is_integer || is_boolean,
            CesqlType::Boolean => is_boolean || is_integer,
            CesqlType::Text | CesqlType::Unknown => true,
        },
    }
}

/// True if a text has more characters than this part, if it is a number.
fn is_longer(text: &str, most: Option<&ExpressionNode>) -> bool {
    match most {
        Some(ExpressionNode::Integer(most)) => {
            !usize::try_from(*most).is_ok_and(|most| text.chars().count() <= most)
        }
        _ => false,
    }
}

/// Possible values of `x < y` and the like, on integers.
pub(super) fn in_order(
    operator: BinaryOperator,
    x: &ExpressionNode,
    y: &ExpressionNode,
) -> PossibleBooleans {
    if is_constant(x) && is_constant(y) {
        return constant(&ExpressionNode::Binary(
            operator,
            Box::new(x.clone()),
            Box::new(y.clone()),
        ));
    }
    if is_never_integer(x) || is_never_integer(y) {
        PossibleBooleans::NOTHING
    } else if is_negative_length(operator, x, y) {
        PossibleBooleans::NEVER
    } else {
        PossibleBooleans::ALL
    }
}

/// True if a part cannot be cast to an integer, whatever the event.
fn is_never_integer(part: &ExpressionNode) -> bool {
    match part {
        ExpressionNode::String(text) => text.parse::<i32>().is_err(),
        ExpressionNode::Attribute(name) => name == "specversion" || name == "time",
        _ => false,
    }
}

/// True if a comparison holds only for a text whose length is negative.
fn is_negative_length(operator: BinaryOperator, x: &ExpressionNode, y: &ExpressionNode) -> bool {
    let is_length =
        |part: &ExpressionNode| matches!(part, ExpressionNode::Call(CesqlFunction::Length, _));
    match (operator, x, y) {
        (BinaryOperator::Less, x, ExpressionNode::Integer(n))
        | (BinaryOperator::Greater, ExpressionNode::Integer(n), x) => is_length(x) && *n <= 0,
        (BinaryOperator::LessOrEqual, x, ExpressionNode::Integer(n))
        | (BinaryOperator::GreaterOrEqual, ExpressionNode::Integer(n), x) => is_length(x) && *n < 0,
        _ => false,
    }
}

/// Possible values of `x LIKE 'pattern'`.
pub(super) fn like(x: &ExpressionNode, pattern: &LikePattern) -> PossibleBooleans {
    if is_constant(x) {
        return constant(&ExpressionNode::Like(Box::new(x.clone()), pattern.clone()));
    }
    let text = pattern.text();
    let never = match x {
        ExpressionNode::Call(CesqlFunction::Lower, _) => text.to_lowercase() != text,
        ExpressionNode::Call(CesqlFunction::Upper, _) => text.to_uppercase() != text,
        ExpressionNode::Attribute(name) if name == "specversion" => {
            pattern.matches(VERSION, &mut WorkMeter::default()) == Ok(false)
        }
        ExpressionNode::Attribute(name) => is_required(name) && text.is_empty(),
        _ => false,
    };
    if never {
        PossibleBooleans::NEVER
    } else {
        PossibleBooleans::ALL
    }
}

/// Name of an attribute that both sides of an `AND` want to be another text, with both texts.
pub(super) fn contradiction<'e>(
    operator: BinaryOperator,
    left: &'e ExpressionNode,
    right: &'e ExpressionNode,
) -> Option<(&'e str, &'e str, &'e str)> {
    if operator != BinaryOperator::And {
        return None;
    }
    let mut wanted = Vec::new();
    equations(left, &mut wanted);
    let on_the_left = wanted.len();
    equations(right, &mut wanted);
    let (first, second) = wanted.split_at_checked(on_the_left)?;
    second.iter().find_map(|(name, other)| {
        let (_, one) = first
            .iter()
            .find(|(known, text)| known == name && text != other)?;
        Some((*name, *one, *other))
    })
}

/// Collects the texts that attributes must have, for a conjunction to be true.
fn equations<'e>(part: &'e ExpressionNode, wanted: &mut Vec<(&'e str, &'e str)>) {
    match part {
        ExpressionNode::Binary(BinaryOperator::And, left, right) => {
            equations(left, wanted);
            equations(right, wanted);
        }
        ExpressionNode::Binary(BinaryOperator::Equal, left, right) => {
            if let (ExpressionNode::Attribute(name), ExpressionNode::String(text))
            | (ExpressionNode::String(text), ExpressionNode::Attribute(name)) =
                (left.as_ref(), right.as_ref())
            {
                wanted.push((name, text));
            }
        }
        _ => {}
    }
}
