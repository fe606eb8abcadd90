//! A span while it lasts.

use std::sync::Arc;

use super::recorder::SpanRecorder;
use super::span_data::{AttributeValue, SpanAttribute, SpanData, SpanEvent, SpanKind};
use crate::event::{SpanContext, TraceContext};
use crate::telemetry::unix_time::unix_nanos;

/// Number of attributes that a span has at most.
pub(super) const MAX_ATTRIBUTES: usize = 64;
/// Number of events that a span has at most. A span lasts through the retries that become its
/// events, and there are as many spans as CloudEvents.
pub(super) const MAX_EVENTS: usize = 16;

#[derive(Debug)]
struct RecordingSpan {
    recorder: Arc<SpanRecorder>,
    span: SpanData,
}

/// A step of an event. The span ends when it is dropped.
#[derive(Debug, Default)]
pub struct Span {
    /// The context for requests that belong to this span.
    context: Option<Arc<TraceContext>>,
    recording: Option<Box<RecordingSpan>>,
}

impl Span {
    /// Makes a span that is not recorded, and passes on this context.
    pub(super) fn unrecorded(context: Option<Arc<TraceContext>>) -> Self {
        Self {
            context,
            recording: None,
        }
    }

    /// Makes a span that is recorded from now on.
    pub(super) fn recorded(
        context: Arc<TraceContext>,
        span: SpanData,
        recorder: &Arc<SpanRecorder>,
    ) -> Self {
        let recorder = Arc::clone(recorder);
        Self {
            context: Some(context),
            recording: Some(Box::new(RecordingSpan { recorder, span })),
        }
    }

    /// Returns the context that makes others children of this span; the one that came if it is not
    /// recorded.
    #[must_use]
    pub fn context(&self) -> Option<&Arc<TraceContext>> {
        self.context.as_ref()
    }

    /// Returns true if the span is recorded.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        self.recording.is_some()
    }

    /// Starts a child of this span.
    #[must_use]
    pub fn child(&self, name: &'static str, kind: SpanKind) -> Self {
        let Some(recording) = &self.recording else {
            return Self::unrecorded(self.context.clone());
        };
        let before = recording.span.context;
        let span = SpanContext {
            span_id: fastrand::u64(1..),
            ..before
        };
        let context = self
            .context
            .as_ref()
            .map_or_else(TraceContext::default, |context| context.as_ref().clone());
        let data = SpanData {
            parent_span_id: before.span_id,
            trace_state: recording.span.trace_state.clone(),
            ..SpanData::start(name, kind, span)
        };
        let context = Arc::new(context.with_span(span));
        Self::recorded(context, data, &recording.recorder)
    }

    /// Adds attributes; the closure is called only if the span is recorded.
    pub fn set_attributes<const N: usize>(
        &mut self,
        attributes: impl FnOnce() -> [SpanAttribute; N],
    ) {
        if let Some(recording) = &mut self.recording {
            let free = MAX_ATTRIBUTES.saturating_sub(recording.span.attributes.len());
            recording
                .span
                .attributes
                .extend(attributes().into_iter().take(free));
        }
    }

    /// Adds an event that happens now; the closure is called only if the span is recorded.
    pub fn add_event<const N: usize>(
        &mut self,
        name: &'static str,
        attributes: impl FnOnce() -> [SpanAttribute; N],
    ) {
        if let Some(recording) = &mut self.recording
            && recording.span.events.len() < MAX_EVENTS
        {
            let attributes = attributes().into();
            recording.span.events.push(SpanEvent {
                name,
                time: unix_nanos(),
                attributes,
            });
        }
    }

    /// Marks the span as failed, for this reason.
    pub fn set_error(&mut self, why: impl FnOnce() -> AttributeValue) {
        if let Some(recording) = &mut self.recording {
            recording.span.error = Some(why());
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(recording) = self.recording.take() {
            let RecordingSpan { recorder, mut span } = *recording;
            span.end_time = unix_nanos().max(span.start_time);
            recorder.record(span);
        }
    }
}
