//! Spans: the steps of an event. A span that is not recorded costs nothing but a look; one that is
//! recorded goes into a bounded queue when it is dropped, and is lost if that is full.
//!
//! Names of spans come from short lists in the code (contract G-68). How spans are exported is next
//! door.

use std::borrow::Cow;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use time::OffsetDateTime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::counters::Counter;
use crate::event::{SpanContext, TraceContext};
use crate::wire_text::truncate;

/// Number of attributes that a span has at most.
const MAX_ATTRIBUTES: usize = 64;
/// Number of events that a span has at most. A span lasts through the retries that become its
/// events, and there are as many spans as CloudEvents.
const MAX_EVENTS: usize = 16;
/// Longest text of an attribute in bytes.
const LONGEST: usize = 1024;
/// Longest `tracestate` in bytes that is kept: as much as W3C asks to pass on (Trace Context
/// 3.3.1.5).
const LONGEST_STATE: usize = 512;
/// Memory of all spans that wait for export, in KiB; more are dropped. The span of an event with
/// short attributes takes 2 KiB.
const WAITING: usize = 16 * 1024;

/// The rule by which traces are recorded (contract OB-15).
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

    fn should_sample(self, trace_id: u128, parent: Option<SpanContext>) -> bool {
        match (self, parent) {
            (Self::AlwaysOn, _) => true,
            (Self::AlwaysOff, _) => false,
            (Self::ParentBased(_), Some(parent)) => parent.is_sampled(),
            (Self::ParentBased(ratio) | Self::TraceIdRatio(ratio), _) => {
                is_within_ratio(trace_id, ratio)
            }
        }
    }
}

/// Decides by the second half of the id, as Go's SDK does, so that all processes with the same
/// ratio agree.
fn is_within_ratio(trace_id: u128, ratio: f64) -> bool {
    let [_, _, _, _, _, _, _, _, a, b, c, d, ..] = trace_id.to_be_bytes();
    f64::from(u32::from_be_bytes([a, b, c, d])) < ratio * 4_294_967_296.0
}

/// The side of an exchange that a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// A step inside the process.
    Internal,
    /// A request that was received.
    Server,
    /// A request that was sent.
    Client,
    /// Something that was put into queues.
    Producer,
    /// Something that was taken out of a queue.
    Consumer,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum AttributeValue {
    /// A text of at most 1024 bytes.
    Text(Cow<'static, str>),
    /// A whole number, such as a status.
    Integer(i64),
    /// A duration in seconds.
    Seconds(f64),
}

impl From<&'static str> for AttributeValue {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl AttributeValue {
    /// Makes a value of the start of a text, in memory of its own.
    #[must_use]
    pub fn truncated(text: &str) -> Self {
        Self::Text(Cow::Owned(truncate(text, LONGEST).to_owned()))
    }

    /// Returns the bytes that it holds on the heap.
    fn held_bytes(&self) -> usize {
        match self {
            Self::Text(Cow::Owned(text)) => text.capacity(),
            Self::Text(Cow::Borrowed(_)) | Self::Integer(_) | Self::Seconds(_) => 0,
        }
    }
}

impl From<String> for AttributeValue {
    /// Makes a value of a text. A longer one is cut, and takes no more memory than what is left of
    /// it.
    fn from(mut text: String) -> Self {
        if text.len() > LONGEST {
            return Self::truncated(&text);
        }
        text.shrink_to_fit();
        Self::Text(Cow::Owned(text))
    }
}

impl From<i64> for AttributeValue {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<f64> for AttributeValue {
    fn from(seconds: f64) -> Self {
        Self::Seconds(seconds)
    }
}

/// An attribute of a span: its name and its value.
pub type SpanAttribute = (&'static str, AttributeValue);

/// An event of a span, in OpenTelemetry's sense: something that happened while it lasted.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanEvent {
    /// The name, from a short list.
    pub name: &'static str,
    /// The time, in nanoseconds since the epoch.
    pub time: u64,
    /// The attributes of this event.
    pub attributes: Vec<SpanAttribute>,
}

/// A span that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanData {
    /// The ids of its trace and of itself, and its flags.
    pub context: SpanContext,
    /// The id of its parent; 0 where the trace begins.
    pub parent_span_id: u64,
    /// The `tracestate` that came with the event, unless it is too long.
    pub trace_state: Option<Box<str>>,
    /// The name, from a short list.
    pub name: &'static str,
    /// The side of an exchange that it is.
    pub kind: SpanKind,
    /// The start, in nanoseconds since the epoch.
    pub start_time: u64,
    /// The end, in nanoseconds since the epoch.
    pub end_time: u64,
    /// The attributes, 64 at most.
    pub attributes: Vec<SpanAttribute>,
    /// The events of the span, 16 at most.
    pub events: Vec<SpanEvent>,
    /// The reason for which the step failed; `None` if it did not.
    pub error: Option<AttributeValue>,
}

