//! Exports spans when there are enough of them or the first has waited long enough, and at the end
//! what is left.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::collector_log::CollectorLog;
use super::collector_requests::{CollectorRequests, NewestSettings};
use super::export_request::{TRACES, export_request};
use super::{OtlpProtocol, OtlpSettings, OtlpTransport, encode, stdout};
use crate::telemetry::counters::ProcessCounters;
use crate::telemetry::log_rate_limit::LogRateLimit;
use crate::telemetry::span_queue::{QueuedSpan, SpanQueue};
use crate::telemetry::tracer::{Sampler, Tracer};

/// Number of spans that wait for export at most; more are dropped.
const WAITING: usize = 4096;
/// Number of spans in one request at most.
const BATCH: usize = 512;

/// Exports the spans of a queue by the newest settings.
pub(super) struct QueuedSpanExporter {
    requests: CollectorRequests,
    tracer: Tracer,
    counters: Arc<ProcessCounters>,
    newest: NewestSettings,
    /// The settings by which is exported now.
    settings: Arc<OtlpSettings>,
    /// The queue that spans end in, whatever the settings by which they began.
    queue: SpanQueue,
    finished: mpsc::Receiver<QueuedSpan>,
    batch: SpanBatch,
    /// Number of spans that a collector has been sent and has not answered for.
    in_flight: u64,
    log: CollectorLog,
    /// The limit of lines about spans that end while traces are off.
    leftovers: LogRateLimit,
}

impl QueuedSpanExporter {
    /// Makes an exporter that sends nothing before it runs, and switches `tracer` on or off.
    pub(super) fn new(
        transport: Arc<dyn OtlpTransport>,
        tracer: Tracer,
        counters: Arc<ProcessCounters>,
        newest: watch::Receiver<Arc<OtlpSettings>>,
    ) -> Self {
        let (spans, finished) = mpsc::channel(WAITING);
        let mut newest = NewestSettings::new(newest);
        let settings = newest.take();
        let exporter = Self {
            requests: CollectorRequests {
                transport,
                newest: newest.clone(),
                collector_of: OtlpSettings::trace_endpoint,
            },
            tracer,
            queue: SpanQueue::new(spans, Arc::clone(&counters.spans_dropped)),
            counters,
            newest,
            settings,
            finished,
            batch: SpanBatch::default(),
            in_flight: 0,
            log: CollectorLog::default(),
            leftovers: LogRateLimit::default(),
        };
        exporter.record_spans();
        exporter
    }

    /// Exports until `stop`, then sends what is left.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let settings = Arc::clone(&self.settings);
            // In this order: spans that are due are not for a collector that is not named any
            // more, and a full batch is sent before more spans are received.
            tokio::select! {
                biased;
                () = self.newest.changed_or(&stop) => self.follow_newest(&settings, &stop).await,
                () = super::wait_until(self.batch.due()) => {
                    self.send_spans(&settings, &stop).await;
                }
                got = self.finished.recv_many(&mut self.batch.spans, BATCH) => {
                    self.batch.set_deadline(&settings, got);
                }
            }
            self.batch.clear_deadline();
        }
        self.finished.close();
        let settings = Arc::clone(&self.settings);
        self.flush_spans(&settings, &stop).await;
        self.tracer.stop_recording();
    }

    /// Records spans by the settings from now on. Those that have begun go on as they began, and
    /// end in the same queue.
    fn record_spans(&self) {
        let Some(traces) = &self.settings.traces else {
            self.tracer.stop_recording();
            return;
        };
        let endpoint = traces.endpoint.origin();
        if traces.sampler == Sampler::AlwaysOff {
            tracing::info!(endpoint, "No trace is sent, since the sampling rate is 0");
        } else {
            tracing::info!(endpoint, sampler = ?traces.sampler, "Traces are sent");
        }
        self.tracer.record_into(traces.sampler, self.queue.clone());
    }

    /// Exports by the newest settings from now on: what waits goes to the collector that is named
    /// now. Where none is named any more, what has ended goes to the one before.
    async fn follow_newest(&mut self, before: &OtlpSettings, stop: &CancellationToken) {
        if stop.is_cancelled() {
            return;
        }
        self.settings = self.newest.take();
        if before.traces == self.settings.traces {
            return;
        }
        self.record_spans();
        if self.settings.traces.is_none() {
            tracing::info!("Traces are no longer sent");
            self.flush_spans(before, stop).await;
        }
        if before.trace_endpoint() != self.settings.trace_endpoint() {
            self.log = CollectorLog::default();
        }
    }

    /// Sends the spans that have ended, until the collector does not take some.
    async fn flush_spans(&mut self, settings: &OtlpSettings, stop: &CancellationToken) {
        while let Ok(span) = self.finished.try_recv() {
            self.batch.spans.push(span);
        }
        while !self.batch.spans.is_empty() && self.send_spans(settings, stop).await {}
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
        self.in_flight = count;
        let sent = if endpoint.protocol == OtlpProtocol::Stdout {
            stdout::print_spans(&settings.resource, &spans).await
        } else {
            let message = encode::encode_traces(&settings.resource, spans);
            let request = export_request(endpoint, TRACES, message);
            self.requests.send(endpoint, request, stop).await
        };
        self.in_flight = 0;
        let dropped = match &sent {
            Ok(answer) => answer.rejected.min(count),
            Err(_) => count,
        };
        self.counters.spans_dropped.add(dropped);
        self.counters.spans_exported.add(count - dropped);
        self.log.log_result(endpoint, "Spans", sent)
    }
}

impl Drop for QueuedSpanExporter {
    /// Counts what is left when the time of a stop is up, and tells once how many spans were
    /// dropped all together, since lines come once a minute.
    fn drop(&mut self) {
        self.finished.close();
        let mut left = self.in_flight + self.batch.spans.len() as u64;
        while self.finished.try_recv().is_ok() {
            left += 1;
        }
        self.counters.spans_dropped.add(left);
        let dropped = self.counters.spans_dropped.get();
        if dropped > 0 {
            tracing::warn!(dropped, left, "Spans were dropped: all since the start");
        }
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

    /// Returns the time at which spans are to be sent; that is now if there are enough of them.
    fn due(&self) -> Option<Instant> {
        if self.spans.len() >= BATCH {
            Some(Instant::now())
        } else {
            self.send_by
        }
    }

    /// Clears the deadline if no span waits any more.
    fn clear_deadline(&mut self) {
        if self.spans.is_empty() {
            self.send_by = None;
        }
    }
}
