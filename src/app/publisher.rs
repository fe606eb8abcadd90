//! Hands configurations to those who use them, and tells when they are served.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::certificate::Certificates;
use super::observability::Observer;
use super::{facts, service};
use crate::control::{Latest, Resolution};
use crate::dispatcher::Change;
use crate::model::RoutingTable;
use crate::supervisor::Readiness;
use crate::telemetry::LogLevel;
use crate::telemetry::counters::Counters;

/// Everybody who uses configurations.
pub(super) struct Publisher {
    pub(super) changes: mpsc::Sender<Change>,
    /// What is served, for whoever asks.
    pub(super) shown: watch::Sender<Arc<Resolution>>,
    /// What is served, for the sources.
    pub(super) tables: watch::Sender<Arc<RoutingTable>>,
    /// What is served, for whoever told of it.
    pub(super) served: watch::Sender<Latest>,
    pub(super) certificates: Certificates,
    pub(super) counters: Arc<Counters>,
    pub(super) observer: Observer,
    pub(super) readiness: Readiness,
    /// The log, if its level is not fixed by a flag.
    pub(super) log: Option<LogLevel>,
}

impl Publisher {
    /// Publishes each new configuration until the stop.
    pub(super) async fn run(self, mut newest: watch::Receiver<Latest>, stop: CancellationToken) {
        let mut level = None;
        while let Some(Ok(())) = stop.run_until_cancelled(newest.changed()).await {
            let resolution = newest.borrow_and_update().clone();
            let Some(resolution) = resolution else { continue };
            if let (Some(log), Some(wanted)) =
                (&self.log, resolution.log_level.filter(|_| resolution.log_level != level))
            {
                log.set(wanted);
                level = Some(wanted);
            }
            if !self.publish(&resolution).await {
                return;
            }
            facts::note(&self.counters, &resolution);
            self.observer.follow(&resolution);
            // In a cluster also what changes nothing is handed over, since the cluster may want to be told again.
            if self.served.borrow().as_ref().is_none_or(|last| resolution.differs(last)) {
                tracing::info!(channels = resolution.table.channels().len(), "Configuration applied");
            }
            self.served.send_replace(Some(resolution));
            if self.readiness.started() {
                service::started(&self.readiness);
            }
        }
    }

    /// Returns when the configuration is served; only then it is shown. Whether anything is served still.
    async fn publish(&self, resolution: &Arc<Resolution>) -> bool {
        self.certificates.follow(resolution);
        if !Arc::ptr_eq(&self.tables.borrow(), &resolution.table) {
            let (applied, served) = oneshot::channel();
            let sent = self.changes.send(Change { table: Arc::clone(&resolution.table), applied }).await;
            if sent.is_err() || served.await.is_err() {
                return false;
            }
        }
        self.shown.send_replace(Arc::clone(resolution));
        self.tables.send_replace(Arc::clone(&resolution.table));
        true
    }
}
