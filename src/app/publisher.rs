//! Hands each configuration to the parts that use it, and reports when it is served.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::certificate::ServerCertificateKeeper;
use super::observability::TelemetryConfigurator;
use super::{configuration_metrics, serving_watch};
use crate::control::{LatestResolution, Resolution};
use crate::dispatcher::TableChange;
use crate::model::RoutingTable;
use crate::supervisor::Readiness;
use crate::telemetry::LogLevel;
use crate::telemetry::counters::ProcessCounters;

/// All parts that use configurations.
pub(super) struct ConfigurationPublisher {
    pub(super) changes: mpsc::Sender<TableChange>,
    /// The configuration that is served, for the admin API.
    pub(super) served: watch::Sender<Arc<Resolution>>,
    /// The table that is served, for sources and watches.
    pub(super) tables: watch::Sender<Arc<RoutingTable>>,
    /// The configuration that is served, for the writer of status in the cluster.
    pub(super) served_to_cluster: watch::Sender<LatestResolution>,
    pub(super) certificates: ServerCertificateKeeper,
    pub(super) counters: Arc<ProcessCounters>,
    pub(super) telemetry: TelemetryConfigurator,
    pub(super) readiness: Readiness,
    /// The level of the log; `None` if a flag fixes it.
    pub(super) log: Option<LogLevel>,
}

impl ConfigurationPublisher {
    /// Publishes each new configuration until the stop, or until nothing serves it any more.
    pub(super) async fn run(
        self,
        mut newest: watch::Receiver<LatestResolution>,
        stop: CancellationToken,
    ) {
        let mut level = None;
        while let Some(Ok(())) = stop.run_until_cancelled(newest.changed()).await {
            let resolution = newest.borrow_and_update().clone();
            let Some(resolution) = resolution else {
                continue;
            };
            if let (Some(log), Some(wanted)) = (
                &self.log,
                resolution
                    .log_level
                    .filter(|_| resolution.log_level != level),
            ) {
                log.set(wanted);
                level = Some(wanted);
            }
            if !self.publish(&resolution).await {
                return;
            }
            // Metrics and status follow only when the configuration is served: they would tell of
            // queues that are not there yet.
            configuration_metrics::record_configuration(&self.counters, &resolution);
            self.telemetry.apply_resolution(&resolution);
            // In a cluster, a configuration that changes nothing is handed over, too, since its
            // status may have to be written again.
            if self
                .served_to_cluster
                .borrow()
                .as_ref()
                .is_none_or(|last| resolution.differs(last))
            {
                tracing::info!(
                    channels = resolution.table.channels().len(),
                    "Configuration applied"
                );
            }
            self.served_to_cluster.send_replace(Some(resolution));
            if self.readiness.set_started() {
                serving_watch::log_started(&self.readiness);
            }
        }
    }

    /// Has a configuration served, and shows it only then; returns false if there is no dispatcher
    /// any more.
    async fn publish(&self, resolution: &Arc<Resolution>) -> bool {
        // The certificate comes first: addresses of the new configuration may be used as soon as
        // they are shown.
        self.certificates.apply_resolution(resolution);
        if !Arc::ptr_eq(&self.tables.borrow(), &resolution.table) {
            let (applied, served) = oneshot::channel();
            let sent = self
                .changes
                .send(TableChange {
                    table: Arc::clone(&resolution.table),
                    applied,
                })
                .await;
            if sent.is_err() || served.await.is_err() {
                return false;
            }
        }
        self.served.send_replace(Arc::clone(resolution));
        self.tables.send_replace(Arc::clone(&resolution.table));
        true
    }
}
