//! CESQL 1.0, the CloudEvents SQL expression language: parsed once, evaluated for each event.
//!
//! Evaluation is total: it always yields a value, and the errors that arose on the way, and is bounded in work and memory.
//! It knows attributes by a trait, not events, and imports nothing but the standard library.

mod ast;
mod check;
mod eval;
mod function;
mod lexer;
mod like;
mod meter;
mod parser;
mod value;

pub use ast::Expr;
pub use check::{Doubt, Finding};
pub use eval::{Attributes, Correlation, Error, Evaluated};
pub use meter::{Exceeded, MAX_BYTES, MAX_STEPS, Meter};
pub use parser::ParseError;
pub use value::Value;

/// Longest text in bytes.
const MAX_LENGTH: usize = 16 * 1024;
/// Deepest nesting of operators, functions and parentheses.
const MAX_DEPTH: usize = 100;

/// A parsed expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    root: Expr,
}

impl Expression {
    /// Parses a text.
    ///
    /// # Errors
    /// Line, column and what is wrong there, if the text is not an expression, or too long, or nested too deeply.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        parser::parse(text).map(|root| Self { root })
    }

    /// What can be shown to be wrong with it, though it was understood, before any event comes; `text` is what it was
    /// parsed from. Without a finding of [`Doubt::Never`] there may be events that pass.
    #[must_use]
    pub fn check(&self, text: &str) -> Vec<Finding> {
        check::check(text, &self.root)
    }

    /// An error of [`Self::parse`], in the words of people who come from other languages.
    #[must_use]
    pub fn explained(text: &str, error: ParseError) -> ParseError {
        check::explained(text, error)
    }

    /// Evaluates the expression on these attributes (cesql §3), with what the meter has left: [`Error::Limit`] if that is
    /// too little.
    pub fn evaluate<'e>(&'e self, attributes: &dyn Attributes<'e>, meter: &mut Meter) -> Evaluated<'e> {
        eval::evaluate(&self.root, attributes, meter)
    }

    /// The text that an attribute must have exactly, for the expression to be true: that of an equation which every
    /// other condition is joined to by `AND`.
    #[must_use]
    pub fn requires(&self, attribute: &str) -> Option<&str> {
        ast::requires(&self.root, attribute)
    }

    /// The arguments of each call of `KN_VERIFY_CORRELATION_ID` in it.
    #[must_use]
    pub fn verifications(&self) -> Vec<&[Expr]> {
        let mut found = Vec::new();
        ast::verifications(&self.root, &mut found);
        found
    }

    /// What was parsed.
    #[must_use]
    pub fn root(&self) -> &Expr {
        &self.root
    }
}

impl std::fmt::Display for Expression {
    /// The expression with every operation in parentheses; parsing it gives the same expression.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.root.fmt(f)
    }
}

#[cfg(test)]
mod tests;
