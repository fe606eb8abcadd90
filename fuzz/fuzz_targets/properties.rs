//! What holds for every input. The fuzz targets look for inputs for which it does not, and a test
//! asks it of others.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use sealpost::channel::rabbitmq::message::{event_from_amqp, event_to_amqp};
use sealpost::event::{AttributeLimit, Event, http as binding};
use sealpost::filter::cesql::{CesqlExpression, MAX_STEPS};
use sealpost::filter::{Filter, UndecidedReason};
use sealpost::model::TrustBundle;

/// A request of these bytes is an event or is not; an event is the same after it has been sent in
/// either mode. The first line is the media type, further lines up to an empty one are headers, the
/// rest is the body.
pub(crate) fn event(data: &[u8]) {
    let (head, body) = split(data, b"\n\n");
    let mut headers = HeaderMap::new();
    for (number, line) in head.split(|byte| *byte == b'\n').take(64).enumerate() {
        let (name, value) = if number == 0 {
            (&b"content-type"[..], line)
        } else {
            split(line, b":")
        };
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            headers.append(name, value);
        }
    }
    let body = Bytes::copy_from_slice(body);
    let reply = binding::decode_reply(headers.clone(), &body, AttributeLimit::default());
    let Ok(events) = binding::decode(headers, body, AttributeLimit::default()) else {
        return;
    };
    assert!(
        reply.is_err() || events.len() == 1,
        "what is an event to a sender is one to a subscriber"
    );
    for event in events {
        let binary = again(binding::binary_headers(&event), event.data().clone());
        let (headers, body) = binding::encode_structured(&event);
        let structured = again(headers, body);
        assert_eq!(binary.data(), event.data());
        // Blanks around a JSON value mean nothing.
        assert_eq!(structured.data().trim_ascii(), event.data().trim_ascii());
        // Types are not told in binary mode, so that texts are compared; an empty header is an
        // attribute that is not set.
        for attribute in event.attributes() {
            let text = event.get(attribute.name());
            assert_eq!(
                structured.get(attribute.name()),
                text.clone().filter(|_| attribute.name() != "data")
            );
            assert_eq!(
                binary.get(attribute.name()).unwrap_or_default(),
                text.unwrap_or_default()
            );
        }
        assert!(structured.attributes().len() <= event.attributes().len());
        assert!(binary.attributes().len() <= event.attributes().len());
    }
}

fn again(headers: HeaderMap, body: Bytes) -> Event {
    binding::decode(headers, body, AttributeLimit::default())
        .expect("what was sent is an event")
        .remove(0)
}

/// Events in a batch are what each of them is alone, and a batch is one if each of them is. Each
/// line is a JSON value.
pub(crate) fn batch(data: &[u8]) {
    let is_json = |line: &&[u8]| serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok();
    let lines: Vec<&[u8]> = data
        .split(|byte| *byte == b'\n')
        .filter(is_json)
        .take(64)
        .collect();
    let as_json =
        |kind: &'static str| HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]);
    let alone = |line: &&[u8]| {
        let events = binding::decode(
            as_json(binding::STRUCTURED),
            Bytes::copy_from_slice(line),
            AttributeLimit::default(),
        );
        events.inspect(|events| assert_eq!(events.len(), 1))
    };
    let each: Result<Vec<Event>, _> = lines
        .iter()
        .map(|line| alone(line).map(|mut events| events.remove(0)))
        .collect();
    let body = [b"[", lines.join(&b","[..]).as_slice(), b"]"].concat();
    match (
        binding::decode(
            as_json(binding::BATCHED),
            Bytes::from(body),
            AttributeLimit::default(),
        ),
        each,
    ) {
        (Ok(events), Ok(each)) => assert_eq!(events, each),
        (Err(_), Err(_)) => {}
        (together, each) => assert!(lines.is_empty(), "{together:?} is not {each:?}"),
    }
}

