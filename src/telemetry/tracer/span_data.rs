//! What is recorded of a span: its attributes, its events, its times.

use std::borrow::Cow;

use crate::event::{SpanContext, TraceContext};
use crate::telemetry::unix_time::unix_nanos;
use crate::wire_text::truncate;

/// Longest text of an attribute in bytes.
pub(super) const LONGEST: usize = 1024;
/// Longest `tracestate` in bytes that is kept: as much as W3C asks to pass on (Trace Context
/// 3.3.1.5).
pub(super) const LONGEST_STATE: usize = 512;

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
    /// Makes the data of a span that starts now, and has no parent yet.
    pub(super) fn start(name: &'static str, kind: SpanKind, context: SpanContext) -> Self {
        Self {
            context,
            parent_span_id: 0,
            trace_state: None,
            name,
            kind,
            start_time: unix_nanos(),
            end_time: 0,
            attributes: Vec::new(),
            events: Vec::new(),
            error: None,
        }
    }

    /// Returns about how many bytes of memory it takes.
    pub(super) fn held_bytes(&self) -> usize {
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

/// Returns the `tracestate` unless it is too long, in memory of its own: the header field holds the
/// buffer that it was read into.
pub(super) fn kept_trace_state(context: &TraceContext) -> Option<Box<str>> {
    let state = context
        .tracestate
        .as_ref()
        .filter(|state| state.len() <= LONGEST_STATE)?;
    state.to_str().ok().map(Into::into)
}
