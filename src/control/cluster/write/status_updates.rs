//! Writes the status updates of each resolution into the cluster, once the resolution is served, if
//! this process is the leader (contract 2.9 to 2.14, 2.17, 2.21).
//!
//! The writing is level-triggered: every version of an object is compared, whatever changed in it,
//! and an object that is right is left alone.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::queue::{WriteHandler, WriteQueue};
use super::requests::{ClusterWriter, WriteError, WriteTarget, with_timeout};
use super::warning_event::warning_event;
use crate::control::channel_kind::ServedChannelKind;
use crate::control::resolve::reconciled::channel::{ReconciledChannel, StatusUpdate};
use crate::control::served_configuration::ServedConfiguration;
use crate::model::ChannelKey;
use crate::telemetry::cluster_metrics::ClusterMetrics;
use crate::wire_text::WireText;

/// Writes the status updates of channels of one kind.
struct StatusUpdateHandler {
    writer: ClusterWriter,
    kind: ServedChannelKind,
}

/// Writes status updates until one of the senders of `leads` and `served` is dropped; then it
/// finishes what is under way.
pub(crate) async fn write_status_updates(
    writer: ClusterWriter,
    kind: ServedChannelKind,
    metrics: Arc<ClusterMetrics>,
    mut leads: watch::Receiver<bool>,
    mut served: watch::Receiver<ServedConfiguration>,
) {
    let mut queue = WriteQueue::new(StatusUpdateHandler { writer, kind }, metrics);
    loop {
        let changed = tokio::select! {
            () = queue.wait_for_write() => continue,
            changed = leads.changed() => changed,
            changed = served.changed() => changed,
        };
        if changed.is_err() {
            return queue.finish_writes().await;
        }
        let served = served.borrow_and_update().clone();
        let is_writer = served.is_published && *leads.borrow_and_update();
        let tasks = is_writer.then(|| {
            let channels = served
                .resolution
                .reconciled_channels()
                .into_iter()
                .flatten();
            channels.flat_map(|(key, resolved)| status_update_tasks(key, resolved))
        });
        queue.plan_as_leader(tasks);
    }
}

/// The kind of update of a channel: one kind does not wait for the other, nor replaces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum StatusUpdateKind {
    /// The channel's `status.subscribers`.
    Status,
    /// An Event about the channel.
    Event,
}

/// What an update is for. Updates of one kind are written one after the other for each channel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct StatusUpdateKey {
    channel: ChannelKey,
    kind: StatusUpdateKind,
}

fn status_update_tasks<'m>(
    key: &'m ChannelKey,
    resolved: &'m Arc<ReconciledChannel>,
) -> impl Iterator<Item = (StatusUpdateKey, StatusUpdateTask)> + 'm {
    resolved.status_updates().iter().map(move |duty| {
        let kind = match duty {
            StatusUpdate::Subscribers(_) => StatusUpdateKind::Status,
            StatusUpdate::Warning(_) => StatusUpdateKind::Event,
        };
        (
            StatusUpdateKey {
                channel: key.clone(),
                kind,
            },
            StatusUpdateTask {
                document: Arc::clone(resolved.document()),
                update: duty.clone(),
            },
        )
    })
}

/// The update to be written for one channel, and the version of the channel that it is made of.
#[derive(Clone, Debug)]
struct StatusUpdateTask {
    /// The version of the channel that the update is made of.
    document: Arc<Value>,
    update: StatusUpdate,
}

impl StatusUpdateTask {
    /// True if this update, once written, makes the other one unnecessary.
    fn covers(&self, other: &Self) -> bool {
        let uid = |task: &Self| {
            task.document
                .get("metadata")
                .and_then(|metadata| metadata.get("uid"))
                .cloned()
        };
        match (&self.update, &other.update) {
            // A new version of the channel that still differs has to be written again: somebody has
            // undone the update (contract 2.11).
            (StatusUpdate::Subscribers(_), _) => Arc::ptr_eq(&self.document, &other.document),
            // A Warning is written once for each object and message.
            (StatusUpdate::Warning(_), _) => self.update == other.update && uid(self) == uid(other),
        }
    }

    /// True if this update, which is being written, makes the other one unnecessary, too.
    fn satisfies(&self, other: &Self) -> bool {
        self.update == other.update || self.covers(other)
    }
}

impl WriteHandler for StatusUpdateHandler {
    type ObjectKey = StatusUpdateKey;
    type WriteTask = StatusUpdateTask;

    async fn write(
        &self,
        key: &StatusUpdateKey,
        task: &StatusUpdateTask,
    ) -> Result<(), WriteError> {
        let channel = &key.channel;
        with_timeout(async {
            match &task.update {
                StatusUpdate::Subscribers(list) => {
                    let patch = json!({"status": {"subscribers": list}});
                    let target = WriteTarget {
                        kind: self.kind.resource_kind(),
                        namespace: &channel.namespace,
                        name: &channel.name,
                    };
                    self.writer.patch_status(target, &patch).await
                }
                StatusUpdate::Warning(message) => {
                    let now = k8s_openapi::jiff::Timestamp::now().to_string();
                    let event = warning_event(self.kind, channel, message, &task.document, &now);
                    self.writer.create_event(&channel.namespace, event).await
                }
            }
        })
        .await
    }

    fn log_failure(&self, key: &StatusUpdateKey, error: &WriteError) {
        tracing::warn!(
            channel = %key.channel,
            error = %WireText::new(error),
            "Could not be written into the cluster, trying again"
        );
    }

    fn covers(done: &StatusUpdateTask, other: &StatusUpdateTask) -> bool {
        done.covers(other)
    }

    fn satisfies(doing: &StatusUpdateTask, other: &StatusUpdateTask) -> bool {
        doing.satisfies(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contract 2.11, 2.12, 2.17.
    #[test]
    fn what_is_done_is_done_for_one_version_and_warnings_once() {
        let document = |uid: &str| Arc::new(json!({"metadata": {"uid": uid}}));
        let (first, second) = (document("a"), document("a"));
        let list = |document: &Arc<Value>, ready: &str| StatusUpdateTask {
            document: Arc::clone(document),
            update: StatusUpdate::Subscribers(json!([ready])),
        };
        let warning = |document: &Arc<Value>, text: &str| StatusUpdateTask {
            document: Arc::clone(document),
            update: StatusUpdate::Warning(text.to_owned()),
        };
        assert!(
            list(&first, "x").covers(&list(&first, "x")),
            "the watch has not brought it back yet"
        );
        assert!(
            !list(&first, "x").covers(&list(&second, "x")),
            "somebody has undone it"
        );
        assert!(
            list(&first, "x").satisfies(&list(&second, "x"))
                && !list(&first, "x").satisfies(&list(&second, "y"))
        );
        assert!(warning(&first, "t").covers(&warning(&second, "t")));
        assert!(!warning(&first, "t").covers(&warning(&second, "u")));
        assert!(!warning(&first, "t").covers(&warning(&document("b"), "t")));
    }
}
