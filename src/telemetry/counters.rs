//! The counters of events and of what was done for them. The numbers add up: each event that a
//! subscription's queue took is delivered, dead-lettered, lost, parked, deferred, requeued,
//! abandoned or unfinished.

mod table;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::backend_metrics::BackendMetrics;
use super::cluster_metrics::ClusterMetrics;
use super::configuration_metrics::ConfigurationMetrics;
use super::counter::{Counter, CounterDescription};
use super::data_point::{MetricValue, float};
use super::metric_family::{ExpositionFormat, MetricFamily};
use super::process;
use super::series::{DeliveryEnd, SeriesRegistry, SubscriptionSeries};
use crate::filter::FilterDecision;
use crate::observation::EventObserver;

/// The counters of a process.
#[derive(Debug, Default)]
pub struct ProcessCounters {
    /// Events answered 202, or taken from a reply inside the process.
    pub accepted: Counter,
    /// Requests with events that were answered with another status.
    pub refused: Counter,
    /// Accepted events that no subscription wanted.
    pub unrouted: Counter,
    /// Deliveries taken by a subscription's queue.
    pub enqueued: Counter,
    /// Deliveries that ended with the subscriber and, if there was a reply, with its destination.
    pub delivered: Counter,
    /// Deliveries that ended in a dead letter sink.
    pub dead_lettered: Counter,
    /// Deliveries that ended lost: there is no dead letter sink, or it failed, too.
    pub lost: Counter,
    /// Deliveries that were unfinished when the process had to stop.
    pub abandoned: Counter,
    /// Deliveries that were deferred, to be taken up again later by any process.
    pub deferred: Counter,
    /// Deliveries that ended in the parking queue of their subscription.
    pub parked: Counter,
    /// Messages that were no events, and were parked before any delivery.
    pub parked_messages: Counter,
    /// Deliveries that were given back to their queue unfinished.
    pub requeued: Counter,
    /// Delivery attempts after the first.
    pub retries: Counter,
    /// Events that did not pass the filter of a Trigger which was asked.
    pub filtered: Counter,
    /// Events of those that did not pass for which the filter could not be decided.
    pub undecided: Counter,
    /// Requests answered 401: without a token, or with one that is not valid.
    pub unauthenticated: Counter,
    /// Requests answered 403: the sender is known, and not allowed to send.
    pub forbidden: Counter,
    /// Requests answered 500 or 503, since keys, audience or a policy were not known.
    pub undecidable: Counter,
    /// Requests for tokens to the token issuer.
    pub token_requests: Counter,
    /// Requests for tokens that failed.
    pub token_failures: Counter,
    /// Fetches of the keys of the token issuer.
    pub key_fetches: Counter,
    /// Fetches of keys that failed.
    pub key_fetch_failures: Counter,
    /// `EventType`s that were created in the cluster.
    pub event_types_created: Counter,
    /// `EventType`s that could not be created.
    pub event_types_failed: Counter,
    /// Events of new types that found the worker busy; their `EventType` is created for a later
    /// event.
    pub event_types_put_off: Counter,
    /// Spans that a collector took.
    pub spans_exported: Counter,
    /// Spans that found no place in the queue, or that no collector took.
    pub spans_dropped: Arc<Counter>,
    /// Operator's events that their Broker or channel took.
    pub system_events_sent: Counter,
    /// Operator's events that it did not take.
    pub system_events_lost: Counter,
    /// Configurations that came into effect.
    pub configurations: Counter,
    /// Takes what happens to single events; it is told where that is counted.
    pub observer: EventObserver,
    /// The series of single objects and listeners.
    pub series: SeriesRegistry,
    /// The metrics about the configuration in effect.
    configuration: Mutex<ConfigurationMetrics>,
    /// The metrics about the cluster; unset where files are served.
    cluster: OnceLock<Arc<ClusterMetrics>>,
    /// The metrics that the backends of channels keep themselves.
    backends: Mutex<Vec<Arc<dyn BackendMetrics>>>,
}

impl ProcessCounters {
    /// Sets who takes what happens to single events.
    #[must_use]
    pub(crate) fn with_observer(self, observer: EventObserver) -> Self {
        Self { observer, ..self }
    }

