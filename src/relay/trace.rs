//! Span of the one request that goes out for each that comes in (contract OB-13).

use http::HeaderMap;
use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;
use opentelemetry_semantic_conventions::attribute::HTTP_REQUEST_METHOD;

use crate::event::TraceContext;
use crate::telemetry::tracer::{Span, Tracer};

/// Starts the span, and makes it the parent in the trace context of the request's header fields.
pub(super) fn start_client_span(tracer: &Tracer, headers: &mut HeaderMap) -> Span {
    if !tracer.is_enabled() {
        return Span::default();
    }
    let mut span = tracer.start(
        "POST",
        SpanKind::Client,
        TraceContext::from_headers(headers).as_ref(),
    );
    span.set_attributes(|| [KeyValue::new(HTTP_REQUEST_METHOD, "POST")]);
    if let Some(context) = span.context() {
        context.write_headers(headers);
    }
    span
}
