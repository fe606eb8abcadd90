//! Reads YAML text as JSON values that remember their lines. Nothing here knows kinds of objects.
//!
//! A text is cut at its document markers first, so that one bad document does not hide the problems
//! of the others, and so that the budgets against hostile YAML count per document.

mod chunks;
pub(crate) mod node;
pub(crate) mod value_lines;

use std::cell::OnceCell;

use serde_json::{Map, Value};
use serde_saphyr::{MessageFormatter, Spanned, UserMessageFormatter};

use node::{AnyKey, YamlNode};
use value_lines::ValueLines;

/// The deepest nesting that is read; Kubernetes objects stay below it, even definitions of
/// resources.
const MAX_DEPTH: usize = 128;
/// The number of nodes that anchors may repeat in one document: as many again as a large document
/// had before lists of any length were read.
const MAX_REPEATED: usize = 250_000;
/// The stack of the parser's thread in bytes. Each level of nesting takes up to 40 KiB of it in a
/// build without optimisation, so the 2 MiB of a usual thread are not enough for [`MAX_DEPTH`].
const STACK: usize = 16 << 20;

/// One document: its value, and the lines of its fields.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ParsedDocument {
    pub(crate) value: Value,
    pub(crate) lines: ValueLines,
}

/// The reason why a document is not YAML, and the line where reading it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct YamlError {
    /// The line where reading the document ended, from 1, within the whole text.
    pub(crate) line: usize,
    /// The error of the parser, with a remedy if the mistake is a known one.
    pub(crate) message: String,
}

/// Reads every document of a text that is not empty, in a thread of its own with a large stack.
/// Blocks.
pub(crate) fn parse_documents(text: &str) -> Vec<Result<ParsedDocument, YamlError>> {
    let failed = |reason: &str| {
        vec![Err(YamlError {
            line: 1,
            message: format!("cannot be parsed: {reason}"),
        })]
    };
    std::thread::scope(|scope| {
        let parser = std::thread::Builder::new()
            .name("yaml".to_owned())
            .stack_size(STACK);
        match parser.spawn_scoped(scope, || parse(text)) {
            Ok(thread) => thread
                .join()
                .unwrap_or_else(|_panic| failed("the parser gave up")),
            Err(error) => failed(&error.to_string()),
        }
    })
}

fn parse(text: &str) -> Vec<Result<ParsedDocument, YamlError>> {
    chunks::split_documents(&chunks::without_marks(text))
        .into_iter()
        .map(|(first, chunk)| parse_document(first, chunk))
        .filter(|document| {
            !matches!(
                document,
                Ok(ParsedDocument {
                    value: Value::Null,
                    ..
                })
            )
        })
        .collect()
}

fn parse_document(lines_before: usize, chunk: &str) -> Result<ParsedDocument, YamlError> {
    // The size of a text is limited by whoever reads the file; here only what grows beyond it is:
    // depth and aliases.
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: MAX_DEPTH, max_nodes: usize::MAX, max_events: usize::MAX },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_REPEATED },
        strict_booleans: true,
        non_finite_float_policy: serde_saphyr::NonFiniteFloatPolicy::PassThrough,
    };
    let error = match serde_saphyr::from_str_with_options::<Spanned<YamlNode<String>>>(
        chunk,
        options.clone(),
    ) {
        Ok(node) => return Ok(parsed(node, lines_before, chunk)),
        Err(error) => error,
    };
    // A key that is no text is a mistake of its object, and no reason to read nothing else of the
    // file.
    match serde_saphyr::from_str_with_options::<Spanned<YamlNode<AnyKey>>>(chunk, options) {
        Ok(node) => Ok(parsed(node, lines_before, chunk)),
        Err(_) => Err(yaml_error(&error, lines_before, chunk)),
    }
}

fn parsed<K: Into<String>>(
    node: Spanned<YamlNode<K>>,
    lines_before: usize,
    chunk: &str,
) -> ParsedDocument {
    let (at, mut lines) = (line_of(&node), Vec::new());
    let value = take_value(node, at, &mut lines, &YamlText::new(chunk));
    ParsedDocument {
        value,
        lines: lines_in_text(lines_before, &lines),
    }
}

fn yaml_error(error: &serde_saphyr::Error, lines_before: usize, chunk: &str) -> YamlError {
    let line = error
        .location()
        .map_or(1, |location| usize::try_from(location.line()).unwrap_or(1));
    let reason = UserMessageFormatter
        .format_message(error.without_snippet())
        .replace(char::is_control, " ");
    YamlError {
        line: lines_before + line,
        message: format!("is not valid YAML: {reason}{}", syntax_remedy(chunk, line)),
    }
}

