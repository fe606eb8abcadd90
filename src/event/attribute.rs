//! One CloudEvents context attribute, kept in the form it has on the wire: the header it travels in
//! by the HTTP protocol binding, so that what arrives in binary mode and leaves in binary mode is
//! never re-encoded.
//!
//! It knows the binding's percent-encoding and nothing of whole events.

use std::borrow::Cow;
use std::str::Utf8Error;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// Prefix of the headers that carry context attributes (HTTP protocol binding §3.1.3.1).
pub(crate) const PREFIX: &str = "ce-";

/// Names of the context attributes of CloudEvents (CloudEvents 1.0 §3.1); every other one is an
/// extension.
pub(crate) const CONTEXT_ATTRIBUTES: [&str; 8] = [
    "type",
    "source",
    "subject",
    "id",
    "time",
    "datacontenttype",
    "dataschema",
    "specversion",
];

/// Names of the context attributes that every event has, and that are never empty (CloudEvents 1.0
/// §3.1.1).
pub(crate) const REQUIRED_ATTRIBUTES: [&str; 4] = ["id", "source", "specversion", "type"];

/// Characters that HTTP protocol binding §3.1.3.2 requires to be percent-encoded, besides
/// everything outside U+0021–U+007E.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// Type that a value had where it was read; headers carry strings only, while the JSON format tells
/// three types apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttributeType {
    /// Text, and every other type that the JSON format writes as a string.
    String,
    /// A signed integer of 32 bits.
    Integer,
    /// One of the two booleans, `true` or `false`.
    Boolean,
}

/// A context attribute: the header name (`ce-…`), the header value, and the type of the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextAttribute {
    header: HeaderName,
    value: HeaderValue,
    attribute_type: AttributeType,
}

impl ContextAttribute {
    /// Takes a header as it arrived. `header` must start with [`PREFIX`]; the value is kept byte
    /// for byte.
    pub(super) fn from_header(header: HeaderName, value: HeaderValue) -> Self {
        Self {
            header,
            value,
            attribute_type: AttributeType::String,
        }
    }

    /// Makes an attribute from its stored form: `name` without prefix, the value as in a header.
    ///
    /// Returns `None` if `name` cannot be a part of a header name.
    pub(super) fn from_stored(
        name: &[u8],
        value: HeaderValue,
        attribute_type: AttributeType,
    ) -> Option<Self> {
        let header = match frequent_header(name) {
            Some(header) => header,
            None => HeaderName::from_bytes(&[PREFIX.as_bytes(), name].concat()).ok()?,
        };
        Some(Self {
            header,
            value,
            attribute_type,
        })
    }

    /// Makes an attribute from its meaning: `name` without prefix, `text` in canonical string form.
    ///
    /// Returns `None` if `name` is not a valid attribute name.
    pub(super) fn from_text(name: &str, text: &str, kind: AttributeType) -> Option<Self> {
        if !is_attribute_name(name) {
            return None;
        }
        let header = HeaderName::try_from(format!("{PREFIX}{name}")).ok()?;
        Some(Self {
            header,
            value: encode_header_value(text),
            attribute_type: kind,
        })
    }

    /// Name of the attribute, lower-case and without prefix.
    #[must_use]
    pub fn name(&self) -> &str {
        self.header.as_str().get(PREFIX.len()..).unwrap_or_default()
    }

    /// Name of the header, with the prefix.
    #[must_use]
    pub(crate) fn header(&self) -> &HeaderName {
        &self.header
    }

    /// Value of the header, byte for byte as it arrived or as the binding encodes it.
    #[must_use]
    pub(crate) fn value(&self) -> &HeaderValue {
        &self.value
    }

    /// Size in bytes of name and value as they are stored.
    pub(super) fn length(&self) -> usize {
        self.header.as_str().len() + self.value.len()
    }

    /// Type of the value, as it was read.
    #[must_use]
    pub(crate) fn attribute_type(&self) -> AttributeType {
        self.attribute_type
    }

    /// Meaning of the value: unquoted and percent-decoded. Bytes that are not UTF-8 become U+FFFD;
    /// the decoding of requests has refused those already.
    #[must_use]
    pub(crate) fn text(&self) -> Cow<'_, str> {
        match decode_header_value(&self.value) {
            Ok(text) => text,
            Err(_) => String::from_utf8_lossy(self.value.as_bytes()),
        }
    }

    /// Moves the value to memory of its own.
    pub(super) fn own_memory(&mut self) {
        self.value = super::copy_header_value(&self.value);
    }

    /// Replaces the value by a new canonical string of this type.
    pub(super) fn set_text(&mut self, text: &str, kind: AttributeType) {
        self.value = encode_header_value(text);
        self.attribute_type = kind;
    }
}

