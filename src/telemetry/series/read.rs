//! Series as families, for whoever reads them. What was never counted is left out where that makes many series few.

use std::sync::Arc;

use super::{
    ARRIVALS, ChannelSeries, Counter, DESTINATIONS, ENDS, Name, RESULTS, Relayed, Series, SubscriptionSeries, Traffic,
    UNDECIDED, alive,
};
use crate::telemetry::family::{Family, Label, Point, Reading};
use crate::telemetry::histogram::ByStatus;

/// A snapshot owns its labels.
type Owned = Label<'static>;

impl Series {
    /// All of them now.
    #[must_use]
    pub fn read(&self) -> Vec<Family<'static>> {
        let (channels, subscriptions) = (alive(&self.channels), alive(&self.subscriptions));
        let mut families = vec![of_channels(&channels)];
        families.extend(of_subscriptions(&subscriptions));
        families.extend(of_hops(&channels, &subscriptions));
        families.extend(self.of_listeners());
        families.extend(self.of_clients());
        families.extend(self.of_requests());
        families.extend(self.of_sent());
        families.extend(super::replies::read(&self.request_replies));
        families
    }

    fn of_listeners(&self) -> [Family<'static>; 3] {
        let mut accepted = Family::new("sealpost_connections", "Connections accepted");
        let mut open = Family::new("sealpost_connections_open", "Connections open now");
        let mut handshakes = Family::new("sealpost_tls_handshakes", "TLS handshakes with senders");
        let listeners = [("http", &self.http), ("https", &self.https), ("admin", &self.admin)];
        for (listener, traffic) in listeners {
            let labels = [("listener", listener.into())];
            accepted.push(&labels, Reading::Total(traffic.accepted.get()));
            open.push(&labels, Reading::Gauge(number(traffic.open.get())));
        }
        let Traffic { handshakes: done, handshakes_failed, handshakes_late, .. } = &*self.https;
        for (result, counter) in [("ok", done), ("failed", handshakes_failed), ("timeout", handshakes_late)] {
            handshakes.push(&[("result", result.into())], Reading::Total(counter.get()));
        }
        [accepted, open, handshakes]
    }

    fn of_clients(&self) -> [Family<'static>; 3] {
        let Traffic { accepted, open, handshakes: done, handshakes_failed, .. } = &*self.clients;
        let mut handshakes = Family::new("sealpost_client_tls_handshakes", "TLS handshakes with destinations");
        for (result, counter) in [("ok", done), ("failed", handshakes_failed)] {
            handshakes.push(&[("result", result.into())], Reading::Total(counter.get()));
        }
        [
            Family::new("sealpost_client_connections", "Connections made to destinations")
                .with(&[], Reading::Total(accepted.get())),
            Family::new("sealpost_client_connections_open", "Connections to destinations open now")
                .with(&[], Reading::Gauge(number(open.get()))),
            handshakes,
        ]
    }

    /// Contract OB-9.
    fn of_requests(&self) -> [Family<'static>; 3] {
        let mut took = Family::new("http.server.request.duration", "Requests for events, probes apart");
        let mut request = Family::new("http.server.request.body.size", "Bodies of requests for events");
        let mut response = Family::new("http.server.response.body.size", "Bodies of answers to them");
        for (scheme, methods) in [("http", &self.requests.http), ("https", &self.requests.https)] {
            for (method, by_status) in [("POST", &methods.post), ("_OTHER", &methods.other)] {
                let labels: [Owned; 2] = [("http.request.method", method.into()), ("url.scheme", scheme.into())];
                push_each(&mut took, &labels, by_status, |of| Reading::Durations(of.took.read()));
                push_each(&mut request, &labels, by_status, |of| Reading::Sizes(of.request.read()));
                push_each(&mut response, &labels, by_status, |of| Reading::Sizes(of.response.read()));
            }
        }
        [took, request, response]
    }

    fn of_sent(&self) -> [Family<'static>; 2] {
        let labels = [("http.request.method", "POST".into())];
        let mut took = Family::new("http.client.request.duration", "Requests to destinations, one for each attempt");
        let mut request = Family::new("http.client.request.body.size", "Bodies of requests to destinations");
        push_each(&mut took, &labels, &self.sent, |of| Reading::Durations(of.took.read()));
        push_each(&mut request, &labels, &self.sent, |of| Reading::Sizes(of.request.read()));
        [took, request]
    }
}

/// What was counted, by status.
fn push_each<H: Default>(
    family: &mut Family<'static>,
    labels: &[Owned],
    by_status: &ByStatus<H>,
    read: impl Fn(&H) -> Reading,
) {
    for (status, histogram) in by_status.read() {
        let mut labels = labels.to_vec();
        labels.push(("http.response.status_code", status.into()));
        family.points.push(Point { labels, reading: read(histogram) });
    }
}

