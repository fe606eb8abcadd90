//! Writes spans to standard output, each as a line of JSON (contract OB-1), for use without a
//! collector.

use serde_json::{Map, Value as Json, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::io::AsyncWriteExt;

use super::ExportResult;
use crate::telemetry::tracer::{AttributeValue, QueuedSpan, SpanAttribute, SpanData};
use crate::wire_text::escape_json;

/// Writes these spans; fails if standard output cannot be written to.
pub(super) async fn print_spans(
    resource: &[(String, String)],
    spans: &[QueuedSpan],
) -> ExportResult {
    let mut text = String::new();
    for QueuedSpan { span, .. } in spans {
        text.push_str(&escape_json(&span_line(resource, span).to_string()));
        text.push('\n');
    }
    let mut stdout = tokio::io::stdout();
    stdout
        .write_all(text.as_bytes())
        .await
        .map_err(|error| error.to_string())?;
    stdout.flush().await.map_err(|error| error.to_string())?;
    Ok(())
}

fn span_line(resource: &[(String, String)], span: &SpanData) -> Json {
    let resource: Map<String, Json> = resource
        .iter()
        .map(|(key, value)| (key.clone(), json!(value)))
        .collect();
    let events = span.events.iter().map(|event| {
        json!({ "name": event.name, "time": format_time(event.time), "attributes": json_attributes(&event.attributes) })
    });
    json!({
        "name": span.name,
        "traceId": format!("{:032x}", span.context.trace_id),
        "spanId": format!("{:016x}", span.context.span_id),
        "parentSpanId": (span.parent_span_id != 0).then(|| format!("{:016x}", span.parent_span_id)),
        "kind": format!("{:?}", span.kind).to_lowercase(),
        "startTime": format_time(span.start_time),
        "endTime": format_time(span.end_time),
        "attributes": json_attributes(&span.attributes),
        "events": events.collect::<Vec<_>>(),
        "error": span.error.as_ref().map(json_value),
        "resource": resource,
    })
}

fn json_attributes(attributes: &[SpanAttribute]) -> Map<String, Json> {
    attributes
        .iter()
        .map(|(key, told)| ((*key).to_owned(), json_value(told)))
        .collect()
}

fn json_value(value: &AttributeValue) -> Json {
    match value {
        AttributeValue::Text(text) => json!(text),
        AttributeValue::Integer(number) => json!(number),
        AttributeValue::Seconds(seconds) => json!(seconds),
    }
}

fn format_time(nanoseconds: u64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds.into())
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    time.format(&Rfc3339).unwrap_or_default()
}
