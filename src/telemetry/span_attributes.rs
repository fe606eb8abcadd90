//! The attributes of spans about an event and about a response, by OpenTelemetry's conventions and
//! by Knative's names (contract OB-8, OB-12, OB-13). Data and extensions are left out: they may
//! hold secrets.

use super::tracer::{AttributeValue, Span, SpanAttribute};
use crate::event::Event;

/// Sets the attributes of the event on its span.
pub fn set_event_attributes(span: &mut Span, event: &Event) {
    let attribute = |name: &'static str, of: &str| -> SpanAttribute {
        (
            name,
            AttributeValue::truncated(&event.get(of).unwrap_or_default()),
        )
    };
    span.set_attributes(|| {
        [
            attribute("messaging.message.id", "id"),
            attribute("cloudevents.event_id", "id"),
            attribute("cloudevents.event_source", "source"),
            attribute("cloudevents.event_type", "type"),
            attribute("cloudevents.event_spec_version", "specversion"),
            attribute("cloudevents.type", "type"),
            attribute("cloudevents.source", "source"),
        ]
    });
    if event.attribute("subject").is_some() {
        span.set_attributes(|| [attribute("cloudevents.event_subject", "subject")]);
    }
}

/// Sets the result of a request: a status, or the reason for which there is none. From status 400
/// on the span is an error.
pub fn set_response_attributes(span: &mut Span, result: Result<u16, &'static str>) {
    match result {
        Ok(status) => {
            span.set_attributes(|| [("http.response.status_code", i64::from(status).into())])
        }
        Err(reason) => span.set_attributes(|| [("error.type", reason.into())]),
    }
    match result {
        Ok(status @ 400..) => span.set_error(|| status.to_string().into()),
        Ok(_) => {}
        Err(reason) => span.set_error(|| reason.into()),
    }
}
