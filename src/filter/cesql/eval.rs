//! Evaluation: total, bounded by the expression's depth, without allocation for what compares attributes and literals.
//! It fails fast (cesql §4.1): after the first error, everything around it has the zero value of its type.

use std::borrow::Cow;
use std::fmt;

use super::ast::{Expr, Operator};
use super::value::Value;

/// Where attributes come from.
pub trait Attributes<'e> {
    /// The attribute of that name (lower case); `None` if it is not set.
    fn get(&self, name: &str) -> Option<Value<'e>>;
}

impl<'e, F: Fn(&str) -> Option<Value<'e>>> Attributes<'e> for F {
    fn get(&self, name: &str) -> Option<Value<'e>> {
        self(name)
    }
}

/// What can go wrong (cesql §3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Division by zero, or a result of more than 32 bits.
    Math,
    /// A value that is not of the type that is needed.
    Cast,
    /// An attribute that is not set.
    MissingAttribute,
    /// A function that is not known, or not with so many arguments.
    MissingFunction,
    /// A function that cannot work with its arguments.
    FunctionEvaluation,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Math => "math error",
            Self::Cast => "cast error",
            Self::MissingAttribute => "missing attribute",
            Self::MissingFunction => "missing function",
            Self::FunctionEvaluation => "function evaluation error",
        })
    }
}

/// A value, and the first error that arose on the way to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluated<'e> {
    /// The value; the zero value of its type where an error left none.
    pub value: Value<'e>,
    /// The first error.
    pub error: Option<Error>,
}

/// Evaluates a whole expression. What cannot be typed, as a missing attribute alone, is `false` (cesql §3.2).
pub(super) fn evaluate<'e>(root: &'e Expr, attributes: &dyn Attributes<'e>) -> Evaluated<'e> {
    let mut evaluation = Evaluation { attributes, error: None };
    let value = evaluation.value(root).unwrap_or(Value::Boolean(false));
    Evaluated { value, error: evaluation.error }
}

struct Evaluation<'a, 'e> {
    attributes: &'a dyn Attributes<'e>,
    error: Option<Error>,
}

/// `None` where the operation has no value, and its zero value counts: an operand is missing or cannot be cast.
type Maybe<T> = Option<T>;

