//! The HTTP protocol binding: a request or response becomes events, an event becomes headers and a
//! body.
//!
//! Binary mode moves headers and body as they are. Which mode a message is in: contract CR-13 to
//! CR-16.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Response};

use super::attribute::{ContextAttribute, PREFIX};
use super::undecoded::{UndecodedMessage, announced_event};
use super::{
    AttributeLimit, DecodeError, Event, SpecVersion, TraceContext, json, knative, media_type,
    validate,
};
use crate::wire_text::WireText;

/// Media type of one event in JSON format.
pub const STRUCTURED: &str = "application/cloudevents+json";
/// Media type of an array of events in JSON format.
pub const BATCHED: &str = "application/cloudevents-batch+json";

const SPEC_VERSION_HEADER: HeaderName = HeaderName::from_static("ce-specversion");
/// Start of the media types of CloudEvents formats that are not JSON.
const OTHER_FORMATS: &str = "application/cloudevents";

/// Mode in which a message carries events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContentMode {
    /// Attributes are in `ce-` headers, data in the body.
    Binary,
    /// One event is in the body, with all its attributes.
    Structured,
    /// An array of events is in the body.
    Batched,
}

/// Determines the mode of a message.
///
/// # Errors
/// If the message is in none of the supported modes.
pub(crate) fn content_mode(headers: &HeaderMap) -> Result<ContentMode, DecodeError> {
    let content_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let media_type = media_type(content_type);
    if media_type.eq_ignore_ascii_case(STRUCTURED) {
        return Ok(ContentMode::Structured);
    }
    if media_type.eq_ignore_ascii_case(BATCHED) {
        return Ok(ContentMode::Batched);
    }
    match headers.get(SPEC_VERSION_HEADER) {
        Some(version) => parse_spec_version(version).map(|_| ContentMode::Binary),
        None if is_unsupported_format(media_type) => {
            Err(DecodeError::UnknownFormat(WireText::new(media_type)))
        }
        None => Err(DecodeError::NotAnEvent),
    }
}

/// Decodes and validates the event or events of a request. The body becomes the data without being
/// copied.
///
/// A batch is valid only if each of its events is; any other message yields one event. `limit`
/// holds for each event.
///
/// # Errors
/// If the message is not a valid event or batch, or the attributes of an event are too long.
pub fn decode(
    headers: HeaderMap,
    body: Bytes,
    limit: AttributeLimit,
) -> Result<Vec<Event>, DecodeError> {
    decode_in_trace(headers, body, limit, None).map_err(|undecoded| undecoded.error)
}

/// Decodes as [`decode`] does. The events belong to `trace`, if there is one, such as that of the
/// span of their request, else to the trace that the header fields name.
///
/// # Errors
/// As those of [`decode`], with what could be read of the events.
pub(crate) fn decode_in_trace(
    mut headers: HeaderMap,
    body: Bytes,
    limit: AttributeLimit,
    trace: Option<Arc<TraceContext>>,
) -> Result<Vec<Event>, Box<UndecodedMessage>> {
    drop_connection_fields(&mut headers);
    let trace = trace.or_else(|| TraceContext::from_headers(&headers));
    let events = decode_by_mode(headers, body, limit)?;
    Ok(if trace.is_some() {
        events
            .into_iter()
            .map(|event| event.with_trace(trace.clone()))
            .collect()
    } else {
        events
    })
}

fn decode_by_mode(
    headers: HeaderMap,
    body: Bytes,
    limit: AttributeLimit,
) -> Result<Vec<Event>, Box<UndecodedMessage>> {
    let mode = content_mode(&headers)
        .map_err(|error| UndecodedMessage::new(error, announced_event(&headers)))?;
    let mut event = match mode {
        ContentMode::Binary => decode_binary(headers, body, limit)?,
        ContentMode::Structured => {
            let mut event = json::decode(&body, limit)
                .map_err(|error| UndecodedMessage::new(error, json::announced_event(&body)))?;
            event.forwarded = filter_forwarded(headers);
            event
        }
        ContentMode::Batched => return decode_batch(headers, &body, limit),
    };
    match validate::event(&event) {
        Ok(()) => Ok(vec![event]),
        Err(error) => {
            event.data = Bytes::new();
            Err(UndecodedMessage::new(error, event))
        }
    }
}

