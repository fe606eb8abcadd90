//! Spans on standard output, each a line of JSON (contract OB-1): for a look, where there is no collector.

use serde_json::{Map, Value as Json, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::io::AsyncWriteExt;

use super::Answer;
use crate::telemetry::trace::{Attribute, Finished, Value, Waiting};
use crate::wire_text::visible;

/// Writes them.
pub(super) async fn spans(resource: &[(String, String)], spans: &[Waiting]) -> Answer {
    let mut text = String::new();
    for Waiting { span, .. } in spans {
        text.push_str(&visible(&line(resource, span).to_string()));
        text.push('\n');
    }
    let mut stdout = tokio::io::stdout();
    stdout.write_all(text.as_bytes()).await.map_err(|error| error.to_string())?;
    stdout.flush().await.map_err(|error| error.to_string())?;
    Ok(())
}

fn line(resource: &[(String, String)], span: &Finished) -> Json {
    let resource: Map<String, Json> = resource.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    let events = span.happenings.iter().map(|happening| {
        json!({ "name": happening.name, "time": time(happening.at), "attributes": attributes(&happening.attributes) })
    });
    json!({
        "name": span.name,
        "traceId": format!("{:032x}", span.context.trace_id),
        "spanId": format!("{:016x}", span.context.span_id),
        "parentSpanId": (span.parent != 0).then(|| format!("{:016x}", span.parent)),
        "kind": format!("{:?}", span.kind).to_lowercase(),
        "startTime": time(span.started),
        "endTime": time(span.ended),
        "attributes": attributes(&span.attributes),
        "events": events.collect::<Vec<_>>(),
        "error": span.error.as_ref().map(value),
        "resource": resource,
    })
}

fn attributes(attributes: &[Attribute]) -> Map<String, Json> {
    attributes.iter().map(|(key, told)| ((*key).to_owned(), value(told))).collect()
}

fn value(value: &Value) -> Json {
    match value {
        Value::Text(text) => json!(text),
        Value::Integer(number) => json!(number),
        Value::Seconds(seconds) => json!(seconds),
    }
}

fn time(nanoseconds: u64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds.into()).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    time.format(&Rfc3339).unwrap_or_default()
}
