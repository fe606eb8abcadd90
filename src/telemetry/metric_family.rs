//! Metrics at one moment, as both exporters need them: Prometheus' text is written here, OTLP next
//! door. Labels come from the code and from configured objects, never from what senders write
//! (contract G-66).

use std::borrow::Cow;
use std::time::SystemTime;

use super::data_point::{DataPoint, HistogramDataPoint, MetricLabel, MetricValue};
use super::exemplar::Exemplar;

/// The formats in which metrics are exposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExpositionFormat {
    /// Prometheus' text format, version 0.0.4.
    PrometheusText,
    /// OpenMetrics, version 1.0.0: counters are described without the suffix of their samples,
    /// buckets have exemplars, and the end is marked.
    OpenMetrics,
}

impl ExpositionFormat {
    /// Returns the text that stands after the last family.
    #[must_use]
    pub(crate) fn end_mark(self) -> &'static str {
        match self {
            Self::PrometheusText => "",
            Self::OpenMetrics => "# EOF\n",
        }
    }
}

/// All time series of one name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MetricFamily<'a> {
    /// The name as OpenTelemetry spells it: with dots where upstream's has them. Prometheus'
    /// suffix of unit or kind is added when it is written, unless it is there: a counter has its
    /// `_total` already if the name without it is that of another family.
    pub name: Cow<'static, str>,
    /// The help text of the family, in one line.
    pub help: &'static str,
    /// The data points, all of the same kind of value.
    pub data_points: Vec<DataPoint<'a>>,
}

impl<'a> MetricFamily<'a> {
    /// Makes a family without data points.
    #[must_use]
    pub(crate) fn new(name: impl Into<Cow<'static, str>>, help: &'static str) -> Self {
        Self {
            name: name.into(),
            help,
            data_points: Vec::new(),
        }
    }

