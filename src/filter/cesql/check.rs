//! Checks of expressions that are parsed and can never be true, or hardly ever, before they are
//! evaluated.
//!
//! Each part of an expression is judged by its possible values, whatever the event: true, false, or
//! neither, if it ends in an error. What is not known is taken to be possible, so that nothing is
//! refused that could pass.

mod expression_checker;
mod foreign_syntax;
mod possible_values;
mod verification;

use super::ast::ExpressionNode;
use super::parse_error::ParseError;
use expression_checker::ExpressionChecker;
pub(super) use foreign_syntax::explain_error;
use possible_values::{CesqlType, type_of};

/// Severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FindingSeverity {
    /// The expression can never be true.
    NeverTrue,
    /// No function of this name takes this number of arguments. The rest may be true.
    UnknownFunction,
    /// A part of the expression can never be true; the rest may be.
    PartNeverTrue,
    /// The name of an extension is similar to that of one of CloudEvents' own attributes.
    Name,
}

/// Finding about an expression that was parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExpressionFinding {
    /// Severity of the finding.
    pub severity: FindingSeverity,
    /// Position of the finding, and what to write instead.
    pub error: ParseError,
}

/// Finds everything that can be shown to be wrong with the expression that this text was parsed to.
pub(super) fn check(text: &str, root: &ExpressionNode) -> Vec<ExpressionFinding> {
    // Parts are checked first: their findings are more precise than one about the whole.
    let mut checker = ExpressionChecker::new(text);
    let result = checker.possible_values(root);
    let mut found = checker.found;
    if found.is_empty() {
        found.extend(result_finding(text, root));
    }
    // If the whole is never true, each finding is as severe as that.
    if !result.truth {
        found
            .iter_mut()
            .for_each(|finding| finding.severity = FindingSeverity::NeverTrue);
        if found.is_empty() {
            let message = "is never true, so that nothing passes: correct it";
            found.push(never_true(text, message));
        }
    }
    found.extend(checker.names.into_iter().map(|error| ExpressionFinding {
        severity: FindingSeverity::Name,
        error,
    }));
    found
}

/// Returns the finding about an expression whose result is no boolean.
fn result_finding(text: &str, root: &ExpressionNode) -> Option<ExpressionFinding> {
    let message = match type_of(root) {
        CesqlType::Boolean | CesqlType::Unknown => return None,
        CesqlType::Text => {
            "the result is text, and only what is true passes: compare it, or write EXISTS"
        }
        CesqlType::Integer => "the result is a number, and only what is true passes: compare it",
    };
    Some(never_true(text, message))
}

/// Returns the finding that the whole expression can never be true.
fn never_true(text: &str, message: &str) -> ExpressionFinding {
    ExpressionFinding {
        severity: FindingSeverity::NeverTrue,
        error: ParseError::new(text, first_position(text), message),
    }
}

fn first_position(text: &str) -> usize {
    text.len() - text.trim_start().len()
}

#[cfg(test)]
mod tests;
