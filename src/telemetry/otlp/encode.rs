//! Encodes spans and metric families as messages of OTLP.

use prost::Message;

use super::message::{
    OtlpAnyValue, OtlpExportMetrics, OtlpExportTraces, OtlpGauge, OtlpHistogram,
    OtlpHistogramDataPoint, OtlpKeyValue, OtlpMetric, OtlpMetricData, OtlpNumberDataPoint,
    OtlpNumberValue, OtlpResource, OtlpResourceMetrics, OtlpResourceSpans, OtlpScope,
    OtlpScopeMetrics, OtlpScopeSpans, OtlpSpan, OtlpSpanEvent, OtlpSpanKind, OtlpStatus, OtlpSum,
    OtlpValue,
};
use crate::telemetry::data_point::{DataPoint, MetricValue};
use crate::telemetry::metric_family::MetricFamily;
use crate::telemetry::tracer::{
    AttributeValue, QueuedSpan, SpanAttribute, SpanData, SpanEvent, SpanKind,
};

/// The temporality of values that count from the start of the process, not from the last export.
const CUMULATIVE: i32 = 2;
const ERROR: i32 = 2;

/// The resource attributes, which say who sends.
type ResourceAttributes<'a> = &'a [(String, String)];

/// Encodes spans as an `ExportTraceServiceRequest`.
pub(super) fn encode_traces(resource: ResourceAttributes<'_>, spans: &[QueuedSpan]) -> Vec<u8> {
    let scope_spans = vec![OtlpScopeSpans {
        scope: Some(instrumentation_scope()),
        spans: spans
            .iter()
            .map(|waiting| encode_span(&waiting.span))
            .collect(),
    }];
    let resource_spans = vec![OtlpResourceSpans {
        resource: Some(encode_resource(resource)),
        scope_spans,
    }];
    OtlpExportTraces { resource_spans }.encode_to_vec()
}

