//! The attributes of spans about an event and about a response, by OpenTelemetry's conventions and
//! by Knative's names (contract OB-8, OB-12, OB-13). Data and extensions are left out: they may
//! hold secrets.

use opentelemetry::KeyValue;
use opentelemetry_semantic_conventions::attribute::{
    CLOUDEVENTS_EVENT_ID, CLOUDEVENTS_EVENT_SOURCE, CLOUDEVENTS_EVENT_SPEC_VERSION,
    CLOUDEVENTS_EVENT_SUBJECT, CLOUDEVENTS_EVENT_TYPE, ERROR_TYPE, HTTP_RESPONSE_STATUS_CODE,
    MESSAGING_MESSAGE_ID,
};

use super::tracer::{Span, text_attribute};
use crate::event::Event;

/// Sets the attributes of the event on its span.
pub fn set_event_attributes(span: &mut Span, event: &Event) {
    let attribute =
        |name: &'static str, of: &str| text_attribute(name, &event.get(of).unwrap_or_default());
    span.set_attributes(|| {
        [
            attribute(MESSAGING_MESSAGE_ID, "id"),
            attribute(CLOUDEVENTS_EVENT_ID, "id"),
            attribute(CLOUDEVENTS_EVENT_SOURCE, "source"),
            attribute(CLOUDEVENTS_EVENT_TYPE, "type"),
            attribute(CLOUDEVENTS_EVENT_SPEC_VERSION, "specversion"),
            attribute("cloudevents.type", "type"),
            attribute("cloudevents.source", "source"),
        ]
    });
    if event.attribute("subject").is_some() {
        span.set_attributes(|| [attribute(CLOUDEVENTS_EVENT_SUBJECT, "subject")]);
    }
}

/// Sets the result of a request: a status, or the reason for which there is none. From status 400
/// on the span is an error.
pub fn set_response_attributes(span: &mut Span, result: Result<u16, &'static str>) {
    span.set_attributes(|| {
        [match result {
            Ok(status) => KeyValue::new(HTTP_RESPONSE_STATUS_CODE, i64::from(status)),
            Err(reason) => KeyValue::new(ERROR_TYPE, reason),
        }]
    });
    match result {
        Ok(status @ 400..) => span.set_error(|| status.to_string().into()),
        Ok(_) => {}
        Err(reason) => span.set_error(|| reason.into()),
    }
}
