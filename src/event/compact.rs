//! The attributes of an event in few bytes, for whoever keeps those of many events: one block
//! without pointers, written without allocating, and read only when somebody asks.

use std::borrow::Cow;

use ::http::HeaderValue;

use super::attribute::{AttributeType, ContextAttribute, decode_header_value};
use super::{Event, REQUIRED_ATTRIBUTES, SpecVersion};
use crate::wire_text::truncate;

/// Largest size in bytes of what is written of one event.
pub(crate) const MOST_COMPACT: usize = 1024;
/// Largest size in bytes of a required attribute of an event that does not fit as a whole.
const LONGEST_CUT: usize = 256;
/// Bytes before the name of an attribute: type and length of the name, length of the value.
const HEAD: usize = 3;
/// Longest name; the two bits above it are for the type.
const LONGEST_NAME: usize = 63;
/// The first byte of what is written: of which version the event is, and whether all of its
/// attributes follow.
const IS_V0_3: u8 = 1;
const IS_CUT: u8 = 2;

/// Attributes of an event, as [`Event::write_compact`] has written them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CompactEvent<'b>(pub(crate) &'b [u8]);

/// One attribute in its written form.
struct CompactAttribute<'b> {
    name: &'b str,
    value: &'b [u8],
    attribute_type: AttributeType,
}

impl Event {
    /// Appends the attributes, in [`MOST_COMPACT`] bytes at most. Of an event that is longer, what
    /// every event has is kept, cut if need be, and the rest is left out.
    pub(crate) fn write_compact(&self, to: &mut Vec<u8>) {
        let content_type = self.content_type().map(HeaderValue::as_bytes);
        let of_type = content_type.map_or(0, |value| HEAD + "datacontenttype".len() + value.len());
        let sizes = self
            .attributes
            .iter()
            .map(|attribute| HEAD + attribute.length());
        let is_whole = 1 + of_type + sizes.sum::<usize>() <= MOST_COMPACT
            && self
                .attributes
                .iter()
                .all(|one| one.name().len() <= LONGEST_NAME);
        let version = u8::from(self.spec_version == SpecVersion::V0_3) * IS_V0_3;
        to.push(version | if is_whole { 0 } else { IS_CUT });
        for attribute in &self.attributes {
            let (name, mut value) = (attribute.name(), attribute.value().as_bytes());
            if !is_whole {
                if !REQUIRED_ATTRIBUTES.contains(&name) {
                    continue;
                }
                value = value.get(..LONGEST_CUT).unwrap_or(value);
            }
            push(to, name, value, attribute.attribute_type());
        }
        if let Some(value) = content_type.filter(|_| is_whole) {
            push(to, "datacontenttype", value, AttributeType::String);
        }
    }
}

fn push(to: &mut Vec<u8>, name: &str, value: &[u8], attribute_type: AttributeType) {
    let kind: u8 = match attribute_type {
        AttributeType::String => 0,
        AttributeType::Integer => 1,
        AttributeType::Boolean => 2,
    };
    let (Ok(name_length), Ok(length)) = (u8::try_from(name.len()), u16::try_from(value.len()))
    else {
        return;
    };
    let [low, high] = length.to_le_bytes();
    to.extend_from_slice(&[kind << 6 | name_length, low, high]);
    to.extend_from_slice(name.as_bytes());
    to.extend_from_slice(value);
}

impl<'b> CompactEvent<'b> {
    /// True if attributes were left out or cut.
    pub(crate) fn is_cut(self) -> bool {
        self.0.first().is_some_and(|first| first & IS_CUT != 0)
    }