/// Encodes families as an `ExportMetricsServiceRequest`; times are nanoseconds since the epoch.
pub(super) fn encode_metrics(
    resource: ResourceAttributes<'_>,
    families: &[MetricFamily<'_>],
    start: u64,
    now: u64,
) -> Vec<u8> {
    let metrics = families
        .iter()
        .filter_map(|family| encode_metric(family, start, now))
        .collect();
    let scope_metrics = vec![OtlpScopeMetrics {
        scope: Some(instrumentation_scope()),
        metrics,
    }];
    let resource_metrics = vec![OtlpResourceMetrics {
        resource: Some(encode_resource(resource)),
        scope_metrics,
    }];
    OtlpExportMetrics { resource_metrics }.encode_to_vec()
}

fn instrumentation_scope() -> OtlpScope {
    OtlpScope {
        name: "sealpost".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

fn encode_resource(resource: ResourceAttributes<'_>) -> OtlpResource {
    let attributes = resource
        .iter()
        .map(|(key, value)| key_value(key, OtlpValue::Text(value.clone())));
    OtlpResource {
        attributes: attributes.collect(),
    }
}

fn key_value(key: &str, value: OtlpValue) -> OtlpKeyValue {
    OtlpKeyValue {
        key: key.to_owned(),
        value: Some(OtlpAnyValue { value: Some(value) }),
    }
}

fn encode_attributes(attributes: &[SpanAttribute]) -> Vec<OtlpKeyValue> {
    let any = |value: &AttributeValue| match value {
        AttributeValue::Text(text) => OtlpValue::Text(text.clone().into_owned()),
        AttributeValue::Integer(number) => OtlpValue::Integer(*number),
        AttributeValue::Seconds(seconds) => OtlpValue::Double(*seconds),
    };
    attributes
        .iter()
        .map(|(key, value)| key_value(key, any(value)))
        .collect()
}

fn encode_span(finished: &SpanData) -> OtlpSpan {
    OtlpSpan {
        trace_id: finished.context.trace_id.to_be_bytes().to_vec(),
        span_id: finished.context.span_id.to_be_bytes().to_vec(),
        trace_state: finished
            .trace_state
            .as_deref()
            .unwrap_or_default()
            .to_owned(),
        parent_span_id: encode_parent(finished.parent_span_id),
        name: finished.name.to_owned(),
        kind: encode_span_kind(finished.kind).into(),
        start_time_unix_nano: finished.start_time,
        end_time_unix_nano: finished.end_time,
        attributes: encode_attributes(&finished.attributes),
        events: finished.events.iter().map(encode_span_event).collect(),
        status: finished.error.as_ref().map(encode_error),
        flags: finished.context.flags.into(),
    }
}

/// Encodes the id of a parent; a span without a parent has an empty one.
fn encode_parent(parent_span_id: u64) -> Vec<u8> {
    match parent_span_id {
        0 => Vec::new(),
        id => id.to_be_bytes().to_vec(),
    }
}

fn encode_span_event(event: &SpanEvent) -> OtlpSpanEvent {
    OtlpSpanEvent {
        time_unix_nano: event.time,
        name: event.name.to_owned(),
        attributes: encode_attributes(&event.attributes),
    }
}

fn encode_error(error: &AttributeValue) -> OtlpStatus {
    let message = match error {
        AttributeValue::Text(text) => text.clone().into_owned(),
        AttributeValue::Integer(number) => number.to_string(),
        AttributeValue::Seconds(seconds) => seconds.to_string(),
    };
    OtlpStatus {
        message,
        code: ERROR,
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
    let points = &family.data_points;
    let histogram = || OtlpMetricData::Histogram(encode_histogram(points, start, now));
    let (unit, data) = match points.first()?.value {
        MetricValue::Sum(_) => ("", OtlpMetricData::Sum(encode_sum(points, start, now))),
        MetricValue::SumOfSeconds(_) => ("s", OtlpMetricData::Sum(encode_sum(points, start, now))),
        MetricValue::Gauge(_) => ("", OtlpMetricData::Gauge(encode_gauge(points, start, now))),
        MetricValue::DurationHistogram(_) => ("s", histogram()),
        MetricValue::SizeHistogram(_) => ("By", histogram()),
    };
    Some(OtlpMetric {
        name: family.name.to_string(),
        description: family.help.to_owned(),
        unit: unit.to_owned(),
        data: Some(data),
    })
}

fn encode_gauge(points: &[DataPoint<'_>], start: u64, now: u64) -> OtlpGauge {
    let data_points = points
        .iter()
        .filter_map(|point| encode_number(point, start, now))
        .collect();
    OtlpGauge { data_points }
}

fn encode_sum(points: &[DataPoint<'_>], start: u64, now: u64) -> OtlpSum {
    let data_points = points
        .iter()
        .filter_map(|point| encode_number(point, start, now))
        .collect();
    OtlpSum {
        data_points,
        aggregation_temporality: CUMULATIVE,
        is_monotonic: true,
    }
}

/// `None` for a histogram: all points of a family have values of one kind.
fn encode_number(point: &DataPoint<'_>, start: u64, now: u64) -> Option<OtlpNumberDataPoint> {
    let value = match point.value {
        MetricValue::Sum(value) => {
            OtlpNumberValue::Integer(i64::try_from(value).unwrap_or(i64::MAX))
        }
        MetricValue::SumOfSeconds(value) | MetricValue::Gauge(value) => {
            OtlpNumberValue::Double(value)
        }
        MetricValue::DurationHistogram(_) | MetricValue::SizeHistogram(_) => return None,
    };
    Some(OtlpNumberDataPoint {
        start_time_unix_nano: start,
        time_unix_nano: now,
        value: Some(value),
        attributes: encode_labels(point),
    })
}

fn encode_histogram(points: &[DataPoint<'_>], start: u64, now: u64) -> OtlpHistogram {
    let data_point = |point: &DataPoint<'_>| match &point.value {
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
    };
    OtlpHistogram {
        data_points: points.iter().filter_map(data_point).collect(),
        aggregation_temporality: CUMULATIVE,
    }
}

fn encode_labels(point: &DataPoint<'_>) -> Vec<OtlpKeyValue> {
    point
        .labels
        .iter()
        .map(|(name, value)| key_value(name, OtlpValue::Text(value.to_string())))
        .collect()
}
