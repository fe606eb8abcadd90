//! The `status.subscribers` of a channel: the entries of its spec that are served, and the reasons
//! why others are not (contract 2.9).

use std::collections::BTreeMap;

use serde_json::Value;

use crate::control::read::report::ObjectReport;

const ENTRIES: &str = "spec.subscribers[";

/// The field of the entry at this index.
pub(super) fn entry_field(index: usize) -> String {
    format!("{ENTRIES}{index}]")
}

/// The index of the entry that a field belongs to, and the field within it, which is empty for the
/// entry itself.
pub(super) fn entry_of(field: &str) -> Option<(usize, &str)> {
    let (index, rest) = field.strip_prefix(ENTRIES)?.split_once(']')?;
    Some((index.parse().ok()?, rest.strip_prefix('.').unwrap_or(rest)))
}

/// The desired `status.subscribers`, if the written one differs (contract 2.9, 2.12). A channel
/// that is being deleted is left alone.
pub(super) fn changed_subscribers(
    document: &Value,
    unready: &BTreeMap<usize, String>,
) -> Option<Value> {
    let list = |part: &str| document.get(part)?.get("subscribers")?.as_array();
    let deleted = document
        .get("metadata")
        .is_some_and(|metadata| metadata.get("deletionTimestamp").is_some());
    let entries = list("spec").into_iter().flatten().enumerate();
    let wanted: Vec<Value> = entries
        .map(|(index, entry)| subscriber_status(entry, unready.get(&index)))
        .collect();
    let written = list("status").map(Vec::as_slice).unwrap_or_default();
    if deleted || wanted == written {
        return None;
    }
    Some(if wanted.is_empty() {
        Value::Null
    } else {
        Value::Array(wanted)
    })
}

/// The reasons why entries are not ready, by their indices: the first error of each.
pub(super) fn not_ready_entries(report: &ObjectReport<'_>) -> BTreeMap<usize, String> {
    let mut unready = BTreeMap::new();
    for (field, message) in report.tolerated_errors() {
        if let Some((index, field)) = entry_of(field) {
            let told = || {
                if field.is_empty() {
                    message.to_owned()
                } else {
                    format!("{field}: {message}")
                }
            };
            unready.entry(index).or_insert_with(told);
        }
    }
    unready
}

/// The status of an entry. Fields of a wrong type are left out, since an API server would refuse
/// the whole list.
fn subscriber_status(entry: &Value, unready: Option<&String>) -> Value {
    let mut marked = serde_json::Map::new();
    if let Some(uid) = entry
        .get("uid")
        .filter(|uid| uid.as_str().is_some_and(|uid| !uid.is_empty()))
    {
        marked.insert("uid".to_owned(), uid.clone());
    }
    let generation = entry
        .get("generation")
        .filter(|generation| generation.as_i64().is_some_and(|number| number != 0));
    if let Some(generation) = generation {
        marked.insert("observedGeneration".to_owned(), generation.clone());
    }
    marked.insert(
        "ready".to_owned(),
        if unready.is_some() { "False" } else { "True" }.into(),
    );
    marked.extend(unready.map(|message| ("message".to_owned(), message.as_str().into())));
    Value::Object(marked)
}
