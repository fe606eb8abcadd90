//! Expressions that are understood and can never pass, or hardly ever, before they run.
//!
//! Each part of an expression is judged by what it can become, whatever the event: true, false, or neither, where it ends
//! in an error. What is not known is taken to be possible, so that nothing is refused that could pass.

mod foreign;
mod possible;
mod verification;

use super::ast::{Expr, Operator};
use super::function::Function;
use super::lexer::{Token, tokens};
use super::parser::ParseError;
use crate::event::nearly;

pub(super) use foreign::explained;
use possible::{Possible, Type, equal, in_order, like, type_of};
use verification::Fault;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// The expression can never be true.
    Never,
    /// There is no such function, or not with so many arguments. The rest may hold.
    Mistake,
    /// A part of it can never hold; the rest may.
    Part,
    /// An extension is called nearly as one of CloudEvents' own attributes is.
    Name,
}

/// What is wrong with an expression that is understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub doubt: Doubt,
    /// Where, and what to write instead.
    pub error: ParseError,
}

/// Everything that can be shown to be wrong with the expression that this text was parsed to.
pub(super) fn check(text: &str, root: &Expr) -> Vec<Finding> {
    let leaves = tokens(text).unwrap_or_default().into_iter().filter(|(_, token)| is_leaf(token));
    let leaves = leaves.map(|(at, _)| at).collect();
    let mut checker = Checker { text, leaves, next: 0, found: Vec::new(), names: Vec::new() };
    let result = checker.judge(root);
    let found = std::mem::take(&mut checker.found);
    let mut found: Vec<Finding> = found.into_iter().map(|(doubt, error)| Finding { doubt, error }).collect();
    let message = match type_of(root) {
        Type::Boolean | Type::Unknown => None,
        Type::Text => Some("the result is text, and only what is true passes: compare it, or write EXISTS"),
        Type::Integer => Some("the result is a number, and only what is true passes: compare it"),
    };
    if let (Some(message), true) = (message, found.is_empty()) {
        found.push(Finding { doubt: Doubt::Never, error: ParseError::new(text, start(text), message) });
    }
    if !result.truth {
        found.iter_mut().for_each(|finding| finding.doubt = Doubt::Never);
        if found.is_empty() {
            let error = ParseError::new(text, start(text), "is never true, so that nothing passes: correct it");
            found.push(Finding { doubt: Doubt::Never, error });
        }
    }
    found.extend(checker.names.into_iter().map(|error| Finding { doubt: Doubt::Name, error }));
    found
}

fn start(text: &str) -> usize {
    text.len() - text.trim_start().len()
}

/// Whether a token is a part of an expression that has no parts: these stand in the order of the tree.
fn is_leaf(token: &Token<'_>) -> bool {
    const OPERATORS: [&str; 7] = ["AND", "OR", "XOR", "NOT", "LIKE", "EXISTS", "IN"];
    match token {
        Token::Number(_) | Token::String(_) => true,
        Token::Word(word) => !OPERATORS.iter().any(|operator| operator.eq_ignore_ascii_case(word)),
        Token::Sign(_) => false,
    }
}

struct Checker<'t> {
    text: &'t str,
    /// Where the leaves of the tree begin.
    leaves: Vec<usize>,
    next: usize,
    found: Vec<(Doubt, ParseError)>,
    /// Names that are told, whatever becomes of what they stand in.
    names: Vec<ParseError>,
}

