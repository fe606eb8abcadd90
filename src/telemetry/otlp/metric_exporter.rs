//! Exports metrics at their times, and once more at the end.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::collector_log::CollectorLog;
use super::collector_requests::{CollectorRequests, NewestSettings};
use super::export_request::{METRICS, export_request};
use super::{OtlpSettings, OtlpTransport, encode};
use crate::telemetry::counters::ProcessCounters;

/// Exports metrics by the newest settings.
pub(super) struct MetricExporter {
    requests: CollectorRequests,
    counters: Arc<ProcessCounters>,
    newest: NewestSettings,
    /// The settings by which is exported now.
    settings: Arc<OtlpSettings>,
    next_export: Option<Instant>,
    /// The start of the process, from which counters count.
    start_time: SystemTime,
    log: CollectorLog,
}

impl MetricExporter {
    /// Makes an exporter that sends nothing before it runs.
    pub(super) fn new(
        transport: Arc<dyn OtlpTransport>,
        counters: Arc<ProcessCounters>,
        newest: watch::Receiver<Arc<OtlpSettings>>,
    ) -> Self {
        let mut newest = NewestSettings::new(newest);
        let settings = newest.take();
        Self {
            requests: CollectorRequests {
                transport,
                newest: newest.clone(),
                collector_of: OtlpSettings::metric_endpoint,
            },
            counters,
            newest,
            next_export: next_metric_export(&settings),
            settings,
            start_time: SystemTime::now(),
            log: CollectorLog::default(),
        }
    }

    /// Exports until `stop`, then once more.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let settings = Arc::clone(&self.settings);
            tokio::select! {
                () = self.newest.changed_or(&stop) => self.follow_newest(&settings, &stop).await,
                () = super::wait_until(self.next_export) => {
                    self.send_metrics(&settings, &stop).await;
                    self.next_export = next_metric_export(&settings);
                }
            }
        }
        let settings = Arc::clone(&self.settings);
        self.send_metrics(&settings, &stop).await;
    }

    /// Exports by the newest settings from now on. A collector that is not named any more is sent
    /// the last numbers.
    async fn follow_newest(&mut self, before: &OtlpSettings, stop: &CancellationToken) {
        if stop.is_cancelled() {
            return;
        }
        self.settings = self.newest.take();
        if before.metric_endpoint() != self.settings.metric_endpoint() {
            self.send_metrics(before, stop).await;
            self.log = CollectorLog::default();
        }
        if before.metrics != self.settings.metrics {
            self.next_export = next_metric_export(&self.settings);
        }
    }

    /// Sends all metrics, in as many requests as they need, until the collector does not take one.
    async fn send_metrics(&mut self, settings: &OtlpSettings, stop: &CancellationToken) {
        let Some(endpoint) = settings.metric_endpoint() else {
            return;
        };
        let messages = encode::encode_metrics(
            &settings.resource,
            &self.counters.collect_families(),
            self.start_time,
            SystemTime::now(),
        );
        for message in messages {
            let request = export_request(endpoint, METRICS, message);
            let sent = self.requests.send(endpoint, request, stop).await;
            if !self.log.log_result(endpoint, "Metrics", sent) {
                break;
            }
        }
    }
}

/// Returns the time of the next export of metrics, from now; `None` if they are not exported.
fn next_metric_export(settings: &OtlpSettings) -> Option<Instant> {
    let metrics = settings.metrics.as_ref()?;
    Some(Instant::now() + metrics.interval)
}
