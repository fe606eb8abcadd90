//! Exports telemetry from one task: spans when there are enough of them or the first has waited
//! long enough, metrics at their times. At the end, what is left is sent.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::Request;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::collector_log::CollectorLog;
use super::export_request::{METRICS, TRACES, export_request};
use super::{
    ExportError, ExportResult, OtlpEndpoint, OtlpProtocol, OtlpSettings, OtlpTransport, encode,
    stdout,
};
use crate::telemetry::counters::ProcessCounters;
use crate::telemetry::log_rate_limit::LogRateLimit;
use crate::telemetry::span_queue::{QueuedSpan, SpanQueue};
use crate::telemetry::tracer::Tracer;

/// Number of spans that wait for export at most; more are dropped.
const WAITING: usize = 4096;
/// Number of spans in one request at most.
const BATCH: usize = 512;
/// Number of times that a request is sent at most, if the collector asks to send it again.
const MAX_ATTEMPTS: u32 = 4;
/// The wait before the second time; it doubles.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait that a collector may ask for; a request that should wait longer is dropped.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Exports spans and metrics by the newest settings.
pub(crate) struct OtlpExporter {
    transport: Arc<dyn OtlpTransport>,
    tracer: Tracer,
    counters: Arc<ProcessCounters>,
    newest: watch::Receiver<Arc<OtlpSettings>>,
    /// The settings by which is exported now.
    settings: Arc<OtlpSettings>,
    /// The queue that spans end in, whatever the settings by which they began.
    queue: SpanQueue,
    finished: mpsc::Receiver<QueuedSpan>,
    batch: SpanBatch,
    next_metrics: Option<Instant>,
    /// The start of the process, from which counters count.
    start_time: SystemTime,
    trace_log: CollectorLog,
    metric_log: CollectorLog,
    /// The limit of lines about spans that end while traces are off.
    leftovers: LogRateLimit,
}

impl OtlpExporter {
    /// Makes an exporter that sends nothing before it runs. It switches `tracer` on and off, now
    /// by the settings that there are, so that the first request is recorded, too.
    #[must_use]
    pub(crate) fn new(
        transport: Arc<dyn OtlpTransport>,
        tracer: Tracer,
        counters: Arc<ProcessCounters>,
        mut newest: watch::Receiver<Arc<OtlpSettings>>,
    ) -> Self {
        let (spans, finished) = mpsc::channel(WAITING);
        let settings = Arc::clone(&newest.borrow_and_update());
        let exporter = Self {
            transport,
            tracer,
            queue: SpanQueue::new(spans, Arc::clone(&counters.spans_dropped)),
            counters,
            newest,
            next_metrics: next_metric_export(&settings),
            settings,
            finished,
            batch: SpanBatch::default(),
            start_time: SystemTime::now(),
            trace_log: CollectorLog::default(),
            metric_log: CollectorLog::default(),
            leftovers: LogRateLimit::default(),
        };
        exporter.record_spans();
        exporter
    }

