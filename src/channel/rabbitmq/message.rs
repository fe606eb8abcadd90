//! An event as an AMQP 0-9-1 message: its attributes are headers with the prefix that the AMQP
//! binding of CloudEvents prefers, its data are the body. Other spellings are understood, so that
//! queues of others can be drained (contract RQ-8 to RQ-10).

mod retry_headers;

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldArray, FieldTable, ShortString};

pub(super) use retry_headers::RetryHeaders;
use retry_headers::unix_millis;

use super::confirming_publisher::short_string;
use super::dead_lettered_message::{GIVEN_UP, RABBITMQ_HEADERS};
use crate::channel::LostDelivery;
use crate::event::{
    self, AttributeLimit, AttributeType, DecodeError, Event, SpecVersion, TRACEPARENT, TRACESTATE,
    TraceContext, http as binding,
};
use crate::scrub;
use crate::wire_text::{WireText, escaped_excerpt, truncate};

const PREFIX: &str = "cloudEvents_";
/// Prefixes that other writers use, in lower case; the last one is none at all.
const PREFIXES: [&str; 4] = ["cloudevents_", "cloudevents:", "ce-", ""];
pub(super) const FORWARDED: &str = "x-sealpost-forwarded";
const ATTEMPTS: &str = "x-sealpost-attempts";
const NOT_BEFORE: &str = "x-sealpost-not-before";
const REASON: &str = "x-sealpost-reason";
const STATUS: &str = "x-sealpost-status";
const DESTINATION: &str = "x-sealpost-destination";
const PARKED_AT: &str = "x-sealpost-parked-at";
/// Header that names the queue that a message is on the way to.
pub(super) const QUEUE: &str = "x-sealpost-queue";
/// Header with the milliseconds of a wait that are left when the message has come out of its delay
/// queue.
const WAIT_LEFT: &str = "x-sealpost-wait-left";
/// Header of the baggage; it has not the name `baggage`, which would be an attribute where
/// attributes have no prefix.
const BAGGAGE: &str = "x-sealpost-baggage";
pub(super) const PERSISTENT: u8 = 2;
/// Largest size in bytes of attributes in headers; a frame of headers has 128 KiB, and forwarded
/// fields may have half of it.
const LONGEST_HEADERS: usize = 48 * 1024;
/// Largest size in bytes of the reason and of the destination in a parked message.
const MAX_REASON_BYTES: usize = 1024;
/// Text that Go writes for a time that is not set.
const ZERO_TIME: &str = "0001-01-01T00:00:00Z";

/// Properties and body of an AMQP message.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct AmqpMessage {
    pub(super) properties: BasicProperties,
    pub(super) body: Bytes,
}

/// Encodes an event as properties and body of a message.
#[must_use]
pub fn event_to_amqp(event: &Event) -> (BasicProperties, Bytes) {
    let AmqpMessage { properties, body } = encode(event, RetryHeaders::default());
    (properties, body)
}

/// Decodes the event in a message, whoever wrote it (contract RQ-8 to RQ-10).
///
/// # Errors
/// If the message is no event, or not a valid one.
pub fn event_from_amqp(properties: &BasicProperties, body: Bytes) -> Result<Event, DecodeError> {
    decode(properties, body, AttributeLimit::default()).map(|(event, _)| event)
}