impl SpanData {
    /// Returns about how many bytes of memory it takes.
    fn held_bytes(&self) -> usize {
        let of = |attributes: &Vec<SpanAttribute>| {
            let texts: usize = attributes.iter().map(|(_, value)| value.held_bytes()).sum();
            attributes.capacity() * size_of::<SpanAttribute>() + texts
        };
        let happenings: usize = self.events.iter().map(|event| of(&event.attributes)).sum();
        let places = self.events.capacity() * size_of::<SpanEvent>();
        let texts = self.trace_state.as_ref().map_or(0, |state| state.len())
            + self.error.as_ref().map_or(0, AttributeValue::held_bytes);
        size_of::<Self>() + of(&self.attributes) + happenings + places + texts
    }
}

/// A span that waits for export, with its share of the memory of all of them.
#[derive(Debug)]
pub struct QueuedSpan {
    /// The span, which has ended.
    pub span: SpanData,
    _share: OwnedSemaphorePermit,
}

/// The sampler, and the queue that spans go into when they end.
#[derive(Debug)]
struct SpanRecorder {
    sampler: Sampler,
    spans: mpsc::Sender<QueuedSpan>,
    /// The KiB that are left of [`WAITING`].
    free_kibibytes: Arc<Semaphore>,
    dropped: Arc<Counter>,
}

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
        let room = Arc::new(Semaphore::new(WAITING));
        self.0.store(Some(Arc::new(SpanRecorder {
            sampler,
            spans,
            free_kibibytes: room,
            dropped,
        })));
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
            return Span {
                context: parent.cloned(),
                recording: None,
            };
        };
        // The decision belongs to the trace: it is taken once its id is known, and a child follows
        // its parent if the sampler says so.
        let before = parent.and_then(|parent| parent.span);
        let trace_id = before.map_or_else(|| fastrand::u128(1..), |before| before.trace_id);
        let sampled = recorder.sampler.should_sample(trace_id, before);
        if !sampled && before.is_some_and(|before| !before.is_sampled()) {
            return Span {
                context: parent.cloned(),
                recording: None,
            };
        }
        let span = SpanContext {
            trace_id,
            span_id: fastrand::u64(1..),
            flags: sampled.into(),
        };
        let context = Arc::new(
            parent
                .map_or_else(TraceContext::default, |parent| parent.as_ref().clone())
                .with_span(span),
        );
        let recording = sampled.then(|| {
            RecordingSpan::new(
                span,
                before,
                (name, kind),
                kept_trace_state(&context),
                recorder,
            )
        });
        Span {
            context: Some(context),
            recording,
        }
    }
}

/// Returns the `tracestate` unless it is too long, in memory of its own: the header field holds the
/// buffer that it was read into.
fn kept_trace_state(context: &TraceContext) -> Option<Box<str>> {
    let state = context
        .tracestate
        .as_ref()
        .filter(|state| state.len() <= LONGEST_STATE)?;
    state.to_str().ok().map(Into::into)
}

#[derive(Debug)]
struct RecordingSpan {
    recorder: Arc<SpanRecorder>,
    span: SpanData,
}

impl RecordingSpan {
    fn new(
        context: SpanContext,
        parent: Option<SpanContext>,
        (name, kind): (&'static str, SpanKind),
        state: Option<Box<str>>,
        recorder: &Arc<SpanRecorder>,
    ) -> Box<Self> {
        let span = SpanData {
            context,
            parent_span_id: parent.map_or(0, |parent| parent.span_id),
            trace_state: state,
            name,
            kind,
            start_time: now(),
            end_time: 0,
            attributes: Vec::new(),
            events: Vec::new(),
            error: None,
        };
        Box::new(Self {
            recorder: Arc::clone(recorder),
            span,
        })
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
            return Self {
                context: self.context.clone(),
                recording: None,
            };
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
        let state = recording.span.trace_state.clone();
        let child =
            RecordingSpan::new(span, Some(before), (name, kind), state, &recording.recorder);
        Self {
            context: Some(Arc::new(context.with_span(span))),
            recording: Some(child),
        }
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
                time: now(),
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
            span.end_time = now().max(span.start_time);
            if recorder.enqueue(span).is_none() {
                recorder.dropped.increment();
            }
        }
    }
}

impl SpanRecorder {
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

/// Returns the time in nanoseconds since the epoch, until the year 2554.
fn now() -> u64 {
    u64::try_from(OffsetDateTime::now_utc().unix_timestamp_nanos()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
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
