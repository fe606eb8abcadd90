//! The objects of the cluster as they were last seen, one list for each watch; it wakes whoever
//! waits for a change.
//!
//! An object that comes again in the same version stays the same value, so that a new list costs
//! nothing downstream.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::core::DynamicObject;
use kube::runtime::watcher::Event;
use serde_json::{Map, Value};
use tokio::sync::Notify;

use super::rows::WatchNeed;
use crate::control::read::document::ManifestFile;
use crate::control::read::kind::ResourceKind;
use crate::model::NamespacedName;

type FilesByName = BTreeMap<NamespacedName, Arc<ManifestFile>>;

/// The time for which the first configuration waits for lists that may be missing for good, once
/// the others are there.
pub(crate) const FIRST_LIST_TIMEOUT: Duration = Duration::from_secs(3);

/// The lists of all watches.
#[derive(Debug)]
pub(crate) struct ObjectStore {
    lists: Mutex<Vec<WatchedList>>,
    /// Wakes the one who waits for a change.
    changed: Notify,
}

#[derive(Debug)]
struct WatchedList {
    need: WatchNeed,
    /// The objects by name; `None` until they have been listed once.
    files: Option<FilesByName>,
    /// The objects that a new list has brought so far; they replace `files` when the list is
    /// complete.
    listing: FilesByName,
}

impl ObjectStore {
    /// A store with one list for each of these watches.
    pub(crate) fn new(needed: impl Iterator<Item = WatchNeed>) -> Self {
        let list = |needed| WatchedList {
            need: needed,
            files: None,
            listing: FilesByName::new(),
        };
        Self {
            lists: Mutex::new(needed.map(list).collect()),
            changed: Notify::new(),
        }
    }

    fn lists(&self) -> MutexGuard<'_, Vec<WatchedList>> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an event of the watch at `index`, whose objects are of this kind.
    pub(crate) fn apply_event(
        &self,
        index: usize,
        kind: ResourceKind,
        event: Event<DynamicObject>,
    ) {
        if let Some(list) = self.lists().get_mut(index)
            && list.apply_event(kind, event)
        {
            self.changed.notify_one();
        }
    }

    /// Waits for a change since the last one that was waited for.
    pub(crate) async fn wait_for_change(&self) {
        self.changed.notified().await;
    }

    /// Waits until every list that is always needed is complete; for lists that are needed soon,
    /// not longer than `grace`.
    pub(crate) async fn wait_for_first_lists(&self, grace: Duration) {
        while self.is_list_missing(WatchNeed::Always) {
            self.wait_for_change().await;
        }
        self.wait_at_most(WatchNeed::WithinGrace, grace).await;
    }

    /// Waits until the lists that only OIDC needs are complete, not longer than `grace`.
    pub(crate) async fn wait_for_oidc_lists(&self, grace: Duration) {
        self.wait_at_most(WatchNeed::WithOidc, grace).await;
    }

    async fn wait_at_most(&self, needed: WatchNeed, grace: Duration) {
        let listed = async {
            while self.is_list_missing(needed) {
                self.wait_for_change().await;
            }
        };
        if tokio::time::timeout(grace, listed).await.is_err() {
            tracing::warn!(
                "Some of the configuration could not be listed yet, going on without it"
            );
        }
    }

    /// Forgets the objects of the watch at `index`, which has ended.
    pub(crate) fn forget(&self, index: usize) {
        if let Some(list) = self.lists().get_mut(index) {
            (list.files, list.listing) = (None, FilesByName::new());
        }
        self.changed.notify_one();
    }

    fn is_list_missing(&self, needed: WatchNeed) -> bool {
        self.lists()
            .iter()
            .any(|list| list.need == needed && list.files.is_none())
    }

    /// The objects of the watch at `index`; none before they have been listed.
    pub(crate) fn list(&self, index: usize) -> Vec<Arc<ManifestFile>> {
        let lists = self.lists();
        let files = lists.get(index).and_then(|list| list.files.as_ref());
        files
            .into_iter()
            .flat_map(|files| files.values().cloned())
            .collect()
    }

    /// The objects of all watches.
    pub(crate) fn files(&self) -> Vec<Arc<ManifestFile>> {
        self.lists()
            .iter()
            .filter_map(|list| list.files.as_ref())
            .flat_map(|files| files.values().cloned())
            .collect()
    }
}

impl WatchedList {
    /// Takes an event; true if the list has changed.
    fn apply_event(&mut self, kind: ResourceKind, event: Event<DynamicObject>) -> bool {
        match event {
            Event::Init => {
                self.listing.clear();
                false
            }
            Event::InitApply(object) => {
                let (name, file) = self.object_file(kind, object);
                self.listing.insert(name, file);
                false
            }
            Event::InitDone => self.complete_listing(),
            Event::Apply(object) => {
                let (name, file) = self.object_file(kind, object);
                let before = self
                    .files
                    .get_or_insert_default()
                    .insert(name, Arc::clone(&file));
                before.is_none_or(|before| !Arc::ptr_eq(&before, &file))
            }
            Event::Delete(object) => self
                .files
                .get_or_insert_default()
                .remove(&namespaced_name(&object))
                .is_some(),
        }
    }