impl<'e> Evaluation<'_, 'e> {
    fn fail<T>(&mut self, error: Error) -> Maybe<T> {
        self.error.get_or_insert(error);
        None
    }

    /// The value of an operand, if no error arose on the way to it.
    fn operand(&mut self, expression: &'e Expr) -> Maybe<Value<'e>> {
        self.value(expression).filter(|_| self.error.is_none())
    }

    fn value(&mut self, expression: &'e Expr) -> Maybe<Value<'e>> {
        Some(match expression {
            Expr::String(text) => Value::String(Cow::Borrowed(text)),
            Expr::Integer(number) => Value::Integer(*number),
            Expr::Boolean(truth) => Value::Boolean(*truth),
            Expr::Attribute(name) => return self.attribute(name),
            Expr::Not(x) => Value::Boolean(self.boolean(x).is_some_and(|truth| !truth)),
            Expr::Negate(x) => Value::Integer(self.negate(x).unwrap_or(0)),
            Expr::Binary(operator, x, y) => self.binary(*operator, x, y),
            Expr::Like(x, pattern) => Value::Boolean(self.operand(x).is_some_and(|x| pattern.matches(&x.into_text()))),
            Expr::Exists(name) => Value::Boolean(self.attributes.get(name).is_some()),
            Expr::In(x, set) => Value::Boolean(self.is_in(x, set).unwrap_or(false)),
            Expr::Call(function, arguments) => {
                let arguments: Option<Vec<_>> = arguments.iter().map(|argument| self.operand(argument)).collect();
                let Some(arguments) = arguments else { return Some(function.zero()) };
                let (value, error) = function.call(arguments);
                self.error = self.error.or(error);
                value
            }
        })
    }

    fn attribute(&mut self, name: &str) -> Maybe<Value<'e>> {
        match self.attributes.get(name) {
            Some(value) => Some(value),
            None => self.fail(Error::MissingAttribute),
        }
    }

    fn negate(&mut self, x: &'e Expr) -> Maybe<i32> {
        match self.integer(x)?.checked_neg() {
            Some(negative) => Some(negative),
            None => self.fail(Error::Math),
        }
    }

    fn boolean(&mut self, x: &'e Expr) -> Maybe<bool> {
        match self.operand(x)?.to_boolean() {
            Some(truth) => Some(truth),
            None => self.fail(Error::Cast),
        }
    }

    fn integer(&mut self, x: &'e Expr) -> Maybe<i32> {
        match self.operand(x)?.to_integer() {
            Some(number) => Some(number),
            None => self.fail(Error::Cast),
        }
    }

    fn binary(&mut self, operator: Operator, x: &'e Expr, y: &'e Expr) -> Value<'e> {
        match operator {
            Operator::And | Operator::Or | Operator::Xor => Value::Boolean(self.logic(operator, x, y).unwrap_or(false)),
            Operator::Equal => Value::Boolean(self.equal(x, y).unwrap_or(false)),
            Operator::NotEqual => Value::Boolean(self.equal(x, y).is_some_and(|equal| !equal)),
            Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual => {
                Value::Boolean(self.compare(operator, x, y).unwrap_or(false))
            }
            _ => Value::Integer(self.calculate(operator, x, y).unwrap_or(0)),
        }
    }

    /// The right side counts only where the left one does not decide (cesql §3.4.2).
    fn logic(&mut self, operator: Operator, x: &'e Expr, y: &'e Expr) -> Maybe<bool> {
        match (operator, self.boolean(x)?) {
            (Operator::And, false) => Some(false),
            (Operator::Or, true) => Some(true),
            (Operator::Xor, x) => Some(x != self.boolean(y)?),
            _ => self.boolean(y),
        }
    }

    /// The left side is cast to the type of the right one (cesql §3.7).
    fn equal(&mut self, x: &'e Expr, y: &'e Expr) -> Maybe<bool> {
        let (x, y) = (self.operand(x)?, self.operand(y)?);
        self.equal_values(&x, &y)
    }

    fn equal_values(&mut self, x: &Value<'_>, y: &Value<'_>) -> Maybe<bool> {
        match y {
            Value::String(y) => Some(x.borrowed().into_text() == *y),
            Value::Integer(y) => match x.to_integer() {
                Some(x) => Some(x == *y),
                None => self.fail(Error::Cast),
            },
            Value::Boolean(y) => match x.to_boolean() {
                Some(x) => Some(x == *y),
                None => self.fail(Error::Cast),
            },
        }
    }

    /// The elements are cast to the type of the left side (cesql §3.7).
    fn is_in(&mut self, x: &'e Expr, set: &'e [Expr]) -> Maybe<bool> {
        let x = self.operand(x)?;
        for element in set {
            let element = self.operand(element)?;
            if self.equal_values(&element, &x)? {
                return Some(true);
            }
        }
        Some(false)
    }

    fn compare(&mut self, operator: Operator, x: &'e Expr, y: &'e Expr) -> Maybe<bool> {
        let order = self.integer(x)?.cmp(&self.integer(y)?);
        Some(match operator {
            Operator::Less => order.is_lt(),
            Operator::LessOrEqual => order.is_le(),
            Operator::Greater => order.is_gt(),
            _ => order.is_ge(),
        })
    }

    /// A result of more than 32 bits is a math error, as is a division by zero.
    fn calculate(&mut self, operator: Operator, x: &'e Expr, y: &'e Expr) -> Maybe<i32> {
        let (x, y) = (self.integer(x)?, self.integer(y)?);
        let result = match operator {
            Operator::Multiply => x.checked_mul(y),
            Operator::Divide => x.checked_div(y),
            Operator::Remainder if y == -1 => Some(0),
            Operator::Remainder => x.checked_rem(y),
            Operator::Add => x.checked_add(y),
            _ => x.checked_sub(y),
        };
        match result {
            Some(result) => Some(result),
            None => self.fail(Error::Math),
        }
    }
}
