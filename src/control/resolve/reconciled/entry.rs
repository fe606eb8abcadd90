//! The id of an entry of `spec.subscribers` within its channel.
//!
//! A Trigger's Subscription is deleted and created again under the same name whenever something
//! about it changes (contract 5.10), so that a queue which is to be found again is named by the
//! entry's name, and not by its uid.

use std::collections::{HashMap, HashSet};

use crate::control::read::manifest::messaging::SubscriberSpec;
use crate::model::SubscriptionKey;

/// The id of each entry: its name; its uid if several entries have that name, as Subscriptions of
/// different namespaces may (contract 11.5); its index if it has no uid, and no unique name, since
/// every field is optional (contract 2.3). An entry without a uid is a mistake, and so changes the
/// id of no other.
///
/// No name of Kubernetes begins with one of the signs that the other two kinds of ids begin with.
pub(super) fn entry_ids(entries: &[&SubscriberSpec]) -> Vec<String> {
    let mut owners: HashMap<&str, HashSet<Option<&str>>> = HashMap::new();
    for entry in entries {
        if let Some(name) = non_empty(entry.name.as_ref()) {
            owners.entry(name).or_default().insert(entry_uid(entry));
        }
    }
    // The same entry twice is no collision of names.
    let known = |name: &str| {
        owners
            .get(name)
            .map_or(0, |owners| owners.iter().flatten().count())
    };
    let alone = |name: &str| {
        entries
            .iter()
            .filter(|entry| entry.name.as_deref() == Some(name))
            .count()
            == 1
    };
    let id = |(index, entry): (usize, &&SubscriberSpec)| match (
        non_empty(entry.name.as_ref()),
        entry_uid(entry),
    ) {
        (Some(name), Some(_)) if known(name) == 1 => name.to_owned(),
        (_, Some(uid)) => format!("uid={uid}"),
        (Some(name), None) if alone(name) => name.to_owned(),
        (_, None) => format!("#{index}"),
    };
    entries.iter().enumerate().map(id).collect()
}

/// The id of an entry in the status: its uid, else its id in the channel.
pub(super) fn status_id(entry: &SubscriberSpec, id: &str) -> String {
    non_empty(entry.uid.as_ref()).unwrap_or(id).to_owned()
}

/// The uid of an entry; `None` if it has none, or an empty one.
pub(super) fn entry_uid(entry: &SubscriberSpec) -> Option<&str> {
    non_empty(entry.uid.as_ref())
}

/// True if an entry is named by its index alone.
pub(super) fn is_index_key(key: &SubscriptionKey) -> bool {
    key.name
        .rsplit_once('/')
        .is_some_and(|(_, id)| id.starts_with('#'))
}

fn non_empty(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contract 2.3, 5.10, 11.5.
    #[test]
    fn entries_are_named_by_name_and_else_by_uid() {
        for (entries, expected) in [
            (&[("a", "1"), ("b", "2")][..], &["a", "b"][..]),
            (&[("a", "9"), ("b", "2")], &["a", "b"]),
            (
                &[("a", "1"), ("a", "2"), ("b", "3")],
                &["uid=1", "uid=2", "b"],
            ),
            (&[("a", "1"), ("a", "1")], &["a", "a"]),
            (
                &[("a", "1"), ("a", "2"), ("a", "1")],
                &["uid=1", "uid=2", "uid=1"],
            ),
            (&[("", "1"), ("", ""), ("a", "")], &["uid=1", "#1", "a"]),
            (&[("a", ""), ("a", "")], &["#0", "#1"]),
            (&[("a", ""), ("a", "1")], &["#0", "a"]),
            (
                &[("a", "1"), ("b", "1"), ("a", ""), ("b", "2")],
                &["a", "uid=1", "#2", "uid=2"],
            ),
        ] {
            let entry = |(name, uid): &(&str, &str)| SubscriberSpec {
                name: Some((*name).to_owned()),
                uid: Some((*uid).to_owned()),
                ..SubscriberSpec::default()
            };
            let written: Vec<SubscriberSpec> = entries.iter().map(entry).collect();
            assert_eq!(
                entry_ids(&written.iter().collect::<Vec<_>>()),
                expected,
                "{entries:?}"
            );
        }
    }
}
