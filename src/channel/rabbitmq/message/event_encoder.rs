//! Encodes events as messages.

use lapin::types::{AMQPValue, FieldTable, ShortString};

use super::amqp_message::{AmqpMessage, persistent_properties};
use super::amqp_value::{short_string, text_value};
use super::forwarded_headers::insert_forwarded_headers;
use super::header_names::FORWARDED;
use super::retry_headers::RetryHeaders;
use super::trace_headers::insert_trace_context;
use crate::event::{AttributeType, Event, http as binding};

const PREFIX: &str = "cloudEvents_";
/// Largest size in bytes of attributes in headers; a frame of headers has 128 KiB, and forwarded
/// fields may have half of it.
const LONGEST_HEADERS: usize = 48 * 1024;

/// Encodes an event: in binary mode, or in structured mode where AMQP has no place for its
/// attributes.
pub(crate) fn encode(event: &Event, retry_headers: RetryHeaders) -> AmqpMessage {
    let mut headers = FieldTable::default();
    insert_other_headers(&mut headers, event, retry_headers);
    let binary = insert_attributes(&mut headers, event).zip(short_content_type(event));
    let (content_type, headers, body) = match binary {
        Some(((), content_type)) => (content_type, headers, event.data().clone()),
        None => {
            let mut headers = FieldTable::default();
            insert_other_headers(&mut headers, event, retry_headers);
            let (_, body) = binding::encode_structured(event);
            (Some(short_string(binding::STRUCTURED)), headers, body)
        }
    };
    AmqpMessage {
        properties: persistent_properties(headers, content_type),
        body,
    }
}

/// The event's media type as a short string; `None` if it is too long for one.
fn short_content_type(event: &Event) -> Option<Option<ShortString>> {
    match event.content_type() {
        None => Some(None),
        Some(value) => ShortString::try_new(value.to_str().ok()?).ok().map(Some),
    }
}

/// Adds the attributes as headers; `None` if a name is too long for a header, or all of them are
/// for a frame.
fn insert_attributes(headers: &mut FieldTable, event: &Event) -> Option<()> {
    headers.insert(
        short_string("cloudEvents_specversion"),
        text_value(event.spec_version().as_str()),
    );
    let mut bytes = 0;
    for attribute in event.attributes() {
        let value = attribute.text();
        bytes += attribute.name().len() + value.len() + 32;
        let value = match (attribute.attribute_type(), value.parse::<i32>()) {
            (AttributeType::Integer, Ok(integer)) => AMQPValue::LongInt(integer),
            (AttributeType::Boolean, _) => AMQPValue::Boolean(value == "true"),
            _ => text_value(&value),
        };
        headers.insert(
            ShortString::try_new(format!("{PREFIX}{}", attribute.name())).ok()?,
            value,
        );
    }
    (bytes <= LONGEST_HEADERS).then_some(())
}

/// Adds forwarded fields, trace context and retry headers of an event.
pub(crate) fn insert_other_headers(
    headers: &mut FieldTable,
    event: &Event,
    retry_headers: RetryHeaders,
) {
    insert_forwarded_headers(headers, FORWARDED, event);
    if let Some(trace) = event.trace() {
        insert_trace_context(headers, trace);
    }
    retry_headers.insert_into(headers);
}
