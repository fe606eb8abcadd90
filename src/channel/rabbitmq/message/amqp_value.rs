//! Values of AMQP: short strings, and texts and numbers in headers.

use lapin::types::{AMQPValue, ShortString};

use crate::event::AttributeType;

/// Short string of AMQP for a name of our own, which is never longer than the 255 bytes that it may
/// have.
pub(crate) fn short_string(name: &str) -> ShortString {
    ShortString::try_new(name).unwrap_or_default()
}

/// AMQP value of a text.
pub(crate) fn text_value(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.as_bytes().to_vec().into())
}

/// Decodes the value of a header as the text of an attribute, and the type of that; `None` if no
/// attribute can have such a value.
pub(crate) fn decode_value(value: &AMQPValue) -> Option<(String, AttributeType)> {
    if let Some(integer) = decode_integer(value) {
        // Integers of CloudEvents have 32 bits.
        let kind = match i32::try_from(integer) {
            Ok(_) => AttributeType::Integer,
            Err(_) => AttributeType::String,
        };
        return Some((integer.to_string(), kind));
    }
    let text = match value {
        AMQPValue::Boolean(truth) => return Some((truth.to_string(), AttributeType::Boolean)),
        AMQPValue::LongString(text) => String::from_utf8_lossy(text.as_bytes()).into_owned(),
        AMQPValue::ShortString(text) => text.as_str().to_owned(),
        AMQPValue::ByteArray(bytes) => String::from_utf8_lossy(bytes.as_slice()).into_owned(),
        AMQPValue::Float(value) => value.to_string(),
        AMQPValue::Double(value) => value.to_string(),
        AMQPValue::Timestamp(seconds) => format_timestamp(*seconds)?,
        _ => return None,
    };
    Some((text, AttributeType::String))
}

fn decode_integer(value: &AMQPValue) -> Option<i64> {
    match value {
        AMQPValue::ShortShortInt(value) => Some((*value).into()),
        AMQPValue::ShortShortUInt(value) => Some((*value).into()),
        AMQPValue::ShortInt(value) => Some((*value).into()),
        AMQPValue::ShortUInt(value) => Some((*value).into()),
        AMQPValue::LongInt(value) => Some((*value).into()),
        AMQPValue::LongUInt(value) => Some((*value).into()),
        AMQPValue::LongLongInt(value) => Some(*value),
        _ => None,
    }
}

fn format_timestamp(seconds: u64) -> Option<String> {
    let time = time::OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).ok()?).ok()?;
    time.format(&time::format_description::well_known::Rfc3339)
        .ok()
}
