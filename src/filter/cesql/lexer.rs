//! Lexer: text to tokens, each with its position.

use std::borrow::Cow;

use super::parse_error::ParseError;

/// Token of an expression: a word, a literal or a sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CesqlToken<'t> {
    /// An identifier or a keyword, as it was written.
    Word(&'t str),
    /// An integer without sign.
    Number(&'t str),
    /// A string literal without its quotes; escaped quotes are quotes.
    String(Cow<'t, str>),
    /// A sign such as `<=` or `(`.
    Sign(&'static str),
}

/// A token, and the byte at which it starts.
pub(super) type PlacedToken<'t> = (usize, CesqlToken<'t>);

/// Signs, of which the longer ones come first, so that they are found first.
const SIGNS: [&str; 15] = [
    "!=", "<>", ">=", "<=", "=", "<", ">", "+", "-", "*", "/", "%", "(", ")", ",",
];

/// Takes a text apart into tokens.
///
/// # Errors
/// If a string is not closed, or a sign is unknown.
pub(super) fn tokenize(text: &str) -> Result<Vec<PlacedToken<'_>>, ParseError> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let at = text.len() - rest.len();
        let (token, length) = match first {
            '\'' | '"' => lex_string(text, at, rest, first)?,
            '0'..='9' => lex_word_or_number(rest),
            'a'..='z' | 'A'..='Z' => lex_word_or_number(rest),
            _ => lex_sign(text, at, rest)?,
        };
        tokens.push((at, token));
        rest = rest.get(length..).unwrap_or_default().trim_start();
    }
    Ok(tokens)
}

/// Takes a word or a number. Attribute names may begin with digits; a word of digits only is a
/// number.
fn lex_word_or_number(rest: &str) -> (CesqlToken<'_>, usize) {
    let end = rest
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .unwrap_or(rest.len());
    let word = rest.get(..end).unwrap_or_default();
    let token = if word.bytes().all(|byte| byte.is_ascii_digit()) {
        CesqlToken::Number(word)
    } else {
        CesqlToken::Word(word)
    };
    (token, end)
}

fn lex_string<'t>(
    text: &str,
    at: usize,
    rest: &'t str,
    quote: char,
) -> Result<(CesqlToken<'t>, usize), ParseError> {
    let mut is_escaped = false;
    for (index, c) in rest.char_indices().skip(1) {
        if c == quote && !is_escaped {
            let content = rest.get(1..index).unwrap_or_default();
            let escape = format!("\\{quote}");
            let content = match content.contains(&escape) {
                true => Cow::Owned(content.replace(&escape, &quote.to_string())),
                false => Cow::Borrowed(content),
            };
            return Ok((CesqlToken::String(content), index + 1));
        }
        is_escaped = c == '\\';
    }
    Err(ParseError::new(
        text,
        at,
        format!("the string that begins here has no closing {quote}"),
    ))
}

fn lex_sign<'t>(text: &str, at: usize, rest: &str) -> Result<(CesqlToken<'t>, usize), ParseError> {
    let found = SIGNS.iter().find(|sign| rest.starts_with(**sign));
    let unknown = || {
        ParseError::new(
            text,
            at,
            format!(
                "{:?} means nothing here",
                rest.chars().next().unwrap_or(' ')
            ),
        )
    };
    found
        .map(|sign| (CesqlToken::Sign(sign), sign.len()))
        .ok_or_else(unknown)
}
