//! Encodes spans and metric families as messages of OTLP.

use prost::Message;

use super::message::{
    OtlpAnyValue, OtlpExportMetrics, OtlpExportTraces, OtlpGauge, OtlpHistogram, OtlpHistogramDataPoint, OtlpKeyValue,
    OtlpMetric, OtlpMetricData, OtlpNumberDataPoint, OtlpNumberValue, OtlpResource, OtlpResourceMetrics,
    OtlpResourceSpans, OtlpScope, OtlpScopeMetrics, OtlpScopeSpans, OtlpSpan, OtlpSpanEvent, OtlpSpanKind, OtlpStatus,
    OtlpSum, OtlpValue,
};
use crate::telemetry::metric_family::{DataPoint, MetricFamily, MetricValue};
use crate::telemetry::tracer::{AttributeValue, QueuedSpan, SpanAttribute, SpanData, SpanKind};

/// The temporality of values that count from the start of the process, not from the last export.
const CUMULATIVE: i32 = 2;
const ERROR: i32 = 2;

/// The resource attributes, which say who sends.
type ResourceAttributes<'a> = &'a [(String, String)];

/// Encodes spans as an `ExportTraceServiceRequest`.
pub(super) fn encode_traces(resource: ResourceAttributes<'_>, spans: &[QueuedSpan]) -> Vec<u8> {
    let scope_spans = vec![OtlpScopeSpans {
        scope: Some(instrumentation_scope()),
        spans: spans.iter().map(|waiting| encode_span(&waiting.span)).collect(),
    }];
    let resource_spans = vec![OtlpResourceSpans { resource: Some(encode_resource(resource)), scope_spans }];
    OtlpExportTraces { resource_spans }.encode_to_vec()
}