    /// Replaces the list by the one that has come in whole; true if they differ.
    fn complete_listing(&mut self) -> bool {
        let listed = std::mem::take(&mut self.listing);
        let same = |(a, b): (&Arc<ManifestFile>, &Arc<ManifestFile>)| Arc::ptr_eq(a, b);
        let is_same = self.files.as_ref().is_some_and(|files| {
            files.len() == listed.len() && files.values().zip(listed.values()).all(same)
        });
        self.files = Some(listed);
        !is_same
    }

    /// An object in the form of a file with one object; the value that is there already, if it has
    /// the same version.
    fn object_file(
        &self,
        kind: ResourceKind,
        object: DynamicObject,
    ) -> (NamespacedName, Arc<ManifestFile>) {
        let (name, manager) = (namespaced_name(&object), newest_manager(&object));
        let value = object_value(kind, object);
        let known = self.files.as_ref().and_then(|files| files.get(&name));
        let version = |value: &Value| {
            ["uid", "resourceVersion"].map(|key| value.get("metadata")?.get(key).cloned())
        };
        let same = known.filter(|file| {
            file.documents
                .first()
                .is_some_and(|document| version(&document.value) == version(&value))
        });
        let file = same
            .cloned()
            .unwrap_or_else(|| Arc::new(ManifestFile::from_object(value).with_manager(manager)));
        (name, file)
    }
}

fn namespaced_name(object: &DynamicObject) -> NamespacedName {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    NamespacedName {
        namespace: text(&object.metadata.namespace),
        name: text(&object.metadata.name),
    }
}

/// The field manager that wrote last, other than into the status.
fn newest_manager(object: &DynamicObject) -> Option<String> {
    let managers = object.metadata.managed_fields.iter().flatten();
    let writers = managers.filter(|entry| entry.subresource.is_none());
    let newest = writers.max_by(|a, b| {
        let time = |entry: &ManagedFieldsEntry| entry.time.as_ref().map(|time| time.0);
        time(a).cmp(&time(b))
    })?;
    newest.manager.clone()
}

/// The object as it would be written, without the field managers. The kind is added, since lists
/// leave it out of their items.
fn object_value(kind: ResourceKind, mut object: DynamicObject) -> Value {
    object.metadata.managed_fields = None;
    let mut value = Map::new();
    value.insert("apiVersion".to_owned(), kind.api_version().into());
    value.insert("kind".to_owned(), kind.as_str().into());
    value.insert(
        "metadata".to_owned(),
        serde_json::to_value(&object.metadata).unwrap_or_default(),
    );
    if let Value::Object(rest) = object.data {
        value.extend(rest);
    }
    Value::Object(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(name: &str, version: u32) -> DynamicObject {
        let metadata = json!({"namespace": "ns", "name": name, "uid": "u", "resourceVersion": version.to_string()});
        serde_json::from_value(
            json!({"metadata": metadata, "data": {"version": version.to_string()}}),
        )
        .expect("object")
    }

    fn names(store: &ObjectStore) -> Vec<String> {
        let text = |file: &Arc<ManifestFile>| {
            let document = &file.documents[0];
            let version = document.text(&["data", "version"]).expect("text");
            format!(
                "{} {version}",
                document.text(&["metadata", "name"]).expect("text")
            )
        };
        store.files().iter().map(text).collect()
    }

    /// Contract 2.22a: a new list replaces the one before as a whole, and only then.
    #[test]
    fn lists_are_taken_whole_and_unchanged_objects_stay() {
        let store = ObjectStore::new([WatchNeed::Always].into_iter());
        let take = |event| store.apply_event(0, ResourceKind::ConfigMap, event);
        take(Event::Init);
        take(Event::InitApply(object("a", 1)));
        assert!(store.is_list_missing(WatchNeed::Always) && names(&store).is_empty());
        take(Event::InitDone);
        assert!(!store.is_list_missing(WatchNeed::Always));
        take(Event::Apply(object("b", 2)));
        assert_eq!(names(&store), ["a 1", "b 2"]);
        let before = store.files();
        for event in [
            Event::Init,
            Event::InitApply(object("c", 3)),
            Event::Init,
            Event::InitApply(object("b", 2)),
        ] {
            take(event);
        }
        assert_eq!(
            names(&store),
            ["a 1", "b 2"],
            "what is being listed does not count yet"
        );
        take(Event::InitDone);
        assert_eq!(
            names(&store),
            ["b 2"],
            "what is not listed any more is gone"
        );
        assert!(Arc::ptr_eq(&store.files()[0], &before[1]));
        take(Event::Delete(object("b", 4)));
        assert!(names(&store).is_empty());
    }
}
