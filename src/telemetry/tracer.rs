//! Spans: the steps of an event, as OpenTelemetry's SDK records them. A span that is not recorded
//! costs nothing but a look; one that is recorded goes into a bounded queue when it is dropped.
//!
//! Names of spans come from short lists in the code (contract G-68). How spans are exported is next
//! door.

mod bounded_text;
mod sampler;
mod span;
mod span_scope;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use opentelemetry::InstrumentationScope;
use opentelemetry::trace::{SpanKind, TracerProvider};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{self as sdk, SdkTracer, SdkTracerProvider, SpanLimits};
use tokio::sync::mpsc;

use super::counter::Counter;
use super::span_queue::{QueuedSpan, SpanQueue};
use crate::event::TraceContext;
pub(super) use bounded_text::text_value;
pub use sampler::Sampler;
pub(crate) use span::Span;
pub(crate) use span_scope::SpanScope;
pub(super) use span_scope::current_span;

/// Number of attributes that a span has at most.
const MAX_ATTRIBUTES: u32 = 64;
/// Number of events that a span has at most. A span lasts through the retries that become its
/// events, and there are as many spans as CloudEvents.
const MAX_EVENTS: u32 = 16;

/// Returns who makes the telemetry, in OpenTelemetry's sense.
pub(super) fn instrumentation_scope() -> InstrumentationScope {
    InstrumentationScope::builder("sealpost")
        .with_version(env!("CARGO_PKG_VERSION"))
        .build()
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
        self.record_into(sampler, SpanQueue::new(spans, dropped));
    }

    /// Records spans by this sampler from now on, into this queue.
    pub(super) fn record_into(&self, sampler: Sampler, queue: SpanQueue) {
        // The SDK reads variables of the environment as defaults of what is set here.
        let provider = SdkTracerProvider::builder()
            .with_sampler(sdk::Sampler::from(sampler))
            .with_span_limits(SpanLimits {
                max_attributes_per_span: MAX_ATTRIBUTES,
                max_events_per_span: MAX_EVENTS,
                ..SpanLimits::default()
            })
            .with_resource(Resource::builder_empty().build())
            .with_span_processor(queue)
            .build();
        let tracer = provider.tracer_with_scope(instrumentation_scope());
        self.0.store(Some(Arc::new(tracer)));
    }

    /// Records nothing from now on. The trace context of events is passed on still (contract
    /// OB-14).
    pub(crate) fn stop_recording(&self) {
        self.0.store(None);
    }

    /// Returns true if spans are recorded, as far as the sampler lets them.
    #[must_use]
    pub(crate) fn is_enabled(&self) -> bool {
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
            None => Span::unrecorded(parent),
        }
    }

    /// Returns the scope of the span that an event comes from, if its trace is recorded.
    #[must_use]
    pub(crate) fn scope(&self, event: Option<&Arc<TraceContext>>) -> SpanScope {
        if self.is_enabled() {
            SpanScope::of(event)
        } else {
            SpanScope::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanContext, Status, TraceContextExt, TraceFlags, TraceState};
    use opentelemetry::{KeyValue, Value};

    use super::bounded_text::LONGEST;
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
                span.set_attributes(|| [KeyValue::new("long", text_value(&"x".repeat(100_000)))]);
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
            (0..MAX_ATTRIBUTES)
                .for_each(|_| span.set_attributes(|| [KeyValue::new("long", "x".repeat(LONGEST))]));
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

    /// A decision not to record is told to those after it, so that they do not decide anew, not
    /// even by other settings.
    #[test]
    fn what_is_not_recorded_is_told() {
        let (tracer, _finished, _) = recording(Sampler::AlwaysOff);
        let span = tracer.start("POST", SpanKind::Server, None);
        let told = span.context().expect("a context");
        let context = told.parent().expect("a parent");
        assert!(!context.span().span_context().is_sampled() && !span.is_recorded());
        let (tracer, _finished, _) = recording(Sampler::AlwaysOn);
        let next = tracer.start("deliver", SpanKind::Consumer, Some(told));
        assert!(!next.is_recorded() && Arc::ptr_eq(next.context().expect("a context"), told));
    }
}
