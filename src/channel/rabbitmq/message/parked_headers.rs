//! Headers of parked messages, which say why nobody took them.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};

use super::amqp_message::PERSISTENT;
use super::amqp_value::{decode_value, short_string, text_value};
use super::header_names::{
    ATTEMPTS, DESTINATION, GIVEN_UP, NOT_BEFORE, PARKED_AT, QUEUE, RABBITMQ_HEADERS, REASON,
    STATUS, WAIT_LEFT,
};
use super::retry_headers::unix_millis;
use crate::channel::LostDelivery;
use crate::scrub;
use crate::wire_text::{escaped_excerpt, truncate};

/// Largest size in bytes of the reason and of the destination in a parked message.
const MAX_REASON_BYTES: usize = 1024;

/// Properties for the parking queue: the same ones, with the reason why nobody took the message,
/// and details of the loss.
pub(crate) fn parked_properties(
    properties: BasicProperties,
    reason: &str,
    loss: Option<&LostDelivery>,
) -> BasicProperties {
    let mut headers = properties.headers().clone().unwrap_or_default();
    let reason = escaped_excerpt(reason, MAX_REASON_BYTES);
    headers.insert(short_string(REASON), text_value(&reason));
    let parked_at = AMQPValue::Timestamp(unix_millis() / 1000);
    headers.insert(short_string(PARKED_AT), parked_at);
    if let Some(loss) = loss {
        let destination = text_value(truncate(&loss.destination, MAX_REASON_BYTES));
        headers.insert(short_string(STATUS), AMQPValue::LongInt(loss.code));
        headers.insert(short_string(ATTEMPTS), AMQPValue::LongUInt(loss.attempts));
        headers.insert(short_string(DESTINATION), destination);
    }
    properties
        .with_headers(headers)
        .with_delivery_mode(PERSISTENT)
}

/// Headers of a parked message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ParkedHeaders {
    /// Reason in words, without secrets.
    pub(crate) reason: String,
    /// Last status, if delivery was tried.
    pub(crate) status: Option<i64>,
    /// Number of attempts, if delivery was tried.
    pub(crate) attempts: Option<i64>,
    /// Time of parking, in seconds since the epoch.
    pub(crate) parked_at: u64,
}

/// Decodes the headers of a parked message; what is missing is empty, `None` or 0.
pub(crate) fn decode_parked_headers(properties: &BasicProperties) -> ParkedHeaders {
    let none = FieldTable::default();
    let headers = properties.headers().as_ref().unwrap_or(&none).inner();
    let number = |name: &str| match headers.get(name) {
        Some(AMQPValue::LongInt(value)) => Some(i64::from(*value)),
        Some(AMQPValue::LongUInt(value)) => Some(i64::from(*value)),
        _ => None,
    };
    let reason = headers
        .get(REASON)
        .and_then(decode_value)
        .map(|(text, _)| text);
    ParkedHeaders {
        reason: scrub::string(reason.unwrap_or_default()),
        status: number(STATUS),
        attempts: number(ATTEMPTS),
        parked_at: match headers.get(PARKED_AT) {
            Some(AMQPValue::Timestamp(seconds)) => *seconds,
            _ => 0,
        },
    }
}

/// Headers that a message has only while it is parked, or on the way there.
const PARKED_ONLY: [&str; 9] = [
    REASON,
    STATUS,
    ATTEMPTS,
    DESTINATION,
    PARKED_AT,
    NOT_BEFORE,
    WAIT_LEFT,
    GIVEN_UP,
    QUEUE,
];

/// Properties of a parked message as they were before it was parked.
pub(crate) fn without_parked_headers(properties: &BasicProperties) -> BasicProperties {
    let mut headers = FieldTable::default();
    for (name, value) in properties
        .headers()
        .iter()
        .flat_map(|headers| headers.inner())
    {
        let is_added = |added: &[&str]| added.contains(&name.as_str());
        if !is_added(&PARKED_ONLY) && !is_added(&RABBITMQ_HEADERS) {
            headers.insert(name.clone(), value.clone());
        }
    }
    properties
        .clone()
        .with_headers(headers)
        .with_delivery_mode(PERSISTENT)
}
