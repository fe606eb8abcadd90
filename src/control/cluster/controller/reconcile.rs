//! Reconciles one channel: writes its annotation, its Service and its status, each only if it
//! differs from what it should be.

use kube::Client;
use serde_json::{Value, json};

use super::context::ReconcileContext;
use super::dead_letter_sink::{self, ResolvedDeadLetterSink};
use super::desired::{self, ObservedChannel};
use super::reconcile_task::ReconcileTask;
use super::service::{self, ServiceStep};
use crate::control::cluster::write::queue::WriteHandler;
use crate::control::cluster::write::requests::{
    ClusterWriter, WriteError, WriteTarget, with_timeout,
};
use crate::control::read::kind::ResourceKind;
use crate::model::NamespacedName;
use crate::model::annotation::SUBSCRIBABLE;
use crate::wire_text::WireText;

/// Writes what one channel needs into the cluster; the queue runs it for many channels at once.
pub(super) struct ChannelReconciler {
    /// Reads the objects that dead letter sinks refer to.
    client: Client,
    writer: ClusterWriter,
}

impl ChannelReconciler {
    pub(super) fn new(client: Client) -> Self {
        let writer = ClusterWriter::new(client.clone());
        Self { client, writer }
    }

    /// Reconciles one channel.
    ///
    /// # Errors
    /// Fails with errors that may be over soon. Faults of the channel itself go into its
    /// conditions.
    async fn reconcile_channel(
        &self,
        name: &NamespacedName,
        task: &ReconcileTask,
    ) -> Result<(), kube::Error> {
        let ReconcileTask {
            document,
            context,
            service,
            policies,
        } = task;
        let channel = WriteTarget {
            kind: context.kind.resource_kind(),
            namespace: &name.namespace,
            name: &name.name,
        };
        // The annotation comes first: without it, Knative does not read the channel's subscribers.
        if document
            .pointer("/metadata/annotations")
            .and_then(|all| all.get(SUBSCRIBABLE))
            .is_none()
        {
            let patch = json!({"metadata": {"annotations": {SUBSCRIBABLE: "v1"}}});
            self.writer.patch(channel, &patch).await?;
        }
        // The Service comes before the status, whose http address has its name.
        let wanted = service::desired_service(document, context);
        let service = self
            .ensure_service(&name.namespace, service.as_deref(), &wanted)
            .await?;
        // The dead letter sink is asked for each time, since the object that it refers to is not
        // watched.
        let found = ObservedChannel {
            service,
            dead_letter_sink: self.fetch_dead_letter_sink(document, context).await?,
            policies: policies.clone(),
        };
        let now = k8s_openapi::jiff::Timestamp::now();
        let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        // The status is written last, and only the fields that differ.
        let desired = desired::desired_status(document, context, &found, &now);
        match desired::status_patch(document, desired) {
            Some(patch) => self.writer.patch_status(channel, &patch).await,
            None => Ok(()),
        }
    }

    /// Creates or mends the Service. Gives its name, or the reason why it cannot exist; fails if the
    /// API server should be asked again.
    async fn ensure_service(
        &self,
        namespace: &str,
        there: Option<&Value>,
        wanted: &Value,
    ) -> Result<Result<String, String>, kube::Error> {
        let name = wanted
            .pointer("/metadata/name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let target = WriteTarget {
            kind: ResourceKind::Service,
            namespace,
            name,
        };
        let owned_by_other = || Ok(Err(format!("the Service {name} belongs to somebody else")));
        let written = match service::service_step(there, wanted) {
            ServiceStep::Nothing => Ok(()),
            ServiceStep::OwnedByOther => return owned_by_other(),
            ServiceStep::Create => self.writer.create(target, wanted).await,
            ServiceStep::Patch(patch) => self.writer.patch(target, &patch).await,
        };
        match written {
            Ok(()) => Ok(Ok(name.to_owned())),
            // The Service may exist although the watch has not seen it yet.
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let Some(found) = self.writer.read(target).await? else {
                    return Err(kube::Error::Api(status));
                };
                match service::service_step(Some(&found), wanted) {
                    ServiceStep::Nothing => Ok(Ok(name.to_owned())),
                    _ => owned_by_other(),
                }
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 400 | 403 | 422) => {
                Ok(Err(status.message.clone()))
            }
            Err(error) => Err(error),
        }
    }

    /// Fetches the object that the dead letter sink refers to, and resolves the sink with it.
    async fn fetch_dead_letter_sink(
        &self,
        channel: &Value,
        context: &ReconcileContext,
    ) -> Result<Result<Option<ResolvedDeadLetterSink>, String>, kube::Error> {
        let mut referred = None;
        if let Some(reference) = dead_letter_sink::sink_reference(channel) {
            let objects = reference.api(self.client.clone());
            match objects.get_opt(&reference.name).await {
                Ok(found) => referred = found.and_then(|found| serde_json::to_value(found).ok()),
                Err(kube::Error::Api(status)) if matches!(status.code, 400 | 403 | 404) => {
                    return Ok(Err(format!(
                        "{reference} cannot be looked at: {}",
                        status.message
                    )));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(dead_letter_sink::resolve_dead_letter_sink(
            channel,
            referred.as_ref(),
            &context.cluster_domain,
        ))
    }
}

impl WriteHandler for ChannelReconciler {
    type ObjectKey = NamespacedName;
    type WriteTask = ReconcileTask;

    async fn write(&self, name: &NamespacedName, task: &ReconcileTask) -> Result<(), WriteError> {
        with_timeout(self.reconcile_channel(name, task)).await
    }

    fn log_failure(&self, channel: &NamespacedName, error: &WriteError) {
        tracing::warn!(
            namespace = channel.namespace,
            name = channel.name,
            error = %WireText::new(error),
            "Channel could not be reconciled, trying again"
        );
    }

    fn covers(done: &ReconcileTask, other: &ReconcileTask) -> bool {
        done == other
    }

    fn satisfies(doing: &ReconcileTask, other: &ReconcileTask) -> bool {
        doing == other
    }
}
