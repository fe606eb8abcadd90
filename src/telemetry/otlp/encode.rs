//! Spans and families as OTLP's messages.

use prost::Message;

use super::message::{
    Any, AnyValue, Data, ExportMetrics, ExportTraces, HistogramPoint, Histograms, KeyValue, Metric, Number,
    NumberPoint, Numbers, Resource, ResourceMetrics, ResourceSpans, Scope, ScopeMetrics, ScopeSpans, Span, SpanEvent,
    SpanKind, Status, Sum,
};
use crate::telemetry::family::{Family, Point, Reading};
use crate::telemetry::trace::{Attribute, Finished, Kind, Value, Waiting};

/// What has been counted since the start, not since the last export.
const CUMULATIVE: i32 = 2;
const ERROR: i32 = 2;

/// Attributes of whoever sends.
type Who<'a> = &'a [(String, String)];

/// `ExportTraceServiceRequest`.
pub(super) fn traces(resource: Who<'_>, spans: &[Waiting]) -> Vec<u8> {
    let scope_spans =
        vec![ScopeSpans { scope: Some(scope()), spans: spans.iter().map(|waiting| span(&waiting.span)).collect() }];
    let resource_spans = vec![ResourceSpans { resource: Some(who(resource)), scope_spans }];
    ExportTraces { resource_spans }.encode_to_vec()
}

/// `ExportMetricsServiceRequest`; times are nanoseconds since the epoch.
pub(super) fn metrics(resource: Who<'_>, families: &[Family<'_>], start: u64, now: u64) -> Vec<u8> {
    let metrics = families.iter().filter_map(|family| metric(family, start, now)).collect();
    let scope_metrics = vec![ScopeMetrics { scope: Some(scope()), metrics }];
    let resource_metrics = vec![ResourceMetrics { resource: Some(who(resource)), scope_metrics }];
    ExportMetrics { resource_metrics }.encode_to_vec()
}

fn scope() -> Scope {
    Scope { name: "sealpost".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }
}

fn who(resource: Who<'_>) -> Resource {
    let attributes = resource.iter().map(|(key, value)| key_value(key, Any::Text(value.clone())));
    Resource { attributes: attributes.collect() }
}

fn key_value(key: &str, value: Any) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }) }
}

fn attributes(attributes: &[Attribute]) -> Vec<KeyValue> {
    let any = |value: &Value| match value {
        Value::Text(text) => Any::Text(text.clone().into_owned()),
        Value::Integer(number) => Any::Integer(*number),
        Value::Seconds(seconds) => Any::Double(*seconds),
    };
    attributes.iter().map(|(key, value)| key_value(key, any(value))).collect()
}

fn span(finished: &Finished) -> Span {
    let text = |value: &Value| match value {
        Value::Text(text) => text.clone().into_owned(),
        Value::Integer(number) => number.to_string(),
        Value::Seconds(seconds) => seconds.to_string(),
    };
    let event = |happening: &crate::telemetry::trace::Happening| SpanEvent {
        time: happening.at,
        name: happening.name.to_owned(),
        attributes: attributes(&happening.attributes),
    };
    let parent = if finished.parent == 0 { Vec::new() } else { finished.parent.to_be_bytes().to_vec() };
    Span {
        trace_id: finished.context.trace_id.to_be_bytes().to_vec(),
        span_id: finished.context.span_id.to_be_bytes().to_vec(),
        trace_state: finished.state.as_deref().unwrap_or_default().to_owned(),
        parent_span_id: parent,
        name: finished.name.to_owned(),
        kind: kind(finished.kind).into(),
        start: finished.started,
        end: finished.ended,
        attributes: attributes(&finished.attributes),
        events: finished.happenings.iter().map(event).collect(),
        status: finished.error.as_ref().map(|error| Status { message: text(error), code: ERROR }),
        flags: finished.context.flags.into(),
    }
}

fn kind(kind: Kind) -> SpanKind {
    match kind {
        Kind::Internal => SpanKind::Internal,
        Kind::Server => SpanKind::Server,
        Kind::Client => SpanKind::Client,
        Kind::Producer => SpanKind::Producer,
        Kind::Consumer => SpanKind::Consumer,
    }
}

/// `None` for a family without series.
fn metric(family: &Family<'_>, start: u64, now: u64) -> Option<Metric> {
    let points = || family.points.iter();
    let number = |point: &Point<'_>, value: Number| NumberPoint {
        start,
        time: now,
        value: Some(value),
        attributes: labels(point),
    };
    let (unit, data) = match family.points.first()?.reading {
        Reading::Total(_) => {
            let points = points().filter_map(|point| match point.reading {
                Reading::Total(value) => Some(number(point, Number::Integer(i64::try_from(value).unwrap_or(i64::MAX)))),
                _ => None,
            });
            ("", Data::Sum(Sum { points: points.collect(), temporality: CUMULATIVE, monotonic: true }))
        }
        Reading::Seconds(_) => {
            let points = points().filter_map(|point| match point.reading {
                Reading::Seconds(value) => Some(number(point, Number::Double(value))),
                _ => None,
            });
            ("s", Data::Sum(Sum { points: points.collect(), temporality: CUMULATIVE, monotonic: true }))
        }
        Reading::Gauge(_) => {
            let points = points().filter_map(|point| match point.reading {
                Reading::Gauge(value) => Some(number(point, Number::Double(value))),
                _ => None,
            });
            ("", Data::Gauge(Numbers { points: points.collect() }))
        }
        Reading::Durations(_) | Reading::Sizes(_) => {
            let points = points().filter_map(|point| match point.reading {
                Reading::Durations(distribution) | Reading::Sizes(distribution) => Some(HistogramPoint {
                    start,
                    time: now,
                    count: distribution.count(),
                    sum: Some(distribution.sum),
                    buckets: distribution.buckets().collect(),
                    bounds: distribution.bounds.to_vec(),
                    attributes: labels(point),
                }),
                _ => None,
            });
            let unit = if matches!(family.points.first()?.reading, Reading::Sizes(_)) { "By" } else { "s" };
            (unit, Data::Histogram(Histograms { points: points.collect(), temporality: CUMULATIVE }))
        }
    };
    let (name, description, unit) = (family.name.to_string(), family.help.to_owned(), unit.to_owned());
    Some(Metric { name, description, unit, data: Some(data) })
}

fn labels(point: &Point<'_>) -> Vec<KeyValue> {
    point.labels.iter().map(|(name, value)| key_value(name, Any::Text(value.to_string()))).collect()
}
