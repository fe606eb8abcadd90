//! Exports telemetry from one task: spans when there are enough of them or the first has waited
//! long enough, metrics at their times. At the end, what is left is sent.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{BufMut, Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    ExportError, ExportResult, MetricExport, OtlpEndpoint, OtlpProtocol, OtlpSettings,
    OtlpTransport, TraceExport, encode, stdout,
};
use crate::telemetry::counters::ProcessCounters;
use crate::telemetry::span_queue::QueuedSpan;
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
/// Time from one log line about a failing collector to the next.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// Exports spans and metrics by the newest settings.
pub(crate) struct OtlpExporter {
    transport: Arc<dyn OtlpTransport>,
    tracer: Tracer,
    counters: Arc<ProcessCounters>,
    newest: watch::Receiver<Arc<OtlpSettings>>,
    /// The settings by which spans are recorded.
    settings: Arc<OtlpSettings>,
    /// The spans that were recorded by them.
    finished: mpsc::Receiver<QueuedSpan>,
    /// The start of the process, from which counters count.
    start_time: SystemTime,
    log: CollectorLog,
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
        let mut exporter = Self {
            transport,
            tracer,
            counters,
            newest,
            settings: Arc::default(),
            finished: mpsc::channel(1).1,
            start_time: SystemTime::now(),
            log: CollectorLog::default(),
        };
        exporter.record_by_newest();
        exporter
    }

    /// Exports until `stop`, then sends what is left. That may take long; the caller sets the
    /// limit.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        loop {
            let settings = Arc::clone(&self.settings);
            self.export_until_changed(&settings, &stop).await;
            if stop.is_cancelled() {
                break;
            }
            self.record_by_newest();
        }
        self.tracer.stop_recording();
    }

    /// Records by the newest settings from now on. Each configuration has its own queue, so that no
    /// span of an earlier one is sent by the new settings.
    fn record_by_newest(&mut self) {
        self.settings = Arc::clone(&self.newest.borrow_and_update());
        let (spans, finished) = mpsc::channel(WAITING);
        match &self.settings.traces {
            Some(traces) => self.start_recording(traces, spans),
            None => self.tracer.stop_recording(),
        }
        self.finished = finished;
    }

    fn start_recording(&self, traces: &TraceExport, spans: mpsc::Sender<QueuedSpan>) {
        tracing::info!(
            endpoint = %traces.endpoint.origin(),
            sampler = ?traces.sampler,
            "Traces are sent"
        );
        let dropped = Arc::clone(&self.counters.spans_dropped);
        self.tracer.start_recording(traces.sampler, spans, dropped);
    }

    /// Exports by these settings until there are newer ones, or until the end.
    async fn export_until_changed(&mut self, settings: &OtlpSettings, stop: &CancellationToken) {
        let mut batch = SpanBatch::default();
        let mut next_metrics = next_metric_export(settings);
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
                got = self.finished.recv_many(&mut batch.spans, BATCH), if settings.traces.is_some() => {
                    batch.set_deadline(settings, got);
                }
                () = wait_until(batch.send_by) => {
                    self.send_spans(settings, &mut batch.spans, stop).await;
                }
                () = wait_until(next_metrics) => {
                    self.send_metrics(settings, stop).await;
                    next_metrics = next_metric_export(settings);
                }
            }
            // A full batch is sent before more spans are received.
            while batch.spans.len() >= BATCH {
                self.send_spans(settings, &mut batch.spans, stop).await;
            }
            batch.clear_deadline();
        }
        // What was recorded by these settings is sent by them, even if the next settings are there
        // already.
        self.flush(settings, batch.spans, stop).await;
    }

    /// Sends the spans that are left, then the metrics. The queue is closed first, so that it gets
    /// no more spans.
    async fn flush(
        &mut self,
        settings: &OtlpSettings,
        mut batch: Vec<QueuedSpan>,
        stop: &CancellationToken,
    ) {
        self.finished.close();
        while let Ok(span) = self.finished.try_recv() {
            batch.push(span);
        }
        while !batch.is_empty() && self.send_spans(settings, &mut batch, stop).await {}
        self.send_metrics(settings, stop).await;
    }

    /// Sends the first spans of the batch; returns true if they were taken.
    async fn send_spans(
        &mut self,
        settings: &OtlpSettings,
        batch: &mut Vec<QueuedSpan>,
        stop: &CancellationToken,
    ) -> bool {
        let Some(TraceExport { endpoint, .. }) = &settings.traces else {
            return false;
        };
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
        let counter = if sent.is_ok() {
            &self.counters.spans_exported
        } else {
            &self.counters.spans_dropped
        };
        counter.add(count);
        self.log.log_result(endpoint, "Spans", sent)
    }

    async fn send_metrics(&mut self, settings: &OtlpSettings, stop: &CancellationToken) {
        let Some(MetricExport { endpoint, .. }) = &settings.metrics else {
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
        self.log.log_result(endpoint, "Metrics", sent);
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

/// Makes a request with this message. It is sent to the endpoint itself, or for gRPC to a method
/// there.
fn export_request(
    endpoint: &OtlpEndpoint,
    method: &'static str,
    message: Vec<u8>,
) -> Request<Bytes> {
    let (content_type, body) = match endpoint.protocol {
        OtlpProtocol::HttpProtobuf | OtlpProtocol::Stdout => {
            ("application/x-protobuf", Bytes::from(message))
        }
        OtlpProtocol::Grpc => ("application/grpc", frame_grpc_message(&message)),
    };
    let mut request = Request::new(body);
    request.headers_mut().extend(endpoint.headers.clone());
    request
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if endpoint.protocol == OtlpProtocol::Grpc {
        request
            .headers_mut()
            .insert(http::header::TE, HeaderValue::from_static("trailers"));
        *request.uri_mut() = http::Uri::from_static(method);
    }
    request
}

/// Frames a message for gRPC: a byte that says that it is not compressed, its length, the message.
fn frame_grpc_message(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(message);
    frame.freeze()
}

/// The time at which a failure of the collector was logged last; `None` while it answers.
#[derive(Default)]
struct CollectorLog {
    logged_at: Option<Instant>,
}

impl CollectorLog {
    /// Logs a failure, at most once a minute, and the first success after it; returns true for a
    /// success.
    fn log_result(
        &mut self,
        endpoint: &OtlpEndpoint,
        what: &'static str,
        sent: ExportResult,
    ) -> bool {
        match sent {
            Ok(()) => {
                if self.logged_at.take().is_some() {
                    tracing::info!(endpoint = %endpoint.origin(), "The collector answers again");
                }
                true
            }
            Err(ExportError { reason, .. }) => {
                self.log_failure(endpoint, what, &reason);
                false
            }
        }
    }

    fn log_failure(&mut self, endpoint: &OtlpEndpoint, what: &'static str, reason: &str) {
        let is_due = self
            .logged_at
            .is_none_or(|logged| logged.elapsed() >= LOG_INTERVAL);
        if is_due {
            tracing::warn!(
                endpoint = %endpoint.origin(),
                reason,
                "{what} could not be sent and are dropped"
            );
            self.logged_at = Some(Instant::now());
        }
    }
}
