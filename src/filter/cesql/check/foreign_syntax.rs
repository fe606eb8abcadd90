//! Syntax of other languages that people write by habit, and what it is called in CESQL.

use crate::event::differs_little;
use crate::filter::cesql::ast::ExpressionNode;
use crate::filter::cesql::function::{argument_count, function_names};
use crate::filter::cesql::parse_error::ParseError;

/// Message for the name `data`, by which authors mean the body.
pub(super) const DATA: &str =
    "the data of events cannot be looked into: expressions see attributes only";

/// Signs of other languages, and what to write.
const SIGNS: [(&str, &str); 9] = [
    ("&&", "CESQL writes AND"),
    ("||", "CESQL writes OR"),
    ("&", "CESQL writes AND"),
    ("|", "CESQL writes OR"),
    ("!", "CESQL writes NOT"),
    ("[", "CESQL writes lists in parentheses: IN ('a', 'b')"),
    (
        "~",
        "CESQL has no regular expressions: write LIKE, with % for any text and _ for one character",
    ),
    (
        "{",
        "this is a template that was not rendered, perhaps: render it first",
    ),
    (
        "$",
        "this is a template that was not rendered, perhaps: render it first",
    ),
];

/// Words between operands in other languages, and what to write.
const WORDS: [(&str, &str); 10] = [
    ("contains", "write LIKE '%text%'"),
    ("startswith", "write LIKE 'text%'"),
    ("endswith", "write LIKE '%text'"),
    (
        "matches",
        "there are no regular expressions: write LIKE, with % for any text",
    ),
    (
        "rlike",
        "there are no regular expressions: write LIKE, with % for any text",
    ),
    (
        "regexp",
        "there are no regular expressions: write LIKE, with % for any text",
    ),
    ("ilike", "write LOWER(x) LIKE 'text%'"),
    ("is", "write EXISTS x, or NOT EXISTS x"),
    ("between", "write x >= 1 AND x <= 2"),
    ("eq", "CESQL writes = for equality"),
];

/// Functions of other languages, and what to write; `x` is the first argument, `y` the second one.
const FUNCTIONS: [(&str, &str); 18] = [
    ("HAS", "EXISTS x"),
    ("EXISTS", "EXISTS x"),
    ("DEFINED", "EXISTS x"),
    ("ISSET", "EXISTS x"),
    ("STARTSWITH", "x LIKE 'y%'"),
    ("STARTS_WITH", "x LIKE 'y%'"),
    ("HASPREFIX", "x LIKE 'y%'"),
    ("ENDSWITH", "x LIKE '%y'"),
    ("ENDS_WITH", "x LIKE '%y'"),
    ("HASSUFFIX", "x LIKE '%y'"),
    ("CONTAINS", "x LIKE '%y%'"),
    ("MATCHES", "x LIKE '%y%'"),
    ("SIZE", "LENGTH(x)"),
    ("LEN", "LENGTH(x)"),
    ("TOLOWER", "LOWER(x)"),
    ("TOUPPER", "UPPER(x)"),
    ("SUBSTR", "SUBSTRING(x, 1)"),
    ("NOT_EXISTS", "NOT EXISTS x"),
];

/// Rewords an error of the parser for the mistake that was probably made.
pub(in crate::filter::cesql) fn explain_error(text: &str, error: ParseError) -> ParseError {
    let at = offset(text, &error);
    let (before, rest) = text.split_at_checked(at).unwrap_or((text, ""));
    let told = suggest_equality(before, rest)
        .or_else(|| exists(before, rest))
        .or_else(|| decimal(before, rest))
        .or_else(|| suggest_attribute(before, rest))
        .or_else(|| {
            SIGNS
                .iter()
                .find(|(sign, _)| rest.starts_with(sign))
                .map(|(_, remedy)| (*remedy).to_owned())
        })
        .or_else(|| suggest_keyword(rest));
    match told {
        Some(message) => ParseError { message, ..error },
        None => error,
    }
}

/// Offset in bytes at which an error is.
fn offset(text: &str, error: &ParseError) -> usize {
    let before: usize = text
        .split_inclusive('\n')
        .take(error.line.saturating_sub(1))
        .map(str::len)
        .sum();
    let line = text.get(before..).unwrap_or_default();
    before
        + line
            .chars()
            .take(error.column.saturating_sub(1))
            .map(char::len_utf8)
            .sum::<usize>()
}

