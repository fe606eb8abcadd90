//! Spans: the steps of an event, as OpenTelemetry's SDK records them. A span that is not recorded
//! costs nothing but a look; one that is recorded goes into a bounded queue when it is dropped.
//!
//! Names of spans come from short lists in the code (contract G-68). How spans are exported is next
//! door.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use opentelemetry::trace::{
    FutureExt, Span as _, SpanContext, SpanKind, Status, TraceContextExt, Tracer as _,
    TracerProvider,
};
use opentelemetry::{Context, InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{self as sdk, SdkTracer, SdkTracerProvider, SpanLimits};
use tokio::sync::mpsc;

use super::counters::Counter;
use super::span_queue::{QueuedSpan, SpanQueue};
use crate::event::TraceContext;
use crate::wire_text::truncate;

/// Number of attributes that a span has at most.
const MAX_ATTRIBUTES: u32 = 64;
/// Number of events that a span has at most. A span lasts through the retries that become its
/// events, and there are as many spans as CloudEvents.
const MAX_EVENTS: u32 = 16;
/// Longest text of an attribute in bytes; OpenTelemetry's SDK for Rust knows no such limit.
const LONGEST: usize = 1024;

/// The rule by which traces are recorded (contract OB-15), as it is configured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sampler {
    /// Every span is recorded.
    AlwaysOn,
    /// No span is recorded.
    AlwaysOff,
    /// This part of the traces that begin here, from 0 to 1; the others as their parents were.
    ParentBased(f64),
    /// This part of all traces, whatever their parents say.
    TraceIdRatio(f64),
}

impl Sampler {
    /// Makes a sampler as upstream does: 1 and more is always, 0 and less never, else it is the
    /// part of the traces that begin here.
    #[must_use]
    pub fn from_rate(rate: f64) -> Self {
        if rate >= 1.0 {
            Self::AlwaysOn
        } else if rate > 0.0 {
            Self::ParentBased(rate)
        } else {
            Self::AlwaysOff
        }
    }
}

impl From<Sampler> for sdk::Sampler {
    fn from(sampler: Sampler) -> Self {
        match sampler {
            Sampler::AlwaysOn => Self::AlwaysOn,
            Sampler::AlwaysOff => Self::AlwaysOff,
            Sampler::ParentBased(ratio) => {
                Self::ParentBased(Box::new(Self::TraceIdRatioBased(ratio)))
            }
            Sampler::TraceIdRatio(ratio) => Self::TraceIdRatioBased(ratio),
        }
    }
}

/// Returns who makes the telemetry, in OpenTelemetry's sense.
pub(super) fn instrumentation_scope() -> InstrumentationScope {
    InstrumentationScope::builder("sealpost")
        .with_version(env!("CARGO_PKG_VERSION"))
        .build()
}

/// Makes an attribute of the start of a text, in memory of its own.
#[must_use]
pub fn text_attribute(name: &'static str, text: &str) -> KeyValue {
    KeyValue::new(name, truncate(text, LONGEST).to_owned())
}

/// Cuts the text of an attribute.
fn truncate_attribute(attribute: KeyValue) -> KeyValue {
    match &attribute.value {
        Value::String(text) if text.as_str().len() > LONGEST => {
            let text = truncate(text.as_str(), LONGEST).to_owned();
            KeyValue::new(attribute.key, text)
        }
        _ => attribute,
    }
}

/// Starts spans. Recording is off at first; clones share whether it is on.
#[derive(Clone, Debug, Default)]
pub struct Tracer(Arc<ArcSwapOption<SdkTracer>>);

