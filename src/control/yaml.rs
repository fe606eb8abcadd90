//! YAML text to JSON values that remember their lines. Knows no kinds of objects.
//!
//! A text is cut at its document markers first, so that one bad document does not hide the problems of the others, and
//! so that the budgets against hostile YAML count per document.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{MessageFormatter, Spanned, UserMessageFormatter};

/// Deeper documents are refused; Kubernetes objects stay below it, even definitions of resources.
const MAX_DEPTH: usize = 128;
/// Each level of nesting takes up to 40 KiB of stack in a build without optimisation, so the 2 MiB of a usual thread are
/// not enough for [`MAX_DEPTH`].
const STACK: usize = 16 << 20;

/// The lines of a value and of everything inside it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lines {
    /// The line of its key, or of the value itself; 0 if not known.
    at: usize,
    /// By key, or by `[index]`.
    inside: Vec<(String, Lines)>,
}

impl Lines {
    /// The line of the field at a path such as `spec.subscribers[0].delivery`, or of the deepest part of it that is
    /// there; `None` if not known.
    pub(crate) fn of(&self, path: &str) -> Option<usize> {
        let deeper = self.inside.iter().find_map(|(key, lines)| {
            let rest = path.strip_prefix(key.as_str())?;
            // A key of a map may contain dots itself, so the key must end where a part of the path ends.
            (rest.is_empty() || rest.starts_with(['.', '['])).then(|| (rest.strip_prefix('.').unwrap_or(rest), lines))
        });
        match deeper {
            Some((rest, lines)) => lines.of(rest),
            None => Some(self.at).filter(|line| *line > 0),
        }
    }

    /// The lines of a field of a mapping.
    pub(crate) fn field(&self, key: &str) -> Option<&Self> {
        self.inside.iter().find(|(name, _)| name == key).map(|(_, lines)| lines)
    }

    /// The lines of the element at an index.
    pub(crate) fn element(&self, index: usize) -> Option<&Self> {
        self.inside.get(index).map(|(_, lines)| lines)
    }
}

/// One document: its value and where things are in it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Parsed {
    pub(crate) value: Value,
    pub(crate) lines: Lines,
}

/// Why a document is not YAML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) line: usize,
    pub(crate) message: String,
}

/// Reads every document of a text that is not empty. Blocks.
pub(crate) fn documents(text: &str) -> Vec<Result<Parsed, Broken>> {
    let failed = |reason: &str| vec![Err(Broken { line: 1, message: format!("cannot be parsed: {reason}") })];
    std::thread::scope(|scope| {
        let parser = std::thread::Builder::new().name("yaml".to_owned()).stack_size(STACK);
        match parser.spawn_scoped(scope, || parse(text)) {
            Ok(thread) => thread.join().unwrap_or_else(|_panic| failed("the parser gave up")),
            Err(error) => failed(&error.to_string()),
        }
    })
}

fn parse(text: &str) -> Vec<Result<Parsed, Broken>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    chunks(text)
        .into_iter()
        .map(|(first, chunk)| document(first, chunk))
        .filter(|document| !matches!(document, Ok(Parsed { value: Value::Null, .. })))
        .collect()
}

/// Cuts at lines that are `---` or `...`, which YAML allows in no other meaning at the start of a line, not even inside
/// a block scalar. Gives the number of lines before each piece.
fn chunks(text: &str) -> Vec<(usize, &str)> {
    let mut chunks = Vec::new();
    let (mut start, mut first, mut end) = (0, 0, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let begins = is_marker(line, "---");
        if begins || is_marker(line, "...") {
            chunks.push((first, text.get(start..end).unwrap_or_default()));
            (start, first) = if begins { (end, number) } else { (end + line.len(), number + 1) };
        }
        end += line.len();
    }
    chunks.push((first, text.get(start..).unwrap_or_default()));
    chunks.retain(|(_, chunk)| chunk.lines().any(says_something));
    chunks
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// Blank lines, comments and directives alone make no document.
fn says_something(line: &str) -> bool {
    let line = line.strip_prefix("---").filter(|_| is_marker(line, "---")).unwrap_or(line);
    let trimmed = line.trim();
    !(trimmed.is_empty() || trimmed.starts_with('#') || line.starts_with('%'))
}

fn document(lines_before: usize, chunk: &str) -> Result<Parsed, Broken> {
    let options = serde_saphyr::options! { budget: serde_saphyr::budget! { max_depth: MAX_DEPTH } };
    match serde_saphyr::from_str_with_options::<Spanned<Node>>(chunk, options) {
        Ok(node) => {
            let at = line_of(&node);
            let (value, lines) = split(node, at, lines_before);
            Ok(Parsed { value, lines })
        }
        Err(error) => Err(broken(&error, lines_before, chunk)),
    }
}

fn broken(error: &serde_saphyr::Error, lines_before: usize, chunk: &str) -> Broken {
    let line = error.location().map_or(1, |location| usize::try_from(location.line()).unwrap_or(1));
    let reason = UserMessageFormatter.format_message(error.without_snippet()).replace(char::is_control, " ");
    let near_pem = chunk.lines().skip(line.saturating_sub(2)).take(3).any(|line| line.contains("-----"));
    let hint = if near_pem { "; indent every line of a certificate below its key, by the same blanks" } else { "" };
    Broken { line: lines_before + line, message: format!("is not valid YAML: {reason}{hint}") }
}

fn line_of<T>(spanned: &Spanned<T>) -> u64 {
    spanned.referenced.line()
}

/// Takes values and lines apart. `at` is the line that the value counts as being on, within its piece of the text.
fn split(node: Spanned<Node>, at: u64, lines_before: usize) -> (Value, Lines) {
    let mut inside = Vec::new();
    let mut add = |key: String, node: Spanned<Node>, at: u64| {
        let (value, lines) = split(node, at, lines_before);
        inside.push((key, lines));
        value
    };
    let value = match node.value {
        Node::Scalar(value) => value,
        Node::Sequence(nodes) => nodes
            .into_iter()
            .enumerate()
            .map(|(index, node)| {
                let at = line_of(&node);
                add(format!("[{index}]"), node, at)
            })
            .collect(),
        Node::Mapping(entries) => {
            let mut map = Map::with_capacity(entries.len());
            for (key, node) in entries {
                // The line of the key, since a value may begin on the next one.
                let at = match line_of(&key) {
                    0 => line_of(&node),
                    line => line,
                };
                let value = add(key.value.clone(), node, at);
                map.insert(key.value, value);
            }
            Value::Object(map)
        }
    };
    let at = usize::try_from(at).map_or(0, |line| if line == 0 { 0 } else { lines_before + line });
    (value, Lines { at, inside })
}

/// A YAML value, each part of which knows its place.
enum Node {
    Scalar(Value),
    Sequence(Vec<Spanned<Node>>),
    Mapping(Vec<(Spanned<String>, Spanned<Node>)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Scalar(Number::from_f64(value).map_or_else(|| value.to_string().into(), Value::Number)))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_none<E: de::Error>(self) -> Result<Node, E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = sequence.next_element()? {
            nodes.push(node);
        }
        Ok(Node::Sequence(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Mapping(entries))
    }
}

#[cfg(test)]
mod tests;
