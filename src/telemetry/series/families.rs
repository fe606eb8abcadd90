//! Makes metric families of the series. Counters that were never used are left out where that makes
//! many data points few.

use std::sync::Arc;

use super::{
    ARRIVALS, ChannelSeries, ConnectionMetrics, Counter, DESTINATIONS, ENDS, RESULTS,
    RelayDurations, SeriesKey, SeriesRegistry, SubscriptionSeries, UNDECIDED, live_series,
};
use crate::telemetry::histogram::HistogramsByStatus;
use crate::telemetry::metric_family::{DataPoint, MetricFamily, MetricLabel, MetricValue};

/// A label that the snapshot owns.
type OwnedLabel = MetricLabel<'static>;

impl SeriesRegistry {
    /// Returns the families of all series now; series that nobody holds are forgotten.
    #[must_use]
    pub fn collect_families(&self) -> Vec<MetricFamily<'static>> {
        let (channels, subscriptions) = (
            live_series(&self.channels),
            live_series(&self.subscriptions),
        );
        let mut families = vec![channel_family(&channels)];
        families.extend(subscription_families(&subscriptions));
        families.extend(dispatch_families(&channels, &subscriptions));
        families.extend(self.listener_families());
        families.extend(self.client_families());
        families.extend(self.request_families());
        families.extend(self.sent_request_families());
        families.extend(super::request_reply::request_reply_families(
            &self.request_replies,
        ));
        families
    }

    fn listener_families(&self) -> [MetricFamily<'static>; 3] {
        let mut accepted = MetricFamily::new("sealpost_connections", "Connections accepted");
        let mut open = MetricFamily::new("sealpost_connections_open", "Connections open now");
        let mut handshakes =
            MetricFamily::new("sealpost_tls_handshakes", "TLS handshakes with senders");
        let listeners = [
            ("http", &self.http_connections),
            ("https", &self.https_connections),
            ("admin", &self.admin_connections),
        ];
        for (listener, traffic) in listeners {
            let labels = [("listener", listener.into())];
            accepted.push_point(&labels, MetricValue::Sum(traffic.opened.get()));
            open.push_point(&labels, MetricValue::Gauge(gauge_value(traffic.open.get())));
        }
        let ConnectionMetrics {
            handshakes: done,
            handshakes_failed,
            handshakes_timed_out: handshakes_late,
            ..
        } = &*self.https_connections;
        for (result, counter) in [
            ("ok", done),
            ("failed", handshakes_failed),
            ("timeout", handshakes_late),
        ] {
            handshakes.push_point(
                &[("result", result.into())],
                MetricValue::Sum(counter.get()),
            );
        }
        [accepted, open, handshakes]
    }

    fn client_families(&self) -> [MetricFamily<'static>; 3] {
        let ConnectionMetrics {
            opened: accepted,
            open,
            handshakes: done,
            handshakes_failed,
            ..
        } = &*self.client_connections;
        let mut handshakes = MetricFamily::new(
            "sealpost_client_tls_handshakes",
            "TLS handshakes with destinations",
        );
        for (result, counter) in [("ok", done), ("failed", handshakes_failed)] {
            handshakes.push_point(
                &[("result", result.into())],
                MetricValue::Sum(counter.get()),
            );
        }
        [
            MetricFamily::new(
                "sealpost_client_connections",
                "Connections made to destinations",
            )
            .with_point(&[], MetricValue::Sum(accepted.get())),
            MetricFamily::new(
                "sealpost_client_connections_open",
                "Connections to destinations open now",
            )
            .with_point(&[], MetricValue::Gauge(gauge_value(open.get()))),
            handshakes,
        ]
    }

    /// Returns the histograms of requests to the event ports (contract OB-9).
    fn request_families(&self) -> [MetricFamily<'static>; 3] {
        let mut took = MetricFamily::new(
            "http.server.request.duration",
            "Requests for events, probes apart",
        );
        let mut request = MetricFamily::new(
            "http.server.request.body.size",
            "Bodies of requests for events",
        );
        let mut response = MetricFamily::new(
            "http.server.response.body.size",
            "Bodies of answers to them",
        );
        for (scheme, methods) in [
            ("http", &self.requests.http),
            ("https", &self.requests.https),
        ] {
            for (method, by_status) in [("POST", &methods.post), ("_OTHER", &methods.other)] {
                let labels: [OwnedLabel; 2] = [
                    ("http.request.method", method.into()),
                    ("url.scheme", scheme.into()),
                ];
                push_by_status(&mut took, &labels, by_status, |of| {
                    MetricValue::DurationHistogram(of.duration.collect())
                });
                push_by_status(&mut request, &labels, by_status, |of| {
                    MetricValue::SizeHistogram(of.request_body_size.collect())
                });
                push_by_status(&mut response, &labels, by_status, |of| {
                    MetricValue::SizeHistogram(of.response_body_size.collect())
                });
            }
        }
        [took, request, response]
    }

    fn sent_request_families(&self) -> [MetricFamily<'static>; 2] {
        let labels = [("http.request.method", "POST".into())];
        let mut took = MetricFamily::new(
            "http.client.request.duration",
            "Requests to destinations, one for each attempt",
        );
        let mut request = MetricFamily::new(
            "http.client.request.body.size",
            "Bodies of requests to destinations",
        );
        push_by_status(&mut took, &labels, &self.sent_requests, |of| {
            MetricValue::DurationHistogram(of.duration.collect())
        });
        push_by_status(&mut request, &labels, &self.sent_requests, |of| {
            MetricValue::SizeHistogram(of.request_body_size.collect())
        });
        [took, request]
    }
}

