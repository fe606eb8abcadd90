//! CloudEvents: the event, its attributes, and its two HTTP forms.
//!
//! An [`Event`] keeps what arrived: attribute headers byte for byte and the body as one shared buffer. Meaning
//! (percent-decoding, JSON) is computed where something asks for it. Nothing here does I/O.

mod attribute;
mod attribute_limit;
mod decode_error;
pub mod http;
mod json;
pub mod knative;
mod near;
mod trace_context;
mod validate;

use std::borrow::Cow;
use std::sync::Arc;

use ::http::{HeaderName, HeaderValue};
use bytes::Bytes;

pub use attribute::{AttributeType, ContextAttribute, PREFIX, is_attribute_name};
pub use attribute_limit::AttributeLimit;
pub use decode_error::DecodeError;
pub use near::{differs_little, nearly};
pub use trace_context::{BAGGAGE, SpanContext, TRACEPARENT, TRACESTATE, TraceContext};

/// The version of the CloudEvents specification that an event follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpecVersion {
    /// CloudEvents 0.3: accepted, and sent on as 0.3 (contract CR-16, DP-9).
    V0_3,
    /// CloudEvents 1.0.
    V1_0,
}

impl SpecVersion {
    /// The value of the `specversion` attribute.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V0_3 => "0.3",
            Self::V1_0 => "1.0",
        }
    }

    /// Reads a `specversion`; `None` if it is not one of ours.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "1.0" => Some(Self::V1_0),
            "0.3" => Some(Self::V0_3),
            _ => None,
        }
    }
}

/// Something that lives as long as an event does: a share of a memory budget, given back when the event is gone.
pub type EventGuard = Arc<dyn Send + Sync>;

/// Attributes that there is room for from the beginning.
const PLACES: usize = 12;

/// Data that are no larger are copied by [`Event::detached`].
const COPIED: usize = 16 * 1024;

/// The same value in memory of its own.
fn copy_header_value(value: &HeaderValue) -> HeaderValue {
    let Ok(mut copy) = HeaderValue::from_bytes(value.as_bytes()) else { return value.clone() };
    copy.set_sensitive(value.is_sensitive());
    copy
}

/// A CloudEvent.
#[derive(Clone)]
pub struct Event {
    spec_version: SpecVersion,
    /// Every attribute but `specversion` and `datacontenttype`, in the order of arrival, each name once.
    attributes: Vec<ContextAttribute>,
    /// `datacontenttype`, the one attribute that travels as another header.
    content_type: Option<HeaderValue>,
    data: Bytes,
    forwarded: Vec<(HeaderName, HeaderValue)>,
    guard: Option<EventGuard>,
    trace: Option<Arc<TraceContext>>,
}

impl Event {
    /// An event with the three required attributes, empty data and nothing else.
    #[must_use]
    pub fn new(id: &str, source: &str, ty: &str) -> Self {
        let mut event = Self::empty(SpecVersion::V1_0);
        event.set("id", id);
        event.set("source", source);
        event.set("type", ty);
        event
    }

    /// An event without any attribute; it is valid only when the required ones are set.
    #[must_use]
    pub fn empty(spec_version: SpecVersion) -> Self {
        Self {
            spec_version,
            attributes: Vec::with_capacity(PLACES),
            content_type: None,
            data: Bytes::new(),
            forwarded: Vec::new(),
            guard: None,
            trace: None,
        }
    }

    /// The same event with these data and their media type, if it is known.
    #[must_use]
    pub fn with_data(mut self, content_type: impl Into<Option<HeaderValue>>, data: Bytes) -> Self {
        self.content_type = content_type.into();
        self.data = data;
        self
    }

    /// The same event in memory of its own. One that was read from a request holds the buffer that it was read into,
    /// 8 KiB at least, however small it is: too much for one that waits. Large data stay where they are.
    #[must_use]
    pub fn owned_copy(mut self) -> Self {
        self.attributes.iter_mut().for_each(ContextAttribute::own_memory);
        self.content_type = self.content_type.as_ref().map(copy_header_value);
        self.forwarded.iter_mut().for_each(|(_, value)| *value = copy_header_value(value));
        self.trace = self.trace.as_deref().map(|trace| Arc::new(trace.owned_copy()));
        if self.data.len() <= COPIED {
            self.data = Bytes::copy_from_slice(&self.data);
        }
        self
    }

    /// The same event, keeping `lease` alive as long as itself and its clones.
    #[must_use]
    pub fn with_guard(mut self, lease: EventGuard) -> Self {
        self.guard = Some(lease);
        self
    }

    /// Whether something is kept alive by it.
    #[must_use]
    pub fn has_guard(&self) -> bool {
        self.guard.is_some()
    }

    /// About how many bytes it has: its data, and what stands beside them.
    #[must_use]
    pub fn length(&self) -> usize {
        self.data.len() + self.metadata_length()
    }

    /// About how many bytes stand beside its data: its attributes, and what is forwarded with it.
    #[must_use]
    pub fn metadata_length(&self) -> usize {
        // Most events have no more attributes than what is reckoned for every event has room for.
        let places = self.attributes.len().saturating_sub(PLACES) * size_of::<ContextAttribute>();
        let attributes: usize = self.attributes.iter().map(ContextAttribute::length).sum();
        places + attributes + self.forwarded.iter().map(|(_, value)| value.len()).sum::<usize>()
    }

