//! The attributes of spans about an event and about a response, by OpenTelemetry's conventions and
//! by Knative's names (contract OB-8, OB-12, OB-13). Data and extensions are left out: they may
//! hold secrets.

use opentelemetry::{KeyValue, Value};
use opentelemetry_semantic_conventions::attribute::{
    CLOUDEVENTS_EVENT_ID, CLOUDEVENTS_EVENT_SOURCE, CLOUDEVENTS_EVENT_SPEC_VERSION,
    CLOUDEVENTS_EVENT_SUBJECT, CLOUDEVENTS_EVENT_TYPE, ERROR_TYPE, HTTP_RESPONSE_STATUS_CODE,
    MESSAGING_MESSAGE_ID,
};

use super::tracer::{Span, text_value};
use crate::event::Event;

/// Sets the attributes of the event on its span.
pub fn set_event_attributes(span: &mut Span, event: &Event) {
    let text = |of: &str| text_value(&event.get(of).unwrap_or_default());
    span.set_attributes(|| {
        // Each text is kept once, under both of its names.
        let (id, source, kind) = (text("id"), text("source"), text("type"));
        let version: Value = event.spec_version().as_str().into();
        [
            KeyValue::new(MESSAGING_MESSAGE_ID, id.clone()),
            KeyValue::new(CLOUDEVENTS_EVENT_ID, id),
            KeyValue::new(CLOUDEVENTS_EVENT_SOURCE, source.clone()),
            KeyValue::new(CLOUDEVENTS_EVENT_TYPE, kind.clone()),
            KeyValue::new(CLOUDEVENTS_EVENT_SPEC_VERSION, version),
            KeyValue::new("cloudevents.type", kind),
            KeyValue::new("cloudevents.source", source),
        ]
    });
    if event.attribute("subject").is_some() {
        span.set_attributes(|| [KeyValue::new(CLOUDEVENTS_EVENT_SUBJECT, text("subject"))]);
    }
}

/// Sets the result of a request: a status, or the reason for which there is none. From status 400
/// on the span is an error.
pub(crate) fn set_response_attributes(span: &mut Span, result: Result<u16, &'static str>) {
    match result {
        Ok(status) => {
            set_status(span, status);
            if status >= 400 {
                set_status_error(span, status);
            }
        }
        Err(reason) => set_error_type(span, reason.into()),
    }
}

/// Sets the status of a response.
pub(crate) fn set_status(span: &mut Span, status: u16) {
    span.set_attributes(|| [KeyValue::new(HTTP_RESPONSE_STATUS_CODE, i64::from(status))]);
}

/// Marks the span as failed by the status of the response.
pub(crate) fn set_status_error(span: &mut Span, status: u16) {
    set_error_type(span, status.to_string().into());
}

/// Marks the span as failed. The type says all there is to say, so that there is no description,
/// as OpenTelemetry asks.
fn set_error_type(span: &mut Span, error_type: Value) {
    span.set_attributes(|| [KeyValue::new(ERROR_TYPE, error_type)]);
    span.set_error(|| "".into());
}