    /// Returns the same family with one more data point.
    #[must_use]
    pub(crate) fn with_point(mut self, labels: &[MetricLabel<'a>], reading: MetricValue) -> Self {
        self.push_point(labels, reading);
        self
    }

    /// Adds a data point with these labels.
    pub(crate) fn push_point(&mut self, labels: &[MetricLabel<'a>], reading: MetricValue) {
        self.data_points.push(DataPoint {
            labels: labels.to_vec(),
            value: reading,
        });
    }

    /// Writes the family in this format; nothing if it has no data points. Names get upstream's
    /// form: underscores, and the unit or kind at the end (contract OB-4).
    pub(crate) fn write_to(&self, text: &mut String, form: ExpositionFormat) {
        let Some(first) = self.data_points.first() else {
            return;
        };
        let (suffix, kind) = suffix_and_kind(&first.value);
        let base = prometheus_name(&self.name);
        let name = format!("{}{suffix}", base.strip_suffix(suffix).unwrap_or(&base));
        let is_open = form == ExpositionFormat::OpenMetrics;
        // OpenMetrics describes a counter without the `_total` of its samples. One that has it
        // already would be described by a name that is another family's.
        let (described, kind) = match (kind, name == base) {
            ("counter", false) if is_open => (&*base, kind),
            ("counter", true) if is_open => (&*name, "unknown"),
            _ => (&*name, kind),
        };
        text.push_str(&format!(
            "# HELP {described} {}\n# TYPE {described} {kind}\n",
            self.help
        ));
        for point in &self.data_points {
            write_point(
                text,
                &name,
                &format_labels(&point.labels),
                &point.value,
                form,
            );
        }
    }
}

/// Returns the suffix of the name of a metric with such values, and its type.
fn suffix_and_kind(value: &MetricValue) -> (&'static str, &'static str) {
    match value {
        MetricValue::Sum(_) | MetricValue::SumOfSeconds(_) => ("_total", "counter"),
        MetricValue::Gauge(_) => ("", "gauge"),
        MetricValue::DurationHistogram(_) => ("_seconds", "histogram"),
        MetricValue::SizeHistogram(_) => ("_bytes", "histogram"),
    }
}

fn format_labels(labels: &[MetricLabel<'_>]) -> String {
    let labels = labels.iter().map(|(label, value)| {
        format!(
            "{}=\"{}\"",
            prometheus_name(label),
            escape_label_value(value)
        )
    });
    labels.collect::<Vec<_>>().join(",")
}

fn prometheus_name(name: &str) -> Cow<'_, str> {
    if name.contains('.') {
        name.replace('.', "_").into()
    } else {
        name.into()
    }
}

fn escape_label_value(value: &str) -> Cow<'_, str> {
    if value.contains(['\\', '"', '\n']) {
        value
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n")
            .into()
    } else {
        value.into()
    }
}

/// Writes the samples of one data point, whose labels are formatted already.
fn write_point(
    text: &mut String,
    name: &str,
    labels: &str,
    value: &MetricValue,
    form: ExpositionFormat,
) {
    let braced = if labels.is_empty() {
        String::new()
    } else {
        format!("{{{labels}}}")
    };
    match value {
        MetricValue::Sum(value) => text.push_str(&format!("{name}{braced} {value}\n")),
        MetricValue::SumOfSeconds(value) | MetricValue::Gauge(value) => {
            text.push_str(&format!("{name}{braced} {value}\n"))
        }
        MetricValue::DurationHistogram(histogram) | MetricValue::SizeHistogram(histogram) => {
            write_buckets(text, name, labels, histogram, form);
            text.push_str(&format!(
                "{name}_sum{braced} {}\n{name}_count{braced} {}\n",
                histogram.sum,
                histogram.count()
            ));
        }
    }
}

/// Writes the buckets of a histogram, cumulated as Prometheus has them.
fn write_buckets(
    text: &mut String,
    name: &str,
    labels: &str,
    histogram: &HistogramDataPoint,
    form: ExpositionFormat,
) {
    let comma = if labels.is_empty() { "" } else { "," };
    let bounds = histogram
        .explicit_bounds
        .iter()
        .map(ToString::to_string)
        .chain(["+Inf".to_owned()]);
    let mut cumulated = 0;
    for (bound, (index, count)) in bounds.zip(histogram.bucket_counts().enumerate()) {
        cumulated += count;
        text.push_str(&format!(
            "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {cumulated}"
        ));
        let exemplar = histogram.exemplars.get(&index);
        if let Some(exemplar) = exemplar.filter(|_| form == ExpositionFormat::OpenMetrics) {
            write_exemplar(text, exemplar);
        }
        text.push('\n');
    }
}

/// Writes an exemplar behind its bucket (OpenMetrics 1.0, "Exemplars").
fn write_exemplar(text: &mut String, exemplar: &Exemplar) {
    let Exemplar {
        trace_id,
        span_id,
        seconds,
        time,
    } = exemplar;
    let time = time.duration_since(SystemTime::UNIX_EPOCH);
    let time = time.unwrap_or_default().as_secs_f64();
    text.push_str(&format!(
        " # {{trace_id=\"{trace_id}\",span_id=\"{span_id}\"}} {seconds} {time:.3}"
    ));
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanContext, TraceFlags, TraceState};

    use super::*;
    use crate::telemetry::histogram::DurationHistogram;

    #[test]
    fn families_are_written_as_prometheus_reads_them() {
        let mut text = String::new();
        MetricFamily::new("a.b", "Help")
            .with_point(&[("x.y", "q\"\\\n".into())], MetricValue::Sum(3))
            .write_to(&mut text, ExpositionFormat::PrometheusText);
        MetricFamily::new("empty", "Nothing").write_to(&mut text, ExpositionFormat::PrometheusText);
        MetricFamily::new("g", "Gauge")
            .with_point(&[], MetricValue::Gauge(1.5))
            .write_to(&mut text, ExpositionFormat::PrometheusText);
        let wanted = "# HELP a_b_total Help\n# TYPE a_b_total counter\na_b_total{x_y=\"q\\\"\\\\\\n\"} 3\n\
                      # HELP g Gauge\n# TYPE g gauge\ng 1.5\n";
        assert_eq!(text, wanted);
    }

