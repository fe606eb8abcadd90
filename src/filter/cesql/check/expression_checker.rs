//! Walks the tree of an expression and judges each of its parts by its possible values.

use super::possible_values::{self, PossibleBooleans, equal, in_order, like};
use super::verification::{self, VerificationFault};
use super::{ExpressionFinding, FindingSeverity, foreign_syntax};
use crate::event::nearly;
use crate::filter::cesql::ast::{BinaryOperator, ExpressionNode};
use crate::filter::cesql::function::CesqlFunction;
use crate::filter::cesql::lexer::{CesqlToken, tokenize};
use crate::filter::cesql::parse_error::ParseError;

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

pub(super) struct ExpressionChecker<'t> {
    text: &'t str,
    /// Bytes at which the leaves of the tree begin.
    leaves: Vec<usize>,
    next: usize,
    pub(super) found: Vec<ExpressionFinding>,
    /// Findings about names, which are reported whatever the part around the name can become.
    pub(super) names: Vec<ParseError>,
}

/// The operands of a binary operator, and the position of the first leaf below it.
#[derive(Clone, Copy)]
struct BinaryOperands<'e> {
    left: &'e ExpressionNode,
    right: &'e ExpressionNode,
    at: usize,
}

impl<'t> ExpressionChecker<'t> {
    /// Makes the checker of the expression that this text was parsed to.
    pub(super) fn new(text: &'t str) -> Self {
        let tokens = tokenize(text).unwrap_or_default().into_iter();
        let leaves = tokens.filter(|(_, token)| is_leaf(token));
        Self {
            text,
            leaves: leaves.map(|(at, _)| at).collect(),
            next: 0,
            found: Vec::new(),
            names: Vec::new(),
        }
    }
}

impl ExpressionChecker<'_> {
    fn leaf_position(&self) -> usize {
        self.leaves.get(self.next).copied().unwrap_or_default()
    }

    fn add_finding(&mut self, severity: FindingSeverity, at: usize, message: impl Into<String>) {
        let error = ParseError::new(self.text, at, message);
        self.found.push(ExpressionFinding { severity, error });
    }

    /// Possible values of a part as a boolean.
    pub(super) fn possible_values(&mut self, part: &ExpressionNode) -> PossibleBooleans {
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
            ExpressionNode::Attribute(name) => self.check_value_of_attribute(name, at),
            ExpressionNode::Exists(name) => self.check_exists(name, at),
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
            ExpressionNode::In(left, set) => self.check_in(left, set),
            ExpressionNode::Call(function, arguments) => self.check_call(function, arguments, at),
            ExpressionNode::Binary(operator, left, right) => {
                self.check_binary(*operator, BinaryOperands { left, right, at })
            }
        }
    }

    fn check_value_of_attribute(&mut self, name: &str, at: usize) -> PossibleBooleans {
        self.next += 1;
        self.check_attribute(name, at);
        if matches!(name, "data" | "null") {
            PossibleBooleans::NOTHING
        } else {
            PossibleBooleans::ALL
        }
    }

    fn check_exists(&mut self, name: &str, at: usize) -> PossibleBooleans {
        self.next += 1;
        self.check_attribute(name, at);
        PossibleBooleans {
            truth: name != "data",
            falsehood: !possible_values::is_required(name),
        }
    }

    fn check_in(&mut self, left: &ExpressionNode, set: &[ExpressionNode]) -> PossibleBooleans {
        self.possible_values(left);
        for element in set {
            self.possible_values(element);
        }
        set.iter()
            .map(|element| equal(element, left))
            .fold(PossibleBooleans::NEVER, PossibleBooleans::or)
    }

    fn check_binary(
        &mut self,
        operator: BinaryOperator,
        operands: BinaryOperands<'_>,
    ) -> PossibleBooleans {
        match operator {
            BinaryOperator::And | BinaryOperator::Or | BinaryOperator::Xor => {
                self.check_logic(operator, operands)
            }
            _ => self.check_values(operator, operands),
        }
    }

    /// Checks a logical operator. `AND` between two conditions that exclude each other is never
    /// true.
    fn check_logic(
        &mut self,
        operator: BinaryOperator,
        operands: BinaryOperands<'_>,
    ) -> PossibleBooleans {
        let BinaryOperands { left, right, at } = operands;
        let word = operator.as_str();
        let x = self.check_operand(left, word);
        let y = self.check_operand(right, word);
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
        let message = format!("{name} cannot be '{one}' and '{other}' at once: {remedy}");
        self.add_finding(FindingSeverity::PartNeverTrue, at, message);
        PossibleBooleans {
            truth: false,
            ..judged
        }
    }

    /// Checks a comparison or an arithmetic operator, both of which work on values.
    fn check_values(
        &mut self,
        operator: BinaryOperator,
        operands: BinaryOperands<'_>,
    ) -> PossibleBooleans {
        let BinaryOperands { left, right, at } = operands;
        if let Some(name) = attribute_with_prefix(operator, left, right) {
            return self.check_prefixed_attribute(name, at);
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
            _ => self.check_arithmetic(operator, operands),
        }
    }

    fn check_prefixed_attribute(&mut self, name: &str, at: usize) -> PossibleBooleans {
        let message = format!(
            "ce-{name} is a subtraction here: attributes are written without ce-, as {name}"
        );
        self.add_finding(FindingSeverity::PartNeverTrue, at, message);
        self.next += 2;
        PossibleBooleans::NOTHING
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

    fn check_arithmetic(
        &mut self,
        operator: BinaryOperator,
        operands: BinaryOperands<'_>,
    ) -> PossibleBooleans {
        let BinaryOperands { left, right, at } = operands;
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

    fn check_call(
        &mut self,
        function: &CesqlFunction,
        arguments: &[ExpressionNode],
        at: usize,
    ) -> PossibleBooleans {
        self.next += 1;
        if let CesqlFunction::Unknown(name) = function {
            let message = foreign_syntax::suggest_function(name, arguments);
            self.add_finding(FindingSeverity::UnknownFunction, at, message);
        }
        for argument in arguments {
            self.possible_values(argument);
        }
        match function {
            CesqlFunction::Unknown(_) => PossibleBooleans::NOTHING,
            CesqlFunction::VerifyCorrelationId => self.check_verification(arguments, at),
            _ => PossibleBooleans::ALL,
        }
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

/// True if a part is a text that is no integer.
fn is_text(part: &ExpressionNode) -> bool {
    matches!(part, ExpressionNode::String(text) if text.parse::<i32>().is_err())
}

/// Message that says why a comparison can never be true.
fn describe_never_true(part: &ExpressionNode) -> String {
    let is_order = comparison_operator(part).is_some_and(|operator| {
        !matches!(operator, BinaryOperator::Equal | BinaryOperator::NotEqual)
    });
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
