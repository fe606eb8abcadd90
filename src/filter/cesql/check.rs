//! Checks of expressions that are parsed and can never be true, or hardly ever, before they are
//! evaluated.
//!
//! Each part of an expression is judged by its possible values, whatever the event: true, false, or
//! neither, if it ends in an error. What is not known is taken to be possible, so that nothing is
//! refused that could pass.

mod foreign_syntax;
mod possible_values;
mod verification;

use super::ast::{BinaryOperator, ExpressionNode};
use super::function::CesqlFunction;
use super::lexer::{CesqlToken, tokenize};
use super::parser::ParseError;
use crate::event::nearly;

pub(super) use foreign_syntax::explain_error;
use possible_values::{CesqlType, PossibleBooleans, equal, in_order, like, type_of};
use verification::VerificationFault;

/// Severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FindingSeverity {
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
pub struct ExpressionFinding {
    /// Severity of the finding.
    pub severity: FindingSeverity,
    /// Position of the finding, and what to write instead.
    pub error: ParseError,
}

/// Finds everything that can be shown to be wrong with the expression that this text was parsed to.
pub(super) fn check(text: &str, root: &ExpressionNode) -> Vec<ExpressionFinding> {
    let leaves = tokenize(text)
        .unwrap_or_default()
        .into_iter()
        .filter(|(_, token)| is_leaf(token));
    let leaves = leaves.map(|(at, _)| at).collect();
    let mut checker = ExpressionChecker {
        text,
        leaves,
        next: 0,
        found: Vec::new(),
        names: Vec::new(),
    };
    // Parts are checked first: their findings are more precise than one about the whole.
    let result = checker.possible_values(root);
    let found = std::mem::take(&mut checker.found);
    let mut found: Vec<ExpressionFinding> = found
        .into_iter()
        .map(|(doubt, error)| ExpressionFinding {
            severity: doubt,
            error,
        })
        .collect();
    let message = match type_of(root) {
        CesqlType::Boolean | CesqlType::Unknown => None,
        CesqlType::Text => {
            Some("the result is text, and only what is true passes: compare it, or write EXISTS")
        }
        CesqlType::Integer => {
            Some("the result is a number, and only what is true passes: compare it")
        }
    };
    if let (Some(message), true) = (message, found.is_empty()) {
        found.push(ExpressionFinding {
            severity: FindingSeverity::NeverTrue,
            error: ParseError::new(text, first_position(text), message),
        });
    }
    // If the whole is never true, each finding is as severe as that.
    if !result.truth {
        found
            .iter_mut()
            .for_each(|finding| finding.severity = FindingSeverity::NeverTrue);
        if found.is_empty() {
            let error = ParseError::new(
                text,
                first_position(text),
                "is never true, so that nothing passes: correct it",
            );
            found.push(ExpressionFinding {
                severity: FindingSeverity::NeverTrue,
                error,
            });
        }
    }
    found.extend(checker.names.into_iter().map(|error| ExpressionFinding {
        severity: FindingSeverity::Name,
        error,
    }));
    found
}

fn first_position(text: &str) -> usize {
    text.len() - text.trim_start().len()
}

/// True if a token is a leaf of the tree; leaves have the same order in text and tree.
fn is_leaf(token: &CesqlToken<'_>) -> bool {
    const OPERATORS: [&str; 7] = ["AND", "OR", "XOR", "NOT", "LIKE", "EXISTS", "IN"];
    match token {
        CesqlToken::Number(_) | CesqlToken::String(_) => true,
        CesqlToken::Word(word) => !OPERATORS
            .iter()
            .any(|operator| operator.eq_ignore_ascii_case(word)),
        CesqlToken::Sign(_) => false,
    }
}

struct ExpressionChecker<'t> {
    text: &'t str,
    /// Bytes at which the leaves of the tree begin.
    leaves: Vec<usize>,
    next: usize,
    found: Vec<(FindingSeverity, ParseError)>,
    /// Findings about names, which are reported whatever the part around the name can become.
    names: Vec<ParseError>,
}

