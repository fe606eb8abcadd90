//! Validation of events: required attributes and the types of the core ones (contract CR-17,
//! CR-18).

use std::borrow::Cow;

use http::HeaderValue;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use url::Url;

use super::attribute::{self, ContextAttribute};
use super::{DecodeError, Event, SpecVersion, is_attribute_name, media_type};
use crate::wire_text::WireText;

/// Checks one `ce-` header as it arrives: its name must be allowed and its value be text.
pub(super) fn header(name: &str, value: &HeaderValue) -> Result<(), DecodeError> {
    if !is_attribute_name(name) {
        return Err(DecodeError::InvalidName(WireText::new(name)));
    }
    if name == "datacontenttype" {
        return Err(DecodeError::invalid(
            name,
            "in binary mode it is the Content-Type header; send no ce-datacontenttype",
        ));
    }
    match attribute::decode_header_value(value) {
        Ok(_) => Ok(()),
        Err(_) => Err(DecodeError::invalid(name, "it does not decode to UTF-8")),
    }
}

/// Checks a whole event.
///
/// # Errors
/// If a required attribute is missing, or an attribute has a value that is not of its type.
pub(super) fn event(event: &Event) -> Result<(), DecodeError> {
    for name in ["id", "source", "type"] {
        let text = event.get(name).ok_or(DecodeError::Missing(name))?;
        if text.trim().is_empty() {
            return Err(DecodeError::Missing(name));
        }
    }
    for attribute in event.attributes() {
        check_core_attribute(event.spec_version(), attribute)?;
    }
    event.content_type().map_or(Ok(()), check_content_type)
}

fn check_core_attribute(
    version: SpecVersion,
    attribute: &ContextAttribute,
) -> Result<(), DecodeError> {
    let valid = match attribute.name() {
        "time" => is_timestamp(&attribute.text()),
        "source" => is_uri_reference(&raw_text(attribute)),
        "dataschema" => is_absolute_uri(&attribute.text()),
        "schemaurl" if version == SpecVersion::V0_3 => is_uri_reference(&raw_text(attribute)),
        _ => true,
    };
    if valid {
        Ok(())
    } else {
        Err(DecodeError::invalid(
            attribute.name(),
            expected(attribute.name()),
        ))
    }
}

fn expected(name: &str) -> &'static str {
    match name {
        "time" => {
            "it must be an RFC 3339 timestamp such as 2026-01-31T12:00:00Z, with T and Z in \
             upper case and no second 60"
        }
        "dataschema" => "it must be an absolute URI",
        _ => "it must be a URI-reference",
    }
}

/// True for a timestamp that every recipient can read. Of what RFC 3339, 5.6, leaves to
/// applications, Go's parser, which upstream and most subscribers use, refuses all: lower case, a
/// blank instead of `T`, and leap seconds.
fn is_timestamp(text: &str) -> bool {
    let is_strict = |bytes: &[u8]| {
        bytes.get(10) == Some(&b'T') && bytes.get(17..19) != Some(b"60") && !bytes.ends_with(b"z")
    };
    is_strict(text.as_bytes()) && OffsetDateTime::parse(text, &Rfc3339).is_ok()
}

/// Value as it stands in the header: a URI that was not percent-encoded a second time by its sender
/// (as Go's SDK does not) must not be judged by what is left after decoding.
fn raw_text(attribute: &ContextAttribute) -> Cow<'_, str> {
    String::from_utf8_lossy(attribute.value().as_bytes())
}

/// True for a URI-reference as Go's parser sees it (contract CR-18): no control characters, percent
/// signs only before two hexadecimal digits. Everything else, such as blanks, is allowed: the value
/// is passed on and not used here.
fn is_uri_reference(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.iter().enumerate().all(|(at, byte)| match byte {
        b'%' => is_hex(bytes.get(at + 1)) && is_hex(bytes.get(at + 2)),
        _ => !byte.is_ascii_control(),
    })
}

fn is_hex(byte: Option<&u8>) -> bool {
    byte.is_some_and(u8::is_ascii_hexdigit)
}

fn is_absolute_uri(text: &str) -> bool {
    Url::parse(text).is_ok()
}

fn check_content_type(value: &HeaderValue) -> Result<(), DecodeError> {
    let text = value.to_str().unwrap_or_default();
    let is_token = |part: &str| !part.is_empty() && part.bytes().all(is_token_byte);
    let valid = media_type(text)
        .split_once('/')
        .is_some_and(|(main, sub)| is_token(main) && is_token(sub));
    if valid {
        Ok(())
    } else {
        Err(DecodeError::invalid(
            "datacontenttype",
            "the content type must be a media type such as application/json",
        ))
    }
}

/// True for a character of a token (RFC 9110 §5.6.2).
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_those_that_everybody_reads() {
        for text in [
            "2026-01-31T12:00:00Z",
            "2026-01-31T12:00:00.123456789Z",
            "2026-01-31T12:00:00+01:30",
            "2026-01-31T12:00:59-00:00",
            "0001-01-01T00:00:00Z",
        ] {
            assert!(is_timestamp(text), "{text}");
        }
        for text in [
            "",
            "2026-01-31",
            "2026-01-31 12:00:00Z",
            "2026-01-31t12:00:00Z",
            "2026-01-31T12:00:00z",
            "2026-06-30T23:59:60Z",
            "2026-13-01T00:00:00Z",
            "2026-01-31T12:00:00",
            "2026-01-31T12:00:00Z ",
            "2026-01-31T12:00Z",
            "\u{661}026-01-31T12:00:00Z",
        ] {
            assert!(!is_timestamp(text), "{text}");
        }
    }
}
