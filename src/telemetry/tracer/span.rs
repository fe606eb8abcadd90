//! A span while it lasts.

use std::borrow::Cow;
use std::sync::Arc;

use opentelemetry::trace::{
    Span as _, SpanContext, SpanKind, Status, TraceContextExt, Tracer as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{self as sdk, SdkTracer};

use super::bounded_text::{truncate_attribute, truncate_reason};
use super::span_scope::SpanScope;
use crate::event::TraceContext;

#[derive(Debug)]
struct RecordingSpan {
    span: sdk::Span,
    /// Starts the children of the span, also after the settings have changed.
    tracer: Arc<SdkTracer>,
}

/// Returns the number of attributes that most spans of a kind get, so that their list is not moved
/// while it grows.
fn expected_attributes(kind: &SpanKind) -> usize {
    match kind {
        SpanKind::Producer | SpanKind::Consumer => 14,
        SpanKind::Client => 6,
        SpanKind::Server => 3,
        SpanKind::Internal => 0,
    }
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
    pub(super) fn unrecorded(parent: Option<&Arc<TraceContext>>) -> Self {
        Self {
            context: parent.cloned(),
            recording: None,
        }
    }

    /// Starts a span in the trace of `parent`, or in a new trace, if the sampler wants it.
    pub(super) fn start(
        tracer: &Arc<SdkTracer>,
        name: &'static str,
        kind: SpanKind,
        parent: Option<&Arc<TraceContext>>,
    ) -> Self {
        if parent.is_some_and(|parent| parent.is_left_out()) {
            return Self::unrecorded(parent);
        }
        let before = parent.and_then(|parent| parent.parent());
        let mut builder = tracer.span_builder(name);
        builder.attributes = Some(Vec::with_capacity(expected_attributes(&kind)));
        builder.span_kind = Some(kind);
        let span = tracer.build_with_context(builder, before.as_ref().unwrap_or(&Context::new()));
        let is_unsampled = |before: &Context| !before.span().span_context().is_sampled();
        if !span.is_recording() && before.as_ref().is_some_and(is_unsampled) {
            return Self::unrecorded(parent);
        }
        // A decision not to record is told to those after this span, so that they do not decide
        // anew.
        let context = parent.map_or_else(
            || TraceContext::default().with_span(span.span_context().clone()),
            |parent| parent.with_span(span.span_context().clone()),
        );
        let recording = span.is_recording().then(|| {
            Box::new(RecordingSpan {
                span,
                tracer: Arc::clone(tracer),
            })
        });
        Self {
            context: Some(Arc::new(context)),
            recording,
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
    pub(crate) fn is_recorded(&self) -> bool {
        self.recording.is_some()
    }

    /// Returns the span's own ids if it is recorded.
    #[must_use]
    pub(crate) fn recorded(&self) -> Option<&SpanContext> {
        let recording = self.recording.as_ref()?;
        Some(recording.span.span_context())
    }

    /// Returns the scope of this span.
    #[must_use]
    pub(crate) fn scope(&self) -> SpanScope {
        SpanScope::of(self.context.as_ref().filter(|_| self.is_recorded()))
    }

    /// Starts a child of this span.
    #[must_use]
    pub fn child(&self, name: &'static str, kind: SpanKind) -> Self {
        match &self.recording {
            Some(recording) => Self::start(&recording.tracer, name, kind, self.context()),
            None => Self::unrecorded(self.context()),
        }
    }

    /// Adds attributes; the closure is called only if the span is recorded.
    pub fn set_attributes<const N: usize>(&mut self, attributes: impl FnOnce() -> [KeyValue; N]) {
        if let Some(recording) = &mut self.recording {
            recording
                .span
                .set_attributes(attributes().map(truncate_attribute));
        }
    }

    /// Adds an event that happens now; the closure is called only if the span is recorded.
    pub(crate) fn add_event<const N: usize>(
        &mut self,
        name: &'static str,
        attributes: impl FnOnce() -> [KeyValue; N],
    ) {
        if let Some(recording) = &mut self.recording {
            let attributes = attributes().map(truncate_attribute).into();
            recording.span.add_event(name, attributes);
        }
    }

    /// Marks the span as failed, for this reason.
    pub(crate) fn set_error(&mut self, why: impl FnOnce() -> Cow<'static, str>) {
        if let Some(recording) = &mut self.recording {
            let description = truncate_reason(why());
            recording.span.set_status(Status::Error { description });
        }
    }
}