/// True if `name` may name an attribute: one or more of `a-z` and `0-9` (CloudEvents §3, naming
/// convention).
#[must_use]
pub(crate) fn is_attribute_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// Header of an attribute that most events have: such a name takes no memory of its own.
fn frequent_header(name: &[u8]) -> Option<HeaderName> {
    Some(match name {
        b"id" => const { HeaderName::from_static("ce-id") },
        b"source" => const { HeaderName::from_static("ce-source") },
        b"type" => const { HeaderName::from_static("ce-type") },
        b"time" => const { HeaderName::from_static("ce-time") },
        b"subject" => const { HeaderName::from_static("ce-subject") },
        b"knativebrokerttl" => const { HeaderName::from_static("ce-knativebrokerttl") },
        b"knativearrivaltime" => const { HeaderName::from_static("ce-knativearrivaltime") },
        _ => return None,
    })
}

/// Encodes a canonical string as a header value (HTTP protocol binding §3.1.3.2).
#[must_use]
pub(super) fn encode_header_value(text: &str) -> HeaderValue {
    let encoded: Cow<'_, str> = utf8_percent_encode(text, ENCODED).into();
    let bytes = Bytes::from(encoded.into_owned());
    HeaderValue::from_maybe_shared(bytes).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Decodes a header value: removes double quotes, then one round of percent-decoding (HTTP protocol
/// binding §3.1.3.2).
///
/// A `%` that is not followed by two hexadecimal digits stands for itself. Borrowed where nothing
/// had to change.
///
/// # Errors
/// If the result is not UTF-8.
pub(super) fn decode_header_value(value: &HeaderValue) -> Result<Cow<'_, str>, Utf8Error> {
    let bytes = value.as_bytes();
    match unquote(bytes) {
        Some(unquoted) => percent_encoding::percent_decode(&unquoted)
            .decode_utf8()
            .map(|text| Cow::Owned(text.into_owned())),
        // Most values have no `%`: this search is one pass over words, while the decoder goes byte
        // by byte.
        None if !bytes.contains(&b'%') => std::str::from_utf8(bytes).map(Cow::Borrowed),
        None => percent_encoding::percent_decode(bytes).decode_utf8(),
    }
}

/// Content of a value that is one double-quoted string (RFC 7230 §3.2.6), else `None`.
fn unquote(bytes: &[u8]) -> Option<Vec<u8>> {
    let inner = bytes.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let mut unquoted = Vec::with_capacity(inner.len());
    let mut escaped = false;
    for &byte in inner {
        if byte == b'\\' && !escaped {
            escaped = true;
        } else {
            escaped = false;
            unquoted.push(byte);
        }
    }
    Some(unquoted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn encodes_as_the_specification_shows() {
        let value = encode_header_value("Euro \u{20AC} \u{1F600}");
        assert_eq!(value.as_bytes(), b"Euro%20%E2%82%AC%20%F0%9F%98%80");
    }

    #[test]
    fn decodes_quotes_escapes_and_lenient_percent_signs() {
        for (header, text) in [
            ("plain", "plain"),
            ("a%20b", "a b"),
            ("%c3%a9", "é"),
            ("\"quoted value\"", "quoted value"),
            (r#""a \"b\" \\c""#, r#"a "b" \c"#),
            ("100% sure", "100% sure"),
            ("%zz", "%zz"),
            ("", ""),
        ] {
            let value = HeaderValue::from_str(header).expect("a header value");
            assert_eq!(
                decode_header_value(&value).expect("UTF-8"),
                text,
                "{header}"
            );
        }
    }

    #[test]
    fn refuses_what_is_not_utf8() {
        for bytes in [&b"%C0%A0"[..], b"\xff", b"%ff"] {
            let value = HeaderValue::from_bytes(bytes).expect("a header value");
            assert!(decode_header_value(&value).is_err(), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn decode_of_encode_is_identity(text in any::<String>()) {
            let value = encode_header_value(&text);
            prop_assert!(value.as_bytes().iter().all(|byte| (0x21..=0x7e).contains(byte)));
            prop_assert_eq!(decode_header_value(&value).expect("UTF-8"), text);
        }
    }
}
