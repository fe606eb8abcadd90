//! Encodes spans and metric families as messages of OTLP, which opentelemetry-proto defines.

use std::time::SystemTime;

use opentelemetry::KeyValue;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue as ProtoKeyValue;
use opentelemetry_proto::tonic::metrics::v1::exemplar::Value as ExemplarValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as NumberValue;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Exemplar as ProtoExemplar, Gauge, Histogram, HistogramDataPoint,
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
};
use opentelemetry_proto::tonic::resource::v1::Resource as ProtoResource;
use opentelemetry_proto::transform::common::tonic::{Attributes, ResourceAttributesWithSchema};
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;
use prost::Message;

use crate::telemetry::data_point::{DataPoint, MetricValue};
use crate::telemetry::exemplar::Exemplar;
use crate::telemetry::metric_family::MetricFamily;
use crate::telemetry::tracer::instrumentation_scope;

/// Data points of one metric in a message at most. A histogram with long labels and an exemplar in
/// each bucket takes 1.3 KB.
const MAX_POINTS: usize = 1000;
/// Bytes of metrics in a message at most, unless the first one is larger.
const MAX_BYTES: usize = 2 * 1024 * 1024;

/// Encodes spans as an `ExportTraceServiceRequest`.
pub(super) fn encode_traces(resource: &Resource, spans: Vec<SpanData>) -> Vec<u8> {
    let resource_spans = group_spans_by_resource_and_scope(spans, &resource.into());
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

/// Encodes families as messages `ExportMetricsServiceRequest`: as many as it takes for each to stay
/// below the 4 MiB that receivers of gRPC take unless told otherwise.
pub(super) fn encode_metrics(
    resource: &Resource,
    families: &[MetricFamily<'_>],
    start: SystemTime,
    now: SystemTime,
) -> Vec<Vec<u8>> {
    let (start, now) = (unix_nanoseconds(start), unix_nanoseconds(now));
    let metrics = families.iter().flat_map(|family| {
        let parts = family.data_points.chunks(MAX_POINTS);
        parts.filter_map(move |points| encode_metric(family, points, start, now))
    });
    let (mut messages, mut part, mut bytes) = (Vec::new(), Vec::new(), 0);
    for metric in metrics {
        let length = metric.encoded_len();
        if bytes + length > MAX_BYTES && !part.is_empty() {
            messages.push(encode_metric_request(resource, std::mem::take(&mut part)));
            bytes = 0;
        }
        bytes += length;
        part.push(metric);
    }
    messages.push(encode_metric_request(resource, part));
    messages
}

fn encode_metric_request(resource: &Resource, metrics: Vec<Metric>) -> Vec<u8> {
    let scope_metrics = ScopeMetrics {
        scope: Some((&instrumentation_scope(), None).into()),
        metrics,
        ..ScopeMetrics::default()
    };
    let resource_metrics = ResourceMetrics {
        resource: Some(ProtoResource {
            attributes: ResourceAttributesWithSchema::from(resource).attributes.0,
            ..ProtoResource::default()
        }),
        scope_metrics: vec![scope_metrics],
        ..ResourceMetrics::default()
    };
    ExportMetricsServiceRequest {
        resource_metrics: vec![resource_metrics],
    }
    .encode_to_vec()
}

/// Encodes data points of a family as a metric; `None` if there are none. The first one decides the
/// type of all.
fn encode_metric(
    family: &MetricFamily<'_>,
    points: &[DataPoint<'_>],
    start: u64,
    now: u64,
) -> Option<Metric> {
    let numbers = || {
        let points = points.iter();
        points.filter_map(|point| encode_number(point, start, now))
    };
    let sum = || {
        Data::Sum(Sum {
            data_points: numbers().collect(),
            aggregation_temporality: AggregationTemporality::Cumulative.into(),
            is_monotonic: true,
        })
    };
    let histogram = || {
        let points = points.iter();
        Data::Histogram(Histogram {
            data_points: points
                .filter_map(|point| encode_histogram(point, start, now))
                .collect(),
            aggregation_temporality: AggregationTemporality::Cumulative.into(),
        })
    };
    let (unit, data) = match points.first()?.value {
        MetricValue::Sum(_) => (unit_of_name(&family.name), sum()),
        MetricValue::SumOfSeconds(_) => ("s", sum()),
        MetricValue::Gauge(_) => {
            let data_points = numbers().collect();
            (
                unit_of_name(&family.name),
                Data::Gauge(Gauge { data_points }),
            )
        }
        MetricValue::DurationHistogram(_) => ("s", histogram()),
        MetricValue::SizeHistogram(_) => ("By", histogram()),
    };
    Some(Metric {
        name: family.name.to_string(),
        description: family.help.to_owned(),
        unit: unit.to_owned(),
        data: Some(data),
        ..Metric::default()
    })
}

/// Returns the unit that the name of a number ends with; none for a number of things.
fn unit_of_name(name: &str) -> &'static str {
    if name.ends_with("_seconds") {
        "s"
    } else if name.ends_with("_bytes") || name.ends_with("_bytes_limit") {
        "By"
    } else {
        ""
    }
}

/// `None` for a histogram: all points of a family have values of one kind.
fn encode_number(point: &DataPoint<'_>, start: u64, now: u64) -> Option<NumberDataPoint> {
    let value = match point.value {
        MetricValue::Sum(value) => NumberValue::AsInt(i64::try_from(value).unwrap_or(i64::MAX)),
        MetricValue::SumOfSeconds(value) | MetricValue::Gauge(value) => {
            NumberValue::AsDouble(value)
        }
        MetricValue::DurationHistogram(_) | MetricValue::SizeHistogram(_) => return None,
    };
    Some(NumberDataPoint {
        attributes: encode_labels(point),
        start_time_unix_nano: start,
        time_unix_nano: now,
        value: Some(value),
        ..NumberDataPoint::default()
    })
}

/// `None` for a number.
fn encode_histogram(point: &DataPoint<'_>, start: u64, now: u64) -> Option<HistogramDataPoint> {
    let (MetricValue::DurationHistogram(distribution) | MetricValue::SizeHistogram(distribution)) =
        &point.value
    else {
        return None;
    };
    Some(HistogramDataPoint {
        attributes: encode_labels(point),
        start_time_unix_nano: start,
        time_unix_nano: now,
        count: distribution.count(),
        sum: Some(distribution.sum),
        bucket_counts: distribution.bucket_counts().collect(),
        explicit_bounds: distribution.explicit_bounds.to_vec(),
        exemplars: distribution
            .exemplars
            .values()
            .map(encode_exemplar)
            .collect(),
        ..HistogramDataPoint::default()
    })
}

/// Returns a time in nanoseconds since the epoch, until the year 2554.
fn unix_nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}

fn encode_exemplar(exemplar: &Exemplar) -> ProtoExemplar {
    ProtoExemplar {
        time_unix_nano: unix_nanoseconds(exemplar.time),
        span_id: exemplar.span_id.to_bytes().to_vec(),
        trace_id: exemplar.trace_id.to_bytes().to_vec(),
        value: Some(ExemplarValue::AsDouble(exemplar.seconds)),
        ..ProtoExemplar::default()
    }
}

fn encode_labels(point: &DataPoint<'_>) -> Vec<ProtoKeyValue> {
    let labels = point.labels.iter();
    Attributes::from(labels.map(|(name, value)| KeyValue::new(*name, value.to_string()))).0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of very many objects are sent, too: in requests that a receiver takes.
    #[test]
    fn metrics_of_many_objects() {
        let names: Vec<String> = (0..30_000).map(|it| format!("{it:0>200}")).collect();
        let mut family = MetricFamily::new("many", "Many.");
        for name in &names {
            let labels = [("name", name.as_str().into())];
            family.push_point(&labels, MetricValue::Sum(1));
        }
        let (start, resource) = (SystemTime::UNIX_EPOCH, Resource::builder_empty().build());
        let messages = encode_metrics(&resource, &[family], start, start);
        assert!(messages.iter().all(|message| message.len() < 4_000_000));
        let points: usize = messages
            .iter()
            .map(|message| {
                let request = ExportMetricsServiceRequest::decode(&**message).expect("a request");
                let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
                let count = |metric: &Metric| match &metric.data {
                    Some(Data::Sum(sum)) => sum.data_points.len(),
                    other => panic!("{other:?}"),
                };
                metrics.iter().map(count).sum::<usize>()
            })
            .sum();
        assert_eq!(points, names.len());
    }
}
