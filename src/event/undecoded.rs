//! What is known of events that could not be decoded, for whoever asks where they are.

use http::{HeaderMap, HeaderName};

use super::attribute::{ContextAttribute, PREFIX};
use super::{DecodeError, Event, SpecVersion, validate};

/// Header fields of what an event is named by.
const ANNOUNCED: [HeaderName; 3] = [
    HeaderName::from_static("ce-id"),
    HeaderName::from_static("ce-source"),
    HeaderName::from_static("ce-type"),
];

/// A message that is no valid event or batch, with what could be read of its events: for whoever
/// is asked for them.
#[derive(Debug)]
pub(crate) struct UndecodedMessage {
    /// Why it is none.
    pub(crate) error: DecodeError,
    /// The events as far as they were read; what is missing is not set.
    pub(crate) events: Vec<Event>,
}

impl UndecodedMessage {
    pub(super) fn new(error: DecodeError, event: Event) -> Box<Self> {
        let events = vec![event];
        Box::new(Self { error, events })
    }
}

/// The event that header fields announce in binary mode, as far as its name goes: id, source and
/// type.
pub(crate) fn announced_event(headers: &HeaderMap) -> Event {
    let mut event = Event::empty(SpecVersion::V1_0);
    for name in ANNOUNCED {
        let value = headers.get(&name).filter(|value| {
            let attribute = name.as_str().get(PREFIX.len()..).unwrap_or_default();
            !value.is_empty() && validate::header(attribute, value).is_ok()
        });
        if let Some(value) = value {
            let attribute = ContextAttribute::from_header(name, value.clone());
            event.attributes.push(attribute);
        }
    }
    event
}
