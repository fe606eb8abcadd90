//! Tells the cluster what is served: the duties of each configuration, once it is served, if this process is the one that
//! writes (contract 2.9 to 2.14, 2.17, 2.21).
//!
//! Level-triggered: every version of an object is compared, whatever changed in it, and what is right is left alone.

use std::sync::Arc;

use kube::Client;
use serde_json::Value;
use tokio::sync::watch;

use super::Latest;
use super::tell::{Teller, Untold};
use super::writer::{Work, Writer};
use crate::control::Channels;
use crate::control::resolve::reconciled::{Duty, Made};
use crate::model::ChannelKey;
use crate::wire_text::WireText;

/// Writes until nobody says any more who does.
pub(super) async fn run(
    client: Client,
    channels: Channels,
    mut leads: watch::Receiver<bool>,
    mut served: watch::Receiver<Latest>,
) {
    let mut writer = Writer::new(Teller { client, channels });
    loop {
        let changed = tokio::select! {
            () = writer.ended() => continue,
            changed = leads.changed() => changed,
            changed = served.changed() => changed,
        };
        if changed.is_err() {
            return writer.finish().await;
        }
        let configuration = served.borrow_and_update().clone();
        match configuration {
            Some(configuration) if *leads.borrow_and_update() => {
                writer.plan(configuration.reconciled().iter().flat_map(tasks));
            }
            Some(_) | None => writer.rest(),
        }
    }
}

/// What a channel is told besides: one does not wait for the other, nor takes its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Place {
    /// Its status.
    Status,
    /// An Event about it.
    Event,
}

fn tasks<'m>((key, made): (&'m ChannelKey, &'m Arc<Made>)) -> impl Iterator<Item = ((ChannelKey, Place), Task)> + 'm {
    made.duties().iter().map(move |duty| {
        let place = match duty {
            Duty::Subscribers(_) => Place::Status,
            Duty::Warning(_) => Place::Event,
        };
        ((key.clone(), place), Task { document: Arc::clone(made.document()), duty: duty.clone() })
    })
}

/// What is to be written for one channel, and of which version of it.
#[derive(Clone, Debug)]
pub(super) struct Task {
    document: Arc<Value>,
    duty: Duty,
}

impl Task {
    /// Whether doing this means that the other one needs not be done.
    fn covers(&self, other: &Self) -> bool {
        let uid = |task: &Self| task.document.get("metadata").and_then(|metadata| metadata.get("uid")).cloned();
        match (&self.duty, &other.duty) {
            // A new version that is still not right has to be written again: somebody has undone it (contract 2.11).
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

impl Work for Teller {
    type Key = (ChannelKey, Place);
    type Task = Task;

    async fn attempt(&self, (key, _): &(ChannelKey, Place), task: &Task) -> Result<(), Untold> {
        self.fulfil(key, &task.duty, &task.document).await
    }

    fn failed(&self, (key, _): &(ChannelKey, Place), error: &Untold) {
        tracing::warn!(channel = %key, error = %WireText::of(error), "Could not be written into the cluster, trying again");
    }

    fn covers(done: &Task, other: &Task) -> bool {
        done.covers(other)
    }

    fn serves(doing: &Task, other: &Task) -> bool {
        doing.serves(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Contract 2.11, 2.12, 2.17.
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