    /// Returns all metrics in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.render_as(ExpositionFormat::PrometheusText)
    }

    /// Returns all metrics in this format.
    #[must_use]
    pub(crate) fn render_as(&self, form: ExpositionFormat) -> String {
        let mut text = String::with_capacity(16 * 1024);
        self.collect_families()
            .iter()
            .for_each(|family| family.write_to(&mut text, form));
        text.push_str(form.end_mark());
        text
    }

    /// Returns all metrics as they are now.
    #[must_use]
    pub(crate) fn collect_families(&self) -> Vec<MetricFamily<'static>> {
        let backends = self.backends().clone();
        let mut families = self.collect_counters(table::ARRIVALS);
        families.extend(
            backends
                .iter()
                .flat_map(|backend| backend.collect_counters()),
        );
        families.extend(self.collect_counters(table::DELIVERIES));
        families.push(
            MetricFamily::new(
                "sealpost_deliveries_unfinished",
                "Deliveries in queues, in flight or waiting for a retry",
            )
            .with_point(&[], MetricValue::Gauge(float(self.unfinished()))),
        );
        families.extend(backends.iter().flat_map(|backend| backend.collect_gauges()));
        let configuration = self.configuration().clone();
        families.extend(configuration.into_families());
        let cluster = self.cluster.get();
        families.extend(cluster.into_iter().flat_map(|of| of.collect_families()));
        families.extend(self.series.collect_families());
        families.extend(process::collect_families());
        families
    }

    fn collect_counters(&self, table: &[CounterDescription<Self>]) -> Vec<MetricFamily<'static>> {
        table.iter().map(|counter| counter.collect(self)).collect()
    }

    /// Exposes the metrics of a backend of channels from now on, beside those of the process.
    pub(crate) fn add_backend_metrics(&self, metrics: Arc<dyn BackendMetrics>) {
        self.backends().push(metrics);
    }

    /// Exposes the metrics about the cluster that this process follows.
    pub(crate) fn expose_cluster_metrics(&self, metrics: Arc<ClusterMetrics>) {
        // A process follows one cluster only, so that this is never refused.
        _ = self.cluster.set(metrics);
    }

    fn backends(&self) -> MutexGuard<'_, Vec<Arc<dyn BackendMetrics>>> {
        self.backends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the metrics about the configuration in effect.
    pub(crate) fn update_configuration(&self, change: impl FnOnce(&mut ConfigurationMetrics)) {
        change(&mut self.configuration());
    }

    fn configuration(&self) -> MutexGuard<'_, ConfigurationMetrics> {
        self.configuration
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an event that a queue took.
    pub fn count_enqueued(&self, series: &SubscriptionSeries) {
        self.enqueued.increment();
        series.count_enqueued();
    }

    /// Counts the end of a delivery.
    pub fn count_end(&self, series: &SubscriptionSeries, end: DeliveryEnd) {
        series.count_end(end);
        let counter = match end {
            DeliveryEnd::Delivered => &self.delivered,
            DeliveryEnd::DeadLettered => &self.dead_lettered,
            DeliveryEnd::Lost => &self.lost,
            DeliveryEnd::Abandoned => &self.abandoned,
            DeliveryEnd::Deferred => &self.deferred,
            DeliveryEnd::Parked => &self.parked,
            DeliveryEnd::Requeued => &self.requeued,
        };
        counter.increment();
    }

    /// Counts an attempt after the first.
    pub(crate) fn count_retry(&self, series: &SubscriptionSeries) {
        self.retries.increment();
        series.retries.increment();
    }

    /// Counts the decision of a subscription's filter; returns true if the event passes.
    pub(crate) fn count_filter_decision(
        &self,
        series: &SubscriptionSeries,
        decision: FilterDecision,
    ) -> bool {
        if decision.passes == Ok(true) {
            return true;
        }
        self.filtered.increment();
        series.filtered.increment();
        if let Err(undecided) = decision.passes {
            self.undecided.increment();
            series.record_undecided_filter(undecided);
        }
        false
    }

    /// Returns the number of deliveries that a queue took and that have not ended.
    #[must_use]
    pub(crate) fn unfinished(&self) -> u64 {
        let ended = [
            &self.delivered,
            &self.dead_lettered,
            &self.lost,
            &self.abandoned,
            &self.deferred,
            &self.parked,
            &self.requeued,
        ];
        let ended = ended.into_iter().map(Counter::get).sum();
        self.enqueued.get().saturating_sub(ended)
    }
}