impl ExpressionChecker<'_> {
    fn leaf_position(&self) -> usize {
        self.leaves.get(self.next).copied().unwrap_or_default()
    }

    fn add_finding(&mut self, doubt: FindingSeverity, at: usize, message: impl Into<String>) {
        self.found
            .push((doubt, ParseError::new(self.text, at, message)));
    }

    /// Possible values of a part as a boolean.
    fn possible_values(&mut self, part: &ExpressionNode) -> PossibleBooleans {
        let (at, before) = (self.leaf_position(), self.found.len());
        let judged = self.possible_values_inside(part, at);
        // If something inside of a part was found to be wrong, nothing is reported about the part
        // itself.
        let is_comparison = matches!(part, ExpressionNode::Like(..) | ExpressionNode::In(..))
            || comparison_operator(part).is_some();
        if is_comparison && !judged.truth && self.found.len() == before {
            self.add_finding(
                FindingSeverity::PartNeverTrue,
                at,
                describe_never_true(part),
            );
        }
        judged
    }

    fn possible_values_inside(&mut self, part: &ExpressionNode, at: usize) -> PossibleBooleans {
        match part {
            ExpressionNode::String(_) | ExpressionNode::Integer(_) | ExpressionNode::Boolean(_) => {
                self.next += 1;
                possible_values::constant(part)
            }
            ExpressionNode::Attribute(name) => {
                self.next += 1;
                self.check_attribute(name, at);
                if matches!(name.as_str(), "data" | "null") {
                    PossibleBooleans::NOTHING
                } else {
                    PossibleBooleans::ALL
                }
            }
            ExpressionNode::Exists(name) => {
                self.next += 1;
                self.check_attribute(name, at);
                PossibleBooleans {
                    truth: name != "data",
                    falsehood: !possible_values::is_required(name),
                }
            }
            ExpressionNode::Not(inner) => self.check_operand(inner, "NOT").not(),
            ExpressionNode::Negate(inner) => {
                self.possible_values(inner);
                PossibleBooleans::of_number(part)
            }
            ExpressionNode::Like(left, pattern) => {
                self.possible_values(left);
                self.next += 1;
                like(left, pattern)
            }
            ExpressionNode::In(left, set) => {
                self.possible_values(left);
                for element in set {
                    self.possible_values(element);
                }
                set.iter()
                    .map(|element| equal(element, left))
                    .fold(PossibleBooleans::NEVER, PossibleBooleans::or)
            }
            ExpressionNode::Call(function, arguments) => {
                self.next += 1;
                self.check_call(function, arguments, at);
                for argument in arguments {
                    self.possible_values(argument);
                }
                match function {
                    CesqlFunction::Unknown(_) => PossibleBooleans::NOTHING,
                    CesqlFunction::VerifyCorrelationId => self.check_verification(arguments, at),
                    _ => PossibleBooleans::ALL,
                }
            }
            ExpressionNode::Binary(operator, left, right) => {
                self.check_binary(*operator, (left, right), at)
            }
        }
    }

    fn check_binary(
        &mut self,
        operator: BinaryOperator,
        (left, right): (&ExpressionNode, &ExpressionNode),
        at: usize,
    ) -> PossibleBooleans {
        match operator {
            BinaryOperator::And | BinaryOperator::Or | BinaryOperator::Xor => {
                let word = operator.as_str();
                let (x, y) = (
                    self.check_operand(left, word),
                    self.check_operand(right, word),
                );
                let judged = match operator {
                    BinaryOperator::And => x.and(y),
                    BinaryOperator::Or => x.or(y),
                    _ => x.xor(y),
                };
                let contradiction =
                    possible_values::contradiction(operator, left, right).filter(|_| judged.truth);
                let Some((name, one, other)) = contradiction else {
                    return judged;
                };
                let remedy = "write OR between them, or IN";
                self.add_finding(
                    FindingSeverity::PartNeverTrue,
                    at,
                    format!("{name} cannot be '{one}' and '{other}' at once: {remedy}"),
                );
                PossibleBooleans {
                    truth: false,
                    ..judged
                }
            }
            _ => {
                if let Some(name) = attribute_with_prefix(operator, left, right) {
                    let message = format!(
                        "ce-{name} is a subtraction here: attributes are written without \
                         ce-, as {name}"
                    );
                    self.add_finding(FindingSeverity::PartNeverTrue, at, message);
                    self.next += 2;
                    return PossibleBooleans::NOTHING;
                }
                let found = self.found.len();
                let fails = |part: &ExpressionNode, judged: PossibleBooleans| {
                    judged == PossibleBooleans::NOTHING && !possible_values::is_literal(part)
                };
                let (x, y) = (self.possible_values(left), self.possible_values(right));
                match operator {
                    _ if fails(left, x) || fails(right, y) => PossibleBooleans::NOTHING,
                    // A finding inside was reported, and its part may be true all the same.
                    _ if self.found.len() > found => PossibleBooleans::ALL,
                    BinaryOperator::Equal => equal(left, right),
                    BinaryOperator::NotEqual => equal(left, right).not(),
                    BinaryOperator::Less
                    | BinaryOperator::LessOrEqual
                    | BinaryOperator::Greater
                    | BinaryOperator::GreaterOrEqual => in_order(operator, left, right),
                    _ => self.check_comparison((operator, at), left, right),
                }
            }
        }
    }

    /// Possible values of an operand of a logical operator; a text that is neither `true` nor
    /// `false` has none.
    fn check_operand(&mut self, part: &ExpressionNode, operator: &str) -> PossibleBooleans {
        let at = self.leaf_position();
        let judged = self.possible_values(part);
        if let ExpressionNode::String(text) = part
            && judged == PossibleBooleans::NOTHING
        {
            let repeat = "repeat the comparison, as in type = 'a' OR type = 'b', or write type IN \
                 ('a', 'b')";
            self.add_finding(
                FindingSeverity::PartNeverTrue,
                at,
                format!("'{text}' beside {operator} is neither true nor false: {repeat}"),
            );
        }
        judged
    }

    fn check_comparison(
        &mut self,
        (operator, at): (BinaryOperator, usize),
        left: &ExpressionNode,
        right: &ExpressionNode,
    ) -> PossibleBooleans {
        let is_text = |part: &ExpressionNode| matches!(part, ExpressionNode::String(text) if text.parse::<i32>().is_err());
        if is_text(left) || is_text(right) {
            let remedy = if operator == BinaryOperator::Add {
                ": to join texts, write CONCAT(x, y)"
            } else {
                ""
            };
            self.add_finding(
                FindingSeverity::PartNeverTrue,
                at,
                format!(
                    "{} is for integers, and this is text{remedy}",
                    operator.as_str()
                ),
            );
            return PossibleBooleans::NOTHING;
        }
        PossibleBooleans::ALL
    }

    fn check_attribute(&mut self, name: &str, at: usize) {
        match name {
            "data" => self.add_finding(FindingSeverity::PartNeverTrue, at, foreign_syntax::DATA),
            "null" => self.add_finding(
                FindingSeverity::PartNeverTrue,
                at,
                "there is no null: write EXISTS x, or NOT EXISTS x",
            ),
            name => {
                let told = nearly(name)
                    .map(|meant| format!("{name} is an extension; did you mean {meant}?"));
                self.names
                    .extend(told.map(|message| ParseError::new(self.text, at, message)));
            }
        }
    }

    fn check_verification(&mut self, arguments: &[ExpressionNode], at: usize) -> PossibleBooleans {
        let Some(VerificationFault { message, possible }) = verification::find_fault(arguments)
        else {
            return PossibleBooleans::ALL;
        };
        self.add_finding(FindingSeverity::PartNeverTrue, at, message);
        possible
    }

    fn check_call(&mut self, function: &CesqlFunction, arguments: &[ExpressionNode], at: usize) {
        let CesqlFunction::Unknown(name) = function else {
            return;
        };
        self.add_finding(
            FindingSeverity::UnknownFunction,
            at,
            foreign_syntax::suggest_function(name, arguments),
        );
    }
}