impl Checker<'_> {
    fn here(&self) -> usize {
        self.leaves.get(self.next).copied().unwrap_or_default()
    }

    fn say(&mut self, doubt: Doubt, at: usize, message: impl Into<String>) {
        self.found.push((doubt, ParseError::new(self.text, at, message)));
    }

    /// What a part can become as a boolean.
    fn judge(&mut self, part: &Expr) -> Possible {
        let (at, before) = (self.here(), self.found.len());
        let judged = self.judge_inside(part, at);
        // A part that is wrong inside is no further news outside.
        let is_comparison = matches!(part, Expr::Like(..) | Expr::In(..)) || comparison(part).is_some();
        if is_comparison && !judged.truth && self.found.len() == before {
            self.say(Doubt::Part, at, never(part));
        }
        judged
    }

    fn judge_inside(&mut self, part: &Expr, at: usize) -> Possible {
        match part {
            Expr::String(_) | Expr::Integer(_) | Expr::Boolean(_) => {
                self.next += 1;
                possible::constant(part)
            }
            Expr::Attribute(name) => {
                self.next += 1;
                self.attribute(name, at);
                if matches!(name.as_str(), "data" | "null") { Possible::NOTHING } else { Possible::ALL }
            }
            Expr::Exists(name) => {
                self.next += 1;
                self.attribute(name, at);
                Possible { truth: name != "data", falsehood: !possible::is_required(name) }
            }
            Expr::Not(inner) => self.operand(inner, "NOT").not(),
            Expr::Negate(inner) => {
                self.judge(inner);
                Possible::of_number(part)
            }
            Expr::Like(left, pattern) => {
                self.judge(left);
                self.next += 1;
                like(left, pattern)
            }
            Expr::In(left, set) => {
                self.judge(left);
                for element in set {
                    self.judge(element);
                }
                set.iter().map(|element| equal(element, left)).fold(Possible::NEVER, Possible::or)
            }
            Expr::Call(function, arguments) => {
                self.next += 1;
                self.call(function, arguments, at);
                for argument in arguments {
                    self.judge(argument);
                }
                match function {
                    Function::Unknown(_) => Possible::NOTHING,
                    Function::VerifyCorrelationId => self.verification(arguments, at),
                    _ => Possible::ALL,
                }
            }
            Expr::Binary(operator, left, right) => self.binary(*operator, (left, right), at),
        }
    }

    fn binary(&mut self, operator: Operator, (left, right): (&Expr, &Expr), at: usize) -> Possible {
        match operator {
            Operator::And | Operator::Or | Operator::Xor => {
                let word = operator.as_str();
                let (x, y) = (self.operand(left, word), self.operand(right, word));
                let judged = match operator {
                    Operator::And => x.and(y),
                    Operator::Or => x.or(y),
                    _ => x.xor(y),
                };
                let contradiction = possible::contradiction(operator, left, right).filter(|_| judged.truth);
                let Some((name, one, other)) = contradiction else { return judged };
                let remedy = "write OR between them, or IN";
                self.say(Doubt::Part, at, format!("{name} cannot be '{one}' and '{other}' at once: {remedy}"));
                Possible { truth: false, ..judged }
            }
            _ => {
                if let Some(name) = prefixed(operator, left, right) {
                    let message =
                        format!("ce-{name} is a subtraction here: attributes are written without ce-, as {name}");
                    self.say(Doubt::Part, at, message);
                    self.next += 2;
                    return Possible::NOTHING;
                }
                let found = self.found.len();
                let fails = |part: &Expr, judged: Possible| judged == Possible::NOTHING && !possible::is_literal(part);
                let (x, y) = (self.judge(left), self.judge(right));
                match operator {
                    _ if fails(left, x) || fails(right, y) => Possible::NOTHING,
                    // What is wrong inside is told, and may hold all the same.
                    _ if self.found.len() > found => Possible::ALL,
                    Operator::Equal => equal(left, right),
                    Operator::NotEqual => equal(left, right).not(),
                    Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual => {
                        in_order(operator, left, right)
                    }
                    _ => self.calculated((operator, at), left, right),
                }
            }
        }
    }

    /// An operand of a logical operator, which text that is neither `true` nor `false` cannot be.
    fn operand(&mut self, part: &Expr, operator: &str) -> Possible {
        let at = self.here();
        let judged = self.judge(part);
        if let Expr::String(text) = part
            && judged == Possible::NOTHING
        {
            let repeat = "repeat the comparison, as in type = 'a' OR type = 'b', or write type IN ('a', 'b')";
            self.say(Doubt::Part, at, format!("'{text}' beside {operator} is neither true nor false: {repeat}"));
        }
        judged
    }

    fn calculated(&mut self, (operator, at): (Operator, usize), left: &Expr, right: &Expr) -> Possible {
        let is_text = |part: &Expr| matches!(part, Expr::String(text) if text.parse::<i32>().is_err());
        if is_text(left) || is_text(right) {
            let remedy = if operator == Operator::Add { ": to join texts, write CONCAT(x, y)" } else { "" };
            self.say(Doubt::Part, at, format!("{} is for integers, and this is text{remedy}", operator.as_str()));
            return Possible::NOTHING;
        }
        Possible::ALL
    }

    fn attribute(&mut self, name: &str, at: usize) {
        match name {
            "data" => self.say(Doubt::Part, at, foreign::DATA),
            "null" => self.say(Doubt::Part, at, "there is no null: write EXISTS x, or NOT EXISTS x"),
            name => {
                let told = nearly(name).map(|meant| format!("{name} is an extension; did you mean {meant}?"));
                self.names.extend(told.map(|message| ParseError::new(self.text, at, message)));
            }
        }
    }

    fn verification(&mut self, arguments: &[Expr], at: usize) -> Possible {
        let Some(Fault { message, possible }) = verification::fault(arguments) else { return Possible::ALL };
        self.say(Doubt::Part, at, message);
        possible
    }

    fn call(&mut self, function: &Function, arguments: &[Expr], at: usize) {
        let Function::Unknown(name) = function else { return };
        self.say(Doubt::Mistake, at, foreign::function(name, arguments));
    }
}

/// The attribute of `ce-type`, which is what its header is called over HTTP.
fn prefixed<'e>(operator: Operator, left: &Expr, right: &'e Expr) -> Option<&'e str> {
    match (operator, left, right) {
        (Operator::Subtract, Expr::Attribute(ce), Expr::Attribute(name)) if ce == "ce" => Some(name),
        _ => None,
    }
}

fn comparison(part: &Expr) -> Option<Operator> {
    match part {
        Expr::Binary(
            operator @ (Operator::Equal
            | Operator::NotEqual
            | Operator::Less
            | Operator::LessOrEqual
            | Operator::Greater
            | Operator::GreaterOrEqual),
            ..,
        ) => Some(*operator),
        _ => None,
    }
}

/// Why a comparison can never hold.
fn never(part: &Expr) -> String {
    let is_order = comparison(part).is_some_and(|operator| !matches!(operator, Operator::Equal | Operator::NotEqual));
    let is_text = |part: &Expr| matches!(part, Expr::String(text) if text.parse::<i32>().is_err());
    match part {
        Expr::Binary(operator, left, right) if is_order && (is_text(left) || is_text(right)) => {
            format!("{} compares integers, and text is none: nothing passes", operator.as_str())
        }
        _ => format!("{} can never hold: correct it", plain(part)),
    }
}

/// The part as it is written, without the parentheses around it.
fn plain(part: &Expr) -> String {
    let text = part.to_string();
    text.strip_prefix('(').and_then(|text| text.strip_suffix(')')).map_or(text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests;