/// The remedy for the mistakes that people make most often; `line` is where reading the text ended,
/// which may be one line after the mistake.
fn syntax_remedy(chunk: &str, line: usize) -> &'static str {
    let near = || chunk.lines().skip(line.saturating_sub(2)).take(3);
    let at = || chunk.lines().skip(line.saturating_sub(2)).take(2);
    if near().any(|line| line.contains("-----")) {
        "; indent every line of a certificate below its key, by the same blanks"
    } else if near().any(|line| line.contains("{{")) {
        "; this is a template that was not rendered: render it first, as helm template does"
    } else if at().any(|line| line.trim_start_matches(' ').starts_with('\t')) {
        "; indent with blanks instead of tabs"
    } else if near().any(|line| line.trim_end() == "EOF") {
        "; EOF is left over from the shell script that this was taken from: remove it"
    } else if at().any(|line| line.contains(": *") || line.contains("- *")) {
        "; a value that begins with * must stand in quotes"
    } else {
        ""
    }
}

/// Reads the words that YAML 1.1 has for booleans besides `true` and `false`, as Kubernetes does:
/// in these three cases only, unlike `yEs`, which is text.
fn yaml_boolean(text: &str) -> Option<bool> {
    match text {
        "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
        "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

/// A text whose lines are split once, when the first one is asked for.
struct YamlText<'t> {
    text: &'t str,
    lines: OnceCell<Vec<&'t str>>,
}

impl<'t> YamlText<'t> {
    fn new(text: &'t str) -> Self {
        Self {
            text,
            lines: OnceCell::new(),
        }
    }

    fn lines(&self) -> &[&'t str] {
        self.lines.get_or_init(|| self.text.lines().collect())
    }
}

/// True if a scalar stands at this location without quotes.
fn is_plain(at: &serde_saphyr::Location, text: &str, chunk: &YamlText<'_>) -> bool {
    let number = |number: u64| usize::try_from(number).ok()?.checked_sub(1);
    let (Some(line), Some(column)) = (number(at.line()), number(at.column())) else {
        return false;
    };
    let written = chunk.lines().get(line).copied().unwrap_or_default();
    let before: String = written.chars().take(column).collect();
    let mut above = chunk.lines().iter().take(line).rev();
    let above = above
        .find(|line| !line.trim().is_empty())
        .copied()
        .unwrap_or_default();
    // The lines of a block scalar are below its head; a tag says what type a scalar has.
    let is_block =
        before.trim().is_empty() && above.trim_end().ends_with(['|', '>', '|', '-', '+']);
    let is_marked = before.ends_with(['\'', '"']) || before.contains("!!str");
    written
        .chars()
        .skip(column)
        .take(text.len())
        .eq(text.chars())
        && !is_marked
        && !is_block
}

fn line_of<T>(spanned: &Spanned<T>) -> u64 {
    spanned.referenced.line()
}

/// Takes the value out of a node, and adds the lines of everything in it to `lines`, counted from
/// the start of its document.
fn take_value<K: Into<String>>(
    node: Spanned<YamlNode<K>>,
    at: u64,
    lines: &mut Vec<u64>,
    chunk: &YamlText<'_>,
) -> Value {
    lines.push(at);
    match node.value {
        YamlNode::Scalar(Value::String(text)) => match yaml_boolean(&text) {
            Some(truth) if is_plain(&node.defined, &text, chunk) => truth.into(),
            _ => text.into(),
        },
        YamlNode::Scalar(value) => value,
        YamlNode::Sequence(nodes) => {
            let element = |node| {
                let at = line_of(&node);
                take_value(node, at, lines, chunk)
            };
            nodes.into_iter().map(element).collect()
        }
        YamlNode::Mapping(entries) => {
            let mut map = Map::with_capacity(entries.len());
            for (key, node) in entries {
                // A field has the line of its key, since its value may begin on the next line.
                let at = match line_of(&key) {
                    0 => line_of(&node),
                    line => line,
                };
                map.insert(key.value.into(), take_value(node, at, lines, chunk));
            }
            Value::Object(map)
        }
    }
}

/// Turns lines of a document into lines of the text that it was cut from.
fn lines_in_text(lines_before: usize, lines: &[u64]) -> ValueLines {
    let line = |line: &u64| match *line {
        0 => 0,
        line => usize::try_from(line)
            .ok()
            .and_then(|line| u32::try_from(lines_before + line).ok())
            .unwrap_or_default(),
    };
    ValueLines(lines.iter().map(line).collect())
}

#[cfg(test)]
mod tests;
