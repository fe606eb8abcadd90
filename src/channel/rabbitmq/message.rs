//! An event as an AMQP 0-9-1 message: its attributes are headers with the prefix that the AMQP
//! binding of CloudEvents prefers, its data are the body. Other spellings are understood, so that
//! queues of others can be drained (contract RQ-8 to RQ-10).

pub(crate) mod amqp_message;
pub(crate) mod amqp_value;
pub(crate) mod event_decoder;
pub(crate) mod event_encoder;
pub(crate) mod forwarded_headers;
pub(crate) mod header_names;
pub(crate) mod parked_headers;
pub(crate) mod retry_headers;
pub(crate) mod trace_headers;

use bytes::Bytes;
use lapin::BasicProperties;

use crate::event::{AttributeLimit, DecodeError, Event};
use amqp_message::AmqpMessage;
use event_decoder::decode;
use event_encoder::encode;
use retry_headers::RetryHeaders;

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use http::{HeaderName, HeaderValue};
    use lapin::types::FieldTable;

    use super::amqp_message::AmqpMessage;
    use super::amqp_value::{short_string, text_value};
    use super::parked_headers::{decode_parked_headers, parked_properties};
    use super::*;
    use crate::event::{AttributeType, SpecVersion};

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