fn suggest_equality(before: &str, rest: &str) -> Option<String> {
    let doubled = before.trim_end().ends_with('=') && rest.starts_with('=');
    doubled.then(|| "CESQL writes = for equality".to_owned())
}

/// Remedy for `EXISTS(x)`, written like a function.
fn exists(before: &str, rest: &str) -> Option<String> {
    const EXISTS: &str = "EXISTS";
    let (start, word) = before
        .trim_end()
        .split_at_checked(before.trim_end().len().checked_sub(EXISTS.len())?)?;
    let is_it = word.eq_ignore_ascii_case(EXISTS)
        && !start.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    let name: String = rest
        .strip_prefix('(')?
        .trim_start()
        .chars()
        .take_while(char::is_ascii_alphanumeric)
        .collect();
    let name = if name.is_empty() { "x" } else { &name };
    is_it.then(|| format!("EXISTS takes a name without parentheses: write EXISTS {name}"))
}

/// Remedy for decimals such as `1.5` and `.5`.
fn decimal(before: &str, rest: &str) -> Option<String> {
    let digits = |text: &str| {
        text.chars()
            .take_while(char::is_ascii_digit)
            .collect::<String>()
    };
    let behind = digits(rest.strip_prefix('.')?);
    let owner: String = before
        .chars()
        .rev()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
        .collect();
    let is_number =
        owner.chars().all(|c| c.is_ascii_digit()) && (!owner.is_empty() || !behind.is_empty());
    let number = format!("{}.{behind}", owner.chars().rev().collect::<String>());
    is_number.then(|| {
        format!("{number} is a decimal, and CESQL has integers only: write a whole number")
    })
}

/// Remedy for `data.x`, `event.type` and `ce.type`.
fn suggest_attribute(before: &str, rest: &str) -> Option<String> {
    let field = rest.strip_prefix('.')?;
    let word = |text: &str| {
        text.chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect::<String>()
    };
    let owner: String = word(&before.chars().rev().collect::<String>())
        .chars()
        .rev()
        .collect();
    if owner.eq_ignore_ascii_case("data") {
        return Some(DATA.to_owned());
    }
    Some(format!(
        "attributes are written by their names alone: write {} instead of {owner}.{}",
        word(field),
        word(field)
    ))
}

fn suggest_keyword(rest: &str) -> Option<String> {
    let found: String = rest
        .chars()
        .take_while(char::is_ascii_alphanumeric)
        .collect();
    let (word, remedy) = WORDS
        .iter()
        .find(|(word, _)| word.eq_ignore_ascii_case(&found))?;
    Some(format!("there is no {word:?} here: {remedy}"))
}

/// Remedy for a call of a function that does not exist with these arguments; the name is in
/// capitals.
pub(super) fn suggest_function(name: &str, arguments: &[ExpressionNode]) -> String {
    if let Some((fewest, most)) = argument_count(name) {
        let wanted = describe_argument_count(fewest, most);
        return format!("{name} takes {wanted}, and not {}", arguments.len());
    }
    if let Some((_, pattern)) = FUNCTIONS.iter().find(|(known, _)| *known == name) {
        let shown = |at: usize, sign: &str| {
            arguments
                .get(at)
                .map_or_else(|| sign.to_owned(), literal_text)
        };
        let pattern = pattern
            .replace('y', &shown(1, "text"))
            .replace('x', &shown(0, "x"));
        return format!("there is no function {name}: write {pattern}");
    }
    let near = function_names().find(|known| differs_little(name, known));
    match near {
        Some(meant) => format!("there is no function {name}; did you mean {meant}?"),
        None => format!(
            "there is no function {name}: there are {}",
            function_names().collect::<Vec<_>>().join(", ")
        ),
    }
}

fn describe_argument_count(fewest: usize, most: usize) -> String {
    match (fewest, most) {
        (1, 1) => "1 argument".to_owned(),
        (fewest, usize::MAX) => format!("{fewest} arguments or more"),
        (fewest, most) if fewest == most => format!("{fewest} arguments"),
        (fewest, most) => format!("{fewest} to {most} arguments"),
    }
}

/// Text of an argument inside of another text or a pattern.
fn literal_text(argument: &ExpressionNode) -> String {
    match argument {
        ExpressionNode::String(text) => text.clone(),
        other => other.to_string(),
    }
}
