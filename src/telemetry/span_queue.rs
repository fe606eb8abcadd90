//! The queue of spans that have ended and wait for export: what OpenTelemetry's batch processor is
//! in its SDK. That one has a thread of its own, tells what it drops only at its end, and bounds
//! spans by number alone; this one hands them to a task, counts, and bounds them by number and by
//! bytes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry::trace::Status;
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::counter::Counter;
use super::log_rate_limit::LogRateLimit;

/// Memory of all spans that wait for export, in KiB; more are dropped. The span of an event with
/// short attributes takes 2 KiB.
pub(super) const WAITING: usize = 16 * 1024;

/// A span that waits for export, with its share of the memory of all of them.
#[derive(Debug)]
pub struct QueuedSpan {
    /// The span, which has ended.
    pub span: SpanData,
    /// Its share, given back when it is dropped.
    pub share: OwnedSemaphorePermit,
}

/// The processor that puts spans into the queue when they end. Clones share its room.
#[derive(Clone, Debug)]
pub(super) struct SpanQueue {
    spans: mpsc::Sender<QueuedSpan>,
    /// The KiB that are left of [`WAITING`].
    free_kibibytes: Arc<Semaphore>,
    dropped: Arc<Counter>,
    log: Arc<Mutex<LogRateLimit>>,
}

impl SpanQueue {
    /// Makes a processor that counts the spans for which there is no room.
    pub(super) fn new(spans: mpsc::Sender<QueuedSpan>, dropped: Arc<Counter>) -> Self {
        Self {
            spans,
            free_kibibytes: Arc::new(Semaphore::new(WAITING)),
            dropped,
            log: Arc::default(),
        }
    }

    /// Puts a span into the queue; `None` if there is no room for it. A queue that is closed, since
    /// the process ends, has no room either, and nobody is told.
    fn enqueue(&self, mut span: SpanData) -> Option<()> {
        // The clock may have been set back meanwhile.
        span.end_time = span.end_time.max(span.start_time);
        let kibibytes = u32::try_from(held_bytes(&span).div_ceil(1024)).ok()?;
        let share = Arc::clone(&self.free_kibibytes)
            .try_acquire_many_owned(kibibytes)
            .ok();
        let Some(share) = share else {
            self.log_full();
            return None;
        };
        let sent = self.spans.try_send(QueuedSpan { span, share });
        if matches!(sent, Err(TrySendError::Full(_))) {
            self.log_full();
        }
        sent.ok()
    }

    /// Logs that the queue is full, at most once a minute; nobody waits for another who does. The
    /// task that exports may be waiting for a collector meanwhile.
    fn log_full(&self) {
        if self.log.try_lock().is_ok_and(|mut log| log.is_due()) {
            tracing::warn!(
                dropped = self.dropped.get() + 1,
                "Spans are dropped: more wait for the collector than there is room for"
            );
        }
    }
}

impl SpanProcessor for SpanQueue {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.enqueue(span).is_none() {
            self.dropped.increment();
        }
    }

    /// Does nothing: the task that exports sends what is left before it ends.
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    /// Does nothing either: spans of a tracer that is replaced end in the same queue.
    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Returns about how many bytes of memory a span takes.
pub(super) fn held_bytes(span: &SpanData) -> usize {
    let events = &span.events.events;
    let happenings: usize = events
        .iter()
        .map(|event| attribute_bytes(&event.attributes))
        .sum();
    let places = events.capacity() * size_of::<opentelemetry::trace::Event>();
    // An entry of a `tracestate` is two texts, each in memory of its own.
    let states: usize = span
        .span_context
        .trace_state()
        .into_iter()
        .map(|(name, value)| 2 * size_of::<String>() + name.len() + value.len())
        .sum();
    let error = match &span.status {
        Status::Error { description } => description.len(),
        Status::Unset | Status::Ok => 0,
    };
    size_of::<SpanData>() + attribute_bytes(&span.attributes) + happenings + places + states + error
}

fn attribute_bytes(attributes: &Vec<KeyValue>) -> usize {
    let texts: usize = attributes
        .iter()
        .map(|attribute| value_bytes(&attribute.value))
        .sum();
    attributes.capacity() * size_of::<KeyValue>() + texts
}

/// Returns the bytes that a value holds on the heap. Lists are in no span of ours; a text of the
/// code counts like one that came, since it cannot be told from it.
fn value_bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => text.as_str().len(),
        _ => 0,
    }
}
