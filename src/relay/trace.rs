//! The span of the one request that goes out for each that comes in (data-plane.md OB-13).

use bytes::Bytes;
use http::{HeaderMap, Response};

use crate::client::TransportError;
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

/// Tells how it ended.
pub(super) fn finish(span: &mut Span, sent: &Result<Response<Bytes>, TransportError>) {
    match sent {
        Ok(answer) => {
            let status = answer.status();
            span.tell(|| [("http.response.status_code", i64::from(status.as_u16()).into())]);
            if status.is_client_error() || status.is_server_error() {
                span.failed(|| status.as_u16().to_string().into());
            }
        }
        Err(error) => {
            span.tell(|| [("error.type", error.reason().into())]);
            span.failed(|| error.reason().into());
        }
    }
}