fn decode_batch(
    headers: HeaderMap,
    body: &Bytes,
    limit: AttributeLimit,
) -> Result<Vec<Event>, Box<UndecodedMessage>> {
    let none = |error| {
        let events = Vec::new();
        Box::new(UndecodedMessage { error, events })
    };
    let forwarded = filter_forwarded(headers);
    let decoded = json::decode_batch(body, limit).map_err(none)?;
    let (mut events, mut failure) = (Vec::with_capacity(decoded.len()), None);
    for (index, event) in decoded.into_iter().enumerate() {
        match batch_event(index, event, &forwarded) {
            Ok(event) => events.push(event),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    match failure {
        None => Ok(events),
        Some(error) => Err(Box::new(UndecodedMessage { error, events })),
    }
}

/// Decodes the event in a response, as a reply: a binary one is taken as it is, without validation
/// (contract DP-21, DP-23, DP-24), except for the limit of its attributes. `Ok(None)` if the
/// response carries no event.
///
/// # Errors
/// If the response announces an event and holds none, or holds a batch, or the attributes are too
/// long.
pub fn decode_reply(
    mut headers: HeaderMap,
    body: &Bytes,
    limit: AttributeLimit,
) -> Result<Option<Event>, DecodeError> {
    drop_connection_fields(&mut headers);
    match content_mode(&headers) {
        Ok(ContentMode::Binary) => decode_binary(headers, body.clone(), limit)
            .map(Some)
            .map_err(|undecoded| undecoded.error),
        Ok(ContentMode::Structured) => {
            let mut event = json::decode(body, limit)?;
            event.forwarded = filter_forwarded(headers);
            Ok(Some(event))
        }
        Ok(ContentMode::Batched) => Err(DecodeError::UnknownFormat(WireText::new(BATCHED))),
        Err(_) => Ok(None),
    }
}

/// True if a response carries an event, so that its body has to be read.
#[must_use]
pub fn is_event(headers: &HeaderMap) -> bool {
    content_mode(headers).is_ok()
}

/// Checks that the attributes of an event keep to the limit.
///
/// # Errors
/// If they are too many or too long, with the name of the longest.
pub(crate) fn check_attribute_limit(
    event: &Event,
    limit: AttributeLimit,
) -> Result<(), DecodeError> {
    limit.check(event)
}

/// Checks an event that was taken without validation.
///
/// # Errors
/// If a required attribute is missing or one has a value that is not of its type.
pub(crate) fn validate(event: &Event) -> Result<(), DecodeError> {
    validate::event(event)
}

/// Makes a response with an event in binary mode.
#[must_use]
pub(crate) fn binary_response(event: &Event) -> Response<Bytes> {
    let mut answer = Response::new(event.data().clone());
    *answer.headers_mut() = binary_headers(event);
    answer
}

/// Header fields of the event in binary mode, without those that are forwarded beside it.
#[must_use]
pub fn binary_headers(event: &Event) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(event.attributes.len() + event.forwarded.len() + 8);
    headers.insert(
        SPEC_VERSION_HEADER,
        HeaderValue::from_static(event.spec_version.as_str()),
    );
    for attribute in &event.attributes {
        headers.insert(attribute.header().clone(), attribute.value().clone());
    }
    if let Some(content_type) = &event.content_type {
        headers.insert(CONTENT_TYPE, content_type.clone());
    }
    headers
}

/// Header fields and body of the event in structured mode, JSON format.
#[must_use]
pub fn encode_structured(event: &Event) -> (HeaderMap, Bytes) {
    let mut headers = HeaderMap::with_capacity(event.forwarded.len() + 8);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(STRUCTURED));
    (headers, json::encode(event))
}

