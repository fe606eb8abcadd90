//! Text to tokens, each with its place.

use super::parser::ParseError;

/// A word, a literal or a sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// An identifier or a keyword, as it was written.
    Word(String),
    /// An integer without sign.
    Number(String),
    /// A string literal without its quotes; escaped quotes are quotes.
    String(String),
    /// A sign such as `<=` or `(`.
    Sign(&'static str),
}

/// A token and the byte at which it starts.
pub(super) type Placed = (usize, Token);

/// Longer signs first.
const SIGNS: [&str; 15] = ["!=", "<>", ">=", "<=", "=", "<", ">", "+", "-", "*", "/", "%", "(", ")", ","];

/// Takes a text apart.
pub(super) fn tokens(text: &str) -> Result<Vec<Placed>, ParseError> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let at = text.len() - rest.len();
        let (token, length) = match first {
            '\'' | '"' => string(text, at, rest, first)?,
            '0'..='9' => word_or_number(rest),
            'a'..='z' | 'A'..='Z' => word_or_number(rest),
            _ => sign(text, at, rest)?,
        };
        tokens.push((at, token));
        rest = rest.get(length..).unwrap_or_default().trim_start();
    }
    Ok(tokens)
}

/// Attribute names may begin with digits; what is digits only is a number.
fn word_or_number(rest: &str) -> (Token, usize) {
    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
    let word = rest.get(..end).unwrap_or_default().to_owned();
    let token = if word.bytes().all(|byte| byte.is_ascii_digit()) { Token::Number(word) } else { Token::Word(word) };
    (token, end)
}

fn string(text: &str, at: usize, rest: &str, quote: char) -> Result<(Token, usize), ParseError> {
    let mut content = String::new();
    let mut characters = rest.char_indices().skip(1).peekable();
    while let Some((index, c)) = characters.next() {
        if c == quote {
            return Ok((Token::String(content), index + 1));
        }
        let escaped = c == '\\' && characters.next_if(|(_, next)| *next == quote).is_some();
        content.push(if escaped { quote } else { c });
    }
    Err(ParseError::new(text, at, format!("the string that begins here has no closing {quote}")))
}

fn sign(text: &str, at: usize, rest: &str) -> Result<(Token, usize), ParseError> {
    let found = SIGNS.iter().find(|sign| rest.starts_with(**sign));
    let unknown = || ParseError::new(text, at, format!("{:?} means nothing here", rest.chars().next().unwrap_or(' ')));
    found.map(|sign| (Token::Sign(sign), sign.len())).ok_or_else(unknown)
}
