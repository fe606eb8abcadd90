//! The counters of events and of what was done for them. The numbers add up: each event that a
//! subscription's queue took is delivered, dead-lettered, lost, parked, deferred, requeued,
//! abandoned or unfinished.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::configuration_metrics::ConfigurationMetrics;
use super::metric_family::{ExpositionFormat, MetricFamily, MetricValue, float};
use super::process;
use super::rabbitmq_link::RabbitmqLinkGauges;
use super::series::{DeliveryEnd, SeriesRegistry, SubscriptionSeries};
use crate::filter::FilterDecision;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one to the number.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `n` to the number.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Returns the number as it is now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters of a process.
#[derive(Debug, Default)]
pub struct ProcessCounters {
    /// Events answered 202, or taken from a reply inside the process.
    pub accepted: Counter,
    /// Requests with events that were answered with another status.
    pub refused: Counter,
    /// Accepted events that no subscription wanted.
    pub unrouted: Counter,
    /// Connections opened to RabbitMQ.
    pub rabbitmq_connections: Counter,
    /// Connections to RabbitMQ that broke.
    pub rabbitmq_disconnections: Counter,
    /// The state of the connections to RabbitMQ.
    pub rabbitmq_link: RabbitmqLinkGauges,
    /// Messages that RabbitMQ confirmed.
    pub rabbitmq_confirmed: Counter,
    /// Messages that RabbitMQ did not confirm, or not in time.
    pub rabbitmq_unconfirmed: Counter,
    /// Unconfirmed messages that were not sent, since an alarm of memory or disk blocks
    /// publishers.
    pub rabbitmq_blocked: Counter,
    /// Messages that were acknowledged to RabbitMQ, since what follows from them is safe.
    pub rabbitmq_acknowledged: Counter,
    /// Messages that no queue took.
    pub rabbitmq_unroutable: Counter,
    /// Unconfirmed messages that RabbitMQ nacked: a queue without a leader, or a full one.
    pub rabbitmq_nacked: Counter,
    /// Messages that RabbitMQ dead-lettered by a limit of deliveries, of time or of length, and
    /// that were put back or parked.
    pub rabbitmq_given_up: Counter,
    /// Messages for a queue that RabbitMQ does not answer for, which wait for it in a delay queue.
    pub rabbitmq_diverted: Counter,
    /// Messages published on a second connection, since RabbitMQ confirmed nothing on the first.
    pub rabbitmq_published_twice: Counter,
    /// Consumers of RabbitMQ that were restarted.
    pub rabbitmq_consumers_restarted: Counter,
    /// Restarted consumers that had got nothing although their queue had messages.
    pub rabbitmq_consumers_silent: Counter,
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
    /// Spans that a collector took.
    pub spans_exported: Counter,
    /// Spans that found no place, or that no collector took.
    /// Spans that found no place in the queue, or that no collector took.
    pub spans_dropped: Arc<Counter>,
    /// Configurations that came into effect.
    /// Configurations that came into effect.
    pub configurations: Counter,
    /// What is counted for each object and listener.
    /// The series of single objects and listeners.
    pub series: SeriesRegistry,
    /// What is true of the newest configuration.
    /// The metrics about the configuration in effect.
    configuration: Mutex<ConfigurationMetrics>,
}