    /// The same event, of this trace; it is not part of what the event is.
    #[must_use]
    pub fn with_trace(mut self, trace: Option<Arc<TraceContext>>) -> Self {
        self.trace = trace;
        self
    }

    /// It is of this trace from now on.
    pub fn set_trace(&mut self, trace: Option<Arc<TraceContext>>) {
        self.trace = trace;
    }

    /// The trace that it belongs to, as whoever sent it last tells.
    #[must_use]
    pub fn trace(&self) -> Option<&Arc<TraceContext>> {
        self.trace.as_ref()
    }

    /// The version of the specification that the event follows.
    #[must_use]
    pub fn spec_version(&self) -> SpecVersion {
        self.spec_version
    }

    /// The attributes but `specversion` and `datacontenttype`, in wire form.
    #[must_use]
    pub fn attributes(&self) -> &[ContextAttribute] {
        &self.attributes
    }

    /// The meaning of one attribute, core or extension; `None` if it is not set. `name` is lower-case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        match name {
            "specversion" => Some(Cow::Borrowed(self.spec_version.as_str())),
            "datacontenttype" => self.content_type.as_ref().map(|value| String::from_utf8_lossy(value.as_bytes())),
            _ => self.attribute(name).map(ContextAttribute::text),
        }
    }

    /// The attribute of that name in wire form, unless it is `specversion` or `datacontenttype`.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&ContextAttribute> {
        self.attributes.iter().find(|attribute| attribute.name() == name)
    }

    /// The `id` attribute, empty if it is missing (possible only in a reply that was not validated).
    #[must_use]
    pub fn id(&self) -> Cow<'_, str> {
        self.get("id").unwrap_or_default()
    }

    /// The `datacontenttype` attribute.
    #[must_use]
    pub fn content_type(&self) -> Option<&HeaderValue> {
        self.content_type.as_ref()
    }

    /// The payload; empty if there is none.
    #[must_use]
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// The headers beside the event that Knative forwards with it (contract CR-29).
    #[must_use]
    pub fn forwarded(&self) -> &[(HeaderName, HeaderValue)] {
        &self.forwarded
    }

    /// Sets an attribute to a string; a `name` that is not valid changes nothing.
    pub fn set(&mut self, name: &str, text: &str) {
        self.set_typed(name, text, AttributeType::String);
    }

    /// Sets an attribute to an integer; a `name` that is not valid changes nothing.
    pub fn set_integer(&mut self, name: &str, value: i32) {
        self.set_typed(name, &value.to_string(), AttributeType::Integer);
    }

    /// The same event, with those of these headers beside it, instead of its own, that Knative forwards (contract
    /// CR-29); others are dropped.
    #[must_use]
    pub fn with_forwarded(mut self, mut forwarded: Vec<(HeaderName, HeaderValue)>) -> Self {
        forwarded.retain(|(name, _)| knative::is_forwarded(name));
        self.forwarded = forwarded;
        self
    }

    /// Removes an attribute.
    pub fn remove(&mut self, name: &str) {
        self.attributes.retain(|attribute| attribute.name() != name);
    }

    /// Sets an attribute to a value of this kind, as text; a `name` that is not valid changes nothing.
    pub fn set_typed(&mut self, name: &str, text: &str, kind: AttributeType) {
        if let Some(attribute) = self.attributes.iter_mut().find(|attribute| attribute.name() == name) {
            attribute.set_text(text, kind);
        } else if let Some(attribute) = ContextAttribute::from_text(name, text, kind) {
            self.attributes.push(attribute);
        }
    }

    /// Whether `datacontenttype` declares JSON: subtype `json` or a `+json` suffix (JSON format §3.1.1).
    fn declares_json(&self) -> bool {
        self.content_type.as_ref().and_then(|value| value.to_str().ok()).is_some_and(is_json)
    }
}

impl std::fmt::Debug for Event {
    /// Names the event without showing data or extensions, which may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Event")
            .field("id", &self.id())
            .field("source", &self.get("source"))
            .field("type", &self.get("type"))
            .field("data_bytes", &self.data.len())
            .finish_non_exhaustive()
    }
}

impl Eq for Event {}

impl PartialEq for Event {
    /// Same attributes (in any order), same data, same forwarded headers; what keeps the event alive, and its trace, are not compared.
    fn eq(&self, other: &Self) -> bool {
        self.spec_version == other.spec_version
            && self.content_type == other.content_type
            && self.data == other.data
            && self.forwarded == other.forwarded
            && self.attributes.len() == other.attributes.len()
            && self.attributes.iter().all(|attribute| other.attribute(attribute.name()) == Some(attribute))
    }
}

/// The media type of a `Content-Type`, without parameters and surrounding blanks.
fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

fn is_json(content_type: &str) -> bool {
    let media_type = media_type(content_type);
    let Some((_, subtype)) = media_type.split_once('/') else { return false };
    subtype.eq_ignore_ascii_case("json")
        || subtype.rsplit_once('+').is_some_and(|(_, suffix)| suffix.eq_ignore_ascii_case("json"))
}