/// A message of these headers is an event or is not; an event is the same after it has been in a
/// queue. The first line is the media type, further lines up to an empty one are headers,
/// `name:value` with a letter before the value that says what AMQP calls its type.
pub(crate) fn message(data: &[u8]) {
    let (head, body) = split(data, b"\n\n");
    let mut lines = head.split(|byte| *byte == b'\n');
    let short = |bytes: &[u8]| ShortString::try_new(String::from_utf8_lossy(bytes)).ok();
    let content_type = lines.next().and_then(short);
    let mut headers = FieldTable::default();
    for (name, value) in lines.take(64).map(|line| split(line, b":")) {
        if let Some(name) = short(name) {
            headers.insert(name, field(value));
        }
    }
    let properties = BasicProperties::default().with_headers(headers);
    let properties = match content_type {
        Some(content_type) => properties.with_content_type(content_type),
        None => properties,
    };
    let Ok(event) = event_from_amqp(&properties, Bytes::copy_from_slice(body)) else {
        return;
    };
    let (properties, body) = event_to_amqp(&event);
    let again = event_from_amqp(&properties, body).expect("what was published is an event");
    assert_eq!(again.data().trim_ascii(), event.data().trim_ascii());
    for attribute in event.attributes() {
        assert_eq!(
            again.get(attribute.name()),
            event.get(attribute.name()),
            "{}",
            attribute.name()
        );
    }
}

/// A value whose first byte says what type it has; text, if it says none.
fn field(value: &[u8]) -> AMQPValue {
    let (kind, rest) = value.split_at_checked(1).unwrap_or_default();
    let number = || {
        String::from_utf8_lossy(rest)
            .parse::<i64>()
            .unwrap_or_default()
    };
    match kind {
        b"I" => AMQPValue::LongLongInt(number()),
        b"U" => AMQPValue::LongUInt(number().try_into().unwrap_or_default()),
        b"T" => AMQPValue::Timestamp(number().unsigned_abs()),
        b"D" => AMQPValue::Double(String::from_utf8_lossy(rest).parse().unwrap_or_default()),
        b"F" => AMQPValue::Boolean(rest == b"true"),
        b"X" => AMQPValue::ByteArray(rest.to_vec().into()),
        b"A" => AMQPValue::FieldArray(vec![AMQPValue::LongString(rest.to_vec().into())].into()),
        b"V" => AMQPValue::Void,
        _ => AMQPValue::LongString(value.to_vec().into()),
    }
}

/// A text is trust or is not; what is trusted has certificates, and is the same trust however often
/// it is read.
pub(crate) fn pem(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(bundle) = TrustBundle::from_pem(&text) else {
        return;
    };
    assert!(!bundle.certificates().is_empty());
    let again = TrustBundle::from_pem(&text).expect("it was read before");
    assert_eq!(bundle.fingerprint(), again.fingerprint());
    let twice =
        TrustBundle::from_pem(&format!("{text}\n{text}")).expect("what is read twice is read");
    assert_eq!(
        bundle.fingerprint(),
        twice.fingerprint(),
        "the same certificates"
    );
}

/// A text is an expression or is not; an expression is the same after it has been printed, and
/// evaluates to something for any event. The first line is the expression, the others are
/// `name=value` of attributes.
pub(crate) fn cesql(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.lines();
    let Ok(expression) = CesqlExpression::parse(lines.next().unwrap_or_default()) else {
        return;
    };
    let mut event = Event::new("1", "/s", "t");
    lines
        .filter_map(|line| line.split_once('='))
        .take(64)
        .for_each(|(name, value)| event.set(name, value));
    let printed = expression.to_string();
    // Parentheses make it longer and deeper, perhaps beyond what is read.
    if let Ok(again) = CesqlExpression::parse(&printed) {
        assert_eq!(again, expression, "{printed}");
    }
    let filter = Filter::from(expression);
    let decision = filter.decide(&event);
    assert!(decision.steps <= MAX_STEPS);
    let negated = Filter::Not(Box::new(filter)).decide(&event).passes;
    // To ask for the opposite is a step more, which may be one too many.
    assert!(
        negated == decision.passes.map(|passes| !passes) || negated == Err(UndecidedReason::Limit),
        "{printed}"
    );
}

fn split<'d>(data: &'d [u8], separator: &[u8]) -> (&'d [u8], &'d [u8]) {
    match data
        .windows(separator.len())
        .position(|window| window == separator)
    {
        Some(at) => (&data[..at], &data[at + separator.len()..]),
        None => (data, &[]),
    }
}
