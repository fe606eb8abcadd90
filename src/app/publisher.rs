//! Hands each configuration to the parts that use it, and reports when it is served.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::certificate::ServerCertificateKeeper;
use super::observability::TelemetryConfigurator;
use super::shutdown::ShutdownStages;
use super::{configuration_metrics, periodic_log, serving_watch};
use crate::control::object_changes::ObjectChanges;
use crate::control::{LatestResolution, ManifestSet, Resolution, ServedConfiguration};
use crate::dispatcher::TableChange;
use crate::supervisor::Readiness;
use crate::telemetry::LogLevel;
use crate::telemetry::audit::{self, AuditedObjects};
use crate::telemetry::counters::ProcessCounters;

/// All parts that use configurations.
pub(super) struct ConfigurationPublisher {
    pub(super) changes: mpsc::Sender<TableChange>,
    /// The configuration that is served, for everybody who follows it.
    pub(super) served: watch::Sender<ServedConfiguration>,
    pub(super) certificates: ServerCertificateKeeper,
    pub(super) counters: Arc<ProcessCounters>,
    pub(super) telemetry: TelemetryConfigurator,
    pub(super) readiness: Readiness,
    /// The level of the log; `None` if a flag fixes it.
    pub(super) log: Option<LogLevel>,
}

impl ConfigurationPublisher {
    /// Starts to publish each new configuration, and what the log and the certificate need of the
    /// one that is served.
    pub(super) fn start(
        self,
        newest: watch::Receiver<LatestResolution>,
        stages: &mut ShutdownStages,
    ) {
        // Ends in the last stage, since it logs the losses of the last deliveries, too.
        let told = periodic_log::run(
            Arc::clone(&self.counters),
            self.served.subscribe(),
            stages.answering_stop.clone(),
        );
        stages.answering.spawn("told", told);
        let (certificates, counters) = (self.certificates.clone(), Arc::clone(&self.counters));
        stages
            .accepting
            .spawn("publisher", self.run(newest, stages.stop_accepting.clone()));
        stages.accepting.spawn(
            "certificate",
            certificates.run(counters, stages.stop_accepting.clone()),
        );
    }

    /// Publishes each new configuration until the stop, or until nothing serves it any more.
    async fn run(self, mut newest: watch::Receiver<LatestResolution>, stop: CancellationToken) {
        let mut level = None;
        while let Some(Ok(())) = stop.run_until_cancelled(newest.changed()).await {
            let resolution = newest.borrow_and_update().clone();
            let Some(resolution) = resolution else {
                continue;
            };
            if let Some(log) = &self.log
                && let Some(wanted) = resolution.log_level
                && level != Some(wanted)
            {
                log.set(wanted);
                audit::record_log_level(wanted);
                level = Some(wanted);
            }
            let Some(before) = self.publish(&resolution).await else {
                return;
            };
            self.record_published(&resolution, &before);
        }
    }

    /// Records a configuration only when it is served: metrics would tell of queues that are not
    /// there yet.
    fn record_published(&self, resolution: &Resolution, before: &ServedConfiguration) {
        // The resolution that a process starts with in a cluster is empty, and was told by nobody.
        let manifests = &before.resolution.manifests;
        record_changes(Some(manifests), resolution);
        configuration_metrics::record_configuration(&self.counters, resolution);
        self.telemetry.apply_resolution(resolution);
        if !before.is_published || resolution.differs(&before.resolution) {
            tracing::info!(
                channels = resolution.table.channels().len(),
                "Configuration applied"
            );
        }
        if self.readiness.set_started() {
            serving_watch::log_started(&self.readiness);
        }
    }

    /// Has a configuration served, and shows it only then: status in the cluster would tell of
    /// queues that are not there yet. One that changes nothing is shown, too, since its status may
    /// have to be written again. Returns the configuration before; `None` if there is no dispatcher
    /// any more.
    async fn publish(&self, resolution: &Arc<Resolution>) -> Option<ServedConfiguration> {
        // The certificate comes first: addresses of the new configuration may be used as soon as
        // they are shown.
        self.certificates.apply_resolution(resolution);
        let is_same = Arc::ptr_eq(&self.served.borrow().resolution.table, &resolution.table);
        if !is_same {
            let (applied, served) = oneshot::channel();
            let table = Arc::clone(&resolution.table);
            let change = TableChange { table, applied };
            self.changes.send(change).await.ok()?;
            served.await.ok()?;
        }
        let served = ServedConfiguration::published(Arc::clone(resolution));
        Some(self.served.send_replace(served))
    }
}

/// Tells the audit log which objects are others than before.
pub(super) fn record_changes(before: Option<&ManifestSet>, resolution: &Resolution) {
    let changes = ObjectChanges::between(before, &resolution.manifests);
    if changes.is_empty() {
        return;
    }
    let ObjectChanges {
        added,
        changed,
        removed,
    } = changes;
    let objects = AuditedObjects {
        added,
        changed,
        removed,
    };
    let errors = resolution.problems.iter().filter(|it| it.is_error());
    audit::record_configuration(&objects, errors.count());
}
