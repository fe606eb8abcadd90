//! CloudEvents: the event, its attributes, and its two HTTP forms.
//!
//! An [`Event`] keeps what arrived: attribute headers byte for byte and the body as one shared
//! buffer. Meaning (percent-decoding, JSON) is computed where something asks for it. Nothing here
//! does I/O.

mod attribute;
mod attribute_limit;
mod compact;
mod decode_error;
pub mod http;
mod identity;
mod json;
pub(crate) mod knative;
mod near;
mod shown_data;
pub mod stored;
mod trace_context;
mod undecoded;
mod validate;

use std::borrow::Cow;
use std::sync::Arc;

use ::http::{HeaderName, HeaderValue};
use bytes::Bytes;

use identity::CachedIdentity;

pub(crate) use attribute::{
    AttributeType, CONTEXT_ATTRIBUTES, ContextAttribute, PREFIX, REQUIRED_ATTRIBUTES,
    is_attribute_name,
};
pub use attribute_limit::AttributeLimit;
pub(crate) use compact::{CompactEvent, MOST_COMPACT};
pub(crate) use decode_error::DecodeError;
pub(crate) use near::{differs_little, nearly};
pub(crate) use shown_data::MOST_SHOWN;
pub use shown_data::ShownData;
pub(crate) use trace_context::{BAGGAGE, TRACEPARENT, TRACESTATE, TraceContext};
pub(crate) use undecoded::{UndecodedMessage, announced_event};

/// Version of the CloudEvents specification that an event follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpecVersion {
    /// CloudEvents 0.3: accepted, and sent on as 0.3 (contract CR-16, DP-9).
    V0_3,
    /// CloudEvents 1.0, the version of almost all events.
    V1_0,
}

impl SpecVersion {
    /// Value of the `specversion` attribute.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::V0_3 => "0.3",
            Self::V1_0 => "1.0",
        }
    }

    /// Parses a `specversion`; `None` if it is not one of the supported versions.
    #[must_use]
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "1.0" => Some(Self::V1_0),
            "0.3" => Some(Self::V0_3),
            _ => None,
        }
    }
}

/// Value that lives as long as an event does: a share of a memory budget, given back when the event
/// is gone.
pub(crate) type EventGuard = Arc<dyn Send + Sync>;

/// Number of attributes that a new event has room for.
const PLACES: usize = 12;

/// Largest size in bytes of data that are copied by [`Event::owned_copy`].
const COPIED: usize = 16 * 1024;

/// Copies a header value into memory of its own.
fn copy_header_value(value: &HeaderValue) -> HeaderValue {
    let Ok(mut copy) = HeaderValue::from_bytes(value.as_bytes()) else {
        return value.clone();
    };
    copy.set_sensitive(value.is_sensitive());
    copy
}

/// A CloudEvent, with the header fields and the trace context that travel beside it.
#[derive(Clone)]
pub struct Event {
    spec_version: SpecVersion,
    /// Attributes except `specversion` and `datacontenttype`, in the order of arrival, each name
    /// once.
    attributes: Vec<ContextAttribute>,
    /// The attribute `datacontenttype`, the only one that travels as another header.
    content_type: Option<HeaderValue>,
    data: Bytes,
    forwarded: Vec<(HeaderName, HeaderValue)>,
    guard: Option<EventGuard>,
    trace: Option<Arc<TraceContext>>,
    identity: CachedIdentity,
}

impl Event {
    /// Makes an event with the three required attributes, empty data and nothing else.
    #[must_use]
    pub fn new(id: &str, source: &str, ty: &str) -> Self {
        let mut event = Self::empty(SpecVersion::V1_0);
        event.set("id", id);
        event.set("source", source);
        event.set("type", ty);
        event
    }

    /// Makes an event without any attribute; it is valid only when the required ones are set.
    #[must_use]
    pub(crate) fn empty(spec_version: SpecVersion) -> Self {
        Self {
            spec_version,
            attributes: Vec::with_capacity(PLACES),
            content_type: None,
            data: Bytes::new(),
            forwarded: Vec::new(),
            guard: None,
            trace: None,
            identity: CachedIdentity::default(),
        }
    }

    /// Sets the data and their media type, if it is known.
    #[must_use]
    pub(crate) fn with_data(
        mut self,
        content_type: impl Into<Option<HeaderValue>>,
        data: Bytes,
    ) -> Self {
        self.content_type = content_type.into();
        self.data = data;
        self
    }

    /// Copies the event into memory of its own. An event that was read from a request holds the
    /// buffer that it was read into, 8 KiB at least, however small it is: too much for one that
    /// waits. Large data are not copied.
    #[must_use]
    pub(crate) fn owned_copy(mut self) -> Self {
        self.attributes
            .iter_mut()
            .for_each(ContextAttribute::own_memory);
        self.content_type = self.content_type.as_ref().map(copy_header_value);
        self.forwarded
            .iter_mut()
            .for_each(|(_, value)| *value = copy_header_value(value));
        self.trace = self
            .trace
            .as_deref()
            .map(|trace| Arc::new(trace.owned_copy()));
        if self.data.len() <= COPIED {
            self.data = Bytes::copy_from_slice(&self.data);
        }
        self
    }

    /// Adds a guard, which is kept alive as long as the event and its clones.
    #[must_use]
    pub(crate) fn with_guard(mut self, guard: EventGuard) -> Self {
        self.guard = Some(guard);
        self
    }

    /// True if the event has a guard.
    #[must_use]
    pub(crate) fn has_guard(&self) -> bool {
        self.guard.is_some()
    }

    /// Approximate size of the event in bytes: its data, and everything beside them.
    #[must_use]
    pub(crate) fn length(&self) -> usize {
        self.data.len() + self.metadata_length()
    }

