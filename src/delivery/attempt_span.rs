//! The span of one attempt (contract OB-12).

use crate::model::{Addressable, DestinationRoute};
use crate::telemetry::tracer::{Span, SpanKind};

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
    let mut span = send.child(name, kind);
    if kind == SpanKind::Client {
        set_request_attributes(&mut span, to);
    }
    // The first attempt has no resend count, as OpenTelemetry asks.
    if attempts > 0 {
        span.set_attributes(|| [("http.request.resend_count", i64::from(attempts).into())]);
    }
    span
}

fn set_request_attributes(span: &mut Span, to: &Addressable) {
    span.set_attributes(|| {
        let address = to.url.host_str().unwrap_or_default().to_owned();
        let port = to.url.port_or_known_default().unwrap_or_default();
        [
            ("http.request.method", "POST".into()),
            ("url.scheme", to.url.scheme().to_owned().into()),
            ("server.address", address.into()),
            ("server.port", i64::from(port).into()),
        ]
    });
}