fn push_durations(family: &mut Family<'static>, labels: &[Owned], by_status: &ByStatus) {
    push_each(family, labels, by_status, |histogram| Reading::Durations(histogram.read()));
}

/// Without losing anything that is counted in a lifetime.
pub(super) fn number(value: i64) -> f64 {
    f64::from(i32::try_from(value.max(0)).unwrap_or(i32::MAX))
}

fn labels_of([kind, namespace, name]: [&'static str; 3], of: &Name) -> [Owned; 3] {
    [(kind, of.kind.into()), (namespace, of.namespace.to_string().into()), (name, of.name.to_string().into())]
}

/// Counters that were used, each with one label more.
fn push_used(
    family: &mut Family<'static>,
    labels: &[Owned],
    label: &'static str,
    counters: &[Counter],
    names: &[&'static str],
) {
    for (name, counter) in names.iter().zip(counters).filter(|(_, counter)| counter.get() > 0) {
        let mut labels = labels.to_vec();
        labels.push((label, (*name).into()));
        family.points.push(Point { labels, reading: Reading::Total(counter.get()) });
    }
}

fn of_channels(channels: &[Arc<ChannelSeries>]) -> Family<'static> {
    let mut events = Family::new("sealpost_channel_events", "Events for a channel or broker, by what became of them");
    for series in channels {
        let labels = labels_of(["channel_kind", "channel_namespace", "channel_name"], &series.name);
        push_used(&mut events, &labels, "result", &series.arrivals, &ARRIVALS);
    }
    events
}

fn of_subscriptions(all: &[Arc<SubscriptionSeries>]) -> Vec<Family<'static>> {
    let mut enqueued = Family::new("sealpost_subscription_enqueued", "Events taken by its queue");
    let mut ends = Family::new("sealpost_subscription_deliveries", "Deliveries that ended, by how");
    let mut drops = Family::new("sealpost_subscription_dropped", "Events that nobody took, by why");
    let mut attempts = Family::new("sealpost_subscription_attempts", "Attempts, by destination and result");
    let mut retries = Family::new("sealpost_subscription_retries", "Attempts after the first");
    let mut filtered = Family::new("sealpost_subscription_filtered", "Events that its filter did not let pass");
    let mut undecided =
        Family::new("sealpost_subscription_filter_errors", "Of those, events that its filter did not decide, by why");
    let mut in_flight = Family::new("sealpost_subscription_in_flight", "Requests under way");
    let mut depth = Family::new("sealpost_subscription_queue_depth", "Events that wait for their first attempt");
    let mut age = Family::new("sealpost_subscription_queue_oldest_seconds", "How long the oldest of them has waited");
    let mut refused = Family::new("sealpost_subscription_refused", "Requests that a role did not take for it");
    for series in all {
        let labels = labels_of(["subscription_kind", "subscription_namespace", "subscription_name"], &series.name);
        enqueued.push(&labels, Reading::Total(series.enqueued.get()));
        push_used(&mut ends, &labels, "outcome", &series.ends, &ENDS);
        for ([outcome, destination, reason], count) in series.drops.read() {
            let told: [Owned; 3] =
                [("outcome", outcome.into()), ("destination", destination.into()), ("reason", reason.into())];
            drops.push(&[&labels[..], &told].concat(), Reading::Total(count));
        }
        for (destination, results) in DESTINATIONS.into_iter().zip(&series.attempts) {
            let mut labels = labels.to_vec();
            labels.push(("destination", destination.into()));
            let results = results.get().map(|results| &results[..]).unwrap_or_default();
            push_used(&mut attempts, &labels, "result", results, &RESULTS);
        }
        retries.push(&labels, Reading::Total(series.retries.get()));
        filtered.push(&labels, Reading::Total(series.filtered.get()));
        push_used(&mut undecided, &labels, "reason", &series.undecided, &UNDECIDED);
        in_flight.push(&labels, Reading::Gauge(number(series.in_flight.get())));
        let waiting = series.waiting.get().saturating_add(series.ready.get());
        depth.push(&labels, Reading::Gauge(number(waiting)));
        age.push(&labels, Reading::Gauge(series.oldest_age().as_secs_f64()));
        if series.refused.get() > 0 {
            refused.push(&labels, Reading::Total(series.refused.get()));
        }
    }
    vec![enqueued, ends, drops, attempts, retries, filtered, undecided, refused, in_flight, depth, age]
}

