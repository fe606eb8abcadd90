//! Trace context of an event in the headers of its message (contract RQ-8).

use std::sync::Arc;

use http::HeaderValue;
use lapin::types::{AMQPValue, FieldTable};

use super::amqp_value::{decode_value, short_string, text_value};
use super::header_names::BAGGAGE;
use crate::event::{self, TRACEPARENT, TRACESTATE, TraceContext};

/// Adds the trace context of an event, under the names that upstream uses (contract RQ-8).
pub(crate) fn insert_trace_context(headers: &mut FieldTable, trace: &TraceContext) {
    let bytes = |value: &HeaderValue| AMQPValue::LongString(value.as_bytes().to_vec().into());
    if let Some(span) = trace.span {
        headers.insert(
            short_string(TRACEPARENT.as_str()),
            text_value(&span.traceparent()),
        );
    }
    for (name, value) in [
        (TRACESTATE.as_str(), &trace.tracestate),
        (BAGGAGE, &trace.baggage),
    ] {
        if let Some(value) = value {
            headers.insert(short_string(name), bytes(value));
        }
    }
}

/// Decodes the trace context, if headers hold one.
pub(crate) fn decode_trace_context(headers: &FieldTable) -> Option<Arc<TraceContext>> {
    let names = [
        (TRACEPARENT, "traceparent"),
        (TRACESTATE, "tracestate"),
        (event::BAGGAGE, BAGGAGE),
    ];
    let told = names.into_iter().filter_map(|(name, key)| {
        let (text, _) = decode_value(headers.inner().get(key)?)?;
        Some((name, HeaderValue::from_str(&text).ok()?))
    });
    TraceContext::from_headers(&told.collect())
}
