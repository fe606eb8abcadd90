//! Cuts a text into documents.

use std::borrow::Cow;

use serde::de::IgnoredAny;

/// What some editors begin files with.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The text without the byte order marks at the beginning of documents, as files have that were put
/// together. Inside of a document one may stand in quotes only.
pub(super) fn without_marks(text: &str) -> Cow<'_, str> {
    if !text.contains(BYTE_ORDER_MARK) {
        return text.into();
    }
    let mut begins = true;
    let unmarked = |line| {
        let plain = str::trim_start_matches(line, BYTE_ORDER_MARK);
        let is_marker = is_marker(plain, "---") || is_marker(plain, "...");
        let kept = if begins || is_marker { plain } else { line };
        begins = is_marker || (begins && !has_content(plain));
        kept
    };
    text.split_inclusive('\n')
        .map(unmarked)
        .collect::<String>()
        .into()
}

/// Cuts a text at lines that are `---` or `...`, which YAML allows in no other meaning at the start
/// of a line, not even inside a block scalar; and between JSON values that stand one after the
/// other. Gives each document with the number of lines before it.
pub(super) fn split_documents(text: &str) -> Vec<(usize, &str)> {
    let mut chunks = Vec::new();
    let (mut start, mut first, mut end) = (0, 0, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let begins = is_marker(line, "---");
        if begins || is_marker(line, "...") {
            chunks.push((first, text.get(start..end).unwrap_or_default()));
            (start, first) = if begins {
                (end, number)
            } else {
                (end + line.len(), number + 1)
            };
        }
        end += line.len();
    }
    chunks.push((first, text.get(start..).unwrap_or_default()));
    chunks.retain(|(_, chunk)| chunk.lines().any(has_content));
    chunks
        .into_iter()
        .flat_map(|(first, chunk)| split_json_values(first, chunk))
        .collect()
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// False for blank lines, comments and directives, which alone make no document.
fn has_content(line: &str) -> bool {
    let line = line
        .strip_prefix("---")
        .filter(|_| is_marker(line, "---"))
        .unwrap_or(line);
    let trimmed = line.trim();
    !(trimmed.is_empty() || trimmed.starts_with('#') || line.starts_with('%'))
}

/// Cuts objects of JSON apart, each of which is a document, whether they stand on lines of their
/// own or not. A text that is not JSON, or is a single object, stays whole.
fn split_json_values(mut first: usize, chunk: &str) -> Vec<(usize, &str)> {
    let whole = vec![(first, chunk)];
    let text = chunk.strip_prefix("---").unwrap_or(chunk);
    if !text.trim_start().starts_with('{') {
        return whole;
    }
    let (mut pieces, mut at) = (Vec::new(), 0);
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    while let Some(Ok(IgnoredAny)) = values.next() {
        let piece = text.get(at..values.byte_offset()).unwrap_or_default();
        pieces.push((first, piece));
        first += piece.matches('\n').count();
        at = values.byte_offset();
    }
    let rest = text.get(at..).unwrap_or_default();
    match rest.trim_start().chars().next() {
        None if pieces.len() > 1 => pieces,
        // The parser that reads the rest says what is wrong with it, and in which line.
        Some('{') if !pieces.is_empty() => [pieces, vec![(first, rest)]].concat(),
        Some(_) | None => whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Vec<(usize, &str)> {
        split_documents(text)
            .into_iter()
            .map(|(first, chunk)| (first, chunk.trim()))
            .collect()
    }

    #[test]
    fn values_of_json_are_documents() {
        for (text, expected) in [
            ("{\"a\": 1}", &[(0, "{\"a\": 1}")][..]),
            (
                "{\"a\": 1}\n{\"b\": {\"c\": \"}{\"}}\n",
                &[(0, "{\"a\": 1}"), (0, "{\"b\": {\"c\": \"}{\"}}")],
            ),
            ("{}{}", &[(0, "{}"), (0, "{}")]),
            (
                "\n--- \n{\n}\n\n\n{}\n---\n{}",
                &[(1, "{\n}"), (3, "{}"), (7, "---\n{}")],
            ),
            ("{a: b}", &[(0, "{a: b}")]),
            ("{}\n{a: b}", &[(0, "{}"), (0, "{a: b}")]),
            ("{}\n{\"a\": ", &[(0, "{}"), (0, "{\"a\":")]),
            ("{}\n}", &[(0, "{}\n}")]),
            ("{}: x", &[(0, "{}: x")]),
            ("[{}]\n[{}]", &[(0, "[{}]\n[{}]")]),
            ("a: {}\n", &[(0, "a: {}")]),
        ] {
            assert_eq!(cut(text), expected, "{text:?}");
        }
    }
}