/// Upstream's durations (contract OB-6, OB-7).
fn of_hops(channels: &[Arc<ChannelSeries>], subscriptions: &[Arc<SubscriptionSeries>]) -> [Family<'static>; 2] {
    let mut dispatched =
        Family::new("kn.eventing.dispatch.duration", "The last hop of each delivery, with its retries");
    let mut processed =
        Family::new("kn.eventing.process.duration", "From the arrival of an event to just before it is sent");
    for series in subscriptions {
        let labels = upstreams(&series.destination);
        push_durations(&mut dispatched, &labels, &series.durations);
        push_relayed((&mut dispatched, &mut processed), &labels, series.relayed.get().map(Box::as_ref));
    }
    for series in channels {
        let Name { kind, namespace, name } = &series.name;
        let broker =
            [("kn.broker.name", name.to_string().into()), ("kn.broker.namespace", namespace.to_string().into())];
        let labels = [&upstreams(&format!("{kind}:{name}.{namespace}"))[..], &broker].concat();
        push_relayed((&mut dispatched, &mut processed), &labels, series.relayed.get().map(Box::as_ref));
    }
    [dispatched, processed]
}

fn push_relayed(
    (dispatched, processed): (&mut Family<'static>, &mut Family<'static>),
    labels: &[Owned],
    relayed: Option<&Relayed>,
) {
    let Some(relayed) = relayed else { return };
    for (scheme, of) in [("http", &relayed.http), ("https", &relayed.https)] {
        let labels = [labels, &[("url.scheme", scheme.into())]].concat();
        push_durations(dispatched, &labels, &of.dispatched);
        let distribution = of.processed.read();
        if distribution.count() > 0 {
            processed.push(&labels, Reading::Durations(distribution));
        }
    }
}

/// Contract OB-8, without what senders write.
fn upstreams(destination: &str) -> [Owned; 3] {
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
    use crate::telemetry::series::{Arrival, Destination, End};

    fn name(name: &str) -> Name {
        Name { kind: "subscription", namespace: "ns".into(), name: name.into() }
    }

    fn text(series: &Series) -> String {
        let mut text = String::new();
        series.read().iter().for_each(|family| family.write_to(&mut text, crate::telemetry::family::Form::Text));
        text
    }

    /// What is read of a subscription, and that nothing is left when it goes.
    #[test]
    fn series_live_as_long_as_their_object() {
        let series = Series::default();
        let one = series.subscription(&name("a"));
        let same = series.subscription(&name("a"));
        assert!(Arc::ptr_eq(&one, &same));
        one.enqueue();
        one.begin();
        one.attempt(Destination::Subscriber, Ok(503));
        one.attempt(Destination::DeadLetterSink, Err("timeout"));
        one.attempt(Destination::DeadLetterSink, Err("new reason"));
        one.end(End::DeadLettered);
        one.dispatched(Some(503), Duration::from_millis(3));
        let labels = "subscription_kind=\"subscription\",subscription_namespace=\"ns\",subscription_name=\"a\"";
        let read = text(&series);
        for line in [
            format!("sealpost_subscription_enqueued_total{{{labels}}} 1"),
            format!("sealpost_subscription_deliveries_total{{{labels},outcome=\"dead_lettered\"}} 1"),
            format!("sealpost_subscription_attempts_total{{{labels},destination=\"subscriber\",result=\"5xx\"}} 1"),
            format!(
                "sealpost_subscription_attempts_total{{{labels},destination=\"dead_letter_sink\",result=\"timeout\"}} 1"
            ),
            format!(
                "sealpost_subscription_attempts_total{{{labels},destination=\"dead_letter_sink\",result=\"other\"}} 1"
            ),
            format!("sealpost_subscription_queue_depth{{{labels}}} 0"),
        ] {
            assert!(read.lines().any(|found| found == line), "{line} is not in\n{read}");
        }
        assert!(read.contains("messaging_destination_name=\"subscription:a.ns\",http_response_status_code=\"503\""));
        drop((one, same));
        assert!(!text(&series).contains("subscription_name=\"a\""));
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_event_has_an_age_while_it_waits() {
        let series = Series::default();
        let one = series.subscription(&name("a"));
        let came = tokio::time::Instant::now();
        tokio::time::advance(Duration::from_secs(5)).await;
        one.oldest_since(came);
        assert!((one.oldest_age().as_secs_f64() - 5.0).abs() < 0.01, "{:?}", one.oldest_age());
        one.begin();
        assert_eq!(one.oldest_age(), Duration::ZERO);
    }

    #[test]
    fn channels_tell_what_became_of_events() {
        let series = Series::default();
        let channel = series.channel(&Name { kind: "broker", namespace: "ns".into(), name: "b".into() });
        channel.arrived(Arrival::Accepted, 3);
        channel.arrived(Arrival::TtlExhausted, 1);
        let read = text(&series);
        let labels = "channel_kind=\"broker\",channel_namespace=\"ns\",channel_name=\"b\"";
        assert!(read.contains(&format!("sealpost_channel_events_total{{{labels},result=\"accepted\"}} 3\n")), "{read}");
        assert!(read.contains(&format!("{{{labels},result=\"ttl_exhausted\"}} 1\n")), "{read}");
    }
}
