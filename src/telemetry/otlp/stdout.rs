//! Writes spans to standard output, each as a line of JSON (contract OB-1), for use without a
//! collector. OpenTelemetry's own exporter writes many lines for people.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::SystemTime;

use opentelemetry::trace::{SpanId, Status};
use opentelemetry::{KeyValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;
use opentelemetry_semantic_conventions::attribute::ERROR_TYPE;
use serde_json::{Map, Value as Json, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::io::AsyncWriteExt;

use super::{ExportAnswer, ExportResult};
use crate::wire_text::escape_json;

/// Writes these spans; fails if standard output cannot be written to.
pub(super) async fn print_spans(resource: &Resource, spans: &[SpanData]) -> ExportResult {
    let mut text = String::new();
    for span in spans {
        text.push_str(&escape_json(&span_line(resource, span).to_string()));
        text.push('\n');
    }
    let mut stdout = tokio::io::stdout();
    stdout
        .write_all(text.as_bytes())
        .await
        .map_err(|error| error.to_string())?;
    stdout.flush().await.map_err(|error| error.to_string())?;
    Ok(ExportAnswer::default())
}

fn span_line(resource: &Resource, span: &SpanData) -> Json {
    // The resource has no order of its own.
    let resource: BTreeMap<&str, Json> = resource
        .iter()
        .map(|(key, value)| (key.as_str(), json_value(value)))
        .collect();
    let events = span.events.iter().map(|event| {
        json!({
            "name": event.name,
            "time": format_time(event.timestamp),
            "attributes": json_attributes(&event.attributes),
        })
    });
    let error = match &span.status {
        // An attempt without a description says all there is as `error.type`.
        Status::Error { description } if description.is_empty() => span
            .attributes
            .iter()
            .find(|attribute| attribute.key.as_str() == ERROR_TYPE)
            .map(|attribute| attribute.value.as_str()),
        Status::Error { description } => Some(Cow::from(&**description)),
        Status::Unset | Status::Ok => None,
    };
    let parent = (span.parent_span_id != SpanId::INVALID).then_some(span.parent_span_id);
    json!({
        "name": span.name,
        "traceId": span.span_context.trace_id().to_string(),
        "spanId": span.span_context.span_id().to_string(),
        "parentSpanId": parent.map(|parent| parent.to_string()),
        "kind": format!("{:?}", span.span_kind).to_lowercase(),
        "startTime": format_time(span.start_time),
        "endTime": format_time(span.end_time),
        "attributes": json_attributes(&span.attributes),
        "events": events.collect::<Vec<_>>(),
        "error": error,
        "resource": resource,
    })
}

fn json_attributes(attributes: &[KeyValue]) -> Map<String, Json> {
    attributes
        .iter()
        .map(|KeyValue { key, value, .. }| (key.to_string(), json_value(value)))
        .collect()
}

fn json_value(value: &Value) -> Json {
    match value {
        Value::I64(number) => json!(number),
        Value::F64(number) => json!(number),
        Value::Bool(truth) => json!(truth),
        other => json!(other.as_str()),
    }
}

fn format_time(time: SystemTime) -> String {
    OffsetDateTime::from(time)
        .format(&Rfc3339)
        .unwrap_or_default()
}
