//! Flattens lists: the objects in a list count as if each stood for itself, whatever the kind of
//! the list is (`List`, `TriggerList`), and however deep lists stand in lists.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::control::read::document::{DocumentOrigin, ManifestDocument};
use crate::control::read::problem::{Problem, Severity};
use crate::control::read::yaml::ParsedDocument;

/// Takes the objects out of a list and of the lists in it; a document that is no list is one
/// object. A document whose kind says that it is a list, but which has no list of items, is a
/// problem.
pub(super) fn flatten_lists(
    parsed: ParsedDocument,
    file: &Arc<str>,
    documents: &mut Vec<ManifestDocument>,
    problems: &mut Vec<Problem>,
) {
    let ParsedDocument { mut value, lines } = parsed;
    let mut report = |field: &str, value: &Value, message: String| {
        let line = lines.line_of_path(value, field);
        problems.push(Problem::of_file(Severity::Error, file, line, message));
    };
    let Some(of) = ListItemType::from_list(&value) else {
        match misspelt_list_kind(&value) {
            Some(message) => report("kind", &value, message),
            None => documents.push(ManifestDocument {
                value: value.into(),
                origin: Some(DocumentOrigin {
                    file: Arc::clone(file),
                    lines,
                }),
            }),
        }
        return;
    };
    let lines_of_items = lines.lines_of_elements(&value, "items");
    match value.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => {
            for (mut value, lines) in items.into_iter().zip(lines_of_items) {
                let added = value
                    .as_object_mut()
                    .map_or(0, |item| of.complete_item(item));
                let lines = lines.with_added_fields(added);
                flatten_lists(ParsedDocument { value, lines }, file, documents, problems);
            }
        }
        Some(Value::Null) => {}
        _ => {
            let message = "items: is no list: write each object on lines of its own, behind -";
            report("items", &value, message.to_owned());
        }
    }
}

/// The remedy for a document that holds objects in `items`, but whose kind is not that of a list;
/// `None` for every other document.
fn misspelt_list_kind(value: &Value) -> Option<String> {
    let holds_objects = value
        .get("items")?
        .as_array()?
        .iter()
        .any(|item| item.get("kind").is_some());
    let kind = value
        .get("kind")
        .and_then(Value::as_str)
        .unwrap_or_default();
    holds_objects.then(|| format!("kind: {kind:?} holds items and is no list; write List"))
}

/// The `apiVersion` and `kind` of a list's items that do not name them themselves, as in a response
/// of an API server.
struct ListItemType {
    api_version: Option<Value>,
    kind: Option<Value>,
}

impl ListItemType {
    /// The type of the items of this list; `None` if the value is no list. A list has no name,
    /// unlike an object whose kind happens to end in `List`.
    fn from_list(value: &Value) -> Option<Self> {
        let kind = value.get("kind")?.as_str()?.strip_suffix("List")?;
        let is_named = value
            .get("metadata")
            .is_some_and(|metadata| metadata.get("name").is_some());
        if kind.is_empty() {
            return Some(Self {
                api_version: None,
                kind: None,
            });
        }
        let of = Self {
            api_version: value.get("apiVersion").cloned(),
            kind: Some(kind.into()),
        };
        value.get("items").filter(|_| !is_named).map(|_items| of)
    }

    /// Adds the fields that an item lacks; gives the number of fields that were added.
    fn complete_item(&self, item: &mut Map<String, Value>) -> usize {
        let fields = [("apiVersion", &self.api_version), ("kind", &self.kind)];
        let missing = fields
            .into_iter()
            .filter(|(name, _)| item.get(*name).is_none_or(Value::is_null));
        let missing: Vec<_> = missing
            .filter_map(|(name, value)| Some((name, value.clone()?)))
            .collect();
        let before = item.len();
        for (name, value) in missing {
            item.insert(name.to_owned(), value);
        }
        item.len() - before
    }
}
