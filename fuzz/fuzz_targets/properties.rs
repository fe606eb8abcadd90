//! What holds for every input. The fuzz targets look for inputs for which it does not, and a test asks it of others.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use sealpost::event::{Event, http as binding};
use sealpost::filter::cesql::{Expression, MAX_STEPS};
use sealpost::filter::{Filter, Undecided};

/// A request of these bytes is an event or is not; an event is the same after it has been sent in either mode. The
/// first line is the media type, further lines up to an empty one are headers, the rest is the body.
pub(crate) fn event(data: &[u8]) {
    let (head, body) = split(data, b"\n\n");
    let mut headers = HeaderMap::new();
    for (number, line) in head.split(|byte| *byte == b'\n').take(64).enumerate() {
        let (name, value) = if number == 0 { (&b"content-type"[..], line) } else { split(line, b":") };
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    let body = Bytes::copy_from_slice(body);
    let reply = binding::decode_reply(headers.clone(), &body);
    let Ok(events) = binding::decode(headers, body) else { return };
    assert!(reply.is_err() || events.len() == 1, "what is an event to a sender is one to a subscriber");
    for event in events {
        let binary = again(binding::binary_headers(&event), event.data().clone());
        let (headers, body) = binding::structured(&event);
        let structured = again(headers, body);
        assert_eq!(binary.data(), event.data());
        // Blanks around a JSON value mean nothing.
        assert_eq!(structured.data().trim_ascii(), event.data().trim_ascii());
        // Types are not told in binary mode, so that texts are compared; an empty header is an attribute that is not set.
        for attribute in event.attributes() {
            let text = event.get(attribute.name());
            assert_eq!(structured.get(attribute.name()), text.clone().filter(|_| attribute.name() != "data"));
            assert_eq!(binary.get(attribute.name()).unwrap_or_default(), text.unwrap_or_default());
        }
        assert!(structured.attributes().len() <= event.attributes().len());
        assert!(binary.attributes().len() <= event.attributes().len());
    }
}

fn again(headers: HeaderMap, body: Bytes) -> Event {
    binding::decode(headers, body).expect("what was sent is an event").remove(0)
}

/// A text is an expression or is not; an expression is the same after it has been printed, and evaluates to something
/// for any event. The first line is the expression, the others are `name=value` of attributes.
pub(crate) fn cesql(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.lines();
    let Ok(expression) = Expression::parse(lines.next().unwrap_or_default()) else { return };
    let mut event = Event::new("1", "/s", "t");
    lines.filter_map(|line| line.split_once('=')).take(64).for_each(|(name, value)| event.set(name, value));
    let printed = expression.to_string();
    // Parentheses make it longer and deeper, perhaps beyond what is read.
    if let Ok(again) = Expression::parse(&printed) {
        assert_eq!(again, expression, "{printed}");
    }
    let filter = Filter::Cesql(expression);
    let decision = filter.decide(&event);
    assert!(decision.steps <= MAX_STEPS);
    let negated = Filter::Not(Box::new(filter)).decide(&event).passes;
    // To ask for the opposite is a step more, which may be one too many.
    assert!(negated == decision.passes.map(|passes| !passes) || negated == Err(Undecided::Limit), "{printed}");
}

fn split<'d>(data: &'d [u8], separator: &[u8]) -> (&'d [u8], &'d [u8]) {
    match data.windows(separator.len()).position(|window| window == separator) {
        Some(at) => (&data[..at], &data[at + separator.len()..]),
        None => (data, &[]),
    }
}
