//! Trace context of an event in the headers of its message (contract RQ-8).

use std::sync::Arc;

use http::HeaderValue;
use lapin::types::{AMQPValue, FieldTable};

use super::amqp_value::{decode_value, short_string};
use super::header_names::BAGGAGE;
use crate::event::{self, TRACEPARENT, TRACESTATE, TraceContext};

/// Adds the trace context of an event, under the names that upstream uses (contract RQ-8).
pub(crate) fn insert_trace_context(headers: &mut FieldTable, trace: &TraceContext) {
    for (name, value) in trace.fields() {
        let name = if name == event::BAGGAGE {
            BAGGAGE
        } else {
            name.as_str()
        };
        let value = AMQPValue::LongString(value.as_bytes().to_vec().into());
        headers.insert(short_string(name), value);
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