    /// Approximate size in bytes of everything beside the data: attributes and forwarded fields.
    #[must_use]
    pub(crate) fn metadata_length(&self) -> usize {
        // Most events have no more attributes than [`PLACES`], which the size of every event
        // includes.
        let places = self.attributes.len().saturating_sub(PLACES) * size_of::<ContextAttribute>();
        let attributes: usize = self.attributes.iter().map(ContextAttribute::length).sum();
        places
            + attributes
            + self
                .forwarded
                .iter()
                .map(|(_, value)| value.len())
                .sum::<usize>()
    }

    /// Sets the trace context, which is not a part of the event itself.
    #[must_use]
    pub(crate) fn with_trace(mut self, trace: Option<Arc<TraceContext>>) -> Self {
        self.trace = trace;
        self
    }

    /// Replaces the trace context from now on.
    pub(crate) fn set_trace(&mut self, trace: Option<Arc<TraceContext>>) {
        self.trace = trace;
    }

    /// Trace context of the event, as its last sender has set it.
    #[must_use]
    pub fn trace(&self) -> Option<&Arc<TraceContext>> {
        self.trace.as_ref()
    }

    /// Version of the specification that the event follows.
    #[must_use]
    pub(crate) fn spec_version(&self) -> SpecVersion {
        self.spec_version
    }

    /// Attributes except `specversion` and `datacontenttype`, in wire form.
    #[must_use]
    pub fn attributes(&self) -> &[ContextAttribute] {
        &self.attributes
    }

    /// Meaning of one attribute, core or extension; `None` if it is not set. `name` is lower-case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        match name {
            "specversion" => Some(Cow::Borrowed(self.spec_version.as_str())),
            "datacontenttype" => self
                .content_type
                .as_ref()
                .map(|value| String::from_utf8_lossy(value.as_bytes())),
            _ => self.attribute(name).map(ContextAttribute::text),
        }
    }

    /// Attribute of that name in wire form, unless it is `specversion` or `datacontenttype`.
    #[must_use]
    pub(crate) fn attribute(&self, name: &str) -> Option<&ContextAttribute> {
        self.attributes
            .iter()
            .find(|attribute| attribute.name() == name)
    }

    /// The `id` attribute, empty if it is missing (possible only in a reply that was not
    /// validated).
    #[must_use]
    pub(crate) fn id(&self) -> Cow<'_, str> {
        self.get("id").unwrap_or_default()
    }

    /// The `datacontenttype` attribute, if it is set.
    #[must_use]
    pub(crate) fn content_type(&self) -> Option<&HeaderValue> {
        self.content_type.as_ref()
    }

    /// Data of the event; empty if there are none.
    #[must_use]
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// Header fields beside the event that Knative forwards with it (contract CR-29).
    #[must_use]
    pub(crate) fn forwarded(&self) -> &[(HeaderName, HeaderValue)] {
        &self.forwarded
    }

    /// Sets an attribute to a string; a `name` that is not valid changes nothing.
    pub fn set(&mut self, name: &str, text: &str) {
        self.set_typed(name, text, AttributeType::String);
    }

    /// Sets an attribute to an integer; a `name` that is not valid changes nothing.
    pub(crate) fn set_integer(&mut self, name: &str, value: i32) {
        self.set_typed(name, &value.to_string(), AttributeType::Integer);
    }

    /// Replaces the header fields beside the event by those of these that Knative forwards
    /// (contract CR-29); others are dropped.
    #[must_use]
    pub(crate) fn with_forwarded(mut self, mut forwarded: Vec<(HeaderName, HeaderValue)>) -> Self {
        forwarded.retain(|(name, _)| knative::is_forwarded(name));
        self.forwarded = forwarded;
        self
    }

    /// Removes an attribute, if it is set.
    pub(crate) fn remove(&mut self, name: &str) {
        self.identity.clear();
        self.attributes.retain(|attribute| attribute.name() != name);
    }

    /// Sets an attribute to a value of this type, as text; a `name` that is not valid changes
    /// nothing.
    pub(crate) fn set_typed(&mut self, name: &str, text: &str, kind: AttributeType) {
        self.identity.clear();
        if let Some(attribute) = self
            .attributes
            .iter_mut()
            .find(|attribute| attribute.name() == name)
        {
            attribute.set_text(text, kind);
        } else if let Some(attribute) = ContextAttribute::from_text(name, text, kind) {
            self.attributes.push(attribute);
        }
    }

    /// True if `datacontenttype` declares JSON: subtype `json` or a `+json` suffix (JSON format
    /// §3.1.1).
    fn declares_json(&self) -> bool {
        self.content_type
            .as_ref()
            .and_then(|value| value.to_str().ok())
            .is_some_and(is_json)
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
    /// Compares attributes (in any order), data and forwarded fields, but neither guards nor trace
    /// contexts.
    fn eq(&self, other: &Self) -> bool {
        self.spec_version == other.spec_version
            && self.content_type == other.content_type
            && self.data == other.data
            && self.forwarded == other.forwarded
            && self.attributes.len() == other.attributes.len()
            && self
                .attributes
                .iter()
                .all(|attribute| other.attribute(attribute.name()) == Some(attribute))
    }
}

/// Media type of a `Content-Type`, without parameters and surrounding blanks.
fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

fn is_json(content_type: &str) -> bool {
    let media_type = media_type(content_type);
    let Some((_, subtype)) = media_type.split_once('/') else {
        return false;
    };
    subtype.eq_ignore_ascii_case("json")
        || subtype
            .rsplit_once('+')
            .is_some_and(|(_, suffix)| suffix.eq_ignore_ascii_case("json"))
}