/// Adds a data point for each status that was seen.
fn push_by_status<H: Default>(
    family: &mut MetricFamily<'static>,
    labels: &[OwnedLabel],
    by_status: &HistogramsByStatus<H>,
    read: impl Fn(&H) -> MetricValue,
) {
    for (status, histogram) in by_status.histograms() {
        let mut labels = labels.to_vec();
        labels.push(("http.response.status_code", status.into()));
        family.data_points.push(DataPoint {
            labels,
            value: read(histogram),
        });
    }
}

fn push_durations(
    family: &mut MetricFamily<'static>,
    labels: &[OwnedLabel],
    by_status: &HistogramsByStatus,
) {
    push_by_status(family, labels, by_status, |histogram| {
        MetricValue::DurationHistogram(histogram.collect())
    });
}

/// Converts a gauge, which is at least 0 here; every count of a lifetime fits.
pub(super) fn gauge_value(value: i64) -> f64 {
    f64::from(i32::try_from(value.max(0)).unwrap_or(i32::MAX))
}

fn object_labels([kind, namespace, name]: [&'static str; 3], of: &SeriesKey) -> [OwnedLabel; 3] {
    [
        (kind, of.kind.into()),
        (namespace, of.namespace.to_string().into()),
        (name, of.name.to_string().into()),
    ]
}

/// Adds the counters that were used, each with one label more.
fn push_used(
    family: &mut MetricFamily<'static>,
    labels: &[OwnedLabel],
    label: &'static str,
    counters: &[Counter],
    names: &[&'static str],
) {
    for (name, counter) in names
        .iter()
        .zip(counters)
        .filter(|(_, counter)| counter.get() > 0)
    {
        let mut labels = labels.to_vec();
        labels.push((label, (*name).into()));
        family.data_points.push(DataPoint {
            labels,
            value: MetricValue::Sum(counter.get()),
        });
    }
}

fn channel_family(channels: &[Arc<ChannelSeries>]) -> MetricFamily<'static> {
    let mut events = MetricFamily::new(
        "sealpost_channel_events",
        "Events for a channel or broker, by what became of them",
    );
    for series in channels {
        let labels = object_labels(
            ["channel_kind", "channel_namespace", "channel_name"],
            &series.name,
        );
        push_used(&mut events, &labels, "result", &series.arrivals, &ARRIVALS);
    }
    events
}

fn subscription_families(all: &[Arc<SubscriptionSeries>]) -> Vec<MetricFamily<'static>> {
    let mut enqueued = MetricFamily::new(
        "sealpost_subscription_enqueued",
        "Events taken by its queue",
    );
    let mut ends = MetricFamily::new(
        "sealpost_subscription_deliveries",
        "Deliveries that ended, by how",
    );
    let mut drops = MetricFamily::new(
        "sealpost_subscription_dropped",
        "Events that nobody took, by why",
    );
    let mut attempts = MetricFamily::new(
        "sealpost_subscription_attempts",
        "Attempts, by destination and result",
    );
    let mut retries =
        MetricFamily::new("sealpost_subscription_retries", "Attempts after the first");
    let mut filtered = MetricFamily::new(
        "sealpost_subscription_filtered",
        "Events that its filter did not let pass",
    );
    let mut undecided = MetricFamily::new(
        "sealpost_subscription_filter_errors",
        "Of those, events that its filter did not decide, by why",
    );
    let mut in_flight = MetricFamily::new("sealpost_subscription_in_flight", "Requests under way");
    let mut depth = MetricFamily::new(
        "sealpost_subscription_queue_depth",
        "Events that wait for their first attempt",
    );
    let mut age = MetricFamily::new(
        "sealpost_subscription_queue_oldest_seconds",
        "How long the oldest of them has waited",
    );
    let mut refused = MetricFamily::new(
        "sealpost_subscription_refused",
        "Requests that a role did not take for it",
    );
    for series in all {
        let labels = object_labels(
            [
                "subscription_kind",
                "subscription_namespace",
                "subscription_name",
            ],
            &series.name,
        );
        enqueued.push_point(&labels, MetricValue::Sum(series.enqueued.get()));
        push_used(&mut ends, &labels, "outcome", &series.ends, &ENDS);
        for ([outcome, destination, reason], count) in series.drops.counts() {
            let told: [OwnedLabel; 3] = [
                ("outcome", outcome.into()),
                ("destination", destination.into()),
                ("reason", reason.into()),
            ];
            drops.push_point(&[&labels[..], &told].concat(), MetricValue::Sum(count));
        }
        for (destination, results) in DESTINATIONS.into_iter().zip(&series.attempts) {
            let mut labels = labels.to_vec();
            labels.push(("destination", destination.into()));
            let results = results
                .get()
                .map(|results| &results[..])
                .unwrap_or_default();
            push_used(&mut attempts, &labels, "result", results, &RESULTS);
        }
        retries.push_point(&labels, MetricValue::Sum(series.retries.get()));
        filtered.push_point(&labels, MetricValue::Sum(series.filtered.get()));
        push_used(
            &mut undecided,
            &labels,
            "reason",
            &series.undecided,
            &UNDECIDED,
        );
        in_flight.push_point(
            &labels,
            MetricValue::Gauge(gauge_value(series.in_flight.get())),
        );
        let waiting = series.waiting.get().saturating_add(series.ready.get());
        depth.push_point(&labels, MetricValue::Gauge(gauge_value(waiting)));
        age.push_point(
            &labels,
            MetricValue::Gauge(series.oldest_waiting_age().as_secs_f64()),
        );
        if series.refused.get() > 0 {
            refused.push_point(&labels, MetricValue::Sum(series.refused.get()));
        }
    }
    vec![
        enqueued, ends, drops, attempts, retries, filtered, undecided, refused, in_flight, depth,
        age,
    ]
}

