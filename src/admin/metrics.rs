//! The metrics endpoint: Prometheus' text or OpenMetrics, compressed or not, as the request asks
//! for (RFC 9110, 12.5).

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;

use super::build_response;
use crate::telemetry::counters::ProcessCounters;
use crate::telemetry::metric_family::ExpositionFormat;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// Returns all metrics, in the format that these header fields of a request ask for.
pub(super) fn metrics_response(
    headers: &HeaderMap,
    counters: &ProcessCounters,
) -> Response<Full<Bytes>> {
    let format = negotiate_format(headers);
    let content_type = match format {
        ExpositionFormat::OpenMetrics => OPEN_METRICS,
        ExpositionFormat::PrometheusText => TEXT,
    };
    let text = counters.render_as(format);
    let compressed = accepts_gzip(headers)
        .then(|| gzip(text.as_bytes()))
        .flatten();
    let coding = compressed
        .is_some()
        .then(|| HeaderValue::from_static("gzip"));
    let body = compressed.unwrap_or_else(|| text.into());
    let mut response = build_response(StatusCode::OK, content_type, body);
    let fields = response.headers_mut();
    fields.insert(VARY, HeaderValue::from_static("accept, accept-encoding"));
    if let Some(coding) = coding {
        fields.insert(CONTENT_ENCODING, coding);
    }
    response
}

/// Compresses with the least effort: it makes a twelfth of the text of many series, and more effort
/// makes little less.
fn gzip(text: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 8), Compression::fast());
    encoder.write_all(text).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

/// Returns OpenMetrics if the request names it in version 1, with a weight that is not below that
/// of plain text.
fn negotiate_format(headers: &HeaderMap) -> ExpositionFormat {
    let (mut open_metrics, mut text) = (0.0_f32, 0.0_f32);
    for (name, quality) in weighted_choices(headers, &ACCEPT) {
        let mut parts = name.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
        let mut is_version_1 = || {
            let version = parts.find_map(|part| part.strip_prefix("version="));
            version.is_none_or(|version| version.trim_matches('"') == "1.0.0")
        };
        match media_type.as_str() {
            "application/openmetrics-text" if is_version_1() => {
                open_metrics = open_metrics.max(quality);
            }
            "text/plain" => text = text.max(quality),
            _ => {}
        }
    }
    if open_metrics > 0.0 && open_metrics >= text {
        ExpositionFormat::OpenMetrics
    } else {
        ExpositionFormat::PrometheusText
    }
}

/// Returns true if the request accepts gzip.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let mut any = None;
    for (name, quality) in weighted_choices(headers, &ACCEPT_ENCODING) {
        match name.trim().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => return quality > 0.0,
            "*" => any = Some(quality),
            _ => {}
        }
    }
    any.is_some_and(|quality| quality > 0.0)
}

/// Returns the elements of a list field, each with its weight `q`, which is 1 without one.
fn weighted_choices<'h>(
    headers: &'h HeaderMap,
    field: &HeaderName,
) -> impl Iterator<Item = (String, f32)> + use<'h> {
    let lines = headers
        .get_all(field)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(|choice| {
        let (weights, names): (Vec<&str>, Vec<&str>) = choice.split(';').partition(|part| {
            part.trim()
                .get(..2)
                .is_some_and(|start| start.eq_ignore_ascii_case("q="))
        });
        let weight = weights
            .first()
            .and_then(|weight| weight.trim().get(2..)?.parse().ok());
        (names.join(";"), weight.unwrap_or(1.0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn open_metrics_for_whoever_likes_it_as_much() {
        for (accept, wanted) in [
            ("", ExpositionFormat::PrometheusText),
            ("*/*", ExpositionFormat::PrometheusText),
            ("text/plain", ExpositionFormat::PrometheusText),
            (
                "application/openmetrics-text",
                ExpositionFormat::OpenMetrics,
            ),
            (
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
                ExpositionFormat::OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=0.0.1",
                ExpositionFormat::PrometheusText,
            ),
            (
                "application/openmetrics-text;q=0",
                ExpositionFormat::PrometheusText,
            ),
            (
                "application/openmetrics-text;q=0.3,text/plain;q=0.7",
                ExpositionFormat::PrometheusText,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
                ExpositionFormat::OpenMetrics,
            ),
        ] {
            assert_eq!(
                negotiate_format(&headers(ACCEPT, accept)),
                wanted,
                "{accept}"
            );
        }
        assert_eq!(
            negotiate_format(&HeaderMap::new()),
            ExpositionFormat::PrometheusText
        );
    }

    #[test]
    fn gzip_for_whoever_takes_it() {
        for (accept, wanted) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("*", true),
            ("gzip;q=0, *", false),
            ("identity", false),
            ("", false),
        ] {
            assert_eq!(
                accepts_gzip(&headers(ACCEPT_ENCODING, accept)),
                wanted,
                "{accept}"
            );
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }
}
