//! Tells the cluster what is served: the duties of each configuration, once it is served, if this process is the one that
//! writes (control-plane.md 2.9 to 2.14, 2.17, 2.21).
//!
//! Level-triggered: every version of an object is compared, whatever changed in it, and what is right is left alone.

use std::collections::HashMap;
use std::sync::Arc;

use kube::Client;
use serde_json::Value;
use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::Latest;
use super::tell::{Teller, Untold};
use super::waits::Waits;
use crate::control::Channels;
use crate::control::resolve::reconciled::{Duty, Made};
use crate::model::ChannelKey;

/// Requests under way at once.
const CONCURRENCY: usize = 16;

/// Writes for ever.
pub(super) async fn run(
    client: Client,
    channels: Channels,
    mut leads: watch::Receiver<bool>,
    mut served: watch::Receiver<Latest>,
) {
    let mut writer = Writer {
        teller: Teller { client, channels },
        permits: Arc::new(Semaphore::new(CONCURRENCY)),
        under_way: HashMap::new(),
        done: HashMap::new(),
        tasks: JoinSet::new(),
    };
    loop {
        tokio::select! {
            Some(ended) = writer.tasks.join_next() => {
                if let Ok(key) = ended {
                    writer.ended(&key);
                }
                continue;
            }
            changed = leads.changed() => if changed.is_err() { return },
            changed = served.changed() => if changed.is_err() { return },
        }
        let configuration = served.borrow_and_update().clone();
        match configuration {
            Some(configuration) if *leads.borrow_and_update() => writer.plan(configuration.reconciled().iter()),
            Some(_) | None => writer.rest(),
        }
    }
}

/// What is to be written for one channel, and of which version of it.
#[derive(Clone, Debug)]
struct Task {
    document: Arc<Value>,
    duty: Duty,
}

impl Task {
    /// Whether doing this means that the other one needs not be done.
    fn covers(&self, other: &Self) -> bool {
        let uid = |task: &Self| task.document.get("metadata").and_then(|metadata| metadata.get("uid")).cloned();
        match (&self.duty, &other.duty) {
            // A new version that is still not right has to be written again: somebody has undone it (2.11).
            (Duty::Subscribers(_), _) => Arc::ptr_eq(&self.document, &other.document),
            // A Warning is said once.
            (Duty::Warning(_), _) => self.duty == other.duty && uid(self) == uid(other),
        }
    }

    /// Whether what is under way will do for the other one, too.
    fn serves(&self, other: &Self) -> bool {
        self.duty == other.duty || self.covers(other)
    }
}

struct Writer {
    teller: Teller,
    permits: Arc<Semaphore>,
    under_way: HashMap<ChannelKey, (Task, AbortHandle)>,
    done: HashMap<ChannelKey, Task>,
    tasks: JoinSet<ChannelKey>,
}

impl Writer {
    /// Begins what is to be done, and ends what is not to be done any more.
    fn plan<'m>(&mut self, channels: impl Iterator<Item = (&'m ChannelKey, &'m Arc<Made>)>) {
        let mut before = std::mem::take(&mut self.under_way);
        let mut done = std::mem::take(&mut self.done);
        for (key, made) in channels {
            let done = done.remove(key);
            let Some(duty) = made.duty() else { continue };
            let task = Task { document: Arc::clone(made.document()), duty: duty.clone() };
            if let Some(done) = done.filter(|done| done.covers(&task)) {
                self.done.insert(key.clone(), done);
                continue;
            }
            match before.remove(key) {
                Some((doing, handle)) if doing.serves(&task) => {
                    self.under_way.insert(key.clone(), (doing, handle));
                }
                other => {
                    if let Some((_, handle)) = other {
                        handle.abort();
                    }
                    self.begin(key.clone(), task);
                }
            }
        }
        for (_, handle) in before.into_values() {
            handle.abort();
        }
    }

    fn begin(&mut self, key: ChannelKey, task: Task) {
        let (teller, permits) = (self.teller.clone(), Arc::clone(&self.permits));
        let (of, todo) = (key.clone(), task.clone());
        let handle = self.tasks.spawn(async move {
            until_told(&teller, &permits, &of, &todo).await;
            of
        });
        self.under_way.insert(key, (task, handle));
    }

    fn ended(&mut self, key: &ChannelKey) {
        if let Some((task, _)) = self.under_way.remove(key) {
            self.done.insert(key.clone(), task);
        }
    }

    /// Another process writes, and what was done here says nothing about what is right.
    fn rest(&mut self) {
        for (_, (_, handle)) in self.under_way.drain() {
            handle.abort();
        }
        self.done.clear();
    }
}

/// Tries until it is done: the way leads through webhooks that may be away for long (2.12).
async fn until_told(teller: &Teller, permits: &Semaphore, key: &ChannelKey, task: &Task) {
    let mut waits = Waits::default();
    loop {
        let Ok(permit) = permits.acquire().await else { return };
        let told = teller.fulfil(key, &task.duty, &task.document).await;
        drop(permit);
        match told {
            Ok(()) | Err(Untold::Gone) => return,
            Err(error) => tracing::warn!(channel = %key, %error, "Could not be written into the cluster, trying again"),
        }
        tokio::time::sleep(waits.next()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// control-plane.md 2.11, 2.12, 2.17.
    #[test]
    fn what_is_done_is_done_for_one_version_and_warnings_once() {
        let document = |uid: &str| Arc::new(json!({"metadata": {"uid": uid}}));
        let (first, second) = (document("a"), document("a"));
        let list = |document: &Arc<Value>, ready: &str| Task {
            document: Arc::clone(document),
            duty: Duty::Subscribers(json!([ready])),
        };
        let warning = |document: &Arc<Value>, text: &str| Task {
            document: Arc::clone(document),
            duty: Duty::Warning(text.to_owned()),
        };
        assert!(list(&first, "x").covers(&list(&first, "x")), "the watch has not brought it back yet");
        assert!(!list(&first, "x").covers(&list(&second, "x")), "somebody has undone it");
        assert!(list(&first, "x").serves(&list(&second, "x")) && !list(&first, "x").serves(&list(&second, "y")));
        assert!(warning(&first, "t").covers(&warning(&second, "t")));
        assert!(!warning(&first, "t").covers(&warning(&second, "u")));
        assert!(!warning(&first, "t").covers(&warning(&document("b"), "t")));
    }
}
