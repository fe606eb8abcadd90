//! Tree of an expression, and its text.

use std::fmt;

use super::function::CesqlFunction;
use super::like::LikePattern;

/// Operator between two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BinaryOperator {
    /// The operator `*`, for integers.
    Multiply,
    /// The operator `/`, for integers.
    Divide,
    /// The operator `%`, for integers.
    Remainder,
    /// The operator `+`, for integers.
    Add,
    /// The operator `-`, for integers.
    Subtract,
    /// The operator `=`, for all types.
    Equal,
    /// The operators `!=` and `<>`, for all types.
    NotEqual,
    /// The operator `<`, for integers.
    Less,
    /// The operator `<=`, for integers.
    LessOrEqual,
    /// The operator `>`, for integers.
    Greater,
    /// The operator `>=`, for integers.
    GreaterOrEqual,
    /// The operator `AND`, for booleans.
    And,
    /// The operator `OR`, for booleans.
    Or,
    /// The operator `XOR`, for booleans.
    Xor,
}

impl BinaryOperator {
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

/// A node of an expression's tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ExpressionNode {
    /// A literal of type string.
    String(String),
    /// A literal of type integer.
    Integer(i32),
    /// A literal of type boolean.
    Boolean(bool),
    /// The value of an attribute, by its lower-case name.
    Attribute(String),
    /// Negation of a boolean: `NOT x`
    Not(Box<ExpressionNode>),
    /// Negative of an integer: `-x`
    Negate(Box<ExpressionNode>),
    /// Operation on two operands: `x op y`
    Binary(BinaryOperator, Box<ExpressionNode>, Box<ExpressionNode>),
    /// Match of a text with a pattern: `x LIKE 'pattern'`
    Like(Box<ExpressionNode>, LikePattern),
    /// Test if an attribute is set: `EXISTS attribute`
    Exists(String),
    /// Test if a value is one of a list: `x IN (y, …)`
    In(Box<ExpressionNode>, Vec<ExpressionNode>),
    /// Call of a function: `FUNCTION(x, …)`
    Call(CesqlFunction, Vec<ExpressionNode>),
}

impl fmt::Display for ExpressionNode {
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
            Self::Like(x, pattern) => {
                write!(f, "({x} LIKE '{}')", pattern.text().replace('\'', "\\'"))
            }
            Self::Exists(name) => write!(f, "(EXISTS {name})"),
            Self::In(x, set) => write!(f, "({x} IN ({}))", format_list(set)),
            Self::Call(function, arguments) => {
                write!(f, "{}({})", function.name(), format_list(arguments))
            }
        }
    }
}

fn format_list(items: &[ExpressionNode]) -> String {
    items
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Collects the arguments of each call of `KN_VERIFY_CORRELATION_ID` in an expression.
pub(super) fn collect_correlation_calls<'e>(
    root: &'e ExpressionNode,
    found: &mut Vec<&'e [ExpressionNode]>,
) {
    match root {
        ExpressionNode::String(_)
        | ExpressionNode::Integer(_)
        | ExpressionNode::Boolean(_)
        | ExpressionNode::Attribute(_)
        | ExpressionNode::Exists(_) => {}
        ExpressionNode::Not(x) | ExpressionNode::Negate(x) | ExpressionNode::Like(x, _) => {
            collect_correlation_calls(x, found)
        }
        ExpressionNode::Binary(_, x, y) => [x, y]
            .into_iter()
            .for_each(|x| collect_correlation_calls(x, found)),
        ExpressionNode::In(x, set) => {
            collect_correlation_calls(x, found);
            set.iter().for_each(|x| collect_correlation_calls(x, found));
        }
        ExpressionNode::Call(function, arguments) => {
            if *function == CesqlFunction::VerifyCorrelationId {
                found.push(arguments);
            }
            arguments
                .iter()
                .for_each(|x| collect_correlation_calls(x, found));
        }
    }
}

/// Text that an attribute must have exactly, for an expression to be true. An equation casts its
/// left side to the type of its right side, so that with a text on one side, and text as `type` and
/// `source` are, the texts are compared.
pub(super) fn required_text<'e>(root: &'e ExpressionNode, attribute: &str) -> Option<&'e str> {
    match root {
        ExpressionNode::Binary(BinaryOperator::And, left, right) => {
            required_text(left, attribute).or_else(|| required_text(right, attribute))
        }
        ExpressionNode::Binary(BinaryOperator::Equal, left, right) => {
            match (left.as_ref(), right.as_ref()) {
                (ExpressionNode::Attribute(name), ExpressionNode::String(text))
                | (ExpressionNode::String(text), ExpressionNode::Attribute(name)) => {
                    (name == attribute && !text.is_empty()).then_some(text.as_str())
                }
                _ => None,
            }
        }
        _ => None,
    }
}