    #[test]
    fn counters_are_described_by_another_name_in_open_metrics() {
        let mut text = String::new();
        MetricFamily::new("a.b", "Help")
            .with_point(&[], MetricValue::Sum(3))
            .write_to(&mut text, ExpositionFormat::OpenMetrics);
        MetricFamily::new("g", "Gauge")
            .with_point(&[], MetricValue::Gauge(1.5))
            .write_to(&mut text, ExpositionFormat::OpenMetrics);
        let wanted = "# HELP a_b Help\n# TYPE a_b counter\na_b_total 3\n# HELP g Gauge\n# TYPE g gauge\ng 1.5\n";
        assert_eq!(text, wanted);
    }

    /// Exemplars are in OpenMetrics, behind their buckets, and nowhere in the text format, whose
    /// parsers would take them for something else.
    #[test]
    fn buckets_have_exemplars_in_open_metrics() {
        let histogram = DurationHistogram::default();
        let span = |id: u64| {
            SpanContext::new(
                7.into(),
                id.into(),
                TraceFlags::SAMPLED,
                false,
                TraceState::NONE,
            )
        };
        for (millis, id) in [(20, 1), (21, 2), (3000, 3)] {
            let duration = std::time::Duration::from_millis(millis);
            histogram.record(duration, Some(&span(id)));
        }
        histogram.record(std::time::Duration::from_millis(22), None);
        let family = MetricFamily::new("d", "Help").with_point(
            &[("a", "b".into())],
            MetricValue::DurationHistogram(histogram.collect()),
        );
        let (mut plain, mut open) = (String::new(), String::new());
        family.write_to(&mut plain, ExpositionFormat::PrometheusText);
        family.write_to(&mut open, ExpositionFormat::OpenMetrics);
        let told: Vec<&str> = open.lines().filter(|line| line.contains(" # ")).collect();
        let [first, second] = told[..] else {
            panic!("the newest of two buckets: {open}")
        };
        let trace = "00000000000000000000000000000007";
        for (line, start) in [
            (
                first,
                format!(
                    "d_seconds_bucket{{a=\"b\",le=\"0.025\"}} 3 # \
                     {{trace_id=\"{trace}\",span_id=\"0000000000000002\"}} 0.021 "
                ),
            ),
            (
                second,
                format!(
                    "d_seconds_bucket{{a=\"b\",le=\"5\"}} 4 # \
                     {{trace_id=\"{trace}\",span_id=\"0000000000000003\"}} 3 "
                ),
            ),
        ] {
            let time = line
                .strip_prefix(&start)
                .unwrap_or_else(|| panic!("{line}"));
            assert!(time.parse::<f64>().is_ok_and(|time| time > 1.7e9), "{time}");
        }
        let without: Vec<&str> = open
            .lines()
            .map(|line| line.split(" # ").next().unwrap_or(line))
            .collect();
        assert_eq!(plain.lines().skip(2).collect::<Vec<_>>(), without[2..]);
    }

    /// Contract OB-4: the name that upstream's dashboards ask for.
    #[test]
    fn histograms_have_upstreams_names() {
        let histogram = DurationHistogram::default();
        histogram.record(std::time::Duration::from_millis(20), None);
        let mut text = String::new();
        let family = MetricFamily::new("kn.eventing.dispatch.duration", "Help");
        family
            .with_point(
                &[("a", "b".into())],
                MetricValue::DurationHistogram(histogram.collect()),
            )
            .write_to(&mut text, ExpositionFormat::PrometheusText);
        assert!(
            text.contains("kn_eventing_dispatch_duration_seconds_bucket{a=\"b\",le=\"0.01\"} 0\n"),
            "{text}"
        );
        assert!(
            text.contains("kn_eventing_dispatch_duration_seconds_bucket{a=\"b\",le=\"0.025\"} 1\n"),
            "{text}"
        );
        assert!(text.contains("_bucket{a=\"b\",le=\"+Inf\"} 1\n"), "{text}");
        assert!(
            text.ends_with(
                "_sum{a=\"b\"} 0.02\nkn_eventing_dispatch_duration_seconds_count{a=\"b\"} 1\n"
            ),
            "{text}"
        );
    }
}
