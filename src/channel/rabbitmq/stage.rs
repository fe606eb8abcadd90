//! A message that waits on the way to a reply address or a dead letter sink: its body is a batch of two events, the one
//! itself and the one that goes there (contract RQ-8; CloudEvents JSON batch format).

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::value::RawValue;

use super::message::{self, Encoded, Note};
use super::outbox::short;
use crate::channel::Stage;
use crate::event::{AttributeLimit, DecodeError, Event, http as binding};
use crate::wire_text::WireText;

const STAGE: &str = "x-sealpost-stage";
const REPLY: &str = "reply";
const DEAD_LETTER_SINK: &str = "dead-letter-sink";
/// What is forwarded with the second event.
const FORWARDED: &str = "x-sealpost-stage-forwarded";

/// An event that is put off, on the way to its destination.
pub(super) fn encode(event: &Event, stage: &Stage, note: Note) -> Encoded {
    let (name, second) = match stage {
        Stage::Subscriber => return message::encode(event, note),
        Stage::Reply(reply) => (REPLY, reply),
        Stage::DeadLetterSink(dead) => (DEAD_LETTER_SINK, dead),
    };
    let [(_, first), (_, last)] = [binding::structured(event), binding::structured(second)];
    let body = [b"[", &first[..], b",", &last[..], b"]"].concat();
    let mut headers = FieldTable::default();
    message::beside(&mut headers, event, note);
    message::forward(&mut headers, FORWARDED, second);
    headers.insert(short(STAGE), message::text(name));
    Encoded { properties: message::persistent(headers, Some(short(binding::BATCHED))), body: Bytes::from(body) }
}

/// The event in a message, what goes with it, and where it is on the way to.
///
/// # Errors
/// If it is none, or not a valid one.
pub(super) fn decode(
    properties: &BasicProperties,
    body: Bytes,
    limit: AttributeLimit,
) -> Result<(Event, Note, Stage), DecodeError> {
    let stage = properties.headers().as_ref().and_then(|headers| Some((headers, headers.inner().get(STAGE)?)));
    let Some((headers, AMQPValue::LongString(name))) = stage else {
        return message::decode(properties, body, limit).map(|(event, note)| (event, note, Stage::Subscriber));
    };
    let [event, second]: [&RawValue; 2] =
        serde_json::from_slice(&body).map_err(|error| DecodeError::Json(WireText::of(error)))?;
    let event = read(event, limit)?.with_forwarded(message::forwarded(headers, message::FORWARDED));
    let event = event.with_trace(message::trace(headers));
    let second = Arc::new(read(second, limit)?.with_forwarded(message::forwarded(headers, FORWARDED)));
    let stage = match name.as_bytes() {
        name if name == REPLY.as_bytes() => Stage::Reply(second),
        _ => Stage::DeadLetterSink(second),
    };
    Ok((event, message::note(headers), stage))
}

/// Without validation, which replies do not undergo either.
fn read(event: &RawValue, limit: AttributeLimit) -> Result<Event, DecodeError> {
    let headers = HeaderMap::from_iter([(http::header::CONTENT_TYPE, HeaderValue::from_static(binding::STRUCTURED))]);
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
            let header = (HeaderName::from_static("x-b3-a"), HeaderValue::from_str(id).expect("a value"));
            Arc::new(event.with_forwarded(vec![header]))
        };
        let (event, second) = (with("1", b"\xff\0"), with("2", b"text"));
        let note = Note { attempts: 3, not_before: 5, left: Some(2) };
        for stage in [Stage::Subscriber, Stage::Reply(Arc::clone(&second)), Stage::DeadLetterSink(second)] {
            let Encoded { properties, body } = encode(&event, &stage, note);
            let (again, noted, on_the_way) = decode(&properties, body, AttributeLimit::default()).expect("an event");
            assert_eq!((&again, noted, on_the_way), (&*event, note, stage));
        }
    }

    #[test]
    fn what_is_no_pair_is_refused() {
        let Encoded { properties, .. } =
            encode(&Event::new("1", "/s", "t"), &Stage::Reply(Arc::new(Event::new("2", "/s", "t"))), Note::default());
        for body in ["", "[]", "[{}]", "[1,2]", "{}", "[{\"specversion\":\"1.0\"},3]", "[{},{},{}]"] {
            assert!(
                decode(&properties, Bytes::from_static(body.as_bytes()), AttributeLimit::default()).is_err(),
                "{body}"
            );
        }
    }
}