/// Encodes an event: in binary mode, or in structured mode where AMQP has no place for its
/// attributes.
pub(super) fn encode(event: &Event, retry_headers: RetryHeaders) -> AmqpMessage {
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

/// Properties of a persistent message, which outlives RabbitMQ's process.
pub(super) fn persistent_properties(
    headers: FieldTable,
    content_type: Option<ShortString>,
) -> BasicProperties {
    let properties = BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_headers(headers);
    match content_type {
        Some(content_type) => properties.with_content_type(content_type),
        None => properties,
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
pub(super) fn insert_other_headers(
    headers: &mut FieldTable,
    event: &Event,
    retry_headers: RetryHeaders,
) {
    insert_forwarded_headers(headers, FORWARDED, event);
    if let Some(trace) = event.trace() {
        insert_trace_context(headers, trace);
    }
    if retry_headers != RetryHeaders::default() {
        headers.insert(
            short_string(ATTEMPTS),
            AMQPValue::LongUInt(retry_headers.attempts),
        );
        let signed = |value: u64| AMQPValue::LongLongInt(i64::try_from(value).unwrap_or(i64::MAX));
        headers.insert(
            short_string(NOT_BEFORE),
            signed(retry_headers.not_before_millis),
        );
        if let Some(left) = retry_headers.remaining_millis {
            headers.insert(short_string(WAIT_LEFT), signed(left));
        }
    }
}

/// Adds the trace context of an event, under the names that upstream uses (contract RQ-8).
fn insert_trace_context(headers: &mut FieldTable, trace: &TraceContext) {
    for (name, value) in trace.fields() {
        let name = if name == event::BAGGAGE {
            BAGGAGE
        } else {
            name.as_str()
        };
        let value = AMQPValue::LongString(value.as_bytes().to_vec().into());
        headers.insert(short_string(name), value);
    }
}

/// Decodes the trace context, if headers hold one.
pub(super) fn decode_trace_context(headers: &FieldTable) -> Option<Arc<TraceContext>> {
    let names = [
        (TRACEPARENT, "traceparent"),
        (TRACESTATE, "tracestate"),
        (event::BAGGAGE, BAGGAGE),
    ];
    let told = names.into_iter().filter_map(|(name, key)| {
        let (text, _) = decode_value(headers.inner().get(key)?)?;
        Some((name, HeaderValue::from_str(&text).ok()?))
    });
    TraceContext::from_headers(&told.collect())
}

/// Adds the HTTP fields that are forwarded with an event, as one header of this name.
pub(super) fn insert_forwarded_headers(headers: &mut FieldTable, name: &str, event: &Event) {
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

/// Properties for the parking queue: the same ones, with the reason why nobody took the message,
/// and details of the loss.
pub(super) fn parked_properties(
    properties: BasicProperties,
    reason: &str,
    loss: Option<&LostDelivery>,
) -> BasicProperties {
    let mut headers = properties.headers().clone().unwrap_or_default();
    headers.insert(
        short_string(REASON),
        text_value(&escaped_excerpt(reason, MAX_REASON_BYTES)),
    );
    headers.insert(
        short_string(PARKED_AT),
        AMQPValue::Timestamp(unix_millis() / 1000),
    );
    if let Some(loss) = loss {
        headers.insert(short_string(STATUS), AMQPValue::LongInt(loss.code));
        headers.insert(short_string(ATTEMPTS), AMQPValue::LongUInt(loss.attempts));
        headers.insert(
            short_string(DESTINATION),
            text_value(truncate(&loss.destination, MAX_REASON_BYTES)),
        );
    }
    properties
        .with_headers(headers)
        .with_delivery_mode(PERSISTENT)
}

/// Headers of a parked message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ParkedHeaders {
    /// Reason in words, without secrets.
    pub(super) reason: String,
    /// Last status, if delivery was tried.
    pub(super) status: Option<i64>,
    /// Number of attempts, if delivery was tried.
    pub(super) attempts: Option<i64>,
    /// Time of parking, in seconds since the epoch.
    pub(super) parked_at: u64,
}

/// Decodes the headers of a parked message; what is missing is empty, `None` or 0.
pub(super) fn decode_parked_headers(properties: &BasicProperties) -> ParkedHeaders {
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

/// Properties of a parked message as they were before it was parked.
pub(super) fn without_parked_headers(properties: &BasicProperties) -> BasicProperties {
    let mut headers = FieldTable::default();
    let ours = [
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
    for (name, value) in properties
        .headers()
        .iter()
        .flat_map(|headers| headers.inner())
    {
        if !ours.contains(&name.as_str()) && !RABBITMQ_HEADERS.contains(&name.as_str()) {
            headers.insert(name.clone(), value.clone());
        }
    }
    properties
        .clone()
        .with_headers(headers)
        .with_delivery_mode(PERSISTENT)
}

/// Names the queue that a message is to reach by way of others.
pub(super) fn with_target_queue(message: AmqpMessage, queue: &str) -> AmqpMessage {
    let mut headers = message.properties.headers().clone().unwrap_or_default();
    headers.insert(short_string(QUEUE), text_value(queue));
    AmqpMessage {
        properties: message.properties.with_headers(headers),
        body: message.body,
    }
}

/// Content encodings of data that are not compressed. Clients also write there how they have made
/// bytes of a text.
const AS_IT_IS: &[&str] = &[
    "", "identity", "binary", "8bit", "7bit", "utf-8", "utf8", "us-ascii",
];

/// Decodes the event in a message, and its retry headers.
///
/// # Errors
/// If the message is no event, or not a valid one.
pub(super) fn decode(
    properties: &BasicProperties,
    body: Bytes,
    limit: AttributeLimit,
) -> Result<(Event, RetryHeaders), DecodeError> {
    let coding = properties
        .content_encoding()
        .as_ref()
        .map_or("", |coding| coding.as_str());
    if !AS_IT_IS
        .iter()
        .any(|name| coding.eq_ignore_ascii_case(name))
    {
        return Err(DecodeError::UnsupportedContentEncoding(WireText::new(
            coding,
        )));
    }
    let none = FieldTable::default();
    let headers = properties.headers().as_ref().unwrap_or(&none);
    let content_type = properties
        .content_type()
        .as_ref()
        .map(|value| value.as_str().to_owned());
    let event = match content_type.as_deref() {
        Some(content_type)
            if content_type
                .to_ascii_lowercase()
                .starts_with(binding::STRUCTURED) =>
        {
            decode_structured(content_type, body, limit)?
        }
        content_type => {
            let event = decode_binary(headers, content_type, body)?;
            binding::check_attribute_limit(&event, limit)?;
            binding::validate(&event)?;
            event
        }
    };
    Ok((
        event
            .with_forwarded(decode_forwarded_headers(headers, FORWARDED))
            .with_trace(decode_trace_context(headers)),
        decode_retry_headers(headers),
    ))
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
    let with = |prefix: &'static str| {
        let named = headers.inner().iter();
        named.filter_map(move |(name, value)| {
            Some((strip_attribute_prefix(prefix, name.as_str())?, value))
        })
    };
    let spec_version = |prefix| {
        with(prefix)
            .find(|(name, _)| name == "specversion")
            .map(|(_, value)| value)
    };
    let (prefix, version) = PREFIXES
        .iter()
        .find_map(|prefix| Some((*prefix, spec_version(prefix)?)))
        .ok_or(DecodeError::NotAnEvent)?;
    let (version, _) = decode_value(version).ok_or(DecodeError::NotAnEvent)?;
    let version = SpecVersion::parse(&version)
        .ok_or_else(|| DecodeError::UnknownSpecVersion(WireText::new(&version)))?;
    let mut event = Event::empty(version);
    for (name, value) in with(prefix).filter(|(name, _)| is_attribute(name, prefix)) {
        let Some((text, kind)) = decode_value(value) else {
            continue;
        };
        let unset = prefix.is_empty() && name == "time" && text == ZERO_TIME;
        if !unset {
            event.set_typed(&name, &text, kind);
        }
    }
    let content_type = content_type.and_then(|value| HeaderValue::from_str(value).ok());
    Ok(event.with_data(content_type, body))
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

pub(super) fn decode_value(value: &AMQPValue) -> Option<(String, AttributeType)> {
    let integer = |value: i64| {
        let kind = if i32::try_from(value).is_ok() {
            AttributeType::Integer
        } else {
            AttributeType::String
        };
        Some((value.to_string(), kind))
    };
    match value {
        AMQPValue::LongString(text) => Some((
            String::from_utf8_lossy(text.as_bytes()).into_owned(),
            AttributeType::String,
        )),
        AMQPValue::ShortString(text) => Some((text.as_str().to_owned(), AttributeType::String)),
        AMQPValue::ByteArray(bytes) => Some((
            String::from_utf8_lossy(bytes.as_slice()).into_owned(),
            AttributeType::String,
        )),
        AMQPValue::Boolean(truth) => Some((truth.to_string(), AttributeType::Boolean)),
        AMQPValue::ShortShortInt(value) => integer((*value).into()),
        AMQPValue::ShortShortUInt(value) => integer((*value).into()),
        AMQPValue::ShortInt(value) => integer((*value).into()),
        AMQPValue::ShortUInt(value) => integer((*value).into()),
        AMQPValue::LongInt(value) => integer((*value).into()),
        AMQPValue::LongUInt(value) => integer((*value).into()),
        AMQPValue::LongLongInt(value) => integer(*value),
        AMQPValue::Float(value) => Some((value.to_string(), AttributeType::String)),
        AMQPValue::Double(value) => Some((value.to_string(), AttributeType::String)),
        AMQPValue::Timestamp(seconds) => Some((format_timestamp(*seconds)?, AttributeType::String)),
        AMQPValue::DecimalValue(_)
        | AMQPValue::FieldArray(_)
        | AMQPValue::FieldTable(_)
        | AMQPValue::Void => None,
    }
}

fn format_timestamp(seconds: u64) -> Option<String> {
    let time = time::OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).ok()?).ok()?;
    time.format(&time::format_description::well_known::Rfc3339)
        .ok()
}

pub(super) fn decode_forwarded_headers(
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

pub(super) fn decode_retry_headers(headers: &FieldTable) -> RetryHeaders {
    let number = |name: &str| match headers.inner().get(name) {
        Some(AMQPValue::LongUInt(value)) => u64::from(*value),
        Some(AMQPValue::LongLongInt(value)) => u64::try_from(*value).unwrap_or_default(),
        _ => 0,
    };
    let left = headers
        .inner()
        .contains_key(WAIT_LEFT)
        .then(|| number(WAIT_LEFT));
    RetryHeaders {
        attempts: u32::try_from(number(ATTEMPTS)).unwrap_or(u32::MAX),
        not_before_millis: number(NOT_BEFORE),
        remaining_millis: left,
    }
}

/// AMQP value of a text.
pub(super) fn text_value(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.as_bytes().to_vec().into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Also of one that an older version has parked, which wrote whole URLs.
    #[test]
    fn why_it_was_parked_is_told_without_secrets() {
        let reason = "answered 500 at https://me:secret@sink.example/a?code=secret#secret, and there \
             is no dead letter sink";
        let told =
            decode_parked_headers(&parked_properties(BasicProperties::default(), reason, None))
                .reason;
        assert_eq!(
            told,
            "answered 500 at https://sink.example/a, and there is no dead letter sink"
        );
    }

    fn any_event() -> impl Strategy<Value = Event> {
        let value = prop_oneof![
            "\\PC{0,12}".prop_map(|text| (text, AttributeType::String)),
            any::<i32>().prop_map(|number| (number.to_string(), AttributeType::Integer)),
            any::<bool>().prop_map(|truth| (truth.to_string(), AttributeType::Boolean)),
            Just(("x".repeat(60_000), AttributeType::String)),
        ];
        let name = prop_oneof![9 => "[a-z][a-z0-9]{0,12}", 1 => "[a-z]{250,300}"];
        let attributes = prop::collection::vec((name, value), 0..6);
        let media_type = prop::option::of(prop_oneof![
            Just("application/json".to_owned()),
            Just("application/octet-stream".to_owned()),
            Just(format!("text/plain; x={}", "y".repeat(300))),
        ]);
        let forwarded = prop::collection::vec(("x-b3-[a-z]{1,8}", "[ -~]{1,12}"), 0..3);
        (
            attributes,
            media_type,
            any::<Vec<u8>>(),
            forwarded,
            any::<bool>(),
        )
            .prop_map(|(attributes, media_type, data, forwarded, old)| {
                let mut event = Event::empty(if old {
                    SpecVersion::V0_3
                } else {
                    SpecVersion::V1_0
                });
                for (name, value) in [("id", "1"), ("source", "/s"), ("type", "t")] {
                    event.set(name, value);
                }
                let core = [
                    "id",
                    "source",
                    "type",
                    "time",
                    "dataschema",
                    "data",
                    "specversion",
                    "datacontenttype",
                ];
                for (name, (text, kind)) in attributes
                    .iter()
                    .filter(|(name, _)| !core.contains(&name.as_str()))
                {
                    event.set_typed(name, text, *kind);
                }
                let forwarded = forwarded.into_iter().filter_map(|(name, value)| {
                    Some((
                        HeaderName::from_bytes(name.as_bytes()).ok()?,
                        HeaderValue::from_str(value.trim()).ok()?,
                    ))
                });
                let media_type =
                    media_type.map(|text| HeaderValue::from_str(&text).expect("a media type"));
                event
                    .with_data(media_type, Bytes::from(data))
                    .with_forwarded(forwarded.collect())
            })
    }

    #[test]
    fn compressed_data_is_no_event() {
        let event = Event::new("1", "/s", "t").with_data(None, Bytes::from_static(b"data"));
        let AmqpMessage { properties, body } = encode(&event, RetryHeaders::default());
        for (coding, is_event) in [
            ("gzip", false),
            ("deflate", false),
            ("UTF-8", true),
            ("identity", true),
        ] {
            let properties = properties
                .clone()
                .with_content_encoding(short_string(coding));
            assert_eq!(
                decode(&properties, body.clone(), AttributeLimit::default()).is_ok(),
                is_event,
                "{coding}"
            );
        }
    }

    proptest! {
        /// Nothing is lost in translation: types, empty values, strange texts, long names, data of
        /// any kind (contract DP-9).
        #[test]
        fn messages_are_events_again(event in any_event(), attempts in any::<u32>(), not_before in 0u64..1 << 60, left in prop::option::of(0u64..1 << 40)) {
            let retry_headers = if attempts == 0 && not_before == 0 { RetryHeaders::default() } else { RetryHeaders { attempts, not_before_millis: not_before, remaining_millis: left } };
            let AmqpMessage { properties, body } = encode(&event, retry_headers);
            let (again, noted) = decode(&properties, body, AttributeLimit::new(1 << 20)).expect("an event");
            prop_assert_eq!(noted, retry_headers);
            prop_assert_eq!(again.forwarded(), event.forwarded());
            prop_assert_eq!(again.data(), event.data());
            prop_assert_eq!(again.get("datacontenttype"), event.get("datacontenttype"));
            prop_assert_eq!(again.attributes().len(), event.attributes().len());
            for attribute in event.attributes() {
                let found = again.attribute(attribute.name()).expect("the attribute");
                prop_assert_eq!((found.text(), found.attribute_type()), (attribute.text(), attribute.attribute_type()));
            }
        }

        /// Whatever stands in a queue is an event or is not.
        #[test]
        fn decoding_never_panics(names in prop::collection::vec(("\\PC{0,20}", "\\PC{0,20}"), 0..8), body in any::<Vec<u8>>()) {
            let mut headers = FieldTable::default();
            for (name, value) in &names {
                headers.insert(short_string(name), text_value(value));
            }
            headers.insert(short_string("specversion"), text_value("1.0"));
            let properties = BasicProperties::default().with_headers(headers);
            prop_assert!(decode(&properties, Bytes::from(body), AttributeLimit::default()).is_err() || !names.is_empty());
        }
    }
}
