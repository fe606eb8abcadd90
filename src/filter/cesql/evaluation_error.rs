//! Errors of an evaluation (cesql §3.3).

use std::fmt;

use super::meter::MeterExceeded;

/// Error of an evaluation (cesql §3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvaluationError {
    /// A division by zero, or a result of more than 32 bits.
    Math,
    /// A value cannot be cast to the type that is needed.
    Cast,
    /// An attribute is not set.
    MissingAttribute,
    /// No function of this name takes this number of arguments.
    MissingFunction,
    /// A function cannot work with its arguments.
    FunctionEvaluation,
    /// The evaluation would take more work than it may. This is not in the specification, which
    /// leaves limits to implementations.
    Limit,
}

impl fmt::Display for EvaluationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Limit => return MeterExceeded.fmt(f),
            Self::Math => "math error",
            Self::Cast => "cast error",
            Self::MissingAttribute => "missing attribute",
            Self::MissingFunction => "missing function",
            Self::FunctionEvaluation => "function evaluation error",
        })
    }
}

impl From<MeterExceeded> for EvaluationError {
    fn from(_exceeded: MeterExceeded) -> Self {
        Self::Limit
    }
}
