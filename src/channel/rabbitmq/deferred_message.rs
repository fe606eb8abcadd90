//! A message that waits on the way to a reply address or a dead letter sink: its body is a batch of
//! two events, the one itself and the one that goes there (contract RQ-8; CloudEvents JSON batch
//! format).

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::value::RawValue;

use super::message::amqp_message::{AmqpMessage, persistent_properties};
use super::message::amqp_value::{short_string, text_value};
use super::message::forwarded_headers::{decode_forwarded_headers, insert_forwarded_headers};
use super::message::header_names::{FORWARDED, STAGE, STAGE_FORWARDED};
use super::message::retry_headers::RetryHeaders;
use super::message::trace_headers::decode_trace_context;
use super::message::{event_decoder, event_encoder};
use crate::channel::DeliveryStage;
use crate::event::{AttributeLimit, DecodeError, Event, http as binding};
use crate::wire_text::WireText;

const REPLY: &str = "reply";
const DEAD_LETTER_SINK: &str = "dead-letter-sink";

/// Encodes a deferred event, with the event that goes to the reply address or dead letter sink.
pub(super) fn encode(
    event: &Event,
    stage: &DeliveryStage,
    retry_headers: RetryHeaders,
) -> AmqpMessage {
    let (name, second) = match stage {
        DeliveryStage::Subscriber => return event_encoder::encode(event, retry_headers),
        DeliveryStage::Reply(reply) => (REPLY, reply),
        DeliveryStage::DeadLetterSink(dead) => (DEAD_LETTER_SINK, dead),
    };
    let [(_, first), (_, last)] = [
        binding::encode_structured(event),
        binding::encode_structured(second),
    ];
    let body = [b"[", &first[..], b",", &last[..], b"]"].concat();
    let mut headers = FieldTable::default();
    event_encoder::insert_other_headers(&mut headers, event, retry_headers);
    insert_forwarded_headers(&mut headers, STAGE_FORWARDED, second);
    headers.insert(short_string(STAGE), text_value(name));
    AmqpMessage {
        properties: persistent_properties(headers, Some(short_string(binding::BATCHED))),
        body: Bytes::from(body),
    }
}

/// Decodes the event in a message, its retry headers, and the stage of its delivery.
///
/// # Errors
/// If the message is no event, or not a valid one.
pub(super) fn decode(
    properties: &BasicProperties,
    body: Bytes,
    limit: AttributeLimit,
) -> Result<(Event, RetryHeaders, DeliveryStage), DecodeError> {
    let stage = properties
        .headers()
        .as_ref()
        .and_then(|headers| Some((headers, headers.inner().get(STAGE)?)));
    let Some((headers, AMQPValue::LongString(name))) = stage else {
        return event_decoder::decode(properties, body, limit)
            .map(|(event, retry_headers)| (event, retry_headers, DeliveryStage::Subscriber));
    };
    let [event, second]: [&RawValue; 2] =
        serde_json::from_slice(&body).map_err(|error| DecodeError::Json(WireText::new(error)))?;
    let event = decode_unvalidated(event, limit)?
        .with_forwarded(decode_forwarded_headers(headers, FORWARDED))
        .with_trace(decode_trace_context(headers));
    let second = decode_unvalidated(second, limit)?
        .with_forwarded(decode_forwarded_headers(headers, STAGE_FORWARDED));
    let second = Arc::new(second);
    let stage = match name.as_bytes() {
        name if name == REPLY.as_bytes() => DeliveryStage::Reply(second),
        _ => DeliveryStage::DeadLetterSink(second),
    };
    Ok((event, RetryHeaders::decode(headers), stage))
}

/// Decodes an event without validation, which replies do not undergo either.
///
/// # Errors
/// If it is no event, or has too many attributes.
fn decode_unvalidated(event: &RawValue, limit: AttributeLimit) -> Result<Event, DecodeError> {
    let headers = HeaderMap::from_iter([(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static(binding::STRUCTURED),
    )]);
    let body = Bytes::copy_from_slice(event.get().as_bytes());
    binding::decode_reply(headers, &body, limit)?.ok_or(DecodeError::NotAnEvent)
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    #[test]
    fn both_events_come_back() {
        let with = |id: &str, data: &'static [u8]| {
            let mut event = Event::new(id, "/s", "t").with_data(None, Bytes::from_static(data));
            event.set_integer("n", 7);
            let header = (
                HeaderName::from_static("x-b3-a"),
                HeaderValue::from_str(id).expect("a value"),
            );
            Arc::new(event.with_forwarded(vec![header]))
        };
        let (event, second) = (with("1", b"\xff\0"), with("2", b"text"));
        let retry_headers = RetryHeaders {
            attempts: 3,
            not_before_millis: 5,
            remaining_millis: Some(2),
        };
        for stage in [
            DeliveryStage::Subscriber,
            DeliveryStage::Reply(Arc::clone(&second)),
            DeliveryStage::DeadLetterSink(second),
        ] {
            let AmqpMessage { properties, body } = encode(&event, &stage, retry_headers);
            let (again, noted, on_the_way) =
                decode(&properties, body, AttributeLimit::default()).expect("an event");
            assert_eq!((&again, noted, on_the_way), (&*event, retry_headers, stage));
        }
    }

    #[test]
    fn what_is_no_pair_is_refused() {
        let AmqpMessage { properties, .. } = encode(
            &Event::new("1", "/s", "t"),
            &DeliveryStage::Reply(Arc::new(Event::new("2", "/s", "t"))),
            RetryHeaders::default(),
        );
        for body in [
            "",
            "[]",
            "[{}]",
            "[1,2]",
            "{}",
            "[{\"specversion\":\"1.0\"},3]",
            "[{},{},{}]",
        ] {
            assert!(
                decode(
                    &properties,
                    Bytes::from_static(body.as_bytes()),
                    AttributeLimit::default()
                )
                .is_err(),
                "{body}"
            );
        }
    }
}
