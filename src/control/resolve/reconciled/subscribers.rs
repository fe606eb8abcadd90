//! `status.subscribers` of a channel: which entries of its spec are served, and why others are not (contract 2.9).

use std::collections::BTreeMap;

use serde_json::Value;

use crate::control::report::ObjectReport;

const ENTRIES: &str = "spec.subscribers[";

/// Where an entry stands.
pub(super) fn entry_field(index: usize) -> String {
    format!("{ENTRIES}{index}]")
}

/// The place of the entry that a field is of, and the field within it, which is empty for the entry itself.
pub(super) fn entry_of(field: &str) -> Option<(usize, &str)> {
    let (index, rest) = field.strip_prefix(ENTRIES)?.split_once(']')?;
    Some((index.parse().ok()?, rest.strip_prefix('.').unwrap_or(rest)))
}

/// `status.subscribers` as it should be, if it is not (contract 2.9, 2.12). A channel that is being deleted is left
/// alone.
pub(super) fn changed_subscribers(document: &Value, unready: &BTreeMap<usize, String>) -> Option<Value> {
    let list = |part: &str| document.get(part)?.get("subscribers")?.as_array();
    let deleted = document.get("metadata").is_some_and(|metadata| metadata.get("deletionTimestamp").is_some());
    let entries = list("spec").into_iter().flatten().enumerate();
    let wanted: Vec<Value> = entries.map(|(index, entry)| subscriber_status(entry, unready.get(&index))).collect();
    let written = list("status").map(Vec::as_slice).unwrap_or_default();
    if deleted || wanted == written {
        return None;
    }
    Some(if wanted.is_empty() { Value::Null } else { Value::Array(wanted) })
}

/// Why entries are not ready, by their places: the first thing that is wrong with each.
pub(super) fn not_ready_entries(report: &ObjectReport<'_>) -> BTreeMap<usize, String> {
    let mut unready = BTreeMap::new();
    for (field, message) in report.tolerated_errors() {
        if let Some((index, field)) = entry_of(field) {
            let told = || if field.is_empty() { message.to_owned() } else { format!("{field}: {message}") };
            unready.entry(index).or_insert_with(told);
        }
    }
    unready
}

/// The status of an entry. What it has of a wrong type is left out, since an API server would refuse the whole list.
fn subscriber_status(entry: &Value, unready: Option<&String>) -> Value {
    let mut marked = serde_json::Map::new();
    if let Some(uid) = entry.get("uid").filter(|uid| uid.as_str().is_some_and(|uid| !uid.is_empty())) {
        marked.insert("uid".to_owned(), uid.clone());
    }
    let generation = entry.get("generation").filter(|generation| generation.as_i64().is_some_and(|number| number != 0));
    if let Some(generation) = generation {
        marked.insert("observedGeneration".to_owned(), generation.clone());
    }
    marked.insert("ready".to_owned(), if unready.is_some() { "False" } else { "True" }.into());
    marked.extend(unready.map(|message| ("message".to_owned(), message.as_str().into())));
    Value::Object(marked)
}
