//! Decodes the events in messages, whoever wrote them (contract RQ-8 to RQ-10).

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};

use super::amqp_value::decode_value;
use super::forwarded_headers::decode_forwarded_headers;
use super::header_names::FORWARDED;
use super::retry_headers::RetryHeaders;
use super::trace_headers::decode_trace_context;
use crate::event::{AttributeLimit, DecodeError, Event, SpecVersion, http as binding};
use crate::wire_text::WireText;

/// Prefixes of attributes that writers use, in lower case; the last one is none at all.
const PREFIXES: [&str; 4] = ["cloudevents_", "cloudevents:", "ce-", ""];
/// Text that Go writes for a time that is not set.
const ZERO_TIME: &str = "0001-01-01T00:00:00Z";
/// Content encodings of data that are not compressed. Clients also write there how they have made
/// bytes of a text.
const AS_IT_IS: &[&str] = &[
    "", "identity", "binary", "8bit", "7bit", "utf-8", "utf8", "us-ascii",
];

/// Decodes the event in a message, and its retry headers.
///
/// # Errors
/// If the message is no event, or not a valid one.
pub(crate) fn decode(
    properties: &BasicProperties,
    body: Bytes,
    limit: AttributeLimit,
) -> Result<(Event, RetryHeaders), DecodeError> {
    check_content_encoding(properties)?;
    let none = FieldTable::default();
    let headers = properties.headers().as_ref().unwrap_or(&none);
    let content_type = properties
        .content_type()
        .as_ref()
        .map(|value| value.as_str());
    let structured = content_type.filter(|content_type| is_structured(content_type));
    let event = match structured {
        Some(content_type) => decode_structured(content_type, body, limit)?,
        None => {
            let event = decode_binary(headers, content_type, body)?;
            binding::check_attribute_limit(&event, limit)?;
            binding::validate(&event)?;
            event
        }
    };
    let event = event
        .with_forwarded(decode_forwarded_headers(headers, FORWARDED))
        .with_trace(decode_trace_context(headers));
    Ok((event, RetryHeaders::decode(headers)))
}

fn check_content_encoding(properties: &BasicProperties) -> Result<(), DecodeError> {
    let coding = properties
        .content_encoding()
        .as_ref()
        .map_or("", |coding| coding.as_str());
    let is_known = AS_IT_IS
        .iter()
        .any(|name| coding.eq_ignore_ascii_case(name));
    if is_known {
        Ok(())
    } else {
        Err(DecodeError::UnsupportedContentEncoding(WireText::new(
            coding,
        )))
    }
}

fn is_structured(content_type: &str) -> bool {
    content_type
        .to_ascii_lowercase()
        .starts_with(binding::STRUCTURED)
}

fn decode_structured(
    content_type: &str,
    body: Bytes,
    limit: AttributeLimit,
) -> Result<Event, DecodeError> {
    let value = HeaderValue::from_str(content_type).map_err(|_cause| DecodeError::NotAnEvent)?;
    let headers = HeaderMap::from_iter([(http::header::CONTENT_TYPE, value)]);
    binding::decode(headers, body, limit)?
        .into_iter()
        .next()
        .ok_or(DecodeError::NotAnEvent)
}

/// Decodes attributes with the first of [`PREFIXES`] under which there is a `specversion`.
fn decode_binary(
    headers: &FieldTable,
    content_type: Option<&str>,
    body: Bytes,
) -> Result<Event, DecodeError> {
    let (prefix, version) = PREFIXES
        .iter()
        .find_map(|prefix| Some((*prefix, find_spec_version(headers, prefix)?)))
        .ok_or(DecodeError::NotAnEvent)?;
    let (version, _) = decode_value(version).ok_or(DecodeError::NotAnEvent)?;
    let version = SpecVersion::parse(&version)
        .ok_or_else(|| DecodeError::UnknownSpecVersion(WireText::new(&version)))?;
    let mut event = Event::empty(version);
    let attributes =
        headers_with_prefix(headers, prefix).filter(|(name, _)| is_attribute(name, prefix));
    for (name, value) in attributes {
        let Some((text, kind)) = decode_value(value) else {
            continue;
        };
        let is_unset = prefix.is_empty() && name == "time" && text == ZERO_TIME;
        if !is_unset {
            event.set_typed(&name, &text, kind);
        }
    }
    let content_type = content_type.and_then(|value| HeaderValue::from_str(value).ok());
    Ok(event.with_data(content_type, body))
}

/// Headers with this prefix, by their names without it.
fn headers_with_prefix<'h>(
    headers: &'h FieldTable,
    prefix: &'static str,
) -> impl Iterator<Item = (Cow<'h, str>, &'h AMQPValue)> {
    let headers = headers.inner().iter();
    headers.filter_map(move |(name, value)| {
        Some((strip_attribute_prefix(prefix, name.as_str())?, value))
    })
}

fn find_spec_version<'h>(headers: &'h FieldTable, prefix: &'static str) -> Option<&'h AMQPValue> {
    headers_with_prefix(headers, prefix)
        .find(|(name, _)| name == "specversion")
        .map(|(_, value)| value)
}

/// Attribute's name without this prefix, in lower case; `None` if it has another prefix.
fn strip_attribute_prefix<'n>(prefix: &str, name: &'n str) -> Option<Cow<'n, str>> {
    let (start, rest) = name.split_at_checked(prefix.len())?;
    let lower = || {
        if rest.bytes().any(|byte| byte.is_ascii_uppercase()) {
            rest.to_ascii_lowercase().into()
        } else {
            rest.into()
        }
    };
    start.eq_ignore_ascii_case(prefix).then(lower)
}

/// True if a header is an attribute: without a prefix, other headers stand beside those (contract
/// RQ-9).
fn is_attribute(name: &str, prefix: &str) -> bool {
    let beside = prefix.is_empty()
        && (name.starts_with("x-")
            || matches!(name, "content-type" | "traceparent" | "tracestate"));
    !beside && !matches!(name, "specversion" | "datacontenttype")
}
