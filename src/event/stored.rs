//! The form in which an event is kept on disk: bytes that are written once and read once for each
//! delivery, with nothing lost: values as they stood in headers, types, forwarded fields, trace.
//! docs/DISK.md describes it for other programs.

use std::sync::Arc;

use ::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::{Buf, Bytes};

use super::trace_context::{BAGGAGE, TRACEPARENT, TRACESTATE};
use super::{AttributeType, ContextAttribute, Event, SpecVersion, TraceContext};

/// Version of the form, the first byte of each event.
const VERSION: u8 = 1;

/// Bits of the second byte.
const IS_V1_0: u8 = 1;
const HAS_CONTENT_TYPE: u8 = 1 << 1;
const HAS_TRACEPARENT: u8 = 1 << 2;
const HAS_TRACESTATE: u8 = 1 << 3;
const HAS_BAGGAGE: u8 = 1 << 4;
const ALL_FLAGS: u8 = (1 << 5) - 1;
/// The fields of the trace context in the order in which they stand, each with its bit.
const TRACE_FIELDS: [(HeaderName, u8); 3] = [
    (TRACEPARENT, HAS_TRACEPARENT),
    (TRACESTATE, HAS_TRACESTATE),
    (BAGGAGE, HAS_BAGGAGE),
];

/// Bytes that are reserved beside an event's texts and data: lengths, types, the `traceparent`.
const BESIDE: usize = 96;
/// Bytes that lengths and type of an attribute take, nearly always.
const PER_ATTRIBUTE: usize = 4;

/// Reason for which bytes are not an event in this form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoredEventError {
    /// The event was written by another version of this program.
    #[error("it is in version {0} of the stored form, and this program reads version {VERSION}")]
    UnknownVersion(u8),
    /// The bytes are no event.
    #[error("it is no event: its {0} cannot be read")]
    Malformed(&'static str),
}

/// Encodes an event as it is kept on disk.
#[must_use]
pub fn encode(event: &Event) -> Bytes {
    let attributes = event.attributes();
    let room = event.length() + BESIDE + attributes.len() * PER_ATTRIBUTE;
    let mut bytes = Vec::with_capacity(room);
    let mut trace = HeaderMap::new();
    if let Some(context) = event.trace() {
        context.write_headers(&mut trace);
    }
    bytes.extend([VERSION, flags_of(event, &trace)]);
    put_varint(&mut bytes, attributes.len());
    for attribute in attributes {
        bytes.push(type_byte(attribute.attribute_type()));
        put_text(&mut bytes, attribute.name().as_bytes());
        put_text(&mut bytes, attribute.value().as_bytes());
    }
    if let Some(content_type) = event.content_type() {
        put_text(&mut bytes, content_type.as_bytes());
    }
    put_varint(&mut bytes, event.forwarded().len());
    for (name, value) in event.forwarded() {
        put_text(&mut bytes, name.as_str().as_bytes());
        put_text(&mut bytes, value.as_bytes());
    }
    for value in TRACE_FIELDS.iter().filter_map(|(name, _)| trace.get(name)) {
        put_text(&mut bytes, value.as_bytes());
    }
    bytes.extend_from_slice(event.data());
    bytes.into()
}

/// Decodes an event that was kept on disk. It shares the memory of `bytes`.
///
/// # Errors
/// If the bytes are no event, or are in a version that is not known.
pub fn decode(mut bytes: Bytes) -> Result<Event, StoredEventError> {
    let version = take_byte(&mut bytes, "version")?;
    if version != VERSION {
        return Err(StoredEventError::UnknownVersion(version));
    }
    let flags = take_byte(&mut bytes, "flags")?;
    if flags & !ALL_FLAGS != 0 {
        return Err(StoredEventError::Malformed("flags"));
    }
    let mut event = Event::empty(if flags & IS_V1_0 != 0 {
        SpecVersion::V1_0
    } else {
        SpecVersion::V0_3
    });
    for _ in 0..take_varint(&mut bytes)? {
        event.attributes.push(take_attribute(&mut bytes)?);
    }
    if flags & HAS_CONTENT_TYPE != 0 {
        event.content_type = Some(take_value(&mut bytes)?);
    }
    for _ in 0..take_varint(&mut bytes)? {
        let name = HeaderName::from_bytes(&take_text(&mut bytes)?);
        let name = name.map_err(|_invalid| StoredEventError::Malformed("forwarded fields"))?;
        event.forwarded.push((name, take_value(&mut bytes)?));
    }
    event.trace = take_trace(&mut bytes, flags)?;
    event.data = bytes;
    Ok(event)
}

fn flags_of(event: &Event, trace: &HeaderMap) -> u8 {
    let beside = [
        (event.spec_version() == SpecVersion::V1_0, IS_V1_0),
        (event.content_type().is_some(), HAS_CONTENT_TYPE),
    ];
    let traced = TRACE_FIELDS.map(|(name, flag)| (trace.contains_key(name), flag));
    let flags = beside.into_iter().chain(traced);
    flags.fold(0, |flags, (is_there, flag)| {
        flags | if is_there { flag } else { 0 }
    })
}

fn type_byte(attribute_type: AttributeType) -> u8 {
    match attribute_type {
        AttributeType::String => 0,
        AttributeType::Integer => 1,
        AttributeType::Boolean => 2,
    }
}

fn put_varint(bytes: &mut Vec<u8>, mut number: usize) {
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or_default();
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}

