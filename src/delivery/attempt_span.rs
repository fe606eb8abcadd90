//! The span of one attempt (contract OB-12).

use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;
use opentelemetry_semantic_conventions::attribute::{
    HTTP_REQUEST_METHOD, HTTP_REQUEST_RESEND_COUNT, SERVER_ADDRESS, SERVER_PORT, URL_SCHEME,
};

use crate::model::{Addressable, DestinationRoute, UriScheme};
use crate::telemetry::tracer::Span;

/// Starts the span of an attempt, as a child of the span of all attempts. It has the address of the
/// destination, and of its URL neither path nor query.
pub(super) fn start_attempt_span(send: &Span, to: &Addressable, attempts: u32) -> Span {
    let (name, kind) = match to.route {
        DestinationRoute::Remote { .. } => ("POST", SpanKind::Client),
        DestinationRoute::Local(_) => ("enter channel", SpanKind::Internal),
        DestinationRoute::WaitingRequest(_) => ("answer request", SpanKind::Internal),
        DestinationRoute::EventDisplay => ("display", SpanKind::Internal),
        DestinationRoute::Unresolved(_) => ("nowhere", SpanKind::Internal),
    };
    let is_request = kind == SpanKind::Client;
    let mut span = send.child(name, kind);
    if is_request {
        set_request_attributes(&mut span, to);
    }
    // The first attempt has no resend count, as OpenTelemetry asks.
    if attempts > 0 {
        span.set_attributes(|| {
            [KeyValue::new(
                HTTP_REQUEST_RESEND_COUNT,
                i64::from(attempts),
            )]
        });
    }
    span
}

fn set_request_attributes(span: &mut Span, to: &Addressable) {
    span.set_attributes(|| {
        let scheme = match to.url.scheme() {
            "https" => UriScheme::Https,
            _ => UriScheme::Http,
        };
        let address = to.url.host_str().unwrap_or_default().to_owned();
        let port = to.url.port_or_known_default().unwrap_or_default();
        [
            KeyValue::new(HTTP_REQUEST_METHOD, "POST"),
            KeyValue::new(URL_SCHEME, scheme.as_str()),
            KeyValue::new(SERVER_ADDRESS, address),
            KeyValue::new(SERVER_PORT, i64::from(port)),
        ]
    });
}
