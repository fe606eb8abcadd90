//! What was asked of an API server, by whom, and how it answered.

use std::sync::Mutex;

use serde_json::Value;

/// A request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entry {
    pub(crate) user: String,
    /// As RBAC names it: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`.
    pub(crate) verb: String,
    pub(crate) group: String,
    /// Plural name; the path of what is no resource.
    pub(crate) resource: String,
    pub(crate) subresource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// What was sent; null if nothing was.
    pub(crate) body: Value,
    /// Status of the answer; 0 if there was none yet.
    pub(crate) code: u16,
}

impl Entry {
    /// What was asked, on one line: `patch messaging.knative.dev/inmemorychannels/status t/c`.
    pub(crate) fn line(&self) -> String {
        let mut line = format!("{} ", self.verb);
        if !self.group.is_empty() {
            line.push_str(&format!("{}/", self.group));
        }
        line.push_str(&self.resource);
        if !self.subresource.is_empty() {
            line.push_str(&format!("/{}", self.subresource));
        }
        match (self.namespace.as_str(), self.name.as_str()) {
            ("", "") => {}
            ("", name) => line.push_str(&format!(" {name}")),
            (namespace, name) => line.push_str(&format!(" {namespace}/{name}")),
        }
        line
    }
}

/// All requests, in the order of their answers.
#[derive(Default)]
pub(crate) struct Journal(Mutex<Vec<Entry>>);

impl Journal {
    pub(crate) fn add(&self, entry: Entry) {
        self.0.lock().expect("lock").push(entry);
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.0.lock().expect("lock").clone()
    }
}