fn batch_event(
    index: usize,
    event: Result<Event, DecodeError>,
    forwarded: &[(HeaderName, HeaderValue)],
) -> Result<Event, DecodeError> {
    event
        .and_then(|mut event| {
            validate::event(&event)?;
            event.forwarded = forwarded.to_vec();
            Ok(event)
        })
        .map_err(|source| DecodeError::InBatch {
            index,
            source: Box::new(source),
        })
}

fn is_unsupported_format(media_type: &str) -> bool {
    media_type
        .get(..OTHER_FORMATS.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(OTHER_FORMATS))
}

fn parse_spec_version(value: &HeaderValue) -> Result<SpecVersion, DecodeError> {
    let text = value.to_str().unwrap_or_default();
    SpecVersion::parse(text).ok_or_else(|| DecodeError::UnknownSpecVersion(WireText::new(text)))
}

/// Takes the message apart: `ce-` headers, content type and forwarded headers are moved, the rest
/// is dropped. Of a repeated `ce-` header the first value counts (contract CR-20); an empty one is
/// an attribute that is not set (contract CR-19).
fn decode_binary(
    headers: HeaderMap,
    body: Bytes,
    limit: AttributeLimit,
) -> Result<Event, Box<UndecodedMessage>> {
    let version = headers
        .get(SPEC_VERSION_HEADER)
        .ok_or(DecodeError::NotAnEvent)
        .and_then(parse_spec_version)
        .map_err(|error| UndecodedMessage::new(error, announced_event(&headers)))?;
    let mut event = Event::empty(version);
    let (mut last, mut failure) = (None, None);
    for (name, value) in headers {
        match name {
            Some(name) => {
                last = knative::is_forwarded(&name).then(|| name.clone());
                let inserted = insert_header(&mut event, name, value);
                failure = failure.or(inserted.err());
            }
            None => event
                .forwarded
                .extend(last.clone().map(|name| (name, value))),
        }
    }
    if let Some(error) = failure.or_else(|| limit.check(&event).err()) {
        return Err(UndecodedMessage::new(error, event));
    }
    event.data = body;
    Ok(event)
}

fn insert_header(
    event: &mut Event,
    name: HeaderName,
    value: HeaderValue,
) -> Result<(), DecodeError> {
    if let Some(attribute) = name.as_str().strip_prefix(PREFIX) {
        if attribute == "specversion" || value.is_empty() {
            return Ok(());
        }
        validate::header(attribute, &value)?;
        event
            .attributes
            .push(ContextAttribute::from_header(name, value));
    } else if name == CONTENT_TYPE {
        event.content_type = Some(value).filter(|value| !value.is_empty());
    } else if knative::is_forwarded(&name) {
        event.forwarded.push((name, value));
    }
    Ok(())
}

/// Removes the fields that `Connection` names: they are about the connection that they came by (RFC
/// 9110, 7.6.1).
pub(crate) fn drop_connection_fields(headers: &mut HeaderMap) {
    let lists = headers
        .get_all(CONNECTION)
        .into_iter()
        .filter_map(|list| list.to_str().ok());
    let names: Vec<HeaderName> = lists
        .flat_map(|list| list.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in names {
        headers.remove(name);
    }
}

fn filter_forwarded(headers: HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    let mut kept = Vec::new();
    let mut last = None;
    for (name, value) in headers {
        let Some(name) = name.or_else(|| last.clone()) else {
            continue;
        };
        if knative::is_forwarded(&name) {
            kept.push((name.clone(), value));
        }
        last = Some(name);
    }
    kept
}

/// Codings of a body that has any (RFC 9110, 8.4); `None` for a body that is not encoded.
#[must_use]
pub(crate) fn content_coding(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all(CONTENT_ENCODING).into_iter().peekable();
    values.peek()?;
    let codings: Vec<_> = values
        .map(|value| value.to_str().unwrap_or("?").trim())
        .collect();
    let codings = codings.join(", ");
    let is_identity =
        |coding: &str| coding.trim().is_empty() || coding.trim().eq_ignore_ascii_case("identity");
    (!codings.split(',').all(is_identity)).then_some(codings)
}

#[cfg(test)]
mod tests;