/// Name of the attribute in `ce-type`, as its header is called over HTTP.
fn attribute_with_prefix<'e>(
    operator: BinaryOperator,
    left: &ExpressionNode,
    right: &'e ExpressionNode,
) -> Option<&'e str> {
    match (operator, left, right) {
        (
            BinaryOperator::Subtract,
            ExpressionNode::Attribute(ce),
            ExpressionNode::Attribute(name),
        ) if ce == "ce" => Some(name),
        _ => None,
    }
}

fn comparison_operator(part: &ExpressionNode) -> Option<BinaryOperator> {
    match part {
        ExpressionNode::Binary(
            operator @ (BinaryOperator::Equal
            | BinaryOperator::NotEqual
            | BinaryOperator::Less
            | BinaryOperator::LessOrEqual
            | BinaryOperator::Greater
            | BinaryOperator::GreaterOrEqual),
            ..,
        ) => Some(*operator),
        _ => None,
    }
}

/// Message that says why a comparison can never be true.
fn describe_never_true(part: &ExpressionNode) -> String {
    let is_order = comparison_operator(part).is_some_and(|operator| {
        !matches!(operator, BinaryOperator::Equal | BinaryOperator::NotEqual)
    });
    let is_text = |part: &ExpressionNode| matches!(part, ExpressionNode::String(text) if text.parse::<i32>().is_err());
    match part {
        ExpressionNode::Binary(operator, left, right)
            if is_order && (is_text(left) || is_text(right)) =>
        {
            format!(
                "{} compares integers, and text is none: nothing passes",
                operator.as_str()
            )
        }
        _ => format!("{} can never hold: correct it", written_text(part)),
    }
}

/// Text of a part, without the parentheses around it.
fn written_text(part: &ExpressionNode) -> String {
    let text = part.to_string();
    text.strip_prefix('(')
        .and_then(|text| text.strip_suffix(')'))
        .map_or(text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests;