    /// Meaning of an attribute; empty if it is not set.
    pub(crate) fn text(self, name: &str) -> Cow<'b, str> {
        let found = self.attributes().find(|attribute| attribute.name == name);
        found.map_or(Cow::Borrowed(""), |attribute| attribute.text())
    }

    /// Names and meanings of all attributes except the version, in the order of arrival.
    pub(crate) fn texts(self) -> impl Iterator<Item = (&'b str, Cow<'b, str>)> {
        self.attributes()
            .map(|attribute| (attribute.name, attribute.text()))
    }

    /// The event, without data.
    pub(crate) fn to_event(self) -> Event {
        let is_old = self.0.first().is_some_and(|first| first & IS_V0_3 != 0);
        let mut event = Event::empty(if is_old {
            SpecVersion::V0_3
        } else {
            SpecVersion::V1_0
        });
        for attribute in self.attributes() {
            let Ok(value) = HeaderValue::from_bytes(attribute.value) else {
                continue;
            };
            if attribute.name == "datacontenttype" {
                event.content_type = Some(value);
                continue;
            }
            let (name, kind) = (attribute.name.as_bytes(), attribute.attribute_type);
            event
                .attributes
                .extend(ContextAttribute::from_stored(name, value, kind));
        }
        event
    }

    fn attributes(self) -> impl Iterator<Item = CompactAttribute<'b>> {
        let mut rest = self.0.get(1..).unwrap_or_default();
        std::iter::from_fn(move || {
            let (head, after) = rest.split_first_chunk::<HEAD>()?;
            let [kind, low, high] = *head;
            let (name, after) = after.split_at_checked(usize::from(kind & 0x3f))?;
            let (value, after) =
                after.split_at_checked(usize::from(u16::from_le_bytes([low, high])))?;
            rest = after;
            Some(CompactAttribute {
                name: std::str::from_utf8(name).ok()?,
                value,
                attribute_type: match kind >> 6 {
                    1 => AttributeType::Integer,
                    2 => AttributeType::Boolean,
                    _ => AttributeType::String,
                },
            })
        })
    }
}

impl<'b> CompactAttribute<'b> {
    fn text(&self) -> Cow<'b, str> {
        let Ok(text) = std::str::from_utf8(self.value) else {
            return String::from_utf8_lossy(self.value);
        };
        // Not `any`, which looks at one byte after the other.
        let is_encoded = self.value.iter().fold(false, |found, byte| {
            found | (*byte == b'%') | (*byte == b'"')
        });
        if !is_encoded || self.name == "datacontenttype" {
            return Cow::Borrowed(text);
        }
        let decoded = HeaderValue::from_bytes(self.value).ok();
        let decoded = decoded
            .as_ref()
            .and_then(|value| decode_header_value(value).ok().map(Cow::into_owned));
        decoded.map_or(Cow::Borrowed(truncate(text, MOST_COMPACT)), Cow::Owned)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn compact(event: &Event) -> Vec<u8> {
        let mut bytes = Vec::new();
        event.write_compact(&mut bytes);
        bytes
    }

    #[test]
    fn what_is_written_is_read() {
        let mut event = Event::new("ä \"1\" 100%", "/s", "t")
            .with_data(HeaderValue::from_static("text/plain"), Bytes::new());
        event.set_integer("n", -5);
        event.set_typed("b", "true", AttributeType::Boolean);
        let bytes = compact(&event);
        let read = CompactEvent(&bytes);
        assert!(!read.is_cut());
        assert_eq!(read.to_event(), event);
        assert_eq!(read.text("id"), "ä \"1\" 100%");
        assert_eq!(read.text("n"), "-5");
        assert_eq!(read.text("none"), "");
        assert_eq!(read.texts().count(), 6);
    }

    #[test]
    fn a_long_event_is_cut_to_what_every_event_has() {
        let mut event = Event::new(&"i".repeat(5000), "/s", "t");
        event.set("other", &"o".repeat(5000));
        let bytes = compact(&event);
        assert!(bytes.len() <= MOST_COMPACT);
        let read = CompactEvent(&bytes);
        assert!(read.is_cut());
        assert_eq!(read.text("id"), "i".repeat(LONGEST_CUT));
        assert_eq!((&*read.text("source"), &*read.text("type")), ("/s", "t"));
        assert_eq!(read.text("other"), "");
        // However it is torn, it is read as far as it goes.
        for length in 0..bytes.len() {
            drop(CompactEvent(bytes.get(..length).expect("shorter")).to_event());
        }
    }
}