/// Returns upstream's durations (contract OB-6, OB-7).
fn dispatch_families(
    channels: &[Arc<ChannelSeries>],
    subscriptions: &[Arc<SubscriptionSeries>],
) -> [MetricFamily<'static>; 2] {
    let mut dispatched = MetricFamily::new(
        "kn.eventing.dispatch.duration",
        "The last hop of each delivery, with its retries",
    );
    let mut processed = MetricFamily::new(
        "kn.eventing.process.duration",
        "From the arrival of an event to just before it is sent",
    );
    for series in subscriptions {
        let labels = messaging_labels(&series.messaging_destination);
        push_durations(&mut dispatched, &labels, &series.dispatch_durations);
        push_relayed(
            (&mut dispatched, &mut processed),
            &labels,
            series.relay_durations.get().map(Box::as_ref),
        );
    }
    for series in channels {
        let SeriesKey {
            kind,
            namespace,
            name,
        } = &series.name;
        let broker = [
            ("kn.broker.name", name.to_string().into()),
            ("kn.broker.namespace", namespace.to_string().into()),
        ];
        let labels = [
            &messaging_labels(&format!("{kind}:{name}.{namespace}"))[..],
            &broker,
        ]
        .concat();
        push_relayed(
            (&mut dispatched, &mut processed),
            &labels,
            series.relay_durations.get().map(Box::as_ref),
        );
    }
    [dispatched, processed]
}

fn push_relayed(
    (dispatched, processed): (&mut MetricFamily<'static>, &mut MetricFamily<'static>),
    labels: &[OwnedLabel],
    relayed: Option<&RelayDurations>,
) {
    let Some(relayed) = relayed else { return };
    for (scheme, of) in [("http", &relayed.http), ("https", &relayed.https)] {
        let labels = [labels, &[("url.scheme", scheme.into())]].concat();
        push_durations(dispatched, &labels, &of.dispatched);
        let distribution = of.processed.collect();
        if distribution.count() > 0 {
            processed.push_point(&labels, MetricValue::DurationHistogram(distribution));
        }
    }
}

