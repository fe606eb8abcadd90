//! What names an entry of `spec.subscribers` within its channel.
//!
//! A Trigger's Subscription is deleted and made anew under the same name whenever something about it changes
//! (control-plane.md 5.10), so that a queue which is to be found again is named by the entry's name, and not by its uid.

use std::collections::HashMap;

use crate::control::manifest::messaging::Subscriber;

/// A name for each entry: its name; its uid where several entries have that name, as Subscriptions of different
/// namespaces may, or where it has none (11.5); its place where it has neither, since every field is optional (2.3).
///
/// No name of Kubernetes holds one of the signs that the other two begin with.
pub(super) fn ids(entries: &[&Subscriber]) -> Vec<String> {
    let mut owners: HashMap<&str, Option<&str>> = HashMap::new();
    let mut taken: HashMap<&str, bool> = HashMap::new();
    for entry in entries {
        let Some(name) = given(entry.name.as_ref()) else { continue };
        let uid = given(entry.uid.as_ref());
        // The same entry twice is no collision.
        let is_other = owners.insert(name, uid).is_some_and(|owner| owner.is_none() || owner != uid);
        *taken.entry(name).or_default() |= is_other;
    }
    let is_unique = |name: &&str| !taken.get(name).copied().unwrap_or_default();
    let id = |(index, entry): (usize, &&Subscriber)| match (given(entry.name.as_ref()), given(entry.uid.as_ref())) {
        (Some(name), _) if is_unique(&name) => name.to_owned(),
        (_, Some(uid)) => format!("uid={uid}"),
        (_, None) => format!("#{index}"),
    };
    entries.iter().enumerate().map(id).collect()
}

/// What an entry is shown as: by its uid, else by what names it.
pub(super) fn shown(entry: &Subscriber, id: &str) -> String {
    given(entry.uid.as_ref()).unwrap_or(id).to_owned()
}

fn given(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// control-plane.md 2.3, 5.10, 11.5.
    #[test]
    fn entries_are_named_by_name_and_else_by_uid() {
        for (entries, expected) in [
            (&[("a", "1"), ("b", "2")][..], &["a", "b"][..]),
            (&[("a", "9"), ("b", "2")], &["a", "b"]),
            (&[("a", "1"), ("a", "2"), ("b", "3")], &["uid=1", "uid=2", "b"]),
            (&[("a", "1"), ("a", "1")], &["a", "a"]),
            (&[("a", "1"), ("a", "2"), ("a", "1")], &["uid=1", "uid=2", "uid=1"]),
            (&[("", "1"), ("", ""), ("a", "")], &["uid=1", "#1", "a"]),
            (&[("a", ""), ("a", "")], &["#0", "#1"]),
            (&[("a", ""), ("a", "1")], &["#0", "uid=1"]),
        ] {
            let entry = |(name, uid): &(&str, &str)| Subscriber {
                name: Some((*name).to_owned()),
                uid: Some((*uid).to_owned()),
                ..Subscriber::default()
            };
            let written: Vec<Subscriber> = entries.iter().map(entry).collect();
            assert_eq!(ids(&written.iter().collect::<Vec<_>>()), expected, "{entries:?}");
        }
    }
}