impl Tracer {
    /// Records spans by this sampler from now on, into this queue; a span that finds no place is
    /// counted.
    pub fn start_recording(
        &self,
        sampler: Sampler,
        spans: mpsc::Sender<QueuedSpan>,
        dropped: Arc<Counter>,
    ) {
        // The SDK reads variables of the environment as defaults of what is set here.
        let provider = SdkTracerProvider::builder()
            .with_sampler(sdk::Sampler::from(sampler))
            .with_span_limits(SpanLimits {
                max_attributes_per_span: MAX_ATTRIBUTES,
                max_events_per_span: MAX_EVENTS,
                ..SpanLimits::default()
            })
            .with_resource(Resource::builder_empty().build())
            .with_span_processor(SpanQueue::new(spans, dropped))
            .build();
        let tracer = provider.tracer_with_scope(instrumentation_scope());
        self.0.store(Some(Arc::new(tracer)));
    }

    /// Records nothing from now on. The trace context of events is passed on still (contract
    /// OB-14).
    pub fn stop_recording(&self) {
        self.0.store(None);
    }

    /// Returns true if spans are recorded, as far as the sampler lets them.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.0.load().is_some()
    }

    /// Starts a span in the trace of `parent`, or in a new trace.
    #[must_use]
    pub fn start(
        &self,
        name: &'static str,
        kind: SpanKind,
        parent: Option<&Arc<TraceContext>>,
    ) -> Span {
        match self.0.load().as_ref() {
            Some(tracer) => Span::start(tracer, name, kind, parent),
            None => Span::not_recorded(parent),
        }
    }

    /// Returns the scope of the span that an event comes from, if its trace is recorded.
    #[must_use]
    pub fn scope(&self, event: Option<&Arc<TraceContext>>) -> SpanScope {
        if self.is_enabled() {
            SpanScope::of(event)
        } else {
            SpanScope::default()
        }
    }
}

/// The scope of a span, in which log lines carry its ids; none if the span is not recorded.
#[derive(Clone, Debug, Default)]
pub struct SpanScope(Option<Context>);

impl SpanScope {
    fn of(trace: Option<&Arc<TraceContext>>) -> Self {
        let span = trace.and_then(|trace| trace.parent());
        Self(span.filter(|span| span.span().span_context().is_sampled()))
    }

    /// Runs a future within the scope. It is pinned by the caller, so that it is not moved and not
    /// held twice.
    pub async fn run<F: Future>(self, future: Pin<&mut F>) -> F::Output {
        match self.0 {
            None => future.await,
            Some(context) => future.with_context(context).await,
        }
    }
}

/// Returns the span in whose scope the caller runs.
pub(super) fn current_span() -> Option<SpanContext> {
    Context::map_current(|context| {
        let span = context.span();
        let span = span.span_context();
        span.is_sampled().then(|| span.clone())
    })
}

#[derive(Debug)]
struct RecordingSpan {
    span: sdk::Span,
    /// Starts the children of the span, also after the settings have changed.
    tracer: Arc<SdkTracer>,
}

/// A step of an event. The span ends when it is dropped.
#[derive(Debug, Default)]
pub struct Span {
    /// The context for requests that belong to this span.
    context: Option<Arc<TraceContext>>,
    recording: Option<Box<RecordingSpan>>,
}

impl Span {
    fn not_recorded(parent: Option<&Arc<TraceContext>>) -> Self {
        Self {
            context: parent.cloned(),
            recording: None,
        }
    }

