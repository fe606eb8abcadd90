//! Spans: the steps of an event. A span that is not recorded costs nothing but a look; one that is
//! recorded goes into a bounded queue when it is dropped, and is lost if that is full.
//!
//! Names of spans come from short lists in the code (contract G-68). How spans are exported is next
//! door.

mod recorder;
mod sampler;
mod span;
mod span_data;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio::sync::mpsc;

use super::counter::Counter;
use crate::event::{SpanContext, TraceContext};
pub use recorder::QueuedSpan;
use recorder::SpanRecorder;
pub use sampler::Sampler;
pub use span::Span;
pub use span_data::{AttributeValue, SpanAttribute, SpanData, SpanEvent, SpanKind};

/// Starts spans. Recording is off at first; clones share whether it is on.
#[derive(Clone, Debug, Default)]
pub struct Tracer(Arc<ArcSwapOption<SpanRecorder>>);

impl Tracer {
    /// Records spans by this sampler from now on, into this queue; a span that finds no place is
    /// counted.
    pub fn start_recording(
        &self,
        sampler: Sampler,
        spans: mpsc::Sender<QueuedSpan>,
        dropped: Arc<Counter>,
    ) {
        let recorder = SpanRecorder::new(sampler, spans, dropped);
        self.0.store(Some(Arc::new(recorder)));
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
        let recorder = self.0.load();
        let Some(recorder) = recorder.as_ref() else {
            return Span::unrecorded(parent.cloned());
        };
        // The decision belongs to the trace: it is taken once its id is known, and a child follows
        // its parent if the sampler says so.
        let before = parent.and_then(|parent| parent.span);
        let trace_id = before.map_or_else(|| fastrand::u128(1..), |before| before.trace_id);
        let sampled = recorder.should_sample(trace_id, before);
        if !sampled && before.is_some_and(|before| !before.is_sampled()) {
            return Span::unrecorded(parent.cloned());
        }
        let span = SpanContext {
            trace_id,
            span_id: fastrand::u64(1..),
            flags: sampled.into(),
        };
        let context = parent.map_or_else(TraceContext::default, |parent| parent.as_ref().clone());
        let context = Arc::new(context.with_span(span));
        if !sampled {
            return Span::unrecorded(Some(context));
        }
        let data = SpanData {
            parent_span_id: before.map_or(0, |before| before.span_id),
            trace_state: span_data::kept_trace_state(&context),
            ..SpanData::start(name, kind, span)
        };
        Span::recorded(context, data, recorder)
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::recorder::WAITING;
    use super::span::{MAX_ATTRIBUTES, MAX_EVENTS};
    use super::span_data::{LONGEST, LONGEST_STATE};
    use super::*;

    fn recording(sampler: Sampler) -> (Tracer, mpsc::Receiver<QueuedSpan>, Arc<Counter>) {
        let (spans, finished) = mpsc::channel(2);
        let (tracer, dropped) = (Tracer::default(), Arc::new(Counter::default()));
        tracer.start_recording(sampler, spans, Arc::clone(&dropped));
        (tracer, finished, dropped)
    }

    fn parent(flags: u8) -> Arc<TraceContext> {
        Arc::new(TraceContext::default().with_span(SpanContext {
            trace_id: 7,
            span_id: 8,
            flags,
        }))
    }

    /// Contract OB-14: with tracing off, what came is passed on as it is.
    #[test]
    fn off_means_as_it_came() {
        let (tracer, parent) = (Tracer::default(), parent(1));
        let mut span = tracer.start("POST", SpanKind::Server, Some(&parent));
        span.set_attributes(|| -> [SpanAttribute; 1] { panic!("nobody asks") });
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
        span.set_attributes(|| [("long", "é".repeat(5000).into())]);
        drop(span.child("send", SpanKind::Client));
        drop(span);
        drop(tracer.start("POST", SpanKind::Server, None));
        let mut next = || finished.try_recv().expect("a span").span;
        let (child, span) = (next(), next());
        assert_eq!(
            (
                span.context.trace_id,
                span.parent_span_id,
                child.parent_span_id
            ),
            (7, 8, span.context.span_id)
        );
        let Some((_, AttributeValue::Text(text))) = span.attributes.first() else {
            panic!("a text")
        };
        assert_eq!(text.len(), LONGEST);
        assert_eq!(dropped.get(), 1, "the queue has two places");
    }

    /// What is cut is not kept: neither as the capacity of a text, nor as the buffer that a header
    /// was read into.
    #[test]
    fn a_span_takes_what_it_tells() {
        let mut spare = String::with_capacity(8_000_000);
        spare.push_str("short");
        for text in ["é".repeat(4_000_000), spare] {
            let AttributeValue::Text(Cow::Owned(kept)) = AttributeValue::from(text) else {
                panic!("a text")
            };
            assert!(kept.capacity() <= LONGEST, "{}", kept.capacity());
        }
        let (tracer, mut finished, _) = recording(Sampler::AlwaysOn);
        let read = bytes::Bytes::from(vec![b'x'; 64 * 1024]);
        for (length, is_kept) in [(LONGEST_STATE, true), (LONGEST_STATE + 1, false)] {
            let state =
                http::HeaderValue::from_maybe_shared(read.slice(..length)).expect("a value");
            let parent = TraceContext {
                tracestate: Some(state),
                ..(*parent(1)).clone()
            };
            let mut span = tracer.start("POST", SpanKind::Server, Some(&Arc::new(parent)));
            for _ in 0..1000 {
                span.set_attributes(|| [("long", AttributeValue::truncated(&"x".repeat(100_000)))]);
                span.add_event("retry", || [("long", "x".repeat(100_000).into())]);
            }
            drop(span);
            let span = finished.try_recv().expect("a span").span;
            assert_eq!(span.trace_state.is_some(), is_kept);
            assert!(
                span.held_bytes() < (MAX_ATTRIBUTES + MAX_EVENTS) * (LONGEST + 300) + 4096,
                "{}",
                span.held_bytes()
            );
        }
        assert!(read.is_unique(), "nothing holds the buffer");
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
                span.set_attributes(|| [("long", AttributeValue::truncated(&"x".repeat(LONGEST)))])
            });
        };
        (0..1000).for_each(|_| large());
        let kept = finished.len();
        assert!(
            (100..=WAITING / MAX_ATTRIBUTES).contains(&kept) && dropped.get() == 1000 - kept as u64,
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
        let context = span
            .context()
            .and_then(|context| context.span)
            .expect("a context");
        assert!(!context.is_sampled() && !span.is_recorded());
    }
}