impl ProcessCounters {
    /// Returns all metrics in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.render_as(ExpositionFormat::PrometheusText)
    }

    /// Returns all metrics in this format.
    #[must_use]
    pub fn render_as(&self, form: ExpositionFormat) -> String {
        let mut text = String::with_capacity(16 * 1024);
        self.collect_families()
            .iter()
            .for_each(|family| family.write_to(&mut text, form));
        text.push_str(form.end_mark());
        text
    }

    /// Returns all metrics as they are now.
    #[must_use]
    pub fn collect_families(&self) -> Vec<MetricFamily<'static>> {
        let open = self
            .rabbitmq_connections
            .get()
            .saturating_sub(self.rabbitmq_disconnections.get());
        let totals = self
            .event_counters()
            .into_iter()
            .chain(self.sender_counters())
            .map(|(name, help, counter)| {
                MetricFamily::new(format!("sealpost_{name}"), help)
                    .with_point(&[], MetricValue::Sum(counter.get()))
            });
        let gauges = [
            (
                "deliveries_unfinished",
                "Deliveries in queues, in flight or waiting for a retry",
                self.unfinished(),
            ),
            (
                "rabbitmq_connections_open",
                "Connections to RabbitMQ now",
                open,
            ),
        ];
        let gauges = gauges.into_iter().map(|(name, help, value)| {
            MetricFamily::new(format!("sealpost_{name}"), help)
                .with_point(&[], MetricValue::Gauge(float(value)))
        });
        let facts = self
            .configuration
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        totals
            .chain(gauges)
            .chain(self.rabbitmq_link.collect_families())
            .chain(facts.into_families())
            .chain(self.series.collect_families())
            .chain(process::collect_families())
            .collect()
    }

    /// Changes the metrics about the configuration in effect.
    pub fn update_configuration(&self, change: impl FnOnce(&mut ConfigurationMetrics)) {
        change(
            &mut self
                .configuration
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    /// Lists the counters of events and of RabbitMQ: name, help, counter.
    fn event_counters(&self) -> [(&'static str, &'static str, &Counter); 31] {
        [
            (
                "events_accepted",
                "Events answered 202 or taken from a reply inside the process",
                &self.accepted,
            ),
            (
                "requests_refused",
                "Requests with events answered otherwise",
                &self.refused,
            ),
            (
                "events_unrouted",
                "Events accepted that no subscription wanted",
                &self.unrouted,
            ),
            (
                "rabbitmq_connections",
                "Connections made to RabbitMQ",
                &self.rabbitmq_connections,
            ),
            (
                "rabbitmq_disconnections",
                "Connections to RabbitMQ that broke",
                &self.rabbitmq_disconnections,
            ),
            (
                "rabbitmq_confirmed",
                "Messages that RabbitMQ confirmed",
                &self.rabbitmq_confirmed,
            ),
            (
                "rabbitmq_unconfirmed",
                "Messages not confirmed, or not in time",
                &self.rabbitmq_unconfirmed,
            ),
            (
                "rabbitmq_blocked",
                "Of those, not sent because of an alarm",
                &self.rabbitmq_blocked,
            ),
            (
                "rabbitmq_acknowledged",
                "Messages acknowledged",
                &self.rabbitmq_acknowledged,
            ),
            (
                "rabbitmq_unroutable",
                "Messages that no queue took",
                &self.rabbitmq_unroutable,
            ),
            (
                "rabbitmq_nacked",
                "Of the unconfirmed, messages that RabbitMQ refused",
                &self.rabbitmq_nacked,
            ),
            (
                "rabbitmq_given_up",
                "Messages that RabbitMQ gave up, put back or parked",
                &self.rabbitmq_given_up,
            ),
            (
                "rabbitmq_diverted",
                "Messages that wait elsewhere for a queue without answer",
                &self.rabbitmq_diverted,
            ),
            (
                "rabbitmq_published_twice",
                "Messages published on two connections",
                &self.rabbitmq_published_twice,
            ),
            (
                "rabbitmq_consumers_restarted",
                "Consumers begun again",
                &self.rabbitmq_consumers_restarted,
            ),
            (
                "rabbitmq_consumers_silent",
                "Of those, got nothing from a full queue",
                &self.rabbitmq_consumers_silent,
            ),
            (
                "deliveries_enqueued",
                "Deliveries taken by the queue of a subscription",
                &self.enqueued,
            ),
            (
                "deliveries_delivered",
                "Deliveries that ended with the subscriber and its reply",
                &self.delivered,
            ),
            (
                "deliveries_dead_lettered",
                "Deliveries that ended in a dead letter sink",
                &self.dead_lettered,
            ),
            (
                "deliveries_lost",
                "Deliveries that ended without a home",
                &self.lost,
            ),
            (
                "deliveries_abandoned",
                "Deliveries unfinished when the process had to stop",
                &self.abandoned,
            ),
            (
                "deliveries_deferred",
                "Deliveries put off to be taken up again later",
                &self.deferred,
            ),
            (
                "deliveries_parked",
                "Deliveries that ended in a parking queue",
                &self.parked,
            ),
            (
                "messages_parked",
                "Messages that were no events, parked before any delivery",
                &self.parked_messages,
            ),
            (
                "deliveries_returned",
                "Deliveries given back to their queue unfinished",
                &self.requeued,
            ),
            (
                "delivery_retries",
                "Attempts after the first",
                &self.retries,
            ),
            (
                "events_filtered",
                "Events that the filter of a Trigger did not let pass",
                &self.filtered,
            ),
            (
                "filter_errors",
                "Of those, events for which an expression gave an error or no boolean, or \
                 was too much work",
                &self.undecided,
            ),
            (
                "spans_exported",
                "Spans that a collector took",
                &self.spans_exported,
            ),
            (
                "spans_dropped",
                "Spans that no collector took",
                &self.spans_dropped,
            ),
            (
                "configurations_applied",
                "Configurations that came into effect",
                &self.configurations,
            ),
        ]
    }

    /// Lists the counters of tokens and of `EventType`s: name, help, counter.
    fn sender_counters(&self) -> [(&'static str, &'static str, &Counter); 10] {
        [
            (
                "requests_unauthenticated",
                "Requests without a token that counts",
                &self.unauthenticated,
            ),
            (
                "requests_forbidden",
                "Requests of senders that are not allowed to",
                &self.forbidden,
            ),
            (
                "requests_undecidable",
                "Requests whose sender could not be judged",
                &self.undecidable,
            ),
            ("token_requests", "Tokens asked for", &self.token_requests),
            (
                "token_failures",
                "Tokens that were not to be had",
                &self.token_failures,
            ),
            (
                "key_fetches",
                "Fetches of the keys of the token issuer",
                &self.key_fetches,
            ),
            (
                "key_fetch_failures",
                "Fetches of keys that failed",
                &self.key_fetch_failures,
            ),
            (
                "event_types_created",
                "EventTypes made",
                &self.event_types_created,
            ),
            (
                "event_types_failed",
                "EventTypes that could not be made",
                &self.event_types_failed,
            ),
            (
                "event_types_put_off",
                "Events of new types left to a later event",
                &self.event_types_put_off,
            ),
        ]
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
    pub fn count_retry(&self, series: &SubscriptionSeries) {
        self.retries.increment();
        series.retries.increment();
    }

    /// Counts the decision of a subscription's filter; returns true if the event passes.
    pub fn count_filter_decision(
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
    pub fn unfinished(&self) -> u64 {
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
