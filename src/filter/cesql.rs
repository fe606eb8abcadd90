//! CESQL 1.0, the CloudEvents SQL expression language: parsed once, evaluated for each event.
//!
//! Evaluation is total and bounded in work and memory: it always yields a value, and the errors
//! that arose. It knows attributes by a trait, not events, and imports nothing but the standard
//! library.

mod ast;
mod check;
mod eval;
mod evaluation_error;
mod function;
mod lexer;
mod like;
mod meter;
mod parse_error;
mod parser;
mod value;

pub(crate) use ast::ExpressionNode;
pub(crate) use check::{ExpressionFinding, FindingSeverity};
pub use eval::AttributeSource;
pub(crate) use eval::{CorrelationQuery, EvaluationResult};
pub use evaluation_error::EvaluationError;
pub use meter::MAX_STEPS;
pub use meter::MeterExceeded;
pub use meter::WorkMeter;
pub(crate) use parse_error::ParseError;
pub use value::CesqlValue;

/// Largest length of an expression's text in bytes.
const MAX_LENGTH: usize = 16 * 1024;
/// Deepest nesting of operators, functions and parentheses.
const MAX_DEPTH: usize = 100;

/// A parsed expression, ready for evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CesqlExpression {
    root: ExpressionNode,
}

impl CesqlExpression {
    /// Parses the text of an expression.
    ///
    /// # Errors
    /// If the text is not an expression, or too long, or nested too deeply; with line, column and
    /// what is wrong there.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        parser::parse(text).map(|root| Self { root })
    }

    /// Finds what can be shown to be wrong with the expression, although it was parsed, before any
    /// event comes; `text` is what it was parsed from. Without a finding of
    /// [`FindingSeverity::NeverTrue`] there may be events that pass.
    #[must_use]
    pub(crate) fn check(&self, text: &str) -> Vec<ExpressionFinding> {
        check::check(text, &self.root)
    }

    /// Rewords an error of [`Self::parse`] for authors who know other languages.
    #[must_use]
    pub(crate) fn explain_error(text: &str, error: ParseError) -> ParseError {
        check::explain_error(text, error)
    }

    /// Evaluates the expression on these attributes (cesql §3), with the steps that the meter has
    /// left: [`EvaluationError::Limit`] if those are too few.
    pub fn evaluate<'e>(
        &'e self,
        attributes: &dyn AttributeSource<'e>,
        meter: &mut WorkMeter,
    ) -> EvaluationResult<'e> {
        eval::evaluate(&self.root, attributes, meter)
    }

    /// Text that an attribute must have exactly, for the expression to be true: that of an equation
    /// to which every other condition is joined by `AND`.
    #[must_use]
    pub(crate) fn required_text(&self, attribute: &str) -> Option<&str> {
        ast::required_text(&self.root, attribute)
    }

    /// Arguments of each call of `KN_VERIFY_CORRELATION_ID` in the expression.
    #[must_use]
    pub(crate) fn correlation_calls(&self) -> Vec<&[ExpressionNode]> {
        let mut found = Vec::new();
        ast::collect_correlation_calls(&self.root, &mut found);
        found
    }

    /// Root of the parsed tree.
    #[must_use]
    pub(crate) fn root(&self) -> &ExpressionNode {
        &self.root
    }
}

impl std::fmt::Display for CesqlExpression {
    /// Writes the expression with every operation in parentheses; parsing that gives the same
    /// expression.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.root.fmt(f)
    }
}

#[cfg(test)]
mod tests;
