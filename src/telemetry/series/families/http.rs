//! The families of connections, of requests that were received, and of requests that were sent.

use super::labels::OwnedLabel;
use super::points::push_by_status;
use crate::telemetry::counter::Counter;
use crate::telemetry::data_point::MetricValue;
use crate::telemetry::histogram::HistogramsByStatus;
use crate::telemetry::metric_family::MetricFamily;
use crate::telemetry::series::http_metrics::{ConnectionMetrics, ServerRequestHistograms};
use crate::telemetry::series::registry::SeriesRegistry;

/// Makes the families of connections and requests.
pub(super) fn http_families(registry: &SeriesRegistry) -> Vec<MetricFamily<'static>> {
    let mut families = Vec::new();
    families.extend(listener_families(registry));
    families.push(handshake_family(&registry.https_connections));
    families.extend(client_families(&registry.client_connections));
    families.extend(request_families(registry));
    families.extend(sent_request_families(registry));
    families
}

fn listener_families(registry: &SeriesRegistry) -> [MetricFamily<'static>; 3] {
    let mut accepted = MetricFamily::new("sealpost_connections", "Connections accepted");
    let mut open = MetricFamily::new("sealpost_connections_open", "Connections open now");
    let mut limit = MetricFamily::new(
        "sealpost_connections_limit",
        "Connections that may be open at once",
    );
    for (listener, connections) in [
        ("http", &registry.http_connections),
        ("https", &registry.https_connections),
        ("admin", &registry.admin_connections),
    ] {
        let labels = [("listener", listener.into())];
        accepted.push_point(&labels, MetricValue::Sum(connections.opened.get()));
        open.push_point(&labels, MetricValue::of_gauge(connections.open.get()));
        push_limit(&mut limit, &labels, connections);
    }
    [accepted, open, limit]
}

/// Pushes the limit of these connections, if there is one.
fn push_limit(limits: &mut MetricFamily<'static>, labels: &[OwnedLabel], of: &ConnectionMetrics) {
    let limit = of.limit.get();
    if limit > 0 {
        limits.push_point(labels, MetricValue::of_gauge(limit));
    }
}

fn handshake_family(connections: &ConnectionMetrics) -> MetricFamily<'static> {
    let mut handshakes =
        MetricFamily::new("sealpost_tls_handshakes", "TLS handshakes with senders");
    for (result, counter) in [
        ("ok", &connections.handshakes),
        ("failed", &connections.handshakes_failed),
        ("timeout", &connections.handshakes_timed_out),
    ] {
        push_result(&mut handshakes, result, counter);
    }
    handshakes
}

fn push_result(handshakes: &mut MetricFamily<'static>, result: &'static str, counter: &Counter) {
    let labels = [("result", result.into())];
    handshakes.push_point(&labels, MetricValue::Sum(counter.get()));
}

fn client_families(connections: &ConnectionMetrics) -> [MetricFamily<'static>; 5] {
    let opened = MetricFamily::new(
        "sealpost_client_connections",
        "Connections made to destinations",
    );
    let open = MetricFamily::new(
        "sealpost_client_connections_open",
        "Connections to destinations open now",
    );
    let mut limit = MetricFamily::new(
        "sealpost_client_connections_limit",
        "Connections to destinations that may be open at once",
    );
    push_limit(&mut limit, &[], connections);
    let mut handshakes = MetricFamily::new(
        "sealpost_client_tls_handshakes",
        "TLS handshakes with destinations",
    );
    push_result(&mut handshakes, "ok", &connections.handshakes);
    push_result(&mut handshakes, "failed", &connections.handshakes_failed);
    let lookups_failed = MetricFamily::new(
        "sealpost_dns_failures",
        "Lookups of names of destinations that failed",
    );
    [
        opened.with_point(&[], MetricValue::Sum(connections.opened.get())),
        open.with_point(&[], MetricValue::of_gauge(connections.open.get())),
        limit,
        handshakes,
        lookups_failed.with_point(&[], MetricValue::Sum(connections.lookups_failed.get())),
    ]
}

/// Makes the families of requests to the event ports (contract OB-9).
fn request_families(registry: &SeriesRegistry) -> [MetricFamily<'static>; 3] {
    let mut families = RequestFamilies::new();
    for (scheme, methods) in [
        ("http", &registry.requests.http),
        ("https", &registry.requests.https),
    ] {
        for (method, by_status) in [("POST", &methods.post), ("_OTHER", &methods.other)] {
            let labels = [
                ("http.request.method", method.into()),
                ("url.scheme", scheme.into()),
            ];
            families.push_series(&labels, by_status);
        }
    }
    [families.duration, families.request, families.response]
}

struct RequestFamilies {
    duration: MetricFamily<'static>,
    request: MetricFamily<'static>,
    response: MetricFamily<'static>,
}

impl RequestFamilies {
    fn new() -> Self {
        Self {
            duration: MetricFamily::new(
                "http.server.request.duration",
                "Requests for events, probes apart",
            ),
            request: MetricFamily::new(
                "http.server.request.body.size",
                "Bodies of requests for events",
            ),
            response: MetricFamily::new(
                "http.server.response.body.size",
                "Bodies of answers to them",
            ),
        }
    }

    fn push_series(
        &mut self,
        labels: &[OwnedLabel],
        by_status: &HistogramsByStatus<ServerRequestHistograms>,
    ) {
        push_by_status(&mut self.duration, labels, by_status, |of| {
            MetricValue::DurationHistogram(of.duration.collect())
        });
        push_by_status(&mut self.request, labels, by_status, |of| {
            MetricValue::SizeHistogram(of.request_body_size.collect())
        });
        push_by_status(&mut self.response, labels, by_status, |of| {
            MetricValue::SizeHistogram(of.response_body_size.collect())
        });
    }
}

fn sent_request_families(registry: &SeriesRegistry) -> [MetricFamily<'static>; 2] {
    let labels = [("http.request.method", "POST".into())];
    let mut took = MetricFamily::new(
        "http.client.request.duration",
        "Requests to destinations, one for each attempt",
    );
    let mut request = MetricFamily::new(
        "http.client.request.body.size",
        "Bodies of requests to destinations",
    );
    push_by_status(&mut took, &labels, &registry.sent_requests, |of| {
        MetricValue::DurationHistogram(of.duration.collect())
    });
    push_by_status(&mut request, &labels, &registry.sent_requests, |of| {
        MetricValue::SizeHistogram(of.request_body_size.collect())
    });
    [took, request]
}
