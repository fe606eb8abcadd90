//! Watches whether the configuration is served: readiness depends on it, log and metrics report it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::configuration_metrics::metric_object_name;
use crate::channel::backends::ChannelBackends;
use crate::channel::trouble::{ReadinessDecision, ServiceReadiness, TroubleLog, TroubleReport};
use crate::control::ServedConfiguration;
use crate::model::TableSource;
use crate::supervisor::Readiness;
use crate::telemetry::configuration_metrics::UnservedObjects;
use crate::telemetry::counters::ProcessCounters;

/// Interval at which log and metrics are brought up to date. Readiness and status are computed when
/// somebody asks.
const PERIOD: Duration = Duration::from_millis(500);

/// Interval at which a process that starts looks whether it is ready.
const PERIOD_AT_START: Duration = Duration::from_millis(20);

/// The parts that a process needs to watch a backend which may be away.
pub(super) struct ServingWatch {
    pub(super) served: watch::Receiver<ServedConfiguration>,
    pub(super) backends: Arc<ChannelBackends>,
    pub(super) readiness: Readiness,
    pub(super) counters: Arc<ProcessCounters>,
}

impl ServingWatch {
    /// Makes readiness depend on what is served.
    pub(super) fn add_readiness_checks(&self) {
        let judge = ServiceReadiness::default();
        let (served, backends) = (self.served.clone(), Arc::clone(&self.backends));
        self.readiness.add_requirement(move || {
            let table = Arc::clone(served.borrow().routing_table());
            match judge.judge(&TroubleReport::collect(&table, &*backends)) {
                ReadinessDecision::Missing(missing) => Some(missing),
                ReadinessDecision::Ready => None,
            }
        });
        let (served, backends) = (self.served.clone(), Arc::clone(&self.backends));
        self.readiness.add_remark(move || {
            let table = Arc::clone(served.borrow().routing_table());
            TroubleReport::collect(&table, &*backends).summary()
        });
    }

    /// Logs trouble that begins and ends, until the stop.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut log = TroubleLog::default();
        // Most processes are ready within this time, and should say so at once.
        let ready_soon = tokio::time::timeout(PERIOD, self.until_ready());
        if stop.run_until_cancelled(ready_soon).await.is_none() {
            return;
        }
        let mut period = tokio::time::interval(PERIOD);
        while stop.run_until_cancelled(period.tick()).await.is_some() {
            if !self.readiness.is_starting() {
                self.check(&mut log);
            }
        }
    }

    async fn until_ready(&self) {
        let mut period = tokio::time::interval(PERIOD_AT_START);
        while self.readiness.missing().is_some() {
            period.tick().await;
        }
    }

    fn check(&self, log: &mut TroubleLog) {
        log_ready(&self.readiness);
        let table = Arc::clone(self.served.borrow().routing_table());
        let report = TroubleReport::collect(&table, &*self.backends);
        log.log_changes(&report);
        let subscriptions = report
            .subscriptions()
            .into_iter()
            .map(metric_object_name)
            .collect();
        let unserved = UnservedObjects {
            channels: report.count_channels().0,
            subscriptions,
        };
        self.counters
            .update_configuration(|facts| facts.unserved = Some(unserved));
    }
}

/// Logs that the process is ready, when it is so for the first time.
pub(super) fn log_ready(readiness: &Readiness) {
    if readiness.is_newly_ready() {
        tracing::info!("Ready");
    }
}

/// Logs that the configuration is in effect; for a process that is not ready all the same, with the
/// requirements that are missing.
pub(super) fn log_started(readiness: &Readiness) {
    match readiness.missing() {
        None => log_ready(readiness),
        Some(missing) => tracing::info!(missing, "Started, not Ready yet"),
    }
}
