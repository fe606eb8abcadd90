//! The families of the series of subscriptions and Triggers.

use std::sync::Arc;

use super::labels::{OwnedLabel, object_labels};
use super::points::push_used;
use crate::telemetry::data_point::MetricValue;
use crate::telemetry::metric_family::MetricFamily;
use crate::telemetry::series::subscription_series::{RESULTS, SubscriptionSeries};

/// The names of the labels that name a subscription or Trigger.
const SUBSCRIPTION: [&str; 3] = [
    "subscription_kind",
    "subscription_namespace",
    "subscription_name",
];

/// Makes the metric families of all subscriptions.
pub(super) fn subscription_families(all: &[Arc<SubscriptionSeries>]) -> Vec<MetricFamily<'static>> {
    let mut deliveries = DeliveryFamilies::new();
    let mut filters = FilterFamilies::new();
    let mut queues = QueueFamilies::new();
    for series in all {
        let labels = object_labels(SUBSCRIPTION, &series.name);
        deliveries.push_series(&labels, series);
        filters.push_series(&labels, series);
        queues.push_series(&labels, series);
    }
    [
        deliveries.into_families(),
        filters.into_families(),
        queues.into_families(),
    ]
    .concat()
}

/// The families about what became of the events of a subscription.
struct DeliveryFamilies {
    enqueued: MetricFamily<'static>,
    ends: MetricFamily<'static>,
    drops: MetricFamily<'static>,
    attempts: MetricFamily<'static>,
    retries: MetricFamily<'static>,
}

impl DeliveryFamilies {
    fn new() -> Self {
        let family = MetricFamily::new;
        Self {
            enqueued: family(
                "sealpost_subscription_enqueued",
                "Events taken by its queue",
            ),
            ends: family(
                "sealpost_subscription_deliveries",
                "Deliveries that ended, by how",
            ),
            drops: family(
                "sealpost_subscription_dropped",
                "Events that nobody took, by why",
            ),
            attempts: family(
                "sealpost_subscription_attempts",
                "Attempts, by destination and result",
            ),
            retries: family("sealpost_subscription_retries", "Attempts after the first"),
        }
    }

    fn push_series(&mut self, labels: &[OwnedLabel], series: &SubscriptionSeries) {
        let enqueued = MetricValue::Sum(series.enqueued.get());
        self.enqueued.push_point(labels, enqueued);
        push_used(&mut self.ends, labels, "outcome", series.ends.labelled());
        self.push_drops(labels, series);
        self.push_attempts(labels, series);
        let retries = MetricValue::Sum(series.retries.get());
        self.retries.push_point(labels, retries);
    }

    fn push_drops(&mut self, labels: &[OwnedLabel], series: &SubscriptionSeries) {
        for drop in series.drops.counts() {
            let way: [OwnedLabel; 3] = [
                ("outcome", drop.outcome.into()),
                ("destination", drop.destination.into()),
                ("reason", drop.reason.into()),
            ];
            let labels = [labels, &way].concat();
            self.drops.push_point(&labels, MetricValue::Sum(drop.count));
        }
    }

    fn push_attempts(&mut self, labels: &[OwnedLabel], series: &SubscriptionSeries) {
        for (destination, counters) in series.attempts.labelled() {
            let labels = [labels, &[("destination", destination.into())]].concat();
            let counters = counters
                .get()
                .into_iter()
                .flat_map(|counters| counters.iter());
            let by_result = RESULTS.into_iter().zip(counters);
            push_used(&mut self.attempts, &labels, "result", by_result);
        }
    }

    fn into_families(self) -> Vec<MetricFamily<'static>> {
        vec![
            self.enqueued,
            self.ends,
            self.drops,
            self.attempts,
            self.retries,
        ]
    }
}

/// The families about events and requests that are not for the subscription.
struct FilterFamilies {
    filtered: MetricFamily<'static>,
    undecided: MetricFamily<'static>,
    refused: MetricFamily<'static>,
}

impl FilterFamilies {
    fn new() -> Self {
        Self {
            filtered: MetricFamily::new(
                "sealpost_subscription_filtered",
                "Events that its filter did not let pass",
            ),
            undecided: MetricFamily::new(
                "sealpost_subscription_filter_errors",
                "Of those, events that its filter did not decide, by why",
            ),
            refused: MetricFamily::new(
                "sealpost_subscription_refused",
                "Requests that a role did not take for it",
            ),
        }
    }

    fn push_series(&mut self, labels: &[OwnedLabel], series: &SubscriptionSeries) {
        let filtered = MetricValue::Sum(series.filtered.get());
        self.filtered.push_point(labels, filtered);
        let undecided = series.undecided.labelled();
        push_used(&mut self.undecided, labels, "reason", undecided);
        if series.refused.get() > 0 {
            let refused = MetricValue::Sum(series.refused.get());
            self.refused.push_point(labels, refused);
        }
    }

    fn into_families(self) -> Vec<MetricFamily<'static>> {
        vec![self.filtered, self.undecided, self.refused]
    }
}

/// The families about the events of a subscription that wait or are in flight.
struct QueueFamilies {
    in_flight: MetricFamily<'static>,
    depth: MetricFamily<'static>,
    oldest: MetricFamily<'static>,
}

impl QueueFamilies {
    fn new() -> Self {
        Self {
            in_flight: MetricFamily::new("sealpost_subscription_in_flight", "Requests under way"),
            depth: MetricFamily::new(
                "sealpost_subscription_queue_depth",
                "Events that wait for their first attempt",
            ),
            oldest: MetricFamily::new(
                "sealpost_subscription_queue_oldest_seconds",
                "How long the oldest of them has waited",
            ),
        }
    }

    fn push_series(&mut self, labels: &[OwnedLabel], series: &SubscriptionSeries) {
        let in_flight = MetricValue::of_gauge(series.in_flight.get());
        self.in_flight.push_point(labels, in_flight);
        let waiting = series.waiting.get().saturating_add(series.ready.get());
        self.depth
            .push_point(labels, MetricValue::of_gauge(waiting));
        let age = MetricValue::Gauge(series.oldest_waiting_age().as_secs_f64());
        self.oldest.push_point(labels, age);
    }

    fn into_families(self) -> Vec<MetricFamily<'static>> {
        vec![self.in_flight, self.depth, self.oldest]
    }
}