fn put_text(bytes: &mut Vec<u8>, text: &[u8]) {
    put_varint(bytes, text.len());
    bytes.extend_from_slice(text);
}

fn take_byte(bytes: &mut Bytes, what: &'static str) -> Result<u8, StoredEventError> {
    bytes
        .try_get_u8()
        .map_err(|_short| StoredEventError::Malformed(what))
}

fn take_varint(bytes: &mut Bytes) -> Result<usize, StoredEventError> {
    let mut number = 0;
    for shift in (0..usize::BITS).step_by(7) {
        let byte = take_byte(bytes, "lengths")?;
        number |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(StoredEventError::Malformed("lengths"))
}

fn take_text(bytes: &mut Bytes) -> Result<Bytes, StoredEventError> {
    let length = take_varint(bytes)?;
    if length > bytes.len() {
        return Err(StoredEventError::Malformed("texts"));
    }
    Ok(bytes.split_to(length))
}

fn take_value(bytes: &mut Bytes) -> Result<HeaderValue, StoredEventError> {
    HeaderValue::from_maybe_shared(take_text(bytes)?)
        .map_err(|_invalid| StoredEventError::Malformed("values"))
}

fn take_attribute(bytes: &mut Bytes) -> Result<ContextAttribute, StoredEventError> {
    let attribute_type = match take_byte(bytes, "attributes")? {
        0 => AttributeType::String,
        1 => AttributeType::Integer,
        2 => AttributeType::Boolean,
        _ => return Err(StoredEventError::Malformed("types of attributes")),
    };
    let name = take_text(bytes)?;
    let value = take_value(bytes)?;
    ContextAttribute::from_stored(&name, value, attribute_type)
        .ok_or(StoredEventError::Malformed("names of attributes"))
}

fn take_trace(bytes: &mut Bytes, flags: u8) -> Result<Option<Arc<TraceContext>>, StoredEventError> {
    let mut fields = HeaderMap::new();
    for (name, flag) in TRACE_FIELDS {
        if flags & flag != 0 {
            fields.insert(name, take_value(bytes)?);
        }
    }
    Ok(TraceContext::from_headers(&fields))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn traced() -> HeaderMap {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let fields = [
            (TRACEPARENT, parent),
            (TRACESTATE, "a=b"),
            (BAGGAGE, "user=7"),
        ];
        let fields = fields.map(|(name, text)| (name, HeaderValue::from_static(text)));
        fields.into_iter().collect()
    }

    fn full_event() -> Event {
        let mut event = Event::empty(SpecVersion::V0_3)
            .with_data(
                HeaderValue::from_static("text/plain; charset=utf-8"),
                Bytes::from_static(&[0, 255, 10]),
            )
            .with_forwarded(vec![(
                HeaderName::from_static("x-b3-traceid"),
                HeaderValue::from_static("77"),
            )])
            .with_trace(TraceContext::from_headers(&traced()));
        event.set("id", "1 \u{20ac}");
        event.set("source", "/shop");
        event.set("type", "order");
        event.set_integer("n", -7);
        event.set_typed("urgent", "true", AttributeType::Boolean);
        event
    }

    fn assert_same(event: &Event, again: &Event) {
        assert_eq!(again, event);
        assert_eq!(again.attributes(), event.attributes(), "in their order");
        assert_eq!(again.trace(), event.trace());
    }

    #[test]
    fn nothing_is_lost() {
        for event in [
            Event::new("1", "/s", "t"),
            Event::empty(SpecVersion::V1_0),
            full_event(),
        ] {
            let bytes = encode(&event);
            assert_same(&event, &decode(bytes).expect("an event"));
        }
    }

    /// The form does not change without a new version: files of before are read for ever.
    #[test]
    fn the_form_stays_as_it_is() {
        let mut event = Event::new("1", "/s", "t")
            .with_data(HeaderValue::from_static("a/b"), Bytes::from_static(b"data"));
        event.set_integer("n", 7);
        let written = b"\x01\x03\x04\x00\x02id\x011\x00\x06source\x02/s\x00\x04type\x01t\x01\x01n\x017\x03a/b\x00data";
        assert_eq!(encode(&event), written[..]);
    }

    #[test]
    fn what_is_cut_off_is_refused_or_shorter() {
        let event = full_event();
        let bytes = encode(&event);
        let data = event.data().len();
        for length in 0..bytes.len() - data {
            assert!(decode(bytes.slice(..length)).is_err(), "{length}");
        }
    }

    #[test]
    fn another_version_is_told() {
        let refused = decode(Bytes::from_static(&[9, 1, 0]));
        assert_eq!(refused, Err(StoredEventError::UnknownVersion(9)));
    }

    proptest! {
        #[test]
        fn whatever_is_read_does_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let mut versioned = vec![VERSION];
            versioned.extend(bytes);
            if let Ok(event) = decode(versioned.into()) {
                assert_same(&event, &decode(encode(&event)).expect("an event"));
            }
        }

        #[test]
        fn every_event_comes_back(
            id in any::<String>(),
            names in proptest::collection::vec("[a-z0-9]{1,30}", 0..6),
            value in any::<String>(),
            data in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let mut event = Event::new(&id, "/s", "t").with_data(None, data.into());
            for name in names {
                event.set(&name, &value);
            }
            assert_same(&event, &decode(encode(&event)).expect("an event"));
        }
    }
}
