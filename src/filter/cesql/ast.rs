//! The expression tree, and its text.

use std::fmt;

use super::function::Function;
use super::like::Pattern;

/// An operator between two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `%`
    Remainder,
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `=`
    Equal,
    /// `!=` and `<>`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `AND`
    And,
    /// `OR`
    Or,
    /// `XOR`
    Xor,
}

impl Operator {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::And => "AND",
            Self::Or => "OR",
            Self::Xor => "XOR",
        }
    }
}

/// An expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expr {
    /// A string literal.
    String(String),
    /// An integer literal.
    Integer(i32),
    /// A boolean literal.
    Boolean(bool),
    /// The value of an attribute.
    Attribute(String),
    /// `NOT x`
    Not(Box<Expr>),
    /// `-x`
    Negate(Box<Expr>),
    /// `x op y`
    Binary(Operator, Box<Expr>, Box<Expr>),
    /// `x LIKE 'pattern'`
    Like(Box<Expr>, Pattern),
    /// `EXISTS attribute`
    Exists(String),
    /// `x IN (y, …)`
    In(Box<Expr>, Vec<Expr>),
    /// `FUNCTION(x, …)`
    Call(Function, Vec<Expr>),
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::String(text) => write!(f, "'{}'", text.replace('\'', "\\'")),
            Self::Integer(number) if *number < 0 => write!(f, "({number})"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Boolean(truth) => f.write_str(if *truth { "TRUE" } else { "FALSE" }),
            Self::Attribute(name) => f.write_str(name),
            Self::Not(x) => write!(f, "(NOT {x})"),
            Self::Negate(x) => write!(f, "(-({x}))"),
            Self::Binary(operator, x, y) => write!(f, "({x} {} {y})", operator.as_str()),
            Self::Like(x, pattern) => write!(f, "({x} LIKE '{}')", pattern.text().replace('\'', "\\'")),
            Self::Exists(name) => write!(f, "(EXISTS {name})"),
            Self::In(x, set) => write!(f, "({x} IN ({}))", list(set)),
            Self::Call(function, arguments) => write!(f, "{}({})", function.name(), list(arguments)),
        }
    }
}

fn list(items: &[Expr]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Adds the arguments of each call of `KN_VERIFY_CORRELATION_ID` in an expression.
pub(super) fn verifications<'e>(root: &'e Expr, found: &mut Vec<&'e [Expr]>) {
    match root {
        Expr::String(_) | Expr::Integer(_) | Expr::Boolean(_) | Expr::Attribute(_) | Expr::Exists(_) => {}
        Expr::Not(x) | Expr::Negate(x) | Expr::Like(x, _) => verifications(x, found),
        Expr::Binary(_, x, y) => [x, y].into_iter().for_each(|x| verifications(x, found)),
        Expr::In(x, set) => {
            verifications(x, found);
            set.iter().for_each(|x| verifications(x, found));
        }
        Expr::Call(function, arguments) => {
            if *function == Function::VerifyCorrelationId {
                found.push(arguments);
            }
            arguments.iter().for_each(|x| verifications(x, found));
        }
    }
}

/// The text that an attribute must have exactly, for an expression to be true. An equation casts its left side to the
/// type of its right side, so that with a text on one side, and text as `type` and `source` are, the texts are compared.
pub(super) fn requires<'e>(root: &'e Expr, attribute: &str) -> Option<&'e str> {
    match root {
        Expr::Binary(Operator::And, left, right) => requires(left, attribute).or_else(|| requires(right, attribute)),
        Expr::Binary(Operator::Equal, left, right) => match (left.as_ref(), right.as_ref()) {
            (Expr::Attribute(name), Expr::String(text)) | (Expr::String(text), Expr::Attribute(name)) => {
                (name == attribute && !text.is_empty()).then_some(text.as_str())
            }
            _ => None,
        },
        _ => None,
    }
}
