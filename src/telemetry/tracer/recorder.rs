//! The queue that spans go into when they end, bounded by their number and by their memory.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::sampler::Sampler;
use super::span_data::SpanData;
use crate::event::SpanContext;
use crate::telemetry::counter::Counter;

/// Memory of all spans that wait for export, in KiB; more are dropped. The span of an event with
/// short attributes takes 2 KiB.
pub(super) const WAITING: usize = 16 * 1024;

/// A span that waits for export, with its share of the memory of all of them.
#[derive(Debug)]
pub struct QueuedSpan {
    /// The span, which has ended.
    pub span: SpanData,
    _share: OwnedSemaphorePermit,
}

/// The sampler, and the queue that spans go into when they end.
#[derive(Debug)]
pub(super) struct SpanRecorder {
    sampler: Sampler,
    spans: mpsc::Sender<QueuedSpan>,
    /// The KiB that are left of [`WAITING`].
    free_kibibytes: Arc<Semaphore>,
    dropped: Arc<Counter>,
}

impl SpanRecorder {
    /// Makes a recorder that puts spans into this queue, and counts those that find no place.
    pub(super) fn new(
        sampler: Sampler,
        spans: mpsc::Sender<QueuedSpan>,
        dropped: Arc<Counter>,
    ) -> Self {
        Self {
            sampler,
            spans,
            free_kibibytes: Arc::new(Semaphore::new(WAITING)),
            dropped,
        }
    }

    /// Returns true if the sampler wants spans of this trace, given the span before.
    pub(super) fn should_sample(&self, trace_id: u128, parent: Option<SpanContext>) -> bool {
        self.sampler.should_sample(trace_id, parent)
    }

    /// Puts a span that has ended into the queue; counts it as dropped if there is no room for it.
    pub(super) fn record(&self, span: SpanData) {
        if self.enqueue(span).is_none() {
            self.dropped.increment();
        }
    }

    /// Puts a span into the queue; `None` if there is no room for it.
    fn enqueue(&self, span: SpanData) -> Option<()> {
        let kibibytes = u32::try_from(span.held_bytes().div_ceil(1024)).ok()?;
        let share = Arc::clone(&self.free_kibibytes)
            .try_acquire_many_owned(kibibytes)
            .ok()?;
        self.spans
            .try_send(QueuedSpan {
                span,
                _share: share,
            })
            .ok()
    }
}