/// Returns upstream's labels, without what senders write (contract OB-8).
fn messaging_labels(destination: &str) -> [OwnedLabel; 3] {
    [
        ("messaging.system", "knative".into()),
        ("messaging.operation.name", "send".into()),
        ("messaging.destination.name", destination.to_owned().into()),
    ]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::DestinationRole;
    use crate::telemetry::series::{ArrivalOutcome, DeliveryEnd};

    fn name(name: &str) -> SeriesKey {
        SeriesKey {
            kind: "subscription",
            namespace: "ns".into(),
            name: name.into(),
        }
    }

    fn text(series: &SeriesRegistry) -> String {
        let mut text = String::new();
        series.collect_families().iter().for_each(|family| {
            family.write_to(
                &mut text,
                crate::telemetry::metric_family::ExpositionFormat::PrometheusText,
            )
        });
        text
    }

    /// What is read of a subscription, and that nothing is left when it goes.
    #[test]
    fn series_live_as_long_as_their_object() {
        let series = SeriesRegistry::default();
        let one = series.subscription(&name("a"));
        let same = series.subscription(&name("a"));
        assert!(Arc::ptr_eq(&one, &same));
        one.count_enqueued();
        one.start_delivery();
        one.count_attempt(DestinationRole::Subscriber, Ok(503));
        one.count_attempt(DestinationRole::DeadLetterSink, Err("timeout"));
        one.count_attempt(DestinationRole::DeadLetterSink, Err("new reason"));
        one.count_end(DeliveryEnd::DeadLettered);
        one.record_dispatch(Some(503), Duration::from_millis(3), None);
        let labels = "subscription_kind=\"subscription\",subscription_namespace=\"ns\",subscription_name=\"a\"";
        let read = text(&series);
        for line in [
            format!("sealpost_subscription_enqueued_total{{{labels}}} 1"),
            format!(
                "sealpost_subscription_deliveries_total{{{labels},outcome=\"dead_lettered\"}} 1"
            ),
            format!(
                "sealpost_subscription_attempts_total{{{labels},destination=\"subscriber\",result=\"5xx\"}} \
                 1"
            ),
            format!(
                "sealpost_subscription_attempts_total{{{labels},destination=\"dead_letter_sink\",result=\"timeout\"}} \
                 1"
            ),
            format!(
                "sealpost_subscription_attempts_total{{{labels},destination=\"dead_letter_sink\",result=\"other\"}} \
                 1"
            ),
            format!("sealpost_subscription_queue_depth{{{labels}}} 0"),
        ] {
            assert!(
                read.lines().any(|found| found == line),
                "{line} is not in\n{read}"
            );
        }
        assert!(read.contains(
            "messaging_destination_name=\"subscription:a.ns\",http_response_status_code=\"503\""
        ));
        drop((one, same));
        assert!(!text(&series).contains("subscription_name=\"a\""));
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_event_has_an_age_while_it_waits() {
        let series = SeriesRegistry::default();
        let one = series.subscription(&name("a"));
        let came = tokio::time::Instant::now();
        tokio::time::advance(Duration::from_secs(5)).await;
        one.set_oldest_waiting(came);
        assert!(
            (one.oldest_waiting_age().as_secs_f64() - 5.0).abs() < 0.01,
            "{:?}",
            one.oldest_waiting_age()
        );
        one.start_delivery();
        assert_eq!(one.oldest_waiting_age(), Duration::ZERO);
    }

    #[test]
    fn channels_tell_what_became_of_events() {
        let series = SeriesRegistry::default();
        let channel = series.channel(&SeriesKey {
            kind: "broker",
            namespace: "ns".into(),
            name: "b".into(),
        });
        channel.count_arrivals(ArrivalOutcome::Accepted, 3);
        channel.count_arrivals(ArrivalOutcome::TtlExhausted, 1);
        let read = text(&series);
        let labels = "channel_kind=\"broker\",channel_namespace=\"ns\",channel_name=\"b\"";
        assert!(
            read.contains(&format!(
                "sealpost_channel_events_total{{{labels},result=\"accepted\"}} 3\n"
            )),
            "{read}"
        );
        assert!(
            read.contains(&format!("{{{labels},result=\"ttl_exhausted\"}} 1\n")),
            "{read}"
        );
    }
}