    /// Exports until `stop`, then sends what is left. That may take long; the caller sets the
    /// limit.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        loop {
            let settings = Arc::clone(&self.settings);
            self.export_until_changed(&settings, &stop).await;
            if stop.is_cancelled() {
                self.finished.close();
                self.flush_spans(&settings, &stop).await;
                self.send_metrics(&settings, &stop).await;
                break;
            }
            self.follow_newest(&settings, &stop).await;
        }
        self.tracer.stop_recording();
    }

    /// Records spans by the settings from now on. Those that have begun go on as they began, and
    /// end in the same queue.
    fn record_spans(&self) {
        let Some(traces) = &self.settings.traces else {
            self.tracer.stop_recording();
            return;
        };
        tracing::info!(
            endpoint = %traces.endpoint.origin(),
            sampler = ?traces.sampler,
            "Traces are sent"
        );
        self.tracer.record_into(traces.sampler, self.queue.clone());
    }

    /// Exports by the newest settings from now on. What waits for a collector that is not named any
    /// more is sent there before, as far as it takes it; a collector that stays is not touched.
    async fn follow_newest(&mut self, before: &OtlpSettings, stop: &CancellationToken) {
        self.settings = Arc::clone(&self.newest.borrow_and_update());
        let settings = Arc::clone(&self.settings);
        if before.traces != settings.traces {
            self.record_spans();
            if settings.traces.is_none() {
                tracing::info!("Traces are no longer sent");
            }
        }
        if before.trace_endpoint() != settings.trace_endpoint() {
            self.flush_spans(before, stop).await;
        }
        if before.metric_endpoint() != settings.metric_endpoint() {
            self.send_metrics(before, stop).await;
        }
        if before.metrics != settings.metrics {
            self.next_metrics = next_metric_export(&settings);
        }
    }

    /// Exports by these settings until there are newer ones, or until the end.
    async fn export_until_changed(&mut self, settings: &OtlpSettings, stop: &CancellationToken) {
        let mut newest = self.newest.clone();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                changed = newest.changed() => {
                    // Nobody may change the settings any more, so that only the end is waited for.
                    if changed.is_err() {
                        stop.cancelled().await;
                    }
                    break;
                }
                got = self.finished.recv_many(&mut self.batch.spans, BATCH) => {
                    self.batch.set_deadline(settings, got);
                }
                () = wait_until(self.batch.send_by) => {
                    self.send_spans(settings, stop).await;
                }
                () = wait_until(self.next_metrics) => {
                    self.send_metrics(settings, stop).await;
                    self.next_metrics = next_metric_export(settings);
                }
            }
            // A full batch is sent before more spans are received.
            while self.batch.spans.len() >= BATCH {
                self.send_spans(settings, stop).await;
            }
            self.batch.clear_deadline();
        }
    }

    /// Sends the spans that have ended, until the collector does not take some.
    async fn flush_spans(&mut self, settings: &OtlpSettings, stop: &CancellationToken) {
        while let Ok(span) = self.finished.try_recv() {
            self.batch.spans.push(span);
        }
        while !self.batch.spans.is_empty() && self.send_spans(settings, stop).await {}
        // What is left waits for the next collector, if there is one.
        self.batch.clear_deadline();
        self.batch.set_deadline(settings, self.batch.spans.len());
    }

    /// Drops spans that end while traces are off: they began before.
    fn drop_leftovers(&mut self) {
        let spans = self.batch.spans.drain(..).count();
        self.counters.spans_dropped.add(spans as u64);
        if spans > 0 && self.leftovers.is_due() {
            tracing::warn!(
                spans,
                "Spans that were in progress when traces were switched off are dropped"
            );
        }
    }

    /// Sends the first spans of the batch; returns true if they were taken.
    async fn send_spans(&mut self, settings: &OtlpSettings, stop: &CancellationToken) -> bool {
        let Some(endpoint) = settings.trace_endpoint() else {
            self.drop_leftovers();
            return false;
        };
        let batch = &mut self.batch.spans;
        // What the spans take of the memory of all is given back once they are sent.
        let (spans, _shares): (Vec<_>, Vec<_>) = batch
            .drain(..batch.len().min(BATCH))
            .map(|waiting| (waiting.span, waiting.share))
            .unzip();
        let count = spans.len() as u64;
        let sent = if endpoint.protocol == OtlpProtocol::Stdout {
            stdout::print_spans(&settings.resource, &spans).await
        } else {
            let message = encode::encode_traces(&settings.resource, spans);
            let request = export_request(endpoint, TRACES, message);
            self.send_with_retries(endpoint, request, stop).await
        };
        let dropped = match &sent {
            Ok(answer) => answer.rejected.min(count),
            Err(_) => count,
        };
        self.counters.spans_dropped.add(dropped);
        self.counters.spans_exported.add(count - dropped);
        self.trace_log.log_result(endpoint, "Spans", sent)
    }

    async fn send_metrics(&mut self, settings: &OtlpSettings, stop: &CancellationToken) {
        let Some(endpoint) = settings.metric_endpoint() else {
            return;
        };
        let body = encode::encode_metrics(
            &settings.resource,
            &self.counters.collect_families(),
            self.start_time,
            SystemTime::now(),
        );
        let sent = self
            .send_with_retries(endpoint, export_request(endpoint, METRICS, body), stop)
            .await;
        self.metric_log.log_result(endpoint, "Metrics", sent);
    }

    /// Sends a request until it is taken, refused for good, or sent four times, or the process
    /// stops, by OTLP's rules of retrying. Spans that end meanwhile wait in their queue.
    async fn send_with_retries(
        &self,
        endpoint: &OtlpEndpoint,
        request: Request<Bytes>,
        stop: &CancellationToken,
    ) -> ExportResult {
        let mut wait = FIRST_WAIT;
        for _ in 1..MAX_ATTEMPTS {
            let answer = self.transport.post(endpoint, request.clone()).await;
            let Err(ExportError {
                retry_after: Some(asked),
                ..
            }) = &answer
            else {
                return answer;
            };
            let pause = wait.mul_f64(0.5 + 0.5 * fastrand::f64()).max(*asked);
            if pause > LONGEST_WAIT
                || stop
                    .run_until_cancelled(tokio::time::sleep(pause))
                    .await
                    .is_none()
            {
                return answer;
            }
            wait = wait.saturating_mul(2);
        }
        self.transport.post(endpoint, request).await
    }
}

/// Spans that wait to be sent together, and the time at which they are sent at the latest. That is
/// the deadline of the first span that waits, so it ends with the last one.
#[derive(Default)]
struct SpanBatch {
    spans: Vec<QueuedSpan>,
    send_by: Option<Instant>,
}

impl SpanBatch {
    /// Sets the deadline if so many spans have come and none waited before.
    fn set_deadline(&mut self, settings: &OtlpSettings, received: usize) {
        let delay = settings
            .traces
            .as_ref()
            .map_or(Duration::ZERO, |traces| traces.delay);
        if received > 0 && self.send_by.is_none() {
            self.send_by = Some(Instant::now() + delay);
        }
    }

    /// Clears the deadline if no span waits any more.
    fn clear_deadline(&mut self) {
        if self.spans.is_empty() {
            self.send_by = None;
        }
    }
}

/// Returns the time of the next export of metrics, from now; `None` if they are not exported.
fn next_metric_export(settings: &OtlpSettings) -> Option<Instant> {
    let metrics = settings.metrics.as_ref()?;
    Some(Instant::now() + metrics.interval)
}

async fn wait_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
