//! Exports telemetry until the process ends: the two signals beside each other, so that a collector
//! that keeps one of them waiting does not delay the other.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::metric_exporter::MetricExporter;
use super::span_exporter::QueuedSpanExporter;
use super::{OtlpSettings, OtlpTransport};
use crate::telemetry::counters::ProcessCounters;
use crate::telemetry::tracer::Tracer;

/// Exports spans and metrics by the newest settings.
pub(crate) struct OtlpExporter {
    spans: QueuedSpanExporter,
    metrics: MetricExporter,
}

impl OtlpExporter {
    /// Makes an exporter that sends nothing before it runs. It switches `tracer` on and off, now
    /// by the settings that there are, so that the first request is recorded, too.
    #[must_use]
    pub(crate) fn new(
        transport: Arc<dyn OtlpTransport>,
        tracer: Tracer,
        counters: Arc<ProcessCounters>,
        newest: watch::Receiver<Arc<OtlpSettings>>,
    ) -> Self {
        let metrics = MetricExporter::new(
            Arc::clone(&transport),
            Arc::clone(&counters),
            newest.clone(),
        );
        Self {
            spans: QueuedSpanExporter::new(transport, tracer, counters, newest),
            metrics,
        }
    }

    /// Exports until `stop`, then sends what is left. That may take long; the caller sets the
    /// limit.
    pub(crate) async fn run(self, stop: CancellationToken) {
        tokio::join!(self.spans.run(stop.clone()), self.metrics.run(stop));
    }
}
