//! Watches whether what is configured is served: readiness asks for it, the log and the numbers tell of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::channel::storages::Storages;
use crate::channel::trouble::{Judgement, ServiceJudge, TroubleLog, TroubleReport};
use crate::model::{RoutingTable, SubscriptionKey};
use crate::supervisor::Readiness;
use crate::telemetry::counters::Counters;
use crate::telemetry::facts::{Named, Unserved};

/// How often log and numbers are brought up to date. Whoever asks for readiness or status gets what is true then.
const PERIOD: Duration = Duration::from_millis(500);

/// Of a process that has a backend which may be away.
pub(super) struct ServiceWatch {
    pub(super) tables: watch::Receiver<Arc<RoutingTable>>,
    pub(super) storages: Arc<Storages>,
    pub(super) readiness: Readiness,
    pub(super) counters: Arc<Counters>,
}

impl ServiceWatch {
    /// Makes readiness hang on what is served.
    pub(super) fn attach(&self) {
        let judge = ServiceJudge::default();
        let (tables, storages) = (self.tables.clone(), Arc::clone(&self.storages));
        self.readiness.needs(move || {
            let table = Arc::clone(&tables.borrow());
            match judge.judge(&TroubleReport::of(&table, &storages)) {
                Judgement::Missing(missing) => Some(missing),
                Judgement::Ready => None,
            }
        });
        let (tables, storages) = (self.tables.clone(), Arc::clone(&self.storages));
        self.readiness.remarks(move || {
            let table = Arc::clone(&tables.borrow());
            TroubleReport::of(&table, &storages).summary()
        });
    }

    /// Tells what begins and ends, until the stop.
    pub(super) async fn run(self, stop: CancellationToken) {
        let (mut log, mut period) = (TroubleLog::default(), tokio::time::interval(PERIOD));
        while stop.run_until_cancelled(period.tick()).await.is_some() {
            if !self.readiness.is_starting() {
                self.look(&mut log);
            }
        }
    }

    fn look(&self, log: &mut TroubleLog) {
        announce(&self.readiness);
        let table = Arc::clone(&self.tables.borrow());
        let report = TroubleReport::of(&table, &self.storages);
        log.look(&report);
        let subscriptions = report.subscriptions().into_iter().map(named).collect();
        let unserved = Unserved { channels: report.channels().0, subscriptions };
        self.counters.note(|facts| facts.unserved = Some(unserved));
    }
}

/// Says that the process is ready, when it is so for the first time.
pub(super) fn announce(readiness: &Readiness) {
    if readiness.is_newly_ready() {
        tracing::info!("Ready");
    }
}

/// Says that the configuration is in effect, and what a process waits for that is not ready all the same.
pub(super) fn started(readiness: &Readiness) {
    match readiness.missing() {
        None => announce(readiness),
        Some(missing) => tracing::info!(missing, "Started, not Ready yet"),
    }
}

fn named(key: &SubscriptionKey) -> Named {
    (key.kind.as_str(), key.namespace.clone(), key.name.clone())
}