    fn start(
        tracer: &Arc<SdkTracer>,
        name: &'static str,
        kind: SpanKind,
        parent: Option<&Arc<TraceContext>>,
    ) -> Self {
        let before = parent.and_then(|parent| parent.parent());
        let builder = tracer.span_builder(name).with_kind(kind);
        let span = tracer.build_with_context(builder, before.as_ref().unwrap_or(&Context::new()));
        let is_unsampled = |before: &Context| !before.span().span_context().is_sampled();
        if !span.is_recording() && before.as_ref().is_some_and(is_unsampled) {
            return Self::not_recorded(parent);
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
    pub fn is_recorded(&self) -> bool {
        self.recording.is_some()
    }

    /// Returns the span's own ids if it is recorded.
    #[must_use]
    pub fn recorded(&self) -> Option<&SpanContext> {
        let recording = self.recording.as_ref()?;
        Some(recording.span.span_context())
    }

    /// Returns the scope of this span.
    #[must_use]
    pub fn scope(&self) -> SpanScope {
        SpanScope::of(self.context.as_ref().filter(|_| self.is_recorded()))
    }

    /// Starts a child of this span.
    #[must_use]
    pub fn child(&self, name: &'static str, kind: SpanKind) -> Self {
        match &self.recording {
            Some(recording) => Self::start(&recording.tracer, name, kind, self.context()),
            None => Self::not_recorded(self.context()),
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
    pub fn add_event<const N: usize>(
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
    pub fn set_error(&mut self, why: impl FnOnce() -> Cow<'static, str>) {
        if let Some(recording) = &mut self.recording {
            let why = match why() {
                Cow::Owned(text) => truncate(&text, LONGEST).to_owned().into(),
                constant @ Cow::Borrowed(_) => constant,
            };
            recording
                .span
                .set_status(Status::Error { description: why });
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{TraceFlags, TraceState};

    use super::*;
    use crate::telemetry::span_queue::{WAITING, held_bytes};

    /// Longest `tracestate` in bytes that spans are recorded with.
    const LONGEST_STATE: usize = 512;

    fn recording(sampler: Sampler) -> (Tracer, mpsc::Receiver<QueuedSpan>, Arc<Counter>) {
        let (spans, finished) = mpsc::channel(2);
        let (tracer, dropped) = (Tracer::default(), Arc::new(Counter::default()));
        tracer.start_recording(sampler, spans, Arc::clone(&dropped));
        (tracer, finished, dropped)
    }

    fn parent(flags: u8) -> Arc<TraceContext> {
        Arc::new(TraceContext::default().with_span(SpanContext::new(
            7.into(),
            8.into(),
            TraceFlags::new(flags),
            true,
            TraceState::NONE,
        )))
    }

    /// Contract OB-14: with tracing off, what came is passed on as it is.
    #[test]
    fn off_means_as_it_came() {
        let (tracer, parent) = (Tracer::default(), parent(1));
        let mut span = tracer.start("POST", SpanKind::Server, Some(&parent));
        span.set_attributes(|| -> [KeyValue; 1] { panic!("nobody asks") });
        assert!(Arc::ptr_eq(
            span.child("send", SpanKind::Client)
                .context()
                .expect("a context"),
            &parent
        ));
        assert!(
            tracer
                .start("POST", SpanKind::Server, None)
                .context()
                .is_none()
        );
    }

    #[test]
    fn spans_know_their_parents_and_are_bounded() {
        let (tracer, mut finished, dropped) = recording(Sampler::AlwaysOn);
        let mut span = tracer.start("POST", SpanKind::Server, Some(&parent(0)));
        span.set_attributes(|| [KeyValue::new("long", "é".repeat(5000))]);
        span.set_error(|| "é".repeat(5000).into());
        drop(span.child("send", SpanKind::Client));
        drop(span);
        drop(tracer.start("POST", SpanKind::Server, None));
        let mut next = || finished.try_recv().expect("a span").span;
        let (child, span) = (next(), next());
        assert_eq!(
            (
                span.span_context.trace_id(),
                span.parent_span_id,
                child.parent_span_id
            ),
            (7.into(), 8.into(), span.span_context.span_id())
        );
        assert!(span.parent_span_is_remote && !child.parent_span_is_remote);
        let Some(Value::String(text)) = span.attributes.first().map(|first| &first.value) else {
            panic!("a text")
        };
        let Status::Error { description } = &span.status else {
            panic!("an error")
        };
        assert_eq!((text.as_str().len(), description.len()), (LONGEST, LONGEST));
        assert_eq!(dropped.get(), 1, "the queue has two places");
    }

    /// What is cut is not kept, nor the buffer that a header was read into.
    #[test]
    fn a_span_takes_what_it_tells() {
        let (tracer, mut finished, _) = recording(Sampler::AlwaysOn);
        for (length, is_kept) in [(LONGEST_STATE, true), (LONGEST_STATE + 1, false)] {
            let (first, second) = ("x".repeat(255), "x".repeat(length - 255 - "a=,b=".len()));
            let read = bytes::Bytes::from(format!("a={first},b={second}{}", " ".repeat(64 * 1024)));
            let mut headers = http::HeaderMap::new();
            let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
            headers.insert("traceparent", http::HeaderValue::from_static(traceparent));
            let state = http::HeaderValue::from_maybe_shared(read.slice(..length));
            headers.insert("tracestate", state.expect("a value"));
            let parent = TraceContext::from_headers(&headers).expect("a context");
            let mut span = tracer.start("POST", SpanKind::Server, Some(&parent));
            for _ in 0..1000 {
                span.set_attributes(|| [text_attribute("long", &"x".repeat(100_000))]);
                span.add_event("retry", || [KeyValue::new("long", "x".repeat(100_000))]);
            }
            drop((span, parent, headers));
            let span = finished.try_recv().expect("a span").span;
            let state = span.span_context.trace_state().header();
            assert_eq!(state.len(), if is_kept { length } else { 0 });
            let most = (MAX_ATTRIBUTES + MAX_EVENTS) as usize * (LONGEST + 300) + 4096;
            assert!(held_bytes(&span) < most, "{}", held_bytes(&span));
            assert!(read.is_unique(), "nothing holds the buffer");
        }
    }

    /// However many places the queue has, spans take so many bytes and no more; what is sent makes
    /// room.
    #[test]
    fn spans_that_wait_are_bounded_in_bytes() {
        let (spans, mut finished) = mpsc::channel(1_000_000);
        let (tracer, dropped) = (Tracer::default(), Arc::new(Counter::default()));
        tracer.start_recording(Sampler::AlwaysOn, spans, Arc::clone(&dropped));
        let large = || {
            let mut span = tracer.start("POST", SpanKind::Server, None);
            (0..MAX_ATTRIBUTES).for_each(|_| {
                span.set_attributes(|| [text_attribute("long", &"x".repeat(LONGEST))])
            });
        };
        (0..1000).for_each(|_| large());
        let kept = finished.len();
        assert!(
            (100..=WAITING / MAX_ATTRIBUTES as usize).contains(&kept)
                && dropped.get() == 1000 - kept as u64,
            "{kept}"
        );
        drop(finished.try_recv().expect("a span"));
        large();
        assert_eq!((finished.len(), dropped.get()), (kept, 1000 - kept as u64));
    }

    /// Contract OB-15.
    #[test]
    fn rates() {
        let begun = |rate: f64, parent: Option<&Arc<TraceContext>>| {
            let (tracer, _finished, _) = recording(Sampler::from_rate(rate));
            (0..1000)
                .filter(|_| tracer.start("POST", SpanKind::Server, parent).is_recorded())
                .count()
        };
        assert_eq!(
            (begun(1.0, Some(&parent(0))), begun(2.0, None)),
            (1000, 1000),
            "1 and more: always"
        );
        assert_eq!(
            (begun(0.0, Some(&parent(1))), begun(-1.0, None)),
            (0, 0),
            "0 and less: never"
        );
        assert_eq!(
            (begun(0.5, Some(&parent(1))), begun(0.5, Some(&parent(0)))),
            (1000, 0),
            "as the parent was"
        );
        let half = begun(0.5, None);
        assert!((350..650).contains(&half), "{half}");
    }

    /// A decision not to record is told to those after it, so that they do not decide anew.
    #[test]
    fn what_is_not_recorded_is_told() {
        let (tracer, _finished, _) = recording(Sampler::AlwaysOff);
        let span = tracer.start("POST", SpanKind::Server, None);
        let context = span.context().and_then(|context| context.parent());
        let context = context.expect("a context");
        assert!(!context.span().span_context().is_sampled() && !span.is_recorded());
    }
}