/// Encodes families as an `ExportMetricsServiceRequest`; times are nanoseconds since the epoch.
pub(super) fn encode_metrics(
    resource: ResourceAttributes<'_>,
    families: &[MetricFamily<'_>],
    start: u64,
    now: u64,
) -> Vec<u8> {
    let metrics = families.iter().filter_map(|family| encode_metric(family, start, now)).collect();
    let scope_metrics = vec![OtlpScopeMetrics { scope: Some(instrumentation_scope()), metrics }];
    let resource_metrics = vec![OtlpResourceMetrics { resource: Some(encode_resource(resource)), scope_metrics }];
    OtlpExportMetrics { resource_metrics }.encode_to_vec()
}

fn instrumentation_scope() -> OtlpScope {
    OtlpScope { name: "sealpost".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }
}

fn encode_resource(resource: ResourceAttributes<'_>) -> OtlpResource {
    let attributes = resource.iter().map(|(key, value)| key_value(key, OtlpValue::Text(value.clone())));
    OtlpResource { attributes: attributes.collect() }
}

fn key_value(key: &str, value: OtlpValue) -> OtlpKeyValue {
    OtlpKeyValue { key: key.to_owned(), value: Some(OtlpAnyValue { value: Some(value) }) }
}

fn encode_attributes(attributes: &[SpanAttribute]) -> Vec<OtlpKeyValue> {
    let any = |value: &AttributeValue| match value {
        AttributeValue::Text(text) => OtlpValue::Text(text.clone().into_owned()),
        AttributeValue::Integer(number) => OtlpValue::Integer(*number),
        AttributeValue::Seconds(seconds) => OtlpValue::Double(*seconds),
    };
    attributes.iter().map(|(key, value)| key_value(key, any(value))).collect()
}

fn encode_span(finished: &SpanData) -> OtlpSpan {
    let text = |value: &AttributeValue| match value {
        AttributeValue::Text(text) => text.clone().into_owned(),
        AttributeValue::Integer(number) => number.to_string(),
        AttributeValue::Seconds(seconds) => seconds.to_string(),
    };
    let event = |happening: &crate::telemetry::tracer::SpanEvent| OtlpSpanEvent {
        time_unix_nano: happening.time,
        name: happening.name.to_owned(),
        attributes: encode_attributes(&happening.attributes),
    };
    let parent = if finished.parent_span_id == 0 { Vec::new() } else { finished.parent_span_id.to_be_bytes().to_vec() };
    OtlpSpan {
        trace_id: finished.context.trace_id.to_be_bytes().to_vec(),
        span_id: finished.context.span_id.to_be_bytes().to_vec(),
        trace_state: finished.trace_state.as_deref().unwrap_or_default().to_owned(),
        parent_span_id: parent,
        name: finished.name.to_owned(),
        kind: encode_span_kind(finished.kind).into(),
        start_time_unix_nano: finished.start_time,
        end_time_unix_nano: finished.end_time,
        attributes: encode_attributes(&finished.attributes),
        events: finished.events.iter().map(event).collect(),
        status: finished.error.as_ref().map(|error| OtlpStatus { message: text(error), code: ERROR }),
        flags: finished.context.flags.into(),
    }
}

fn encode_span_kind(kind: SpanKind) -> OtlpSpanKind {
    match kind {
        SpanKind::Internal => OtlpSpanKind::Internal,
        SpanKind::Server => OtlpSpanKind::Server,
        SpanKind::Client => OtlpSpanKind::Client,
        SpanKind::Producer => OtlpSpanKind::Producer,
        SpanKind::Consumer => OtlpSpanKind::Consumer,
    }
}

/// Encodes a family as a metric; `None` if it has no data points. The first data point decides the
/// type of all.
fn encode_metric(family: &MetricFamily<'_>, start: u64, now: u64) -> Option<OtlpMetric> {
    let points = || family.data_points.iter();
    let number = |point: &DataPoint<'_>, value: OtlpNumberValue| OtlpNumberDataPoint {
        start_time_unix_nano: start,
        time_unix_nano: now,
        value: Some(value),
        attributes: encode_labels(point),
    };
    let (unit, data) = match family.data_points.first()?.value {
        MetricValue::Sum(_) => {
            let points = points().filter_map(|point| match point.value {
                MetricValue::Sum(value) => {
                    Some(number(point, OtlpNumberValue::Integer(i64::try_from(value).unwrap_or(i64::MAX))))
                }
                _ => None,
            });
            (
                "",
                OtlpMetricData::Sum(OtlpSum {
                    data_points: points.collect(),
                    aggregation_temporality: CUMULATIVE,
                    is_monotonic: true,
                }),
            )
        }
        MetricValue::SumOfSeconds(_) => {
            let points = points().filter_map(|point| match point.value {
                MetricValue::SumOfSeconds(value) => Some(number(point, OtlpNumberValue::Double(value))),
                _ => None,
            });
            (
                "s",
                OtlpMetricData::Sum(OtlpSum {
                    data_points: points.collect(),
                    aggregation_temporality: CUMULATIVE,
                    is_monotonic: true,
                }),
            )
        }
        MetricValue::Gauge(_) => {
            let points = points().filter_map(|point| match point.value {
                MetricValue::Gauge(value) => Some(number(point, OtlpNumberValue::Double(value))),
                _ => None,
            });
            ("", OtlpMetricData::Gauge(OtlpGauge { data_points: points.collect() }))
        }
        MetricValue::DurationHistogram(_) | MetricValue::SizeHistogram(_) => {
            let points = points().filter_map(|point| match point.value {
                MetricValue::DurationHistogram(distribution) | MetricValue::SizeHistogram(distribution) => {
                    Some(OtlpHistogramDataPoint {
                        start_time_unix_nano: start,
                        time_unix_nano: now,
                        count: distribution.count(),
                        sum: Some(distribution.sum),
                        bucket_counts: distribution.bucket_counts().collect(),
                        explicit_bounds: distribution.explicit_bounds.to_vec(),
                        attributes: encode_labels(point),
                    })
                }
                _ => None,
            });
            let unit =
                if matches!(family.data_points.first()?.value, MetricValue::SizeHistogram(_)) { "By" } else { "s" };
            (
                unit,
                OtlpMetricData::Histogram(OtlpHistogram {
                    data_points: points.collect(),
                    aggregation_temporality: CUMULATIVE,
                }),
            )
        }
    };
    let (name, description, unit) = (family.name.to_string(), family.help.to_owned(), unit.to_owned());
    Some(OtlpMetric { name, description, unit, data: Some(data) })
}

fn encode_labels(point: &DataPoint<'_>) -> Vec<OtlpKeyValue> {
    point.labels.iter().map(|(name, value)| key_value(name, OtlpValue::Text(value.to_string()))).collect()
}
