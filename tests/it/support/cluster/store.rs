//! Objects, their versions and their history, as an API server keeps them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard};

use serde_json::{Value, json};
use tokio::sync::watch;

use super::refusal::Refusal;
use super::resource::{Resource, Target};
use super::selector::Selector;

/// How many changes are remembered; who asks for older ones is told that they are gone.
const HISTORY: usize = 20_000;

/// All objects.
pub(crate) struct Store {
    state: Mutex<State>,
    revision: watch::Sender<u64>,
}

/// Group, plural, namespace, name.
type Key = (&'static str, &'static str, String, String);

#[derive(Default)]
struct State {
    revision: u64,
    /// Changes up to this one are forgotten.
    forgotten: u64,
    objects: BTreeMap<Key, Value>,
    history: VecDeque<Change>,
}

struct Change {
    revision: u64,
    resource: &'static Resource,
    before: Option<Value>,
    /// Of a deletion too, with the version of the deletion.
    after: Value,
    deleted: bool,
}

/// How an object is changed.
pub(crate) enum Edit<'a> {
    Replace(Value),
    Merge(&'a Value),
    Json(&'a json_patch::Patch),
}

/// A page of a list.
pub(crate) struct Page {
    pub(crate) limit: usize,
    pub(crate) token: String,
}

fn key(target: &Target) -> Key {
    let namespace = if target.resource.namespaced {
        target.namespace.clone()
    } else {
        String::new()
    };
    (
        target.resource.group,
        target.resource.plural,
        namespace,
        target.name.clone(),
    )
}

impl Store {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::default(),
            revision: watch::Sender::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("lock")
    }

    /// Changes whenever an object does.
    pub(crate) fn revision(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    pub(crate) fn get(&self, target: &Target) -> Result<Value, Refusal> {
        self.lock()
            .objects
            .get(&key(target))
            .cloned()
            .ok_or_else(|| Refusal::not_found(target))
    }

    /// All objects of a kind, in a namespace or in all.
    pub(crate) fn all(&self, kind: &str, namespace: &str) -> Vec<Value> {
        let resource = Resource::of(kind);
        let state = self.lock();
        let of_kind = state
            .of(resource)
            .filter(|((_, _, within, _), _)| namespace.is_empty() || within == namespace);
        of_kind.map(|(_, object)| object.clone()).collect()
    }

    /// A list. A page goes on after the object that its token names; what has changed between two
    /// pages comes by the watch, since all pages carry the version of the first.
    pub(crate) fn list(&self, selector: &Selector, page: &Page) -> Result<Value, Refusal> {
        let state = self.lock();
        let mut parts = page.token.splitn(3, '/');
        let first = parts.next().filter(|revision| !revision.is_empty());
        let revision = first.map_or(state.revision, |revision| revision.parse().unwrap_or(0));
        if revision < state.forgotten {
            return Err(Refusal::gone());
        }
        let after = (
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
        );
        let resource = selector.target().resource;
        let mut selected = state
            .of(resource)
            .filter(|((_, _, namespace, name), object)| {
                (first.is_none() || (namespace.as_str(), name.as_str()) > after)
                    && selector.matches(object)
            });
        let limit = if page.limit == 0 {
            usize::MAX
        } else {
            page.limit
        };
        let items: Vec<&Value> = selected
            .by_ref()
            .take(limit)
            .map(|(_, object)| object)
            .collect();
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if let (Some(last), true) = (items.last(), selected.next().is_some()) {
            let at = |field: &str| last["metadata"][field].as_str().unwrap_or_default();
            metadata["continue"] = json!(format!("{revision}/{}/{}", at("namespace"), at("name")));
        }
        let kind = format!("{}List", resource.kind);
        Ok(
            json!({"kind": kind, "apiVersion": resource.api_version(), "metadata": metadata, "items": items}),
        )
    }

    /// The events of a watch after this revision, and up to which one they are.
    pub(crate) fn changes(
        &self,
        since: u64,
        selector: &Selector,
    ) -> Result<(Vec<Value>, u64), Refusal> {
        let state = self.lock();
        if since < state.forgotten {
            return Err(Refusal::gone());
        }
        let new = state
            .history
            .partition_point(|change| change.revision <= since);
        let events = state
            .history
            .range(new..)
            .filter_map(|change| change.event(selector))
            .collect();
        Ok((events, state.revision))
    }

    /// What there is now, as the first events of a watch, and of which revision it is.
    pub(crate) fn initial(&self, selector: &Selector) -> (Vec<Value>, u64) {
        let state = self.lock();
        let selected = state
            .of(selector.target().resource)
            .filter(|(_, object)| selector.matches(object));
        (
            selected
                .map(|(_, object)| json!({"type": "ADDED", "object": object}))
                .collect(),
            state.revision,
        )
    }

    pub(crate) fn create(&self, target: &Target, mut object: Value) -> Result<Value, Refusal> {
        let resource = target.resource;
        let mut target = target.clone();
        target.name = name_of(&object);
        if target.name.is_empty() {
            return Err(Refusal::invalid(&target, "metadata.name: Required value"));
        }
        super::validate::check(&target, &object)?;
        let mut state = self.lock();
        if resource.namespaced && !state.has_namespace(&target.namespace) {
            return Err(Refusal::new(
                404,
                "NotFound",
                format!("namespaces \"{}\" not found", target.namespace),
            ));
        }
        if state.objects.contains_key(&key(&target)) {
            return Err(Refusal::exists(&target));
        }
        let metadata = &mut object["metadata"];
        metadata["name"] = json!(target.name);
        metadata["uid"] = json!(uuid::Uuid::new_v4().to_string());
        metadata["creationTimestamp"] = json!(super::now());
        if resource.namespaced {
            metadata["namespace"] = json!(target.namespace);
        }
        if resource.status {
            metadata["generation"] = json!(1);
            remove(&mut object, "status");
        }
        Ok(self.commit(&mut state, &target, None, object))
    }

    pub(crate) fn edit(&self, target: &Target, edit: Edit<'_>) -> Result<Value, Refusal> {
        let mut state = self.lock();
        let old = state
            .objects
            .get(&key(target))
            .cloned()
            .ok_or_else(|| Refusal::not_found(target))?;
        let replaces = matches!(edit, Edit::Replace(_));
        let new = edited(target, &old, edit)?;
        let checked = super::validate::check(target, &new);
        checked.map_err(|refusal| {
            if replaces {
                refusal
            } else {
                refusal.of_a_patch()
            }
        })?;
        if new == old {
            return Ok(old);
        }
        Ok(self.commit(&mut state, target, Some(old), new))
    }

    /// Deletes, or marks as being deleted what has finalizers.
    pub(crate) fn delete(&self, target: &Target) -> Result<Value, Refusal> {
        let mut state = self.lock();
        let old = state
            .objects
            .get(&key(target))
            .cloned()
            .ok_or_else(|| Refusal::not_found(target))?;
        let mut new = old.clone();
        new["metadata"]["deletionTimestamp"] = json!(super::now());
        Ok(self.commit(&mut state, target, Some(old), new))
    }

    /// Forgets the history: a watch from before now is told that it is gone.
    pub(crate) fn compact(&self) {
        let mut state = self.lock();
        state.forgotten = state.revision;
        state.history.clear();
    }

    /// Writes a version down. An object that is being deleted goes with its last finalizer.
    fn commit(
        &self,
        state: &mut State,
        target: &Target,
        before: Option<Value>,
        mut after: Value,
    ) -> Value {
        state.revision += 1;
        let metadata = &mut after["metadata"];
        metadata["resourceVersion"] = json!(state.revision.to_string());
        let finalizers = metadata["finalizers"]
            .as_array()
            .is_some_and(|finalizers| !finalizers.is_empty());
        let deleted = !metadata["deletionTimestamp"].is_null() && !finalizers;
        metadata
            .as_object_mut()
            .expect("an object")
            .retain(|_, value| !value.is_null());
        if deleted {
            state.objects.remove(&key(target));
        } else {
            state.objects.insert(key(target), after.clone());
        }
        let (revision, resource) = (state.revision, target.resource);
        state.history.push_back(Change {
            revision,
            resource,
            before,
            after: after.clone(),
            deleted,
        });
        if state.history.len() > HISTORY {
            state.forgotten = state
                .history
                .pop_front()
                .map_or(0, |change| change.revision);
        }
        self.revision.send_replace(state.revision);
        after
    }
}

impl State {
    fn of(&self, resource: &'static Resource) -> impl Iterator<Item = (&Key, &Value)> {
        let start = (
            resource.group,
            resource.plural,
            String::new(),
            String::new(),
        );
        self.objects
            .range(start..)
            .take_while(|((group, plural, ..), _)| {
                (*group, *plural) == (resource.group, resource.plural)
            })
    }

    fn has_namespace(&self, name: &str) -> bool {
        self.objects
            .contains_key(&("", "namespaces", String::new(), name.to_owned()))
    }
}

impl Change {
    /// As a watch sees it, whose selection the object may have entered or left.
    fn event(&self, selector: &Selector) -> Option<Value> {
        if !std::ptr::eq(self.resource, selector.target().resource) {
            return None;
        }
        let before = self
            .before
            .as_ref()
            .is_some_and(|before| selector.matches(before));
        let after = !self.deleted && selector.matches(&self.after);
        let ty = match (before, after) {
            (false, false) => return None,
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
        };
        Some(json!({"type": ty, "object": self.after}))
    }
}

fn name_of(object: &Value) -> String {
    let metadata = &object["metadata"];
    match (metadata["name"].as_str(), metadata["generateName"].as_str()) {
        (Some(name), _) => name.to_owned(),
        (None, Some(prefix)) => format!(
            "{prefix}{}",
            &uuid::Uuid::new_v4().simple().to_string()[..5]
        ),
        (None, None) => String::new(),
    }
}

fn remove(object: &mut Value, field: &str) -> Option<Value> {
    object
        .as_object_mut()
        .expect("an object")
        .shift_remove(field)
}

fn edited(target: &Target, old: &Value, edit: Edit<'_>) -> Result<Value, Refusal> {
    let mut new = old.clone();
    match edit {
        Edit::Replace(object) => {
            if target.resource.is_strict()
                && object["metadata"]["resourceVersion"]
                    .as_str()
                    .is_none_or(str::is_empty)
            {
                return Err(Refusal::invalid(
                    target,
                    "metadata.resourceVersion: must be specified for an update",
                ));
            }
            new = object;
        }
        Edit::Merge(patch) => json_patch::merge(&mut new, patch),
        Edit::Json(patch) => {
            json_patch::patch(&mut new, patch)
                .map_err(|error| Refusal::new(422, "Invalid", error.to_string()))?;
        }
    }
    if !new["metadata"].is_object() {
        return Err(Refusal::bad_request("the object has no metadata"));
    }
    let of = |object: &Value, field: &str| object["metadata"][field].clone();
    if of(&new, "name") != of(old, "name") || of(&new, "namespace") != of(old, "namespace") {
        return Err(Refusal::bad_request(
            "the name of the object does not match the name on the URL",
        ));
    }
    for field in ["resourceVersion", "uid"] {
        let differs = new["metadata"][field]
            .as_str()
            .is_some_and(|text| !text.is_empty() && old["metadata"][field] != text);
        if differs {
            return Err(Refusal::conflict(target));
        }
    }
    Ok(merged(target, old, new))
}

/// The old object with the part that this request may change.
fn merged(target: &Target, old: &Value, mut new: Value) -> Value {
    let status = if target.subresource == "status" {
        &new
    } else {
        old
    }["status"]
        .clone();
    if target.subresource == "status" {
        new = old.clone();
    }
    for field in [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "deletionTimestamp",
        "generation",
    ] {
        new["metadata"][field] = old["metadata"][field].clone();
    }
    new["metadata"]
        .as_object_mut()
        .expect("an object")
        .retain(|_, value| !value.is_null());
    if !target.resource.status {
        return new;
    }
    remove(&mut new, "status");
    if !same_spec(old, &new) {
        new["metadata"]["generation"] =
            json!(old["metadata"]["generation"].as_u64().unwrap_or(0) + 1);
    }
    if !status.is_null() {
        new["status"] = status;
    }
    new
}

fn same_spec(old: &Value, new: &Value) -> bool {
    let rest = |object: &Value| {
        let mut object = object.clone();
        remove(&mut object, "status");
        remove(&mut object, "metadata");
        object
    };
    rest(old) == rest(new)
}
