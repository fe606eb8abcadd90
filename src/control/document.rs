//! YAML text becomes JSON values whose every field knows its line.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::Spanned;

/// Nodes of one file: enough for tens of thousands of objects, and a bound for what expands.
const MAX_NODES: usize = 2_000_000;
const MAX_SCALAR_BYTES: usize = 256 * 1024 * 1024;

/// A document of a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Document {
    pub(super) value: Value,
    pub(super) lines: Lines,
}

/// The line of each field, by its path (`spec.subscribers.0.uid`).
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Lines(BTreeMap<String, usize>);

impl Lines {
    /// The line of a field, or of the nearest field around it.
    pub(super) fn of(&self, path: &str) -> Option<usize> {
        let mut path = path;
        loop {
            if let Some(line) = self.0.get(path) {
                return Some(*line);
            }
            path = path.rsplit_once('.').map_or("", |(parent, _)| parent);
            if path.is_empty() {
                return self.0.get("").copied();
            }
        }
    }

    /// The lines below a field, as of an object of its own.
    pub(super) fn below(&self, prefix: &str) -> Self {
        let dotted = format!("{prefix}.");
        let mut lines: BTreeMap<String, usize> = self
            .0
            .iter()
            .filter_map(|(path, line)| path.strip_prefix(&dotted).map(|rest| (rest.to_owned(), *line)))
            .collect();
        lines.extend(self.of(prefix).map(|line| (String::new(), line)));
        Self(lines)
    }
}

/// Why a text is not YAML, and where.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SyntaxError {
    pub(super) line: Option<usize>,
    pub(super) message: String,
}

/// Reads every document of a text. Empty documents are left out.
pub(super) fn parse(text: &str) -> Result<Vec<Document>, SyntaxError> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: MAX_NODES,
            max_events: 2 * MAX_NODES,
            max_total_scalar_bytes: MAX_SCALAR_BYTES,
            max_documents: MAX_NODES,
        },
        with_snippet: false,
    };
    let nodes: Vec<Spanned<Node>> =
        serde_saphyr::from_multiple_with_options(text, options).map_err(|error| syntax_error(&error))?;
    Ok(nodes.into_iter().map(document).filter(|document| !document.value.is_null()).collect())
}

fn syntax_error(error: &serde_saphyr::Error) -> SyntaxError {
    let line = error.location().and_then(|location| usize::try_from(location.line()).ok());
    let message = error.to_string().lines().next().unwrap_or_default().to_owned();
    SyntaxError { line, message: format!("not valid YAML, nothing in this file is applied: {message}") }
}

/// A YAML node whose children know where they are.
enum Node {
    Scalar(Value),
    Sequence(Vec<Spanned<Node>>),
    Mapping(Vec<(Spanned<String>, Spanned<Node>)>),
}

fn document(node: Spanned<Node>) -> Document {
    let mut lines = BTreeMap::new();
    let first = line(&node.referenced);
    let value = convert(node.value, "", &mut lines);
    let first = lines.values().min().copied().unwrap_or(first);
    lines.insert(String::new(), first);
    Document { value, lines: Lines(lines) }
}

fn line(location: &serde_saphyr::Location) -> usize {
    usize::try_from(location.line()).unwrap_or(1)
}

fn convert(node: Node, path: &str, lines: &mut BTreeMap<String, usize>) -> Value {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match node {
        Node::Scalar(value) => value,
        Node::Sequence(items) => {
            let mut values = Vec::with_capacity(items.len());
            for (index, item) in items.into_iter().enumerate() {
                let path = below(&index.to_string());
                lines.insert(path.clone(), line(&item.referenced));
                values.push(convert(item.value, &path, lines));
            }
            Value::Array(values)
        }
        Node::Mapping(entries) => {
            let mut map = Map::with_capacity(entries.len());
            for (key, node) in entries {
                let path = below(&key.value);
                lines.insert(path.clone(), line(&key.referenced));
                let value = convert(node.value, &path, lines);
                map.insert(key.value, value);
            }
            Value::Object(map)
        }
    }
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
        f.write_str("YAML")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Number(value.into())))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Number(value.into())))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Scalar(Number::from_f64(value).map_or(Value::Null, Value::Number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(Value::String(value.to_owned())))
    }

    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::Scalar(Value::String(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Node::Sequence(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Mapping(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_know_their_lines() {
        let text = "# comment\nkind: Broker\nmetadata:\n  name: b\nspec:\n  list:\n  - a: 1\n  - {a: two}\n  text: |\n    x\n    y\n---\n---\nkind: Other\n";
        let documents = parse(text).expect("YAML");
        assert_eq!(documents.len(), 2);
        let expected = json!({"kind": "Broker", "metadata": {"name": "b"}, "spec": {"list": [{"a": 1}, {"a": "two"}], "text": "x\ny\n"}});
        assert_eq!(documents[0].value, expected);
        for (path, line) in [
            ("", 2),
            ("metadata.name", 4),
            ("spec.list.0.a", 7),
            ("spec.list.1.a", 8),
            ("spec.text", 9),
            ("spec.text.missing", 9),
            ("nowhere", 2),
        ] {
            assert_eq!(documents[0].lines.of(path), Some(line), "{path}");
        }
        assert_eq!(documents[1].lines.of("kind"), Some(14));
        assert_eq!(documents[0].lines.below("spec.list.1").of("a"), Some(8));
    }

    #[test]
    fn what_is_not_yaml_says_where() {
        let error = parse("a: 1\nb: [1,\n").expect_err("not YAML");
        assert!(error.line.is_some_and(|line| line >= 2), "{error:?}");
        let error = parse("a: 1\nb: 2\na: 3\n").expect_err("a key twice");
        assert_eq!(error.line, Some(3), "{error:?}");
        assert_eq!(parse("").expect("nothing"), []);
        assert_eq!(parse("---\n# only a comment\n").expect("nothing"), []);
    }

    #[test]
    fn aliases_do_not_explode() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
        }
        assert!(parse(&text).is_err());
    }
}
