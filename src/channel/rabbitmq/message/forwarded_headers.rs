//! HTTP fields that are forwarded with an event, in one header of its message.

use http::{HeaderName, HeaderValue};
use lapin::types::{AMQPValue, FieldArray, FieldTable};

use super::amqp_value::short_string;
use crate::event::Event;

/// Adds the HTTP fields that are forwarded with an event, as one header of this name.
pub(crate) fn insert_forwarded_headers(headers: &mut FieldTable, name: &str, event: &Event) {
    if !event.forwarded().is_empty() {
        let lines = event.forwarded().iter().map(|(name, value)| {
            let line = [name.as_str().as_bytes(), b":", value.as_bytes()].concat();
            AMQPValue::LongString(line.into())
        });
        headers.insert(
            short_string(name),
            AMQPValue::FieldArray(FieldArray::from(lines.collect::<Vec<_>>())),
        );
    }
}

/// Decodes the HTTP fields that are forwarded with an event, from the header of this name.
pub(crate) fn decode_forwarded_headers(
    headers: &FieldTable,
    name: &str,
) -> Vec<(HeaderName, HeaderValue)> {
    let Some(AMQPValue::FieldArray(lines)) = headers.inner().get(name) else {
        return Vec::new();
    };
    let line = |line: &AMQPValue| {
        let AMQPValue::LongString(line) = line else {
            return None;
        };
        let line = line.as_bytes();
        let at = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = line.split_at_checked(at)?;
        Some((
            HeaderName::from_bytes(name).ok()?,
            HeaderValue::from_bytes(value.get(1..)?).ok()?,
        ))
    };
    lines.as_slice().iter().filter_map(line).collect()
}
