//! The span of a request with an event (contract OB-12).

use http::{Method, Request, StatusCode};
use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;
use opentelemetry_semantic_conventions::attribute::{HTTP_REQUEST_METHOD, URL_SCHEME};

use crate::event::TraceContext;
use crate::model::UriScheme;
use crate::telemetry::span_attributes;
use crate::telemetry::tracer::{Span, Tracer};

/// Starts the span of a request, as a child of the one that its header fields name; the default for
/// other requests than `POST`, and while nothing is traced.
pub(super) fn start_server_span<B>(
    tracer: &Tracer,
    request: &Request<B>,
    scheme: UriScheme,
) -> Span {
    if !tracer.is_enabled() || request.method() != Method::POST {
        return Span::default();
    }
    let parent = TraceContext::from_headers(request.headers());
    let mut span = tracer.start("POST", SpanKind::Server, parent.as_ref());
    span.set_attributes(|| {
        [
            KeyValue::new(HTTP_REQUEST_METHOD, "POST"),
            KeyValue::new(URL_SCHEME, scheme.as_str()),
        ]
    });
    span
}

/// Sets the status of the response; from 500 on the span is an error.
pub(super) fn set_response_status(span: &mut Span, status: StatusCode) {
    span_attributes::set_status(span, status.as_u16());
    if status.is_server_error() {
        span_attributes::set_status_error(span, status.as_u16());
    }
}
