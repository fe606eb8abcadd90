//! What changed from one configuration to the next: the objects that were added, changed and
//! removed, by their names and places, for the audit log. No value of a field is in it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::read::document::{ManifestDocument, ManifestFile, ManifestSet};
use super::read::problem::short;

/// Most objects that a list names.
const MOST: usize = 20;
/// Longest list in bytes; the last name may reach beyond.
const LONGEST: usize = 2_000;
/// Metadata that an API server sets whenever anything of an object changes.
const OF_VERSION: [&str; 3] = ["resourceVersion", "generation", "managedFields"];

/// The objects that were added, changed and removed, in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ObjectChanges {
    pub(crate) added: String,
    pub(crate) changed: String,
    pub(crate) removed: String,
}

impl ObjectChanges {
    /// The changes from one set to the next; what is the same file in both is not looked at.
    pub(crate) fn between(before: Option<&ManifestSet>, after: &ManifestSet) -> Self {
        let files = before.map(|before| before.files.as_slice());
        let before = files.unwrap_or_default();
        let (old, new) = (objects(before, &after.files), objects(&after.files, before));
        let (mut added, mut changed) = (ObjectList::default(), ObjectList::default());
        for (name, object) in &new {
            match old.get(name) {
                None => added.push(name, object),
                Some(known) if differs(&known.document.value, &object.document.value) => {
                    changed.push(name, object);
                }
                Some(_) => {}
            }
        }
        let mut removed = ObjectList::default();
        let gone = old.iter().filter(|(name, _)| !new.contains_key(*name));
        gone.for_each(|(name, object)| removed.push(name, object));
        Self {
            added: added.into_text(),
            changed: changed.into_text(),
            removed: removed.into_text(),
        }
    }

    /// True if no object has changed.
    pub(crate) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}

/// An object, and who wrote it last into a cluster.
struct FoundObject<'m> {
    document: &'m ManifestDocument,
    manager: Option<&'m str>,
}

/// Kind, namespace and name of an object, as far as they are known.
type ObjectId<'m> = [&'m str; 3];

/// The objects of the files that are not among `others`.
fn objects<'m>(
    files: &'m [Arc<ManifestFile>],
    others: &[Arc<ManifestFile>],
) -> BTreeMap<ObjectId<'m>, FoundObject<'m>> {
    let known: HashSet<_> = others.iter().map(Arc::as_ptr).collect();
    let changed = files
        .iter()
        .filter(|file| !known.contains(&Arc::as_ptr(file)));
    let found = changed.flat_map(|file| {
        let manager = file.manager.as_deref();
        file.documents.iter().map(move |document| {
            let id = document.identity().map(Option::unwrap_or_default);
            (id, FoundObject { document, manager })
        })
    });
    found.collect()
}

/// True if something else differs than what a version and a status are.
fn differs(one: &Arc<Value>, other: &Arc<Value>) -> bool {
    let (Some(a), Some(b)) = (one.as_object(), other.as_object()) else {
        return one != other;
    };
    !Arc::ptr_eq(one, other)
        && (differs_but_for(a, b, &["status", "metadata"])
            || match (metadata(a), metadata(b)) {
                (Some(a), Some(b)) => differs_but_for(a, b, &OF_VERSION),
                (a, b) => a.is_some() != b.is_some(),
            })
}

fn metadata(object: &Map<String, Value>) -> Option<&Map<String, Value>> {
    object.get("metadata")?.as_object()
}

fn differs_but_for(a: &Map<String, Value>, b: &Map<String, Value>, left_out: &[&str]) -> bool {
    let counts = |key: &&String| !left_out.contains(&key.as_str());
    let mut keys = a.keys().chain(b.keys()).filter(counts);
    keys.any(|key| a.get(key) != b.get(key))
}

/// A list of objects in words, which names some of them.
#[derive(Default)]
struct ObjectList {
    text: String,
    named: usize,
    others: usize,
}

impl ObjectList {
    fn push(&mut self, [kind, namespace, name]: &ObjectId<'_>, object: &FoundObject<'_>) {
        if self.named == MOST || self.text.len() > LONGEST {
            self.others += 1;
            return;
        }
        self.named += 1;
        if !self.text.is_empty() {
            self.text.push_str(", ");
        }
        let [kind, namespace, name] = [kind, namespace, name].map(|text| short(text));
        // A file may leave the namespace out.
        let slash = if namespace.is_empty() { "" } else { "/" };
        let named = format!("{kind} {namespace}{slash}{name}");
        self.text.push_str(&named);
        let version = object.document.text(&["metadata", "resourceVersion"]);
        let place = match (object.document.location(), version, object.manager) {
            (Some(place), _, _) => place,
            (None, Some(version), Some(manager)) => {
                format!("resourceVersion {version} by {}", short(manager))
            }
            (None, Some(version), None) => format!("resourceVersion {version}"),
            (None, None, _) => return,
        };
        self.text.push_str(&format!(" ({place})"));
    }

    fn into_text(mut self) -> String {
        if self.others > 0 {
            self.text.push_str(&format!(" and {} more", self.others));
        }
        self.text
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(name: &str, version: u32, spec: &Value) -> Value {
        let metadata =
            json!({"namespace": "ns", "name": name, "resourceVersion": version.to_string()});
        json!({"kind": "Broker", "metadata": metadata, "spec": spec, "status": {"v": version}})
    }

    fn changes(before: &ManifestSet, after: &ManifestSet) -> [String; 3] {
        let found = ObjectChanges::between(Some(before), after);
        [found.added, found.changed, found.removed]
    }

    #[test]
    fn names_and_versions_are_told_and_no_values() {
        let before = ManifestSet::from_objects([
            object("a", 1, &json!({})),
            object("b", 2, &json!({"secret": "x"})),
        ]);
        let after = before.with_object(1, object("b", 3, &json!({"secret": "y"})));
        let after = after.with_object(9, object("c", 4, &json!({})));
        let [added, changed, removed] = changes(&before, &after);
        assert_eq!(added, "Broker ns/c (resourceVersion 4)");
        assert_eq!(changed, "Broker ns/b (resourceVersion 3)");
        assert_eq!(removed, "");
        let [added, _, removed] = changes(&after, &before);
        assert_eq!(
            (&*added, &*removed),
            ("", "Broker ns/c (resourceVersion 4)")
        );
    }

    #[test]
    fn a_status_is_no_change_of_the_configuration() {
        let before = ManifestSet::from_objects([object("a", 1, &json!({"x": 1}))]);
        let after = before.with_object(0, object("a", 2, &json!({"x": 1})));
        let found = ObjectChanges::between(Some(&before), &after);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn long_lists_are_cut() {
        let objects = (0..1000).map(|at| object(&at.to_string(), at, &json!({})));
        let after = ManifestSet::from_objects(objects);
        let found = ObjectChanges::between(None, &after);
        assert!(found.added.ends_with(" and 980 more"), "{}", found.added);
        assert!(found.added.len() < LONGEST);
    }
}
