//! The span of the one request that goes out for each that comes in (contract OB-13).

use http::HeaderMap;

use crate::event::TraceContext;
use crate::telemetry::trace::{Kind, Span, Tracer};

/// Begins it; the request says from now on that it belongs to that.
pub(super) fn begin(tracer: &Tracer, headers: &mut HeaderMap) -> Span {
    if !tracer.is_on() {
        return Span::default();
    }
    let mut span = tracer.start("POST", Kind::Client, TraceContext::of(headers).as_ref());
    span.tell(|| [("http.request.method", "POST".into())]);
    if let Some(context) = span.context() {
        context.write(headers);
    }
    span
}
